"""Tasks that run here: what is held for them, and for how long."""

from __future__ import annotations

import gc
import queue
import threading
import weakref
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from parslab.app.origin import calling_cell
from parslab.client.calls.identities import Identities
from parslab.client.calls.pending import PendingTasks
from parslab.client.calls.retry_handler import RetryHandlerService
from parslab.client.futures.app_future import AppFuture
from parslab.client.local.task_context import calling_join
from parslab.client.local.tasks import LocalTasks
from parslab.client.run_state import RunState
from parslab.records.states import TaskState
from parslab.serialize.functions import AppFunction
from parslab.serialize.values import unpack
from parslab.wire.messages.base import TaskKind, TaskValue
from parslab.wire.messages.client import (
    JoinBodyReturned,
    LocalTaskFinished,
    LocalTaskStarted,
    RequestValue,
    RunLocalTask,
    SubmitTask,
    ValueNotPicklable,
)
from tests.unit.client.home import FakeHome, done

if TYPE_CHECKING:
    from collections.abc import Iterator


class FakeLink:
    """A link that keeps what is sent in queues: calls, and all other messages."""

    def __init__(self) -> None:
        self.calls: list[SubmitTask] = []
        self.sent: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def call(self, message: SubmitTask) -> None:
        self.calls.append(message)

    def send(self, message: Any, frames: Any = ()) -> None:
        self.sent.put((message, frames))


class FakeKernel(FakeHome):
    """The run as LocalTasks sees it."""

    def __init__(self) -> None:
        super().__init__()
        link: Any = FakeLink()
        self.sent: queue.SimpleQueue[Any] = link.sent
        self.expected: list[SubmitTask] = link.calls
        self.pending = PendingTasks(RunState("000", Path(), 0), link, RetryHandlerService(link, None))
        self.local = LocalTasks(link, self.pending, self, Identities(resume=True), {"threads": 2})

    def call(self, function: Any, *args: Any, join: bool = False, **kwargs: Any) -> AppFuture:
        future = AppFuture(self, next(self.pending.numbers), function.__name__)
        executor = None if join else 1
        self.local.submit(
            future, AppFunction(function), args, kwargs, executor=executor, label="threads", cell="In [1]"
        )
        return future

    def ended(self, task: int) -> None:
        """The DataFlowKernel says that a task has ended with a result."""
        self.pending.unfinished.pop(task)
        self.local.ended(task)

    def next_message(self) -> Any:
        message, _ = self.sent.get(timeout=5)
        return message


@pytest.fixture
def kernel() -> Iterator[FakeKernel]:
    kernel = FakeKernel()
    yield kernel
    kernel.local.close()


def add(x: Any, y: Any = 0) -> Any:
    return x + y


def test_call_runs_on_request(kernel: FakeKernel) -> None:
    need = kernel.call(add, 1)
    future = kernel.call(add, [need], y=[5])
    (first, second) = kernel.expected
    assert (first.kind, first.deps, first.executor, first.fn) == (TaskKind.local, (), 1, -1)
    assert (second.deps, second.cell, second.name) == ((need.task_id,), "In [1]", "add")
    need.take_value(1)
    done(need, None)
    kernel.local.run(RunLocalTask(future.task_id))
    assert isinstance(kernel.next_message(), LocalTaskStarted)
    finished = kernel.next_message()
    assert isinstance(finished, LocalTaskFinished)
    assert finished.state is TaskState.exec_done
    assert future.value_by(None) == [1, 5]


def test_arguments_and_results_go_by_reference(kernel: FakeKernel) -> None:
    thing = object()
    future = kernel.call(lambda x: x, thing)
    kernel.local.run(RunLocalTask(future.task_id))
    kernel.next_message()
    kernel.next_message()
    assert future.value_by(None) is thing


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(3), KeyboardInterrupt()])
def test_what_a_body_raises_ends_the_task_not_the_thread(kernel: FakeKernel, error: BaseException) -> None:
    def raises() -> None:
        raise type(error)(*error.args)

    for _ in range(3):
        future = kernel.call(raises)
        kernel.local.run(RunLocalTask(future.task_id))
        kernel.next_message()
        finished = kernel.next_message()
        assert finished.failure.error.startswith(type(error).__name__)
        assert "in raises" in finished.failure.traceback
        assert "_execute" not in finished.failure.traceback


def test_a_cancelled_call_does_not_run(kernel: FakeKernel) -> None:
    called: list[int] = []
    future = kernel.call(called.append, 1)
    kernel.local.run(RunLocalTask(future.task_id)) if future.cancel() else None
    kernel.local.close()
    assert called == []


def test_failed_body_runs_again_on_request(kernel: FakeKernel) -> None:
    tries = []

    def third_time(x: int) -> int:
        tries.append(x)
        if len(tries) < 3:
            raise ValueError("not yet")
        return x

    future = kernel.call(third_time, 7)
    ends = []
    for _ in range(3):
        kernel.local.run(RunLocalTask(future.task_id))
        assert isinstance(kernel.next_message(), LocalTaskStarted)
        ends.append(kernel.next_message().state)
    assert ends == [TaskState.failed, TaskState.failed, TaskState.exec_done]
    assert (tries, future.value_by(None)) == ([7, 7, 7], 7)
    kernel.local.ended(future.task_id)
    assert not kernel.local.open
    kernel.local.run(RunLocalTask(future.task_id))  # tried again while its future was on its way to the garbage
    assert kernel.next_message().state is TaskState.failed


def test_what_a_body_calls_belongs_to_the_cell_of_its_task(kernel: FakeKernel) -> None:
    calls: list[tuple[str, int]] = []

    def body() -> list[AppFuture]:
        calls.append((calling_cell(), calling_join()))
        return []

    for join in (True, False):
        future = kernel.call(body, join=join)
        kernel.local.run(RunLocalTask(future.task_id))
        kernel.next_message()
        kernel.next_message()
        assert calls.pop() == ("In [1]", future.task_id if join else -1)
    assert (calling_cell(), calling_join()) == ("", -1)


def test_the_body_of_a_cancelled_join_ends_at_its_next_call(kernel: FakeKernel) -> None:
    reached: list[str] = []

    def body() -> list[AppFuture]:
        assert mine.cancel()
        kernel.call(add, 1)
        reached.append("behind the call")
        return []

    mine = kernel.call(body, join=True)
    kernel.local.run(RunLocalTask(mine.task_id))
    kernel.next_message()
    assert "join app body was cancelled, so its body can call nothing more" in kernel.next_message().failure.error
    assert (reached, len(kernel.expected)) == ([], 1)


def test_messages_share_batches_while_more_bodies_wait_for_a_thread(kernel: FakeKernel) -> None:
    """Each of them was a batch of its own: a join in a burst cost five times as much as a plain call."""
    begun, gate = threading.Semaphore(0), threading.Event()

    def body() -> list[AppFuture]:
        begun.release()
        gate.wait(10)
        return []

    futures = [kernel.call(body, join=True) for _ in range(13)]
    calls = len(kernel.expected)
    for future in futures[:10]:
        kernel.local.run(RunLocalTask(future.task_id))
    assert all(begun.acquire(timeout=10) for _ in range(10))
    for future in futures[10:]:
        kernel.local.run(RunLocalTask(future.task_id))
    gate.set()
    sent: list[Any] = []
    while not sent or sum(isinstance(each, JoinBodyReturned) for each in [*sent, *kernel.expected]) < len(futures):
        sent.append(kernel.next_message())
    batched = kernel.expected[calls:]
    assert any(isinstance(message, JoinBodyReturned) for message in batched)
    assert any(isinstance(message, JoinBodyReturned) for message in sent)
    starts = [message.task for message in [*sent, *batched] if isinstance(message, LocalTaskStarted)]
    assert sorted(starts) == sorted(future.task_id for future in futures)


def test_a_body_that_runs_in_a_thread_is_known(kernel: FakeKernel) -> None:
    begun, end = threading.Event(), threading.Event()

    def body() -> None:
        begun.set()
        end.wait(5)

    future = kernel.call(body)
    assert future.task_id not in kernel.pending.in_threads
    kernel.local.run(RunLocalTask(future.task_id))
    assert begun.wait(5)
    assert future.task_id in kernel.pending.in_threads
    end.set()
    kernel.next_message()
    kernel.next_message()
    kernel.local.close()
    assert future.task_id not in kernel.pending.in_threads


def test_calls_that_never_run_are_let_go(kernel: FakeKernel) -> None:
    """Cancelled calls, and those whose dependency failed, were held with their arguments until the end of the run."""
    future = kernel.call(add, [1, 2, 3])
    seen = weakref.ref(future)
    assert kernel.local.open
    kernel.ended(future.task_id)
    assert not kernel.local.open
    number = future.task_id
    del future
    gc.collect()
    assert seen() is None
    assert kernel.released == [(number, 0)]


# --- values that workers want ----------------------------------------------------------------------------------------


def test_a_value_is_sent_when_a_worker_wants_it(kernel: FakeKernel) -> None:
    future = kernel.call(add, 1)
    future.take_value([1, 2])
    kernel.local.send_value(RequestValue(future.task_id))
    message, frames = kernel.sent.get(timeout=5)
    assert isinstance(message, TaskValue)
    assert unpack(message.inline, frames) == [1, 2]


def test_a_value_that_cannot_be_pickled(kernel: FakeKernel) -> None:
    future = kernel.call(add, 1)
    future.take_value(kernel.sent)
    kernel.local.send_value(RequestValue(future.task_id))
    message = kernel.next_message()
    assert isinstance(message, ValueNotPicklable)
    assert "the result of app add (task 0, run in the notebook) cannot be sent" in message.failure.error


def test_a_value_that_is_gone(kernel: FakeKernel) -> None:
    kernel.local.send_value(RequestValue(99))
    assert "is not in the notebook any more" in kernel.next_message().failure.error


def test_a_dropped_future_is_kept_until_the_task_that_needs_it_has_ended(kernel: FakeKernel) -> None:
    """It was kept for ever once it had been an argument, unless a worker asked for its value exactly once."""
    future = kernel.call(add, 1)
    future.take_value("value")
    number, seen = future.task_id, weakref.ref(future)
    kernel.ended(number)
    kernel.local.keep(50, (number, 7))
    kernel.local.keep(51, (number,))
    del future
    gc.collect()
    assert seen() is not None
    kernel.local.send_value(RequestValue(number))
    assert isinstance(kernel.next_message(), TaskValue)
    kernel.local.ended(50)
    assert seen() is not None
    kernel.local.ended(51)
    kernel.local.close()
    gc.collect()
    assert seen() is None


def test_local_dependents_keep_what_they_need_themselves(kernel: FakeKernel) -> None:
    need = kernel.call(add, 1)
    need.take_value(1)
    done(need, None)
    kernel.ended(need.task_id)
    seen = weakref.ref(need)
    future = kernel.call(add, need, 2)
    del need
    gc.collect()
    assert seen() is not None
    kernel.local.run(RunLocalTask(future.task_id))
    kernel.next_message()
    kernel.next_message()
    kernel.local.close()
    gc.collect()
    assert future.value_by(None) == 3
    assert seen() is None


# --- futures of somebody else ----------------------------------------------------------------------------------------


def test_a_foreign_future_is_one_task_however_often_it_is_passed_on(kernel: FakeKernel) -> None:
    foreign: Future[Any] = Future()
    task = kernel.local.external(foreign)
    assert kernel.local.external(foreign) is task
    (submit,) = kernel.expected
    assert (submit.kind, submit.name) == (TaskKind.external, "Future")
    foreign.set_result([1])
    finished = kernel.next_message()
    assert (finished.state, finished.failure) == (TaskState.exec_done, None)
    assert task.value_by(None) == [1]


@pytest.mark.parametrize("end", ["error", "cancelled"])
def test_a_foreign_future_that_fails(kernel: FakeKernel, end: str) -> None:
    foreign: Future[Any] = Future()
    kernel.local.external(foreign)
    if end == "error":
        foreign.set_exception(ValueError("no"))
    else:
        foreign.cancel()
    finished = kernel.next_message()
    assert finished.state is TaskState.failed
    assert finished.failure.error.startswith("ValueError: no" if end == "error" else "CancelledError")


# --- joins -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("many", [False, True])
def test_join_reports_what_it_waits_for(kernel: FakeKernel, many: bool) -> None:
    inner = kernel.call(add, 1)

    def body() -> Any:
        return [inner, inner["a"]] if many else inner

    future = kernel.call(body, join=True)
    assert kernel.expected[-1].kind == TaskKind.join
    kernel.local.run(RunLocalTask(future.task_id))
    kernel.next_message()
    joins = kernel.next_message()
    assert isinstance(joins, JoinBodyReturned)
    assert (joins.tasks, joins.many) == ((inner.task_id,) * (1 + many), many)
    inner.take_value({"a": 5})
    done(inner, None)
    done(future, None)
    assert future.result() == ([{"a": 5}, 5] if many else {"a": 5})


@pytest.mark.parametrize(
    ("returned", "named"), [(5, "it returned int"), ([1], "it returned a list with a int"), (None, "NoneType")]
)
def test_a_join_that_returns_no_futures(kernel: FakeKernel, returned: Any, named: str) -> None:
    def body() -> Any:
        return returned

    future = kernel.call(body, join=True)
    kernel.local.run(RunLocalTask(future.task_id))
    kernel.next_message()
    failure = kernel.next_message().failure
    assert "join app body must return a future or a list of futures" in failure.error
    assert named in failure.error


def test_the_value_of_a_join_of_a_cancelled_future(kernel: FakeKernel) -> None:
    inner = kernel.call(add, 1)
    future = kernel.call(lambda: inner, join=True)
    kernel.local.run(RunLocalTask(future.task_id))
    kernel.next_message()
    kernel.next_message()
    inner.cancel()
    with pytest.raises(CancelledError):
        future.value_by(None)
