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
            with pytest.raises(SyntaxError):
                grown(1).result()
            save(module, "def grow(x): return x + 100", 30)
            assert grown(1).result() == 101
    finally:
        sys.modules.pop("edited_by_test", None)


class Handle:
    """Can be pickled, but not be told from others."""

    def __init__(self) -> None:
        self.opened = 0

    def __reduce_ex__(self, protocol: Any) -> Any:
        if sys._getframe(1).f_globals["__name__"] == "parslab.serialize.identity":
            raise TypeError("a handle is nothing but itself")
        return super().__reduce_ex__(protocol)


def test_a_call_without_identity_runs_and_says_once_why_it_is_not_remembered(run: DataFlowKernel) -> None:
    @python_app(cache=True, executors="llex")
    def use(handle: Any, x: int) -> int:
        return x + 1

    with pytest.warns(UserWarning, match=r"App use: .*argument 'handle' \(Handle\): .*nothing but itself") as said:
        assert [use(Handle(), x).result() for x in range(3)] == [1, 2, 3]
    assert len(said) == 1
    assert said[0].filename == __file__
    assert "parslab.id_for_memo" in str(said[0].message)


def test_calls_that_run_here_may_be_given_anything(run: DataFlowKernel) -> None:
    @python_app(executors="threads")
    def locked(lock: Any) -> bool:
        return bool(lock.acquire(blocking=False))

    @join_app
    def twice(lock: Any) -> Any:
        return [locked(lock), locked(lock)]

    assert sorted(twice(threading.Lock()).result()) == [False, True]
