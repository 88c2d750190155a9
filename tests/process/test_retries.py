"""Tasks that are tried again, and tasks that are stopped because they run too long, on real workers."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

import parslab
from parslab import bash_app, join_app, python_app
from parslab.errors import AppTimeout, BashExitFailure, ConfigurationError, DependencyError, WorkerLost
from parslab.records.panel import TaskDetail, TaskDetailRequest
from tests.process.sandbox import Sandbox, alive, error_of, is_gone, until, within

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab import AppFuture, DataFlowKernel

cloudpickle.register_pickle_by_value(sys.modules[__name__])

ONCE_MORE = {"retries": 1}


@contextlib.contextmanager
def run_with(sandbox: Sandbox, retries: int, workers: int = 1) -> Iterator[DataFlowKernel]:
    """A run whose tasks are tried again so often."""
    executors = [parslab.LowLatencyExecutor(workers=workers), parslab.ThreadPoolExecutor(max_threads=2)]
    dfk = parslab.load(parslab.Config(executors=executors, run_dir=sandbox.runs, retries=retries))
    try:
        yield dfk
    finally:
        dfk.cleanup()
        parslab.clear()


def attempt(path: Path) -> int:
    """Write down one more attempt, and return its number."""
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    return attempts(path)


def attempts(path: Path) -> int:
    return len(path.read_text().splitlines()) if path.exists() else 0


@python_app(executors=["llex"])
def fails_until(path: Path, good: int) -> int:
    if attempt(path) < good:
        raise ValueError(f"attempt {attempts(path)}")
    return attempts(path)


@python_app(executors=["llex"])
def dies_until(path: Path, good: int, needed: Any = None) -> Any:
    if attempt(path) < good:
        os.kill(os.getpid(), signal.SIGKILL)
    return needed


@python_app(executors=["llex"])
def naps(path: Path, *seconds: float) -> int:
    """Sleeps another time in each attempt."""
    number = attempt(path)
    time.sleep(seconds[number - 1])
    return number


@python_app(executors=["llex"])
def stubborn() -> None:
    while True:
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(30)


@python_app(executors=["llex"])
def same(value: Any) -> Any:
    return value


def failed_with(future: AppFuture, kind: type[BaseException]) -> str:
    """The sentence of the error that a task ended with, which is of this kind."""
    error = error_of(future)
    assert type(error) is kind
    return str(error)


def detail(dfk: DataFlowKernel, future: AppFuture) -> TaskDetail:
    answer = dfk.ask(TaskDetailRequest("", future.task_id))
    assert isinstance(answer, TaskDetail)
    return answer


def test_a_task_that_fails_is_tried_again(sandbox: Sandbox) -> None:
    with run_with(sandbox, retries=2) as dfk:
        first = sandbox.root / "first"
        future = fails_until(first, 3)
        assert future.result() == 3
        assert detail(dfk, future).row.attempt == 2
        second = sandbox.root / "second"
        future = fails_until(second, 9)
        assert failed_with(future, ValueError) == "attempt 3"
        assert attempts(second) == 3


def test_a_call_says_how_often(sandbox: Sandbox) -> None:
    with run_with(sandbox, retries=0):
        path = sandbox.root / "path"
        assert fails_until(path, 2, parslab_resource_specification=ONCE_MORE).result() == 2
        other = sandbox.root / "other"
        failed_with(fails_until(other, 2), ValueError)
        assert attempts(other) == 1


def test_an_app_says_how_often(sandbox: Sandbox) -> None:
    with run_with(sandbox, retries=0):
        path = sandbox.root / "path"
        assert python_app(executors=["llex"], retries=2)(fails_until.func)(path, 3).result() == 3
        with pytest.raises(ConfigurationError, match="retries of resource_specification must be a whole number"):
            python_app(retries=-1)(os.getpid)


def test_a_lost_worker_costs_an_attempt_and_no_argument(sandbox: Sandbox) -> None:
    with run_with(sandbox, retries=1, workers=2):
        large = same(b"x" * (1 << 20))
        future = dies_until(sandbox.root / "path", 2, {"deep": large})
        del large
        assert future.result()["deep"] == b"x" * (1 << 20)
        failed_with(dies_until(sandbox.root / "other", 9), WorkerLost)
        assert attempts(sandbox.root / "other") == 2


def test_what_depends_on_it_waits_for_the_last_attempt(sandbox: Sandbox) -> None:
    with run_with(sandbox, retries=1):
        assert same(fails_until(sandbox.root / "path", 2)).result() == 2
        future = same(fails_until(sandbox.root / "other", 9))
        assert "attempt 2" in failed_with(future, DependencyError)


def test_bodies_in_the_notebook_are_tried_again(sandbox: Sandbox) -> None:
    tries: list[int] = []

    @python_app(executors=["threads"])
    def local(value: int) -> int:
        tries.append(value)
        if len(tries) < 3:
            raise ValueError("not yet")
        return value

    @join_app(resource_specification=ONCE_MORE)
    def joins(value: int) -> AppFuture:
        tries.append(value)
        if len(tries) < 5:
            raise ValueError("not yet")
        return same(value)

    with run_with(sandbox, retries=2):
        assert local(same(7)).result() == 7
        assert joins(same(8)).result() == 8
    assert tries == [7, 7, 7, 8, 8]


def test_a_task_is_stopped_at_its_limit(sandbox: Sandbox) -> None:
    with run_with(sandbox, retries=0):
        assert naps(sandbox.root / "path", 0.0, walltime=5).result() == 1
        with within(5.0):
            error = failed_with(naps(sandbox.root / "other", 60.0, walltime=0.3), AppTimeout)
        assert "ran longer than its limit of 0.3 s and was stopped" in error
        assert same(3).result() == 3


def test_a_task_that_does_not_let_go_is_stopped_with_its_worker(sandbox: Sandbox) -> None:
    with run_with(sandbox, retries=0), within(10.0):
        failed_with(stubborn(walltime=0.2), AppTimeout)
        assert same(3).result() == 3


def test_a_command_is_stopped_with_all_that_it_started(sandbox: Sandbox) -> None:
    @bash_app(executors=["llex"])
    def sleeps(path: Path) -> str:
        return f"sleep 60 & echo $! > {path}; wait"

    with run_with(sandbox, retries=0):
        path = sandbox.root / "pid"
        failed_with(sleeps(path, walltime=1.0), AppTimeout)
        until(is_gone(int(path.read_text())), 5.0)
        failed_with(bash_app(executors=["llex"])(lambda: "exit 3")(walltime=5), BashExitFailure)


def test_the_limit_of_one_attempt_does_not_end_the_next(sandbox: Sandbox) -> None:
    """The worker that let go of the first attempt in time is not made to, although it has the second one already."""
    with run_with(sandbox, retries=1):
        path = sandbox.root / "path"
        future = naps(path, 60.0, 2.0, walltime=2.5)
        assert future.result(20) == 2
        first, second = path.read_text().split()
        assert first == second
        assert alive(int(first))


def test_a_call_with_a_limit_goes_where_it_can_be_stopped(sandbox: Sandbox) -> None:
    with run_with(sandbox, retries=0):
        app = python_app(executors="all")(os.getpid)
        assert {app(walltime=60).result() for _ in range(8)}.isdisjoint({os.getpid()})


def test_a_call_in_a_thread_keeps_to_its_limit(sandbox: Sandbox) -> None:
    """The future fails at the limit even while a C function blocks the thread; the thread itself ends later."""
    gate = threading.Event()
    ended: list[str] = []

    @python_app(executors=["threads"])
    def blocks() -> None:
        try:
            gate.wait()
        finally:
            ended.append("blocks")

    @python_app(executors=["threads"])
    def loops(first: Path) -> int:
        while not first.exists():
            first.touch()
            while True:
                time.sleep(0.01)
        return 7

    @join_app
    def joins() -> AppFuture:
        gate.wait()
        return blocks()

    with run_with(sandbox, retries=0):
        assert "ran longer than its limit of 0.3 s" in failed_with(blocks(walltime=0.3), AppTimeout)
        failed_with(joins(walltime=0.3), AppTimeout)
        assert not ended
        gate.set()
        until(lambda: ended == ["blocks"], 20.0)
        assert python_app(executors=["threads"])(os.getpid)(walltime=60).result() == os.getpid()
        looping = python_app(executors=["threads"], retries=1)(loops.func)
        assert looping(sandbox.root / "first", walltime=0.3).result() == 7


def test_a_command_in_a_thread_ends_with_its_limit(sandbox: Sandbox) -> None:
    @bash_app(executors=["threads"])
    def sleeps(path: Path) -> str:
        return f"sleep 600 & echo $! > {path}.new; mv {path}.new {path}; wait"

    with run_with(sandbox, retries=0):
        path = sandbox.root / "pid"
        failed_with(sleeps(path, walltime=3.0), AppTimeout)
        until(is_gone(int(path.read_text())), 20.0)
