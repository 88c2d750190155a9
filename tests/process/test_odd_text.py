"""Strings that are no text (names of files that are not UTF-8) in every place where a user can put one."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

import parslab
from parslab import (
    Config,
    File,
    HighThroughputExecutor,
    LocalProvider,
    LowLatencyExecutor,
    ThreadPoolExecutor,
    bash_app,
    join_app,
    python_app,
)
from parslab.cli.main import main
from parslab.errors import BashExitFailure, DependencyError, DeserializationError, SerializationError
from parslab.records.panel import TaskPageRequest
from tests.process.panel import picture
from tests.process.sandbox import Sandbox, within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab import DataFlowKernel

cloudpickle.register_pickle_by_value(sys.modules[__name__])

needs_run = pytest.mark.usefixtures("run")

ODD = os.fsdecode(b"caf\xe9")
SHOWN = "caf\\udce9"


@pytest.fixture
def run(sandbox: Sandbox) -> Iterator[DataFlowKernel]:
    executors = [LowLatencyExecutor(workers=1), ThreadPoolExecutor(max_threads=1)]
    with parslab.load(Config(executors=executors, run_dir=sandbox.runs)) as dfk:
        yield dfk


@python_app(executors="llex")
def named(*args: Any, **kwargs: Any) -> Any:
    return args, kwargs


def raise_odd(*_: Any) -> None:
    raise ValueError(ODD)


def test_arguments_keywords_and_results(run: DataFlowKernel) -> None:
    """A keyword with such a name made every later call and `cleanup()` raise UnicodeEncodeError."""
    assert named(ODD, **{ODD: 1}).result() == ((ODD,), {ODD: 1})
    assert named(1).result() == ((1,), {})
    assert run.unfinished == 0


@needs_run
def test_errors_of_every_kind_of_app() -> None:
    """The future of a join or of a thread never ended, and every later call failed; a worker died."""
    for make in (python_app(executors="llex"), join_app, python_app(executors="threads")):
        future = make(raise_odd)()
        with within(20):
            error = future.exception()
        assert type(error) is ValueError
        assert error.args == (ODD,)
        assert SHOWN in (future.traceback() or "")
        with pytest.raises(DependencyError, match=re.escape(f"ValueError: {SHOWN}")):
            named(future).result()
        assert named(1).result() == ((1,), {})


@needs_run
def test_names_of_apps() -> None:
    def body() -> int:
        return 3

    body.__name__ = body.__qualname__ = ODD
    assert python_app(body)().result() == 3
    assert python_app(cache=True)(body)().result() == 3


@needs_run
def test_output_and_files(tmp_path: Path) -> None:
    @python_app(executors="llex")
    def prints() -> str:
        print(ODD)
        return os.environ.get("ODD", "")

    @bash_app(executors="llex")
    def writes(outputs: Any = (), stdout: Any = None) -> str:
        return f"printf x > '{outputs[0]}'; echo {ODD}"

    @bash_app(executors="llex")
    def fails() -> str:
        return f"echo {ODD} >&2; exit 3"

    future = prints()
    assert future.result() == ""
    path, out = tmp_path / ODD, tmp_path / f"{ODD}.out"
    done = writes(outputs=[File(path)], stdout=str(out))
    assert done.result() == 0
    assert os.fspath(done.outputs[0].result()) == str(path)
    assert path.read_text() == "x"
    assert out.read_bytes() == b"caf\xe9\n"
    error = fails().exception()
    assert isinstance(error, BashExitFailure)
    assert "caf" in error.stderr_tail


def test_a_run_folder_with_such_a_name(sandbox: Sandbox, capsys: pytest.CaptureFixture[str]) -> None:
    """No block could start, because its script could not be written."""
    provider = LocalProvider(init_blocks=1, max_blocks=1)
    htex = HighThroughputExecutor(label="htex", provider=provider, max_workers_per_node=1)
    config = Config(executors=[htex], run_dir=os.path.join(sandbox.runs, ODD))
    with parslab.load(config) as dfk:

        @bash_app
        def writes(stdout: Any = None) -> str:
            return "echo x"

        @python_app
        def whole(x: int) -> int:
            return x

        out = os.path.join(dfk.run_dir, f"{ODD}.out")
        assert writes(stdout=out).result(60) == 0
        assert whole(1).result(60) == 1
        assert picture(dfk).run.run == dfk.run
        page = dfk.ask(TaskPageRequest(request_id="1"))
        assert page is not None
        assert main(["runs"]) == 0
        assert f"{SHOWN}/000" in capsys.readouterr().out
    parslab.clear()


class Stubborn:
    def __reduce__(self) -> Any:
        return _refuse, ()


def _refuse() -> Any:
    raise KeyError(ODD)


@needs_run
def test_values_that_cannot_be_rebuilt_name_app_argument_and_cause() -> None:
    error = named(1, name=[Stubborn()]).exception()
    assert isinstance(error, DeserializationError)
    assert str(error).startswith("argument 'name' of app named cannot be unpickled here: KeyError: ")
    assert type(error.__cause__) is KeyError

    @python_app(executors="llex")
    def makes() -> Any:
        return Stubborn()

    with pytest.raises(DeserializationError, match=r"^the result of app makes cannot be unpickled here: KeyError"):
        makes().result()


def test_a_call_that_cannot_be_encoded_fails_alone(run: DataFlowKernel) -> None:
    """It stayed in the outbox, and every later call raised its error."""
    greedy = python_app(executors="llex", resource_specification={"memory": 1e15})(raise_odd)
    error = greedy().exception()
    assert isinstance(error, SerializationError)
    assert re.search(r"the call of app raise_odd \(task \d+\) cannot be sent to a worker: OverflowError", str(error))
    assert named(1).result() == ((1,), {})
    assert run.unfinished == 0
