"""A retry handler of the user says what failures cost: asked in the notebook's process, about tasks of every kind."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from datetime import datetime
from typing import TYPE_CHECKING, Any

import cloudpickle

import parslab
from parslab import join_app, python_app
from parslab.errors import ConfigurationError, DependencyError, JoinError, WorkerLost
from parslab.records.reasons import Reason
from parslab.records.states import TaskState
from tests.process.sandbox import Sandbox, error_of, until
from tests.process.test_retries import attempts, dies_until, fails_until, same

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from parslab import AppFuture, DataFlowKernel

cloudpickle.register_pickle_by_value(sys.modules[__name__])
cloudpickle.register_pickle_by_value(sys.modules["tests.process.test_retries"])


@contextlib.contextmanager
def judged(sandbox: Sandbox, handler: Callable[..., Any], retries: int = 2) -> Iterator[DataFlowKernel]:
    """A run with this handler."""
    executors = [parslab.LowLatencyExecutor(workers=1), parslab.ThreadPoolExecutor(max_threads=2)]
    config = parslab.Config(executors=executors, run_dir=sandbox.runs, retries=retries, retry_handler=handler)
    dfk = parslab.load(config)
    try:
        yield dfk
    finally:
        dfk.cleanup()
        parslab.clear()


@python_app(executors=["llex"])
def raises(kind: type[Exception]) -> None:
    raise kind("no")


def test_the_handler_sees_the_error_and_the_task(sandbox: Sandbox) -> None:
    seen: list[tuple[str, dict[str, Any], str]] = []

    def handler(error: BaseException, task: Any) -> float:
        seen.append((repr(error), dict(task), threading.current_thread().name))
        return 1.0

    path = sandbox.root / "path"
    with judged(sandbox, handler):
        future = fails_until(path, 3, parslab_resource_specification={"priority": 7})
        assert future.result() == 3
    (first, task, thread), (second, later, _) = seen
    assert (first, second) == ("ValueError('attempt 1')", "ValueError('attempt 2')")
    assert thread != threading.main_thread().name
    assert (task["id"], task["func_name"], task["executor"]) == (future.task_id, "fails_until", "llex")
    assert (task["args"], task["kwargs"], task["app_fu"]) == ((path, 3), {}, future)
    assert (task["try_id"], task["fail_count"], task["fail_cost"]) == (0, 1, 0.0)
    assert (later["try_id"], later["fail_count"], later["fail_cost"]) == (1, 2, 1.0)
    assert later["fail_history"] == [first, second]
    assert (task["reason"], task["status"]) == (Reason.app_error, TaskState.fail_retryable)
    assert task["resource_specification"] == {"priority": 7.0}
    assert isinstance(task["time_invoked"], datetime)


def test_costs_add_up_to_the_retries(sandbox: Sandbox) -> None:
    with judged(sandbox, lambda error, task: 0.5, retries=1):
        path = sandbox.root / "path"
        assert "attempt 3" in str(error_of(fails_until(path, 9)))
        assert attempts(path) == 3


def test_some_errors_are_worth_no_retry_and_others_cost_nothing(sandbox: Sandbox) -> None:
    def handler(error: BaseException, task: Any) -> float:
        return 0.0 if isinstance(error, WorkerLost) and task.reason is Reason.worker_lost else float("inf")

    with judged(sandbox, handler, retries=0):
        path = sandbox.root / "path"
        assert dies_until(path, 3, "alive").result() == "alive"
        assert attempts(path) == 3
        other = sandbox.root / "other"
        error_of(fails_until(other, 9, parslab_resource_specification={"retries": 5}))
        assert attempts(other) == 1


def test_its_own_error_takes_the_place_of_the_tasks(sandbox: Sandbox) -> None:
    def handler(error: BaseException, task: Any) -> float:
        raise LookupError(f"{task.func_name} is hopeless") from error

    with judged(sandbox, handler):
        future = raises(KeyError)
        error = error_of(future)
        assert type(error) is LookupError
        assert str(error) == "raises is hopeless"
        assert type(error.__cause__) is KeyError  # what the task raised
        assert "KeyError" in str(error.__cause__.__cause__)  # the traceback of both
        assert [attempt.reason for attempt in future.history()] == ["retry_handler"]
    with judged(sandbox, lambda error, task: None):
        error = error_of(raises(ValueError))
        assert type(error) is ConfigurationError
        assert "must return a number, what the failure costs of the task's retries (1: one attempt), not None" in str(
            error
        )


def test_failed_dependencies_are_shown_to_it_and_stay_failed(sandbox: Sandbox) -> None:
    seen: list[type] = []

    def handler(error: BaseException, task: Any) -> float:
        seen.append(type(error))
        return float(len(seen) > 1 and isinstance(error, ValueError))

    with judged(sandbox, handler, retries=0):
        error = error_of(same(same(raises(ValueError))))
        assert type(error) is DependencyError
    assert seen == [ValueError, ValueError, DependencyError, DependencyError]


def test_retry_handler_decides_about_bodies_in_the_notebook(sandbox: Sandbox) -> None:
    tries: list[str] = []

    @python_app(executors=["threads"])
    def local() -> int:
        tries.append("local")
        return 1 // (len(tries) - 1)

    @join_app
    def joins() -> AppFuture:
        tries.append("join")
        if tries.count("join") < 2:
            raise ValueError("not yet")
        return raises(OSError)

    with judged(sandbox, lambda error, task: isinstance(error, OSError), retries=0):
        assert local().result() == 1
        assert type(error_of(joins())) is JoinError  # what a join has called is not the join's to try again
    assert tries == ["local", "local", "join", "join"]


def test_a_task_may_be_cancelled_while_the_handler_thinks(sandbox: Sandbox) -> None:
    asked, answer = threading.Event(), threading.Event()

    def handler(error: BaseException, task: Any) -> float:
        asked.set()
        answer.wait(30)
        return 0.0

    with judged(sandbox, handler):
        path = sandbox.root / "path"
        future = fails_until(path, 2)
        assert asked.wait(30)
        until(lambda: future.state is TaskState.fail_retryable)
        assert future.task_status() == "fail_retryable"
        assert future.cancel()
        answer.set()
        assert same(3).result() == 3
        assert attempts(path) == 1


def test_a_cell_that_is_run_again_brings_its_new_handler(sandbox: Sandbox) -> None:
    with judged(sandbox, lambda error, task: float("inf")) as dfk:
        error_of(fails_until(sandbox.root / "path", 2))
        assert dfk.config is not None
        assert parslab.load(dfk.config.replaced(retry_handler=lambda error, task: 0.0)) is dfk
        assert fails_until(sandbox.root / "other", 5).result() == 5
        assert parslab.load(dfk.config.replaced(retry_handler=None)) is dfk
        error_of(fails_until(sandbox.root / "third", 9))
        assert attempts(sandbox.root / "third") == 3


def test_the_run_ends_while_a_task_waits(sandbox: Sandbox) -> None:
    asked, answer = threading.Event(), threading.Event()

    def handler(error: BaseException, task: Any) -> float:
        asked.set()
        answer.wait(30)
        return 0.0

    try:
        with judged(sandbox, handler):
            future = raises(ValueError)
            assert asked.wait(30)
        assert future.done()
    finally:
        answer.set()


def test_the_history_of_a_task(sandbox: Sandbox) -> None:
    with judged(sandbox, lambda error, task: 1.0):
        good = same(3)
        good.result()
        assert [(attempt.state, attempt.reason) for attempt in good.history()] == [("exec_done", "")]
        path = sandbox.root / "path"
        future = dies_until(path, 2)
        future.result()
        first, second = future.history()
        assert (first.attempt, first.state, first.reason) == (0, "failed", "worker_lost")
        assert first.error.startswith("WorkerLost: The worker of task")
        assert (second.attempt, second.state, second.reason, second.error) == (1, "exec_done", "", "")
        assert first.worker != second.worker
        assert first.host == second.host == os.uname().nodename
        assert first.ended is not None
        assert second.started is not None
        assert first.ended <= second.started
        assert signal.SIGKILL.name in first.error
