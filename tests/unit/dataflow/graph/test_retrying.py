"""A task that failed is tried again while its retries last, and only monitoring gets the failed attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest

from parslab.dataflow.graph.table import TaskTable
from parslab.dataflow.graph.values import StoredValue
from parslab.dataflow.operations.invariants import check
from parslab.records.events import TaskFailed, TaskMoved
from parslab.records.states import TaskState
from parslab.testing.fakes import call, outcome
from parslab.wire.messages.base import Failure, TaskKind, TaskSpec
from parslab.wire.messages.client import RequestRetryCost, RetryCost, RunLocalTask, TaskResolved
from tests.unit.dataflow.graph.test_table import Graph

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.dataflow.graph.task import Task

S = TaskState
REMOTE, LOCAL, JOIN, EXTERNAL = TaskKind.remote, TaskKind.local, TaskKind.join, TaskKind.external


class Trying(Graph):
    """A graph whose tasks have two retries."""

    def __init__(self) -> None:
        super().__init__()
        self.table = TaskTable(("llex", "threads"), retries=2)

    def asks(self, task: int, spec: TaskSpec, *deps: int, kind: int = REMOTE) -> Task:
        self.table.submit(0, msgspec.structs.replace(call(task, *deps, kind=kind), spec=spec), [], "app")
        return self.table.tasks[task]

    def lost(self, task: int) -> None:
        """Its worker dies before the body began."""
        there = self.table.tasks[task]
        self.table.sent(there, 1.0, "w")
        there.worker = None
        self.table.attempt_ended(there, outcome(there, 0.0, 2.0, Failure("WorkerLost: gone")), None, "w")

    def story(self, task: int) -> list[str | tuple[int, TaskState]]:
        """Failures and moves of a task, in the order of the events."""
        found: list[str | tuple[int, TaskState]] = []
        for event in self.table.out.events:
            if isinstance(event, TaskFailed) and event.task == task:
                found.append(f"{event.attempt}: {event.error}")
            elif isinstance(event, TaskMoved) and event.task == task:
                found.append((event.attempt, event.state))
        return found


@pytest.fixture
def graph() -> Iterator[Trying]:
    graph = Trying()
    yield graph
    check(graph.table)
    graph.table.cancel(None, 9.0, also_threads=True)
    check(graph.table)
    graph.table.release(list(graph.table.tasks))
    assert not graph.table.tasks
    assert graph.table.unfinished == 0


def fails(text: str) -> Failure:
    return Failure(f"ValueError: {text}")


def test_a_failed_attempt_is_followed_by_another_one(graph: Trying) -> None:
    task = graph.call(1)
    assert graph.ready() == [1]
    graph.failed(1, fails("first"))
    assert (task.state, task.attempt, task.args, task.failure) == (S.ready, 1, b"args", None)
    assert graph.ready() == [1]
    assert graph.resolved() == {}
    graph.done(1)
    assert graph.resolved()[1].state is S.exec_done
    assert graph.resolved()[1].failure is None
    assert graph.table.retries.count == 1


def test_every_attempt_is_reported_to_monitoring(graph: Trying) -> None:
    graph.call(1)
    graph.failed(1, fails("first"))
    graph.lost(1)
    graph.done(1)
    first = [(0, S.launched), (0, S.running), "0: ValueError: first", (1, S.ready)]
    second = [(1, S.launched), "1: WorkerLost: gone", (2, S.ready)]
    assert graph.story(1) == [*first, *second, (2, S.launched), (2, S.running), (2, S.exec_done)]


LOST = Failure("WorkerLost: gone", reason="worker_lost")


def waits(graph: Trying) -> list[float]:
    """Take what is to be tried again later, and let the time pass."""
    later, graph.table.out.later = graph.table.out.later, []
    for _, task, attempt in later:
        graph.table.try_again(task, attempt, 5.0)
    return [pause for pause, _, _ in later]


def test_attempts_that_machines_lose_follow_ever_later() -> None:
    graph = Trying()
    graph.table.retries.limit = 9
    task = graph.call(1)
    seen = []
    for _ in range(4):
        assert graph.ready() == [1]
        graph.failed(1, LOST)
        if task.state is S.fail_retryable:
            assert graph.ready() == []
        seen.append(waits(graph))
        check(graph.table)
    assert seen == [[], [1.0], [2.0], [4.0]]
    graph.failed(1, fails("of its own"))  # which shows that its machine is well
    graph.failed(1, LOST)
    assert waits(graph) == []
    assert (task.state, task.attempt) == (S.ready, 6)


def test_worker_of_the_failed_attempt_is_reported(graph: Trying) -> None:
    graph.call(1)
    graph.failed(1, LOST)
    graph.failed(1, fails("no"))
    assert [(one.task.id, one.worker, one.lost) for one in graph.table.out.again] == [(1, "w", True), (1, "w", False)]


def test_a_task_that_waits_for_its_time_may_be_cancelled(graph: Trying) -> None:
    graph.call(1)
    graph.failed(1, LOST)
    graph.failed(1, LOST)
    assert graph.state(1) is S.fail_retryable
    assert graph.table.cancel([1], 3.0) == 1
    assert waits(graph) == [1.0]
    assert (graph.state(1), graph.table.retries.count, graph.table.retries.states) == (S.cancelled, 1, {})


def test_what_comes_late_while_it_waits_is_dropped(graph: Trying) -> None:
    task = graph.call(1)
    graph.failed(1, LOST)
    graph.failed(1, LOST)
    graph.table.attempt_ended(task, outcome(task, 1.0, 2.0, fails("late")), None, "w")
    graph.table.attempt_ended(task, outcome(task, 1.0, 2.0), StoredValue(b"late", []), "w")
    assert (task.state, graph.table.dropped) == (S.fail_retryable, 2)


# ----- the retry handler


def judged(graph: Trying, cost: float, failure: Failure | None = None) -> None:
    """The handler answers the one question that is open."""
    (asked,) = [m for m in graph.take_messages() if isinstance(m, RequestRetryCost)]
    graph.table.retry_cost_received(
        graph.table.tasks[asked.task], RetryCost(graph.table.tasks[asked.task].id, asked.attempt, cost, failure), 4.0
    )


def test_the_handler_says_what_a_failure_costs(graph: Trying) -> None:
    graph.table.retries.handlers[0] = 0
    task = graph.call(1)
    for number, cost in enumerate((0.5, 0.0, 1.5)):  # 2 in all, as much as its retries
        graph.failed(1, fails(f"attempt {number}"))
        assert task.state is S.fail_retryable
        judged(graph, cost)
        assert (task.state, task.attempt) == (S.ready, number + 1)
    graph.failed(1, fails("last"))
    judged(graph, 0.1)
    assert task.state is S.failed
    failure = graph.resolved()[1].failure
    assert failure is not None
    assert failure.error == "ValueError: last"


@pytest.mark.parametrize("cost", [float("inf"), float("nan"), 2.5])
def test_a_cost_that_is_too_high_ends_the_task(graph: Trying, cost: float) -> None:
    graph.table.retries.handlers[0] = 0
    graph.call(1)
    graph.failed(1)
    judged(graph, cost)
    assert graph.state(1) is S.failed


def test_the_handlers_own_error_takes_the_place_of_the_tasks(graph: Trying) -> None:
    graph.table.retries.handlers[0] = 0
    graph.call(1)
    graph.failed(1)
    judged(graph, 0.0, Failure("RuntimeError: give up", reason="retry_handler"))
    failure = graph.resolved()[1].failure
    assert failure is not None
    assert (graph.state(1), failure.error) == (S.failed, "RuntimeError: give up")
    assert graph.story(1)[-2:] == ["0: RuntimeError: give up", (0, S.failed)]


def test_the_handler_sees_a_failed_dependency_and_changes_nothing(graph: Trying) -> None:
    graph.table.retries.handlers[0] = 0
    graph.asks(1, TaskSpec(retries=0))
    graph.call(2, 1)
    graph.failed(1)
    judged(graph, 1.0)
    check(graph.table)
    assert graph.state(2) is S.fail_retryable
    judged(graph, 0.0)
    assert (graph.state(2), graph.table.tasks[2].attempt) == (S.dep_fail, 0)


def test_an_answer_counts_once_and_for_its_own_attempt(graph: Trying) -> None:
    graph.table.retries.handlers[0] = 0
    task = graph.call(1)
    graph.failed(1)
    graph.table.retry_cost_received(task, RetryCost(task.id, 7, 0.0, None), 4.0)
    assert task.state is S.fail_retryable
    judged(graph, 0.0)
    graph.table.retry_cost_received(task, RetryCost(task.id, 0, 0.0, None), 4.0)
    assert (task.state, task.attempt, graph.table.dropped) == (S.ready, 1, 2)


def test_whoever_comes_back_is_asked_again(graph: Trying) -> None:
    graph.table.retries.handlers[0] = 0
    graph.call(1)
    graph.failed(1)
    graph.take_messages()
    graph.table.set_retry_handler(7, (7, 0), 4.0)
    assert [client for client, *_ in graph.table.out.replies] == [7]
    judged(graph, 1.0)
    assert graph.state(1) is S.ready
    graph.failed(1)
    assert [client for client, *_ in graph.table.out.replies] == [7]
    graph.take_messages()
    graph.table.set_retry_handler(None, (7, 0), 4.0)  # the one that has come has no handler
    assert graph.state(1) is S.ready


def test_without_its_client_a_failure_costs_one(graph: Trying) -> None:
    graph.table.retries.handlers[0] = 0
    graph.call(1)
    task = graph.asks(2, TaskSpec(retries=0))
    graph.failed(1)
    graph.failed(2)
    graph.table.client_left(0, 5.0)
    assert (graph.state(1), graph.table.tasks[1].attempt) == (S.ready, 1)
    assert task.state is S.failed


def test_the_last_failure_is_the_tasks(graph: Trying) -> None:
    task = graph.call(1)
    for text in ("first", "second", "third"):
        assert graph.ready() == [1]
        graph.failed(1, fails(text))
    assert graph.ready() == []
    failure = graph.resolved()[1].failure
    assert failure is not None
    assert failure.error == "ValueError: third"
    assert (task.state, task.attempt) == (S.failed, 2)


def test_a_spec_says_how_often(graph: Trying) -> None:
    graph.asks(1, TaskSpec(retries=0))
    graph.failed(1)
    assert graph.state(1) is S.failed
    graph.asks(2, TaskSpec(retries=3))
    for _ in range(3):
        graph.failed(2)
        assert graph.state(2) is S.ready
    graph.failed(2)
    assert graph.state(2) is S.failed
    graph.asks(3, TaskSpec(cores=2.0))  # says nothing of retries: those of the run
    graph.failed(3)
    assert graph.state(3) is S.ready
    assert graph.table.tasks[3].spec == TaskSpec(cores=2.0)


def test_without_retries_nothing_is_tried_again() -> None:
    graph = Graph()
    graph.call(1)
    graph.failed(1)
    assert graph.state(1) is S.failed
    assert graph.table.retries.count == 0


def test_the_values_that_it_needs_are_there_again(graph: Trying) -> None:
    graph.call(1)
    task = graph.call(2, 1)
    graph.done(1)
    graph.table.release([1])
    graph.failed(2)
    assert [need.value.inline for need in task.needs if need.value] == [b"value"]
    graph.failed(2)
    graph.done(2)
    assert task.needs == []


def test_dependents_wait_for_the_last_attempt(graph: Trying) -> None:
    graph.call(1)
    graph.call(2, 1)
    graph.failed(1)
    assert graph.state(2) is S.pending
    graph.done(1)
    assert graph.state(2) is S.ready


def test_a_failed_dependency_is_not_tried_again(graph: Trying) -> None:
    graph.asks(1, TaskSpec(retries=0))
    graph.call(2, 1)
    graph.failed(1)
    assert (graph.state(2), graph.table.tasks[2].attempt) == (S.dep_fail, 0)


def test_a_cancelled_task_is_not_tried_again(graph: Trying) -> None:
    task = graph.call(1)
    graph.table.sent(task, 1.0, "w")
    graph.table.started(task, 1.0)
    graph.table.cancel([1], 2.0)
    graph.table.attempt_ended(task, outcome(task, 1.0, 3.0, fails("interrupted")))
    assert (task.state, graph.table.dropped, graph.table.retries.count) == (S.cancelled, 1, 0)


def test_a_task_may_be_cancelled_between_two_attempts(graph: Trying) -> None:
    graph.call(1)
    graph.failed(1)
    assert graph.table.cancel([1], 3.0) == 1
    assert graph.resolved()[1].state is S.cancelled


def test_what_waits_for_a_broken_executor_fails_at_once(graph: Trying) -> None:
    task = graph.call(1)
    graph.table.attempt_ended(task, outcome(task, 0.0, 1.0, Failure("WorkerLost: executor llex is stopped")))
    assert (task.state, task.attempt) == (S.failed, 0)


@pytest.mark.parametrize("good", [True, False])
def test_what_an_earlier_attempt_says_is_dropped_and_counted(graph: Trying, good: bool) -> None:
    task = graph.call(1)
    graph.lost(1)
    graph.table.sent(task, 3.0, "other")
    if good:
        graph.table.attempt_ended(task, outcome(task, 1.5, 4.0, attempt=0), StoredValue(b"late", []), "w")
    else:
        graph.table.attempt_ended(task, outcome(task, 1.5, 4.0, fails("late"), attempt=0), None, "w")
    graph.table.started(task, 4.0, "w", attempt=0)
    assert (task.state, task.attempt, graph.table.dropped) == (S.launched, 1, 1)
    graph.table.attempt_ended(task, outcome(task, 3.5, 5.0, attempt=1), StoredValue(b"right", []), "other")
    assert graph.resolved()[1].inline == b"right"


@pytest.mark.parametrize("kind", [LOCAL, JOIN])
def test_client_is_asked_to_run_a_body_again(graph: Trying, kind: int) -> None:
    task = graph.call(1, kind=kind)
    for attempt in range(3):
        assert [m.task for m in graph.take_messages() if isinstance(m, RunLocalTask)] == [1]
        assert (task.state, task.attempt) == (S.launched, attempt)
        graph.table.started(task, 1.0)
        graph.table.attempt_ended(task, outcome(task, 1.0, 2.0, fails("body")))
    assert task.state is S.failed
    assert [m.state for m in graph.take_messages() if isinstance(m, TaskResolved)] == [S.failed]


def test_a_join_is_not_tried_again_for_what_it_returned(graph: Trying) -> None:
    graph.asks(1, TaskSpec(retries=0))
    task = graph.call(2, kind=JOIN)
    graph.joins(2, 1)
    graph.failed(1)
    assert (task.state, task.attempt) == (S.failed, 0)


def test_a_foreign_future_is_not_ours_to_run(graph: Trying) -> None:
    task = graph.call(1, kind=EXTERNAL)
    graph.table.attempt_ended(task, outcome(task, 1.0, 1.0, fails("theirs")))
    assert (task.state, task.attempt) == (S.failed, 0)
