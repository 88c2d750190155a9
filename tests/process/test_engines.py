"""Runs whose tasks run on an executor of another library: what happens when its workers, or its host, are lost."""

from __future__ import annotations

import concurrent.futures
import contextlib
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import cloudpickle
import joblib.externals.loky
import numpy
import pytest

import parslab
from parslab import PoolExecutor, python_app
from parslab.errors import AppTimeout, BadStateException, ConfigurationError, ManagerLost, SoftwareError, WorkerLost
from parslab.records.states import TaskState
from tests.process.panel import picture
from tests.process.sandbox import Sandbox, is_gone, patience, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from parslab import DataFlowKernel

pytestmark = pytest.mark.timeout(150)
cloudpickle.register_pickle_by_value(sys.modules[__name__])


def processes(workers: int) -> Callable[[], concurrent.futures.Executor]:
    return lambda: concurrent.futures.ProcessPoolExecutor(workers)


def one_thread() -> concurrent.futures.Executor:
    return concurrent.futures.ThreadPoolExecutor(1)


@contextlib.contextmanager
def pool_run(sandbox: Sandbox, factory: Any, retries: int = 0, **options: Any) -> Iterator[DataFlowKernel]:
    config = parslab.Config(
        executors=[PoolExecutor(factory, **options)], run_dir=sandbox.runs, retries=retries, strategy_period=0.2
    )
    dfk = parslab.load(config)
    try:
        yield dfk
    finally:
        dfk.cleanup()
        parslab.clear()


def result(future: Any, seconds: float = 60.0) -> Any:
    return future.result(seconds * patience())


def error_of(future: Any, seconds: float = 60.0) -> Any:
    return future.exception(seconds * patience())


@python_app
def same(value: Any) -> Any:
    return value


@python_app
def pid_here() -> int:
    return os.getpid()


@python_app
def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@python_app
def die_once(mark: str) -> str:
    if not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return "the second attempt"


@python_app
def wait_for(path: str, begun: str = "") -> str:
    if begun:
        open(begun, "w").close()
    while path and not os.path.exists(path):
        time.sleep(0.01)
    return path


@pytest.mark.parametrize("factory", [processes(1), lambda: joblib.externals.loky.get_reusable_executor(1)])
def test_a_lost_worker_fails_its_task_only(sandbox: Sandbox, factory: Any) -> None:
    with pool_run(sandbox, factory, workers=1):
        first = result(pid_here())
        # The others wait at the executor when it breaks: they have not begun, so they are no loss.
        futures = [die(), *(same(n) for n in range(20))]
        lost = error_of(futures[0])
        assert type(lost) is WorkerLost
        assert lost.pid == first
        assert "was lost, as " in str(lost)
        assert [result(future) for future in futures[1:]] == list(range(20))
        assert result(pid_here()) != first


def test_a_lost_task_is_tried_again(sandbox: Sandbox, tmp_path: Path) -> None:
    with pool_run(sandbox, processes(2), retries=1):
        assert result(die_once(str(tmp_path / "mark"))) == "the second attempt"


def test_the_loss_of_the_helper_process_is_survived(sandbox: Sandbox) -> None:
    @python_app
    def leave() -> None:
        os._exit(3)  # the whole process of a thread pool

    with pool_run(sandbox, one_thread):
        assert isinstance(error_of(leave()), ManagerLost)
        assert result(same(1)) == 1


def test_nothing_is_left_of_a_run(sandbox: Sandbox, tmp_path: Path) -> None:
    with pool_run(sandbox, processes(2)):
        future = wait_for(str(tmp_path / "never"), str(tmp_path / "begun"))
        until((tmp_path / "begun").exists)
        pid = result(pid_here())
    until(is_gone(pid))
    assert future.cancelled() or future.exception() is not None


def test_nothing_is_left_when_the_helper_process_is_killed(sandbox: Sandbox) -> None:
    with pool_run(sandbox, processes(1)) as dfk:
        worker = result(pid_here())
        host = next(row.pid for row in picture(dfk).managers)
        os.kill(host, signal.SIGKILL)
        until(is_gone(worker), 30)
        assert result(pid_here()) != worker


def test_a_factory_that_fails_stops_the_executor(sandbox: Sandbox) -> None:
    def factory() -> Any:
        raise ValueError("no licence is left")

    with pool_run(sandbox, factory):
        error = error_of(same(1))
        assert isinstance(error, BadStateException)
        assert "its factory raised ValueError: no licence is left" in str(error)
        assert "test_engines.py" in str(error)


def test_a_factory_must_return_an_executor(sandbox: Sandbox) -> None:
    with pool_run(sandbox, lambda: 5):
        assert "the factory must return a concurrent.futures.Executor, not int (5)" in str(error_of(same(1)))


def test_a_factory_that_cannot_be_pickled_is_refused() -> None:
    lock = threading.Lock()
    with pytest.raises(ConfigurationError, match="its factory cannot be sent to the helper process"):
        PoolExecutor(lambda: lock).settings()


def test_a_limit_ends_a_task(sandbox: Sandbox, tmp_path: Path) -> None:
    @python_app
    def endless(late: str, parsl_resource_specification: Any = None) -> None:
        time.sleep(1000)
        open(late, "w").close()

    with pool_run(sandbox, processes(1)):
        limited = endless(str(tmp_path / "late"), parsl_resource_specification={"max_run_time": 0.5})
        assert isinstance(error_of(limited), AppTimeout)
        assert result(same(1)) == 1  # its worker is free again
    assert not (tmp_path / "late").exists()


def test_short_tasks_do_not_wait_behind_a_long_one(sandbox: Sandbox, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with pool_run(sandbox, processes(2)):
        # The function is known to be quick, so its calls travel together.
        for _ in range(3):
            assert [result(wait_for("")) for _ in range(50)] == [""] * 50
        long = wait_for(str(gate))
        assert [result(future) for future in [wait_for("") for _ in range(500)]] == [""] * 500
        assert not long.done()
        gate.touch()
        assert result(long) == str(gate)


def test_a_running_task_is_seen(sandbox: Sandbox, tmp_path: Path) -> None:
    gate, begun = tmp_path / "gate", tmp_path / "begun"
    with pool_run(sandbox, processes(2)) as dfk:
        future = wait_for(str(gate), str(begun))
        until(begun.exists)
        until(lambda: future.state is TaskState.running)
        until(lambda: [row.state for row in picture(dfk).workers].count("busy") == 1)
        gate.touch()
        assert result(future) == str(gate)
        until(lambda: [row.state for row in picture(dfk).workers] == ["idle", "idle"])


def test_software_of_a_task_is_refused(sandbox: Sandbox) -> None:
    with pool_run(sandbox, one_thread):
        error = error_of(python_app(lambda: 1, environment=["six"])())
        assert isinstance(error, SoftwareError)
        assert "ThreadPoolExecutor" in str(error)


def test_arrays_arrive_and_can_be_changed(sandbox: Sandbox) -> None:
    @python_app
    def doubled(array: Any) -> Any:
        array *= 2
        return array

    array = numpy.arange(100_000)
    with pool_run(sandbox, processes(2)):
        assert (result(doubled(doubled(array))) == 4 * array).all()
