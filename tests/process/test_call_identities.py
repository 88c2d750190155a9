"""What real calls say of themselves: modules that are edited while a run goes on, files, and what has no identity."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import parslab
from parslab import Config, LowLatencyExecutor, ThreadPoolExecutor, join_app, python_app
from parslab.errors import DeserializationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab import DataFlowKernel


@pytest.fixture
def run() -> Iterator[DataFlowKernel]:
    config = Config(executors=[LowLatencyExecutor(workers=1), ThreadPoolExecutor(max_threads=1)])
    with parslab.load(config) as dfk:
        yield dfk


def save(path: Path, text: str, at: int) -> None:
    path.write_text(text)
    os.utime(path, (1_000_000_000 + at, 1_000_000_000 + at))


def test_workers_run_an_edited_module_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "edited_by_test.py"
    save(module, "def grow(x): return x + 1", 0)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    try:
        edited: Any = importlib.import_module("edited_by_test")

        @python_app
        def grown(x: int) -> Any:
            return edited.grow(x)

        with parslab.load(Config(executors=[LowLatencyExecutor(workers=1)])):
            assert grown(1).result() == 2
            save(module, "def grow(x): return x + 10", 10)
            assert grown(1).result() == 11
            save(module, "def grow(x): return x +", 20)
            with pytest.raises(DeserializationError, match="app grown cannot be unpickled here: SyntaxError"):
                grown(1).result()
            save(module, "def grow(x): return x + 100", 30)
            assert grown(1).result() == 101
    finally:
        sys.modules.pop("edited_by_test", None)


class Handle:
    """Can be pickled, but has no identity."""

    def __init__(self) -> None:
        self.opened = 0

    def __reduce_ex__(self, protocol: Any) -> Any:
        if sys._getframe(1).f_globals["__name__"] == "parslab.serialize.identity.terms":
            raise TypeError("a handle is nothing but itself")
        return super().__reduce_ex__(protocol)


def test_call_without_identity_runs_and_warns_once(run: DataFlowKernel) -> None:
    @python_app(cache=True, executors="llex")
    def use(handle: Any, x: int) -> int:
        return x + 1

    with pytest.warns(UserWarning, match=r"App use: .*argument 'handle' \(Handle\): .*nothing but itself") as said:
        assert [use(Handle(), x).result() for x in range(3)] == [1, 2, 3]
    assert len(said) == 1
    assert said[0].filename == __file__
    assert "parslab.id_for_memo" in str(said[0].message)
    assert "nothing distinguishes it from other calls: argument 'handle' (Handle)" in use(Handle(), 1).explain()


def test_calls_that_run_here_may_be_given_anything(run: DataFlowKernel) -> None:
    @python_app(executors="threads")
    def locked(lock: Any) -> bool:
        return bool(lock.acquire(blocking=False))

    @join_app
    def twice(lock: Any) -> Any:
        return [locked(lock), locked(lock)]

    assert sorted(twice(threading.Lock()).result()) == [False, True]


# --- what is remembered --------------------------------------------------------------------------------------------


class Ran:
    """Counts how often bodies ran: each leaves a file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._before = 0

    def __call__(self) -> int:
        count = len(list(self.folder.iterdir()))
        self._before, before = count, self._before
        return count - before


@pytest.fixture
def ran(tmp_path: Path) -> Ran:
    (tmp_path / "ran").mkdir()
    return Ran(tmp_path / "ran")


APP = """
import parslab, tempfile
from parslab import File, python_app, join_app
rate = 2
def grow(x): return x * rate
@python_app(cache=True, ignore_for_cache=["log"], executors=EXECUTOR)
def fit(x, k=3, log=False):
    tempfile.mkdtemp(dir=FOLDER)
    return grow(x) + k
"""


def notebook(ran: Ran, executor: str = "llex") -> Any:
    from tests.unit.serialize.notebook import Notebook

    made = Notebook()
    made.names.update(EXECUTOR=executor, FOLDER=str(ran.folder))
    made.cell(APP)
    return made


@pytest.mark.parametrize("executor", ["llex", "threads"])
def test_an_edited_function_never_returns_an_old_result(run: DataFlowKernel, ran: Ran, executor: str) -> None:
    book = notebook(ran, executor)

    def result(*args: Any, **kwargs: Any) -> Any:
        return book.names["fit"](*args, **kwargs).result()

    assert [result(1), result(x=1), result(1, 3), result(1, k=3, log=True)] == [5] * 4
    assert ran() == 1
    assert result(1, k=4) == 6
    assert ran() == 1
    book.cell("rate = 5")
    assert result(1) == 8
    book.cell("def grow(x): return -x")
    assert result(1) == 2
    book.cell(APP.replace("+ k", "- k"))
    assert result(1) == -1
    assert ran() == 3
    book.cell(APP)
    assert result(1) == 5, "what it was before is known, too"
    assert ran() == 0


def test_a_change_is_named_in_the_explanation(run: DataFlowKernel, ran: Ran) -> None:
    book = notebook(ran)
    book.names["fit"](1).result()
    book.cell("rate = 5")
    future = book.names["fit"](1)
    future.result()
    assert "global rate" in future.explain()


def test_a_file_that_changed_is_another_argument(run: DataFlowKernel, ran: Ran, tmp_path: Path) -> None:
    book = notebook(ran)
    book.cell(
        "@python_app(cache=True, executors=EXECUTOR)\n"
        "def read(inputs=()):\n    tempfile.mkdtemp(dir=FOLDER)\n    return open(inputs[0]).read()"
    )
    data = tmp_path / "data.txt"
    for text, runs in [("one", 1), ("one", 0), ("two", 1), ("one", 0)]:
        data.write_text(text)
        assert book.names["read"](inputs=[parslab.File(data)]).result() == text
        assert ran() == runs


def test_sets_and_objects_of_the_notebook_are_known_again(run: DataFlowKernel, ran: Ran) -> None:
    book = notebook(ran)
    book.cell(
        "class Model:\n    def __init__(self, *of): self.of = set(of)\n"
        "@python_app(cache=True, executors=EXECUTOR)\n"
        "def size(model):\n    tempfile.mkdtemp(dir=FOLDER)\n    return len(model.of)"
    )
    for of, runs in [("abc", 1), ("cba", 0), ("abx", 1)]:
        assert book.names["size"](book.names["Model"](*of)).result() == 3
        assert ran() == runs


def test_a_registered_type_is_known_by_what_the_user_says(run: DataFlowKernel, ran: Ran) -> None:
    book = notebook(ran)
    book.cell(
        "class Table:\n    def __init__(self, name, rows): self.name, self.rows = name, rows\n"
        "@parslab.id_for_memo.register(Table)\n"
        "def _(table, output_ref=False): return parslab.id_for_memo(table.name)\n"
        "@python_app(cache=True, executors=EXECUTOR)\n"
        "def rows(table):\n    tempfile.mkdtemp(dir=FOLDER)\n    return table.rows"
    )
    table, rows = book.names["Table"], book.names["rows"]
    assert [rows(table("a", 1)).result(), rows(table("a", 2)).result(), rows(table("b", 2)).result()] == [1, 1, 2]
    assert ran() == 2


def test_join_is_memoized_with_the_functions_that_it_calls(run: DataFlowKernel, ran: Ran) -> None:
    book = notebook(ran)
    join = "@join_app(cache=True)\ndef both(*xs):\n    tempfile.mkdtemp(dir=FOLDER)\n    return [fit(x) for x in xs]"
    book.cell(join)
    assert book.names["both"](1, 2).result() == [5, 7]
    assert ran() == 3
    assert book.names["both"](1, 2).result() == [5, 7]
    assert ran() == 0
    book.cell("rate = 5")
    assert book.names["both"](1, 2).result() == [8, 13]
    assert ran() == 3
