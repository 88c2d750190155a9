"""Orders to try tasks again: whom the DataFlowKernel asks, how long it waits, and what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from parslab.dataflow.clients.retry_service import RetryService
from parslab.dataflow.graph.function_registry import FunctionRegistry
from parslab.dataflow.persistence import log_format
from parslab.records.panel import CommandReply, ErrorReply, Reply, RetryRequest
from parslab.records.states import TaskState
from parslab.remote.pool.queue import PoolQueue
from parslab.testing.fakes import call
from parslab.wire.messages.base import DefineFunction, Failure, TaskKind
from parslab.wire.messages.client import RedefinedApp, RequestDefinitions, RetryTasks, TasksReopened
from tests.unit.dataflow.fake_host import FakeHost
from tests.unit.dataflow.graph.test_table import Graph

if TYPE_CHECKING:
    from parslab.dataflow.graph.task import Task

S = TaskState
_answer = msgspec.json.Decoder(Reply)


class Notebook:
    """A client."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.functions: dict[int, int] = {}


class Pool:
    """An executor that has a queue and no workers."""

    def __init__(self) -> None:
        self.queue: PoolQueue[Task] = PoolQueue()


class Log:
    """What was written down, and what is about to be."""

    def __init__(self) -> None:
        self.noted: list[Any] = []

    def write(self) -> None:
        self.noted.append("written")

    def note(self, header: Any) -> None:
        self.noted.append(header)


class Kernel(Graph):
    """A DataFlowKernel without a loop: its timers are called by the test."""

    def __init__(self) -> None:
        super().__init__()
        self.codes = FunctionRegistry()
        self.connected = {number: Notebook(number) for number in (0, 1)}
        self.pools = {0: Pool()}
        self.host = FakeHost()
        self.said: list[Any] = []
        self.log = Log()
        self.retry_service = RetryService(
            self.host,
            table=self.table,
            functions=self.codes,
            clients=self,  # type: ignore[arg-type]
            pools=self.pools,  # type: ignore[arg-type]
            log_writer=self.log,  # type: ignore[arg-type]
            failed_alike=lambda group: [1, 3] if group == 77 else [],
        )

    def define(self, name: str, number: int, client: int = 0) -> int:
        """A client sends a function; its number in the run."""
        fn = self.codes.add(DefineFunction(number, bytes([client, number]), name, 1, origin=f"__main__:{name}"), b"")
        self.connected[client].functions[number] = fn
        return fn

    def app(self, task: int, *deps: int, name: str = "fit", fn: int = 0, client: int = 0) -> Task:
        self.table.submit(client, call(task, *deps, fn=fn), [], name)
        return self.table.tasks[task]

    def order(self, *tasks: int, by: int = 0, waits: bool = False, **wish: Any) -> None:
        self.take_messages()
        reply = lambda text: self.said.append(_answer.decode(text))  # noqa: E731
        self.retry_service.retry(RetryRequest("a", list(tasks), **wish), self.connected[by], waits=waits, reply=reply)  # type: ignore[arg-type]

    def mends(self) -> list[RequestDefinitions]:
        return [message for message in self.take_messages() if isinstance(message, RequestDefinitions)]

    def answer(self, ask: int, *mended: RedefinedApp, client: int = 0, **more: Any) -> None:
        message = RetryTasks(ask, [], mended, **more)
        self.retry_service.answered(self.connected[client], message)  # type: ignore[arg-type]


@pytest.fixture
def kernel() -> Kernel:
    kernel = Kernel()
    kernel.define("fit", 0)
    return kernel


def test_the_notebook_says_what_its_apps_call_now(kernel: Kernel) -> None:
    task = kernel.app(1)
    kernel.failed(1)
    kernel.order(1)
    (mend,) = kernel.mends()
    assert (mend.tasks, mend.apps) == ([1], ["__main__:fit"])
    assert kernel.said == []
    new = kernel.define("fit", 7)
    kernel.answer(mend.ask, RedefinedApp("__main__:fit", 7))
    assert (task.state, task.fn) == (S.ready, new)
    assert kernel.said == [CommandReply("a", "1 task runs again; fit as now defined.")]
    assert kernel.log.noted == ["written", log_format.ReopenedTasks([1], ((1, new),))]
    kernel.answer(mend.ask)  # twice: nothing
    assert len(kernel.said) == 1


def test_the_same_function_is_not_called_another_one(kernel: Kernel) -> None:
    kernel.app(1)
    kernel.failed(1)
    kernel.order(1)
    kernel.answer(kernel.mends()[0].ask, RedefinedApp("__main__:fit", 0))
    assert kernel.said == [CommandReply("a", "1 task runs again.")]


def test_every_notebook_is_asked_for_its_own(kernel: Kernel) -> None:
    kernel.define("fit", 0, client=1)
    kernel.app(1, fn=0)
    kernel.app(2, 1, name="plot", fn=kernel.define("plot", 3, client=1), client=1)
    kernel.failed(1)
    kernel.order(2)
    mends = {
        client: message for client, message, _ in kernel.table.out.replies if isinstance(message, RequestDefinitions)
    }
    assert {client: (mend.tasks, mend.apps) for client, mend in mends.items()} == {
        0: ([1], ["__main__:fit"]),
        1: ([2], ["__main__:plot"]),
    }
    kernel.answer(mends[0].ask)
    assert kernel.said == []
    kernel.answer(mends[1].ask, client=1)
    text = "2 tasks run again, 1 of them because they hang together with what was asked for."
    assert kernel.said == [CommandReply("a", text)]
    reopened = {client: m.tasks for client, m, _ in kernel.table.out.replies if isinstance(m, TasksReopened)}
    assert reopened == {0: [1], 1: [2]}


def test_a_notebook_that_does_not_answer_is_done_without(kernel: Kernel) -> None:
    task = kernel.app(1)
    kernel.failed(1)
    kernel.order(1)
    kernel.host.run_timers()
    assert (task.state, task.fn) == (S.ready, 0)
    text = "1 task runs again. The notebook was busy or has gone, so the functions are those of before."
    assert kernel.said == [CommandReply("a", text)]


def test_one_that_waits_itself_has_all_the_time(kernel: Kernel) -> None:
    kernel.app(1)
    kernel.failed(1)
    kernel.order(1, waits=True)
    kernel.host.run_timers()
    assert kernel.said == []
    kernel.answer(kernel.mends()[0].ask)
    assert kernel.said == [CommandReply("a", "1 task runs again.")]


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_notebook_that_has_gone_is_done_without(kernel: Kernel, when: str) -> None:
    task = kernel.app(1, client=1)
    kernel.failed(1)
    if when == "before":
        del kernel.connected[1]
    kernel.order(1)
    if when == "after":
        del kernel.connected[1]
        kernel.retry_service.client_left(1)
    assert task.state is S.ready
    assert kernel.said[0].text.endswith("the functions are those of before.")


def test_nothing_changes_when_a_function_cannot_be_sent(kernel: Kernel) -> None:
    task = kernel.app(1)
    kernel.failed(1)
    kernel.order(1)
    kernel.answer(kernel.mends()[0].ask, problem="global 'lock' cannot be sent to a worker.")
    assert kernel.said == [ErrorReply("a", "global 'lock' cannot be sent to a worker.")]
    assert task.state is S.failed


def test_what_a_worker_still_has_is_waited_for(kernel: Kernel) -> None:
    task = kernel.app(1)
    kernel.pools[0].queue.put([task])
    kernel.ready()
    kernel.table.sent(task, 1.0, "w")
    task.worker = object()
    kernel.table.cancel([1], 2.0)
    kernel.order(1)
    kernel.answer(kernel.mends()[0].ask)
    kernel.retry_service.after_round()
    assert (task.state, kernel.said) == (S.cancelled, [])
    task.worker = None
    kernel.retry_service.after_round()
    assert task.state is S.ready
    assert kernel.retry_service.blocked == []
    assert kernel.pools[0].queue.waiting == 0  # what was cancelled there does not count twice
    assert kernel.ready() == [1]


def test_everything_that_failed_but_not_what_was_cancelled(kernel: Kernel) -> None:
    for number in (1, 2, 3):
        kernel.app(number, name="fit" if number < 3 else "other", fn=-1 if number == 3 else 0)
    kernel.app(4, 1)
    for number in (1, 3):
        kernel.failed(number)
    kernel.table.cancel([2], 1.0)
    kernel.order(everything=True, app="fit")
    assert kernel.mends()[0].tasks == [1, 4]
    kernel.order(everything=True, app="none")
    assert kernel.said[-1] == CommandReply("a", "No task of app none has failed.")


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        ((1,), CommandReply("a", "These tasks have not ended yet.")),
        ((2,), ErrorReply("a", "Task 2 (fit) has a result: there is nothing to try again.")),
        (
            (2, 9),
            ErrorReply(
                "a", "Task 2 (fit) has a result: there is nothing to try again. (1 more cannot be tried again.)"
            ),
        ),
    ],
)
def test_what_need_not_be_tried_again(kernel: Kernel, tasks: tuple[int, ...], said: Any) -> None:
    kernel.app(1)
    kernel.app(2)
    kernel.done(2)
    kernel.order(*tasks)
    assert kernel.said == [said]


def test_redefined_joins_are_named_by_their_notebook(kernel: Kernel) -> None:
    join = kernel.call(1, kind=TaskKind.join)
    kernel.app(2)
    kernel.joins(1, 2)
    kernel.failed(2, Failure("ValueError"))
    kernel.order(1)
    kernel.answer(kernel.mends()[0].ask, bodies=(1,))
    assert (join.state, kernel.state(2)) == (S.launched, S.failed)


def test_a_group_of_failures_runs_again(kernel: Kernel) -> None:
    for task in (1, 2, 3):
        kernel.app(task)
        kernel.failed(task)
    kernel.order(failures=77)
    (request,) = kernel.mends()
    assert request.tasks == [1, 3]
    kernel.answer(request.ask)
    assert kernel.said == [CommandReply("a", "2 tasks run again.")]
    kernel.order(failures=5)
    assert kernel.said[1:] == [CommandReply("a", "No task of this group has failed any more.")]


def test_a_task_without_a_future_runs_again_for_the_tasks_that_need_it(kernel: Kernel) -> None:
    kernel.app(1)
    kernel.app(2, 1)
    kernel.app(3)
    kernel.table.release([1])
    kernel.failed(1)
    kernel.failed(3)
    assert 1 not in kernel.table.tasks
    kernel.order(failures=77)
    (request,) = kernel.mends()
    kernel.answer(request.ask)
    assert request.tasks == [1, 2, 3]
    assert kernel.said == [
        CommandReply("a", "3 tasks run again, 1 of them because they hang together with what was asked for.")
    ]
