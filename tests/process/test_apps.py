"""Apps on a real run: what comes back from workers and from threads."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import parslab
from parslab import AUTO_LOGNAME, Config, File, LowLatencyExecutor, ThreadPoolExecutor, bash_app, join_app, python_app
from parslab.errors import BashExitFailure, JoinError, NoDataFlowKernelError, RemoteTraceback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab import DataFlowKernel


@pytest.fixture
def run(tmp_path: Path) -> Iterator[DataFlowKernel]:
    config = Config(executors=[LowLatencyExecutor(workers=2), ThreadPoolExecutor()], run_dir=tmp_path / "runs")
    with parslab.load(config) as dfk:
        yield dfk
    parslab.clear()


@pytest.mark.usefixtures("run")
def test_calls_answer_with_futures_at_once() -> None:
    @python_app(executors=["llex"])
    def add(a: int, b: int = 1) -> int:
        return a + b

    assert add(1).result() == 2
    assert add(add(1), b=add(add(2, 2))).result() == 7


@pytest.mark.usefixtures("run")
def test_a_chain_through_bash_and_files(tmp_path: Path) -> None:
    @bash_app(executors=["llex"])
    def write(text: str, outputs: Any = ()) -> str:
        return f"echo {text} > {outputs[0]}"

    @bash_app(executors=["llex"])
    def double(inputs: Any = (), outputs: Any = ()) -> str:
        return f"cat {inputs[0]} {inputs[0]} > {outputs[0]}"

    @python_app(executors=["llex"])
    def read(file: Any) -> str:
        with open(file) as opened:
            return opened.read()

    first = write("hello", outputs=[File(str(tmp_path / "one"))])
    second = double(inputs=first.outputs, outputs=[str(tmp_path / "two")])
    assert read(second.outputs[0]).result() == "hello\nhello\n"
    assert second.result() == 0
    assert second.outputs[0].result() == File(str(tmp_path / "two"))


def test_automatic_streams_lie_in_the_run_folder(run: DataFlowKernel) -> None:
    @bash_app(executors=["llex"])
    def speak(word: str) -> str:
        return f"echo {word}; echo oops >&2; exit 3"

    future = speak("hi", stdout=AUTO_LOGNAME, stderr=AUTO_LOGNAME)
    with pytest.raises(BashExitFailure, match=r"bash app speak ended with exit status 3.*\noops"):
        future.result()
    assert Path(future.stdout).read_text() == "hi\n"
    assert Path(future.stderr).is_relative_to(run.run_dir / "task_logs")


@pytest.mark.usefixtures("run")
def test_output_of_commands_belongs_to_their_tasks() -> None:
    @bash_app(executors=["llex"])
    def speak(word: str) -> str:
        print("body", word)
        return f"echo out {word}; echo err {word} >&2"

    futures = [speak(str(number)) for number in range(4)]
    for number, future in enumerate(futures):
        assert future.result() == 0
        assert future.logs("stdout") == f"body {number}\nout {number}\n"
        assert future.logs("stderr") == f"err {number}\n"


@pytest.mark.usefixtures("run")
def test_threads_get_arguments_by_reference() -> None:
    @python_app(executors=["threads"])
    def grow(things: list[int]) -> list[int]:
        things.append(1)
        return things

    @bash_app(executors=["threads"])
    def fail() -> str:
        return "echo no >&2; exit 2"

    things: list[int] = []
    assert grow(things).result() is things
    with pytest.raises(BashExitFailure, match="\nno"):
        fail().result()


@pytest.mark.usefixtures("run")
def test_bodies_of_join_apps_may_wait_for_one_another() -> None:
    """The 10 threads for such bodies were used up, and all of them waited for ever in silence."""

    @python_app(executors=["llex"])
    def add(a: int, b: int) -> int:
        return a + b

    @join_app
    def down(n: int) -> Any:
        return add(down(n - 1).result() if n else 0, 1)

    @join_app
    def waits() -> Any:
        return add(down(3).result(), 1)

    assert [future.result(60) for future in [waits() for _ in range(40)]] == [5] * 40


@pytest.mark.usefixtures("run")
def test_join_apps_start_others() -> None:
    @python_app(executors=["llex"])
    def square(x: int) -> int:
        if x == 7:
            raise ValueError("seven")
        return x * x

    @join_app
    def squares(numbers: list[int]) -> Any:
        return [square(number) for number in numbers]

    assert squares([1, 2, 3]).result() == [1, 4, 9]
    with pytest.raises(JoinError, match="seven"):
        squares([1, 7]).result()


@pytest.mark.usefixtures("run")
def test_an_app_called_inside_a_task_says_what_to_do() -> None:
    @python_app(executors=["llex"])
    def inner() -> int:
        return 1

    @python_app(executors=["llex"])
    def outer() -> Any:
        return inner()

    with pytest.raises(NoDataFlowKernelError, match=r"App inner was called inside a task.*join_app"):
        outer().result()


@pytest.mark.usefixtures("run")
def test_tracebacks_begin_in_the_users_code() -> None:
    @bash_app(executors=["llex"])
    def wrong() -> str:
        return undefined  # type: ignore[name-defined,no-any-return]  # noqa: F821

    error = wrong().exception()
    assert isinstance(error, NameError)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "parslab/bodies" not in str(error.__cause__)
    assert "return undefined" in str(error.__cause__)


@pytest.mark.usefixtures("run")
def test_async_functions_are_run_to_their_end() -> None:
    @python_app(executors=["llex"])
    async def later(x: int) -> int:
        await asyncio.sleep(0.01)
        return x

    assert later(3).result() == 3


def test_an_app_outlives_its_run(tmp_path: Path) -> None:
    @python_app
    def one() -> int:
        return 1

    config = Config(executors=[LowLatencyExecutor(workers=1)], run_dir=tmp_path / "runs")
    for _ in range(2):
        with pytest.raises(NoDataFlowKernelError):
            one()
        with parslab.load(config):
            assert one().result() == 1
    parslab.clear()
