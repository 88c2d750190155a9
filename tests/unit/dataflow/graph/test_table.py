"""The task graph: every way of a task, each test ending with the invariants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from parslab.dataflow.graph.table import TaskTable
from parslab.dataflow.graph.values import StoredValue
from parslab.dataflow.operations.invariants import check
from parslab.errors import InternalError
from parslab.records.events import TaskFailed, TaskMoved, TaskSubmitted
from parslab.records.states import FINAL, TaskState
from parslab.testing.fakes import call, memoized_call, outcome
from parslab.wire.messages.base import INLINE, Failure, TaskKind, TaskSpec
from parslab.wire.messages.base import TaskValue as ValueMessage
from parslab.wire.messages.client import JoinBodyReturned, RequestValue, RunLocalTask, TaskResolved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.dataflow.graph.task import Task

S = TaskState
REMOTE, LOCAL, JOIN, EXTERNAL = TaskKind.remote, TaskKind.local, TaskKind.join, TaskKind.external
ERROR = Failure("ValueError: no", "Traceback ...", b"pickle")


class Graph:
    """A table and short words for what happens to it."""

    def __init__(self) -> None:
        self.table = TaskTable(("llex", "threads"))
        self.replies: list[Any] = []

    def call(self, task: int, *deps: int, kind: int = REMOTE, parent: int = -1) -> Task:
        message = call(task, *deps, kind=kind)
        message.parent = parent
        self.table.submit(0, message, [], "app")
        return self.table.tasks[task]

    def done(self, task: int, text: bytes = b"value") -> None:
        """A worker runs a ready task."""
        there = self.table.tasks[task]
        self.table.sent(there, 1.0, "w")
        self.table.attempt_ended(there, outcome(there, 1.5, 2.0), StoredValue(text, []), "w")

    def failed(self, task: int, failure: Failure = ERROR) -> None:
        there = self.table.tasks[task]
        self.table.sent(there, 1.0, "w")
        self.table.attempt_ended(there, outcome(there, 1.5, 2.0, failure), None, "w")

    def ran_here(self, *tasks: int) -> None:
        """The client runs local tasks; their values stay there."""
        for task in tasks:
            self.table.attempt_ended(self.table.tasks[task], outcome(self.table.tasks[task], 1.5, 2.0))

    def joins(self, task: int, *inner: int, many: bool = True) -> None:
        self.table.join_body_returned(
            self.table.tasks[task], JoinBodyReturned(self.table.tasks[task].id, inner, many, 1.0), 1.5
        )

    def ready(self) -> list[int]:
        """Take what became ready since the last time, in the order in which a queue would have it."""
        out = self.table.out
        ready, out.ready, again, out.again = out.ready, [], out.again, []
        return [*(one.task.id for one in again), *(task.id for task in ready)]

    def take_messages(self) -> list[Any]:
        """Take the messages to the client since the last time."""
        replies, self.table.out.replies = self.table.out.replies, []
        messages = [message for _, message, _ in replies]
        self.replies += messages
        return messages

    def state(self, task: int) -> TaskState:
        return self.table.tasks[task].state

    def resolved(self) -> dict[int, TaskResolved]:
        """Every Resolved so far, none of them twice."""
        self.take_messages()
        found: dict[int, TaskResolved] = {}
        for message in self.replies:
            if isinstance(message, TaskResolved):
                assert message.task not in found
                found[message.task] = message
        return found

    def wanted(self) -> list[int]:
        return [message.task for message in self.take_messages() if isinstance(message, RequestValue)]


@pytest.fixture
def graph() -> Iterator[Graph]:
    graph = Graph()
    yield graph
    check(graph.table)
    graph.table.cancel(None, 9.0, also_threads=True)
    check(graph.table)
    graph.table.release(list(graph.table.tasks))
    assert not graph.table.tasks
    assert graph.table.unfinished == 0


# --- dependencies ----------------------------------------------------------------------------------------------------


def test_a_task_without_needs_is_ready_at_once(graph: Graph) -> None:
    graph.call(1)
    assert graph.ready() == [1]
    graph.done(1)
    resolved = graph.resolved()[1]
    assert (resolved.state, resolved.inline, resolved.size) == (S.exec_done, b"value", 0)
    moves = [e.state for e in graph.table.out.events if isinstance(e, TaskMoved)]
    assert moves == [S.launched, S.running, S.exec_done]
    submitted = [e for e in graph.table.out.events if isinstance(e, TaskSubmitted)]
    assert [(e.task, e.state, e.executor) for e in submitted] == [(1, S.ready, "llex")]


def test_a_task_waits_for_what_it_needs(graph: Graph) -> None:
    graph.call(1)
    graph.call(2)
    graph.call(3, 1, 2)
    graph.done(1)
    assert graph.state(3) is S.pending
    graph.ready()
    graph.done(2)
    assert graph.ready() == [3]
    assert [need.id for need in graph.table.tasks[3].needs] == [1, 2]


def test_a_need_that_is_done_already_is_not_waited_for(graph: Graph) -> None:
    graph.call(1)
    graph.done(1)
    graph.call(2, 1)
    assert graph.state(2) is S.ready


def test_a_diamond(graph: Graph) -> None:
    graph.call(1)
    graph.call(2, 1)
    graph.call(3, 1)
    graph.call(4, 2, 3)
    graph.done(1)
    assert graph.ready() == [1, 2, 3]
    graph.done(3)
    assert graph.ready() == []
    graph.done(2)
    assert graph.ready() == [4]


def test_needs_of_the_same_task_twice_at_different_depths(graph: Graph) -> None:
    graph.call(1)
    graph.call(2, 1)
    graph.call(3, 1, 2)
    graph.done(1)
    assert graph.state(3) is S.pending
    graph.done(2)
    assert graph.state(3) is S.ready


def test_a_chain_longer_than_the_stack_is_woken_and_failed_without_recursion(graph: Graph) -> None:
    for task in range(5000):
        graph.call(task, *([task - 1] if task else []))
    graph.failed(0)
    resolved = graph.resolved()
    assert len(resolved) == 5000
    last = resolved[4999]
    assert last.state is S.dep_fail
    assert last.failure is not None
    assert last.failure.roots == ((0, "task 0 (app)", "ValueError: no"),)
    assert last.failure.path[0] == 4998
    assert len(last.failure.path) == 100
    assert len(last.failure.error) < 200


def test_a_chain_of_joins_longer_than_the_stack_ends_without_recursion(graph: Graph) -> None:
    graph.call(0)
    for task in range(1, 3000):
        graph.call(task, kind=JOIN)
        graph.joins(task, task - 1, many=False)
    graph.done(0)
    assert graph.state(2999) is S.exec_done
    assert graph.table.tasks[2999].value is graph.table.tasks[0].value


# --- failure ---------------------------------------------------------------------------------------------------------


def test_a_failure_reaches_every_dependent_with_its_roots(graph: Graph) -> None:
    graph.call(1)
    graph.call(2)
    graph.call(3, 1, 2)
    graph.call(4, 3)
    graph.failed(1)
    assert graph.state(3) is S.pending  # it fails when all it needs has ended, so that it can name every culprit
    graph.failed(2, Failure("KeyError: k"))
    resolved = graph.resolved()
    failure = resolved[4].failure
    assert failure is not None
    assert resolved[3].state is resolved[4].state is S.dep_fail
    assert [root[0] for root in failure.roots] == [1, 2]
    assert failure.path == (3, 1)
    assert failure.payload == b"pickle"
    assert failure.error == "DependencyError: task 1 (app) failed with ValueError: no"
    errors = {e.task: e.error for e in graph.table.out.events if isinstance(e, TaskFailed)}
    assert set(errors) == {1, 2, 3, 4}


def test_a_call_that_needs_a_failed_task_fails_at_once(graph: Graph) -> None:
    graph.call(1)
    graph.failed(1)
    graph.ready()
    graph.call(2, 1)
    assert graph.resolved()[2].state is S.dep_fail
    assert graph.ready() == []


def test_a_failed_need_among_others_that_are_done_or_still_run(graph: Graph) -> None:
    graph.call(1)
    graph.failed(1)
    graph.call(2)
    graph.call(3, 1, 2)
    assert graph.state(3) is S.pending
    graph.done(2)
    assert graph.resolved()[3].state is S.dep_fail


def test_ten_thousand_roots_are_cut(graph: Graph) -> None:
    for task in range(1000):
        graph.call(task)
        graph.failed(task)
    graph.call(5000, *range(1000))
    failure = graph.resolved()[5000].failure
    assert failure is not None
    assert len(failure.roots) == 100


def test_worker_that_died_before_the_body_reports_no_start(graph: Graph) -> None:
    there = graph.call(1)
    graph.table.sent(there, 1.0, "w")
    graph.table.attempt_ended(there, outcome(there, 0.0, 2.0, ERROR), None, "w")
    moves = [e.state for e in graph.table.out.events if isinstance(e, TaskMoved)]
    assert moves == [S.launched, S.failed]


def test_an_unknown_need_is_our_mistake(graph: Graph) -> None:
    with pytest.raises(InternalError, match="task 2 needs task 1"):
        graph.call(2, 1)
    del graph.table.tasks[2]
    graph.table.unfinished -= 1


def test_a_second_call_with_one_number_is_our_mistake(graph: Graph) -> None:
    graph.call(1)
    with pytest.raises(InternalError, match="second task 1"):
        graph.call(1)


# --- late and repeated ends -----------------------------------------------------------------------------------------


def test_late_and_doubled_outcomes_are_dropped_and_counted(graph: Graph) -> None:
    there = graph.call(1)
    graph.done(1)
    graph.table.attempt_ended(there, outcome(there, 1.0, 3.0), StoredValue(b"other", []))
    graph.table.attempt_ended(there, outcome(there, 1.0, 3.0, ERROR))
    graph.table.join_body_returned(there, JoinBodyReturned(there.id, (), True, 1.0), 3.0)
    assert graph.table.dropped == 3
    assert graph.resolved()[1].inline == b"value"


def test_a_task_that_came_back_is_ready_again(graph: Graph) -> None:
    there = graph.call(1)
    graph.table.sent(there, 1.0, "w")
    graph.table.returned(there, 1.1)
    assert there.state is S.ready
    graph.done(1)
    assert graph.resolved()[1].state is S.exec_done


def test_start_is_reported_once(graph: Graph) -> None:
    there = graph.call(1)
    graph.table.sent(there, 1.0, "w")
    graph.table.started(there, 1.1, "w")
    graph.table.started(there, 1.1, "w")
    graph.table.returned(there, 1.2)
    assert there.state is S.running


# --- files ----


def transfer(graph: Graph, task: int, kind: int = REMOTE) -> Task:
    """Submit a task that only moves a file."""
    message = call(task, kind=kind)
    message.spec = TaskSpec(staging=True)
    graph.table.submit(0, message, [], "stage_in")
    return graph.table.tasks[task]


def test_a_transfer_is_staging_while_it_runs(graph: Graph) -> None:
    there = transfer(graph, 0)
    waiting = graph.call(1, 0)
    graph.table.sent(there, 1.0, "w")
    graph.table.started(there, 1.1, "w")
    assert (there.state, waiting.state) == (S.staging, S.pending)
    graph.table.attempt_ended(there, outcome(there, 1.1, 2.0), StoredValue(b"", []), "w")
    assert (there.state, waiting.state) == (S.exec_done, S.ready)
    graph.done(1)


def test_a_short_transfer_was_staging_too(graph: Graph) -> None:
    there = transfer(graph, 0)
    graph.done(0)
    assert "staged" in there.story()


def test_a_transfer_fails_and_is_cancelled_as_other_tasks_are(graph: Graph) -> None:
    for task in (0, 1):
        there = transfer(graph, task)
        graph.table.sent(there, 1.0, "w")
        graph.table.started(there, 1.1, "w")
    graph.table.attempt_ended(graph.table.tasks[0], outcome(graph.table.tasks[0], 1.1, 2.0, ERROR), None, "w")
    assert graph.table.cancel([1], 2.0) == 1
    assert [graph.state(task) for task in (0, 1)] == [S.failed, S.cancelled]


def test_a_transfer_in_the_client_is_a_join_of_nothing(graph: Graph) -> None:
    there = transfer(graph, 0, JOIN)
    graph.table.started(there, 1.1)
    assert graph.state(0) is S.staging
    graph.joins(0)
    assert graph.state(0) == S.exec_done


# --- cancel ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [S.pending, S.ready, S.launched, S.running, S.joining])
def test_cancel_in_every_state(graph: Graph, state: TaskState) -> None:
    graph.call(0)
    there = graph.call(1, *([0] if state is S.pending else []), kind=JOIN if state is S.joining else REMOTE)
    if state in (S.launched, S.running):
        graph.table.sent(there, 1.0, "w")
        there.worker = object()
    if state is S.running:
        graph.table.started(there, 1.0)
    if state is S.joining:
        graph.joins(1, 0)
    assert there.state is state
    graph.call(2, 1)
    assert graph.table.cancel([1], 2.0) == 1
    assert graph.table.cancel([1], 2.0) == 0
    resolved = graph.resolved()
    assert resolved[1].state is S.cancelled
    assert resolved[2].state is S.dep_fail
    assert resolved[2].failure is not None
    assert resolved[2].failure.roots[0][2] == "CancelledError: it was cancelled"
    assert graph.table.out.stops == ([there] if there.worker is not None else [])
    graph.table.attempt_ended(there, outcome(there, 1.0, 3.0), StoredValue(b"late", []))
    assert there.state is S.cancelled
    graph.done(0)


@pytest.mark.parametrize("end", ["done", "failed", "cancelled", "dep_fail"])
def test_a_finished_task_cannot_be_cancelled(graph: Graph, end: str) -> None:
    graph.call(0)
    graph.call(1, 0)
    if end == "done":
        graph.done(0)
        graph.done(1)
    elif end == "cancelled":
        graph.table.cancel([0, 1], 1.0)
    else:
        graph.failed(0)
    before = graph.resolved()
    assert graph.table.cancel([1 if end != "failed" else 0, 777], 2.0) == 0
    assert graph.resolved() == before


def test_cancel_everything(graph: Graph) -> None:
    graph.call(1)
    graph.call(2, 1)
    graph.call(3, kind=JOIN)
    graph.call(4)
    graph.done(4)
    assert graph.table.cancel(None, 1.0) >= 2
    resolved = graph.resolved()
    assert {task: r.state for task, r in resolved.items() if r.state is S.exec_done} == {4: S.exec_done}
    assert set(resolved) == {1, 2, 3, 4}


def test_what_is_cancelled_together_has_not_failed(graph: Graph) -> None:
    graph.call(1)
    graph.call(2, 1)
    graph.call(3, kind=JOIN)
    graph.call(4)
    graph.joins(3, 4)
    graph.call(5, 3, 2)
    graph.call(6, 5)
    assert graph.table.cancel([5, 1, 2, 4, 3, 3], 1.0) == 5
    resolved = graph.resolved()
    assert [resolved[task].state for task in range(1, 7)] == [S.cancelled] * 5 + [S.dep_fail]


def test_with_a_join_goes_what_its_body_has_called(graph: Graph) -> None:
    graph.call(1)
    graph.call(2, kind=JOIN)
    graph.call(3, parent=2)
    graph.call(4, kind=JOIN, parent=2)
    graph.call(5, 3, parent=4)
    graph.call(6, 1)
    graph.joins(4, 1, 5)
    assert graph.table.cancel([2], 1.0) == 4
    resolved = graph.resolved()
    assert {task: there.state for task, there in resolved.items()} == dict.fromkeys((2, 3, 4, 5), S.cancelled)
    graph.call(7, parent=2)  # its body goes on, and nobody can stop it
    assert graph.resolved()[7].state is S.cancelled
    graph.done(1)
    graph.done(6)  # returned by the join, or not: what it has not called is not its own


def test_what_a_finished_join_has_called_is_forgotten(graph: Graph) -> None:
    graph.call(1, kind=JOIN)
    graph.call(2, parent=1)
    graph.call(3, parent=1)
    graph.joins(1, 2)
    graph.done(2)
    assert graph.state(1) is S.exec_done
    assert not graph.table.joins.take_calls(1)
    assert graph.table.cancel([1], 2.0) == 0
    graph.done(3)


def test_what_runs_in_a_thread_goes_on(graph: Graph) -> None:
    there = graph.call(1, kind=LOCAL)
    graph.call(2, 1)
    graph.table.started(there, 1.0)
    assert graph.table.in_thread(there)
    assert graph.table.cancel([1], 2.0) == 0
    assert there.state is S.running
    assert graph.table.cancel([2], 2.0) == 1
    waiting = graph.call(3, kind=LOCAL)
    assert not graph.table.in_thread(waiting)
    assert graph.table.cancel([3], 2.0) == 1
    assert graph.table.cancel([1], 3.0, also_threads=True) == 1
    assert graph.resolved()[1].state is S.cancelled


# --- values and release ----------------------------------------------------------------------------------------------


def test_a_value_too_large_for_the_header_waits_for_fetch(graph: Graph) -> None:
    there = graph.call(1)
    graph.table.sent(there, 1.0, "w")
    frames: Any = [bytearray(b"x" * INLINE), bytearray(b"y")]
    graph.table.attempt_ended(there, outcome(there, 1.0, 2.0), StoredValue(b"", frames))
    resolved = graph.resolved()[1]
    assert (resolved.inline, resolved.size) == (b"", INLINE + 1)
    graph.table.fetch(3, 1)
    ((client, message, sent),) = graph.table.out.replies
    assert client == 3
    assert isinstance(message, ValueMessage)
    assert message.frames == 2
    assert [id(frame) for frame in sent] == [id(frame) for frame in frames]


def test_fetching_what_is_not_there_is_our_mistake(graph: Graph) -> None:
    with pytest.raises(InternalError, match="asked for the value"):
        graph.table.fetch(0, 2)


def test_what_is_made_again_is_fetched_when_it_is_there(graph: Graph) -> None:
    graph.call(1)
    before = list(graph.table.out.replies)
    graph.table.fetch(0, 1)
    assert graph.table.out.replies == before


def test_a_released_task_goes_when_it_has_ended(graph: Graph) -> None:
    graph.call(1)
    graph.table.release([1, 1, 77])
    assert 1 in graph.table.tasks
    graph.done(1)
    assert 1 not in graph.table.tasks


def test_a_released_value_lives_as_long_as_a_dependent_needs_it(graph: Graph) -> None:
    need = graph.call(1)
    dependent = graph.call(2, 1)
    graph.done(1)
    graph.table.release([1])
    assert 1 not in graph.table.tasks
    assert dependent.needs == [need]
    assert need.value is not None
    graph.done(2)
    assert dependent.needs == []


def test_a_released_task_that_others_wait_for_goes_after_them(graph: Graph) -> None:
    graph.call(1)
    graph.call(2, 1)
    graph.table.release([1])
    graph.failed(1)
    assert 1 not in graph.table.tasks
    assert graph.resolved()[2].state is S.dep_fail


def test_an_ended_task_keeps_neither_arguments_nor_needs_nor_joins(graph: Graph) -> None:
    graph.call(1)
    graph.call(2, 1)
    graph.call(3, kind=JOIN)
    graph.joins(3, 1)
    graph.done(1)
    graph.done(2)
    for task in graph.table.tasks.values():
        assert not task.args
        assert not task.frames
        assert not task.needs
        assert not task.joins


# --- local tasks and their values ------------------------------------------------------------------------------------


def test_client_is_asked_to_run_a_local_task_when_its_needs_have_ended(graph: Graph) -> None:
    graph.call(1)
    graph.call(2, 1, kind=LOCAL)
    assert graph.take_messages() == []
    graph.done(1)
    assert [type(m) for m in graph.take_messages()] == [TaskResolved, RunLocalTask]
    assert graph.state(2) is S.launched
    graph.ran_here(2)
    resolved = graph.resolved()[2]
    assert (resolved.state, resolved.inline, resolved.size) == (S.exec_done, b"", 0)


def test_a_local_value_is_fetched_when_a_remote_task_needs_it(graph: Graph) -> None:
    graph.call(1, kind=LOCAL)
    graph.call(2, 1)
    graph.ran_here(1)
    assert graph.wanted() == [1]
    assert graph.state(2) is S.pending
    graph.table.value_arrived(graph.table.tasks[1], StoredValue(b"v", []), 3.0)
    assert graph.state(2) is S.ready
    graph.call(3, 1)
    assert graph.state(3) is S.ready
    assert graph.wanted() == []


def test_a_local_value_that_is_there_already_is_asked_for_once(graph: Graph) -> None:
    graph.call(1, kind=LOCAL)
    graph.ran_here(1)
    assert graph.wanted() == []
    graph.call(2, 1)
    graph.call(3, 1)
    assert graph.wanted() == [1]
    graph.table.value_arrived(graph.table.tasks[1], StoredValue(b"v", []), 3.0)
    graph.table.value_arrived(graph.table.tasks[1], StoredValue(b"again", []), 3.0)
    assert graph.table.tasks[1].value.inline == b"v"  # type: ignore[union-attr]
    assert {graph.state(2), graph.state(3)} == {S.ready}


def test_local_tasks_need_no_values_in_the_kernel(graph: Graph) -> None:
    graph.call(1, kind=LOCAL)
    graph.call(2, 1, kind=LOCAL)
    graph.ran_here(1)
    assert graph.wanted() == []
    assert graph.state(2) is S.launched


def test_what_cannot_be_shipped_fails_its_remote_dependents(graph: Graph) -> None:
    graph.call(1, kind=LOCAL)
    graph.call(2, 1)
    graph.call(3, 2)
    graph.ran_here(1)
    graph.table.value_not_picklable(graph.table.tasks[1], Failure("SerializationError: a lock"), 3.0)
    resolved = graph.resolved()
    assert resolved[1].state is S.exec_done
    assert resolved[2].state is resolved[3].state is S.dep_fail
    assert resolved[3].failure is not None
    assert resolved[3].failure.roots == ((1, "task 1 (app)", "SerializationError: a lock"),)


def test_a_call_after_an_unshippable_answer_asks_again(graph: Graph) -> None:
    """It waited for ever: the value counted as asked for, and the answer had come already."""
    graph.call(1, kind=LOCAL)
    graph.call(2, 1)
    graph.ran_here(1)
    graph.table.value_not_picklable(graph.table.tasks[1], ERROR, 3.0)
    graph.take_messages()
    graph.call(3, 1)
    assert graph.wanted() == [1]
    graph.table.value_not_picklable(graph.table.tasks[1], ERROR, 3.0)
    assert graph.state(3) is S.dep_fail


def test_an_unshippable_value_that_was_released_is_forgotten(graph: Graph) -> None:
    """The table kept the task for ever."""
    graph.call(1, kind=LOCAL)
    graph.call(2, 1)
    graph.ran_here(1)
    graph.table.release([1])
    assert 1 in graph.table.tasks
    graph.table.value_not_picklable(graph.table.tasks[1], ERROR, 3.0)
    assert 1 not in graph.table.tasks


def test_an_unshippable_value_fails_a_dependent_only_once(graph: Graph) -> None:
    graph.call(1, kind=LOCAL)
    graph.call(2, kind=LOCAL)
    graph.call(3, 1, 2)
    graph.ran_here(1, 2)
    graph.table.value_not_picklable(graph.table.tasks[1], ERROR, 3.0)
    graph.table.value_not_picklable(graph.table.tasks[2], ERROR, 3.0)
    assert graph.resolved()[3].state is S.dep_fail


def test_a_dependent_cancelled_while_the_value_is_on_its_way(graph: Graph) -> None:
    graph.call(1, kind=LOCAL)
    graph.call(2, 1)
    graph.ran_here(1)
    graph.table.cancel([2], 3.0)
    check(graph.table)
    graph.table.release([1, 2])
    graph.table.value_arrived(graph.table.tasks[1], StoredValue(b"v", []), 3.0)
    assert not graph.table.tasks


def test_external_tasks_go_from_ready_to_their_end(graph: Graph) -> None:
    graph.call(1, kind=EXTERNAL)
    graph.call(2, 1, kind=LOCAL)
    graph.call(3, kind=EXTERNAL)
    graph.call(4, 3)
    assert graph.take_messages() == []
    graph.ran_here(1)
    assert graph.state(2) is S.launched
    graph.table.attempt_ended(graph.table.tasks[3], outcome(graph.table.tasks[3], 2.0, 2.0, ERROR))
    assert graph.state(3) is S.failed
    assert graph.state(4) is S.dep_fail


# --- joins -----------------------------------------------------------------------------------------------------------


def test_a_join_of_one_has_its_value(graph: Graph) -> None:
    graph.call(1, kind=JOIN)
    graph.call(2)
    graph.joins(1, 2, many=False)
    assert graph.state(1) is S.joining
    graph.done(2)
    assert graph.state(1) is S.exec_done
    assert graph.table.tasks[1].value is graph.table.tasks[2].value


def test_a_join_of_many_has_a_list_in_the_order_returned(graph: Graph) -> None:
    graph.call(1, kind=JOIN)
    for task in (2, 3):
        graph.call(task)
    graph.joins(1, 3, 2, 3)
    graph.done(2, b"two")
    graph.done(3, b"three")
    value = graph.table.tasks[1].value
    assert value is not None
    assert value.parts is not None
    assert [part.inline for part in value.parts] == [b"three", b"two", b"three"]
    graph.call(4, 1)
    assert graph.state(4) is S.ready


def test_a_join_of_nothing_is_an_empty_list(graph: Graph) -> None:
    graph.call(1, kind=JOIN)
    graph.joins(1)
    value = graph.table.tasks[1].value
    assert value is not None
    assert value.parts == ()


def test_a_join_of_tasks_that_are_done_ends_at_once(graph: Graph) -> None:
    graph.call(2)
    graph.done(2)
    graph.call(1, kind=JOIN)
    graph.joins(1, 2)
    assert graph.state(1) is S.exec_done


@pytest.mark.parametrize("order", [(2, 3), (3, 2)])
def test_a_join_fails_when_all_have_ended_and_one_failed(graph: Graph, order: tuple[int, int]) -> None:
    graph.call(1, kind=JOIN)
    graph.call(2)
    graph.call(3)
    graph.call(4, 1)
    graph.joins(1, 2, 3)
    for task in order:
        assert graph.state(1) is S.joining
        (graph.failed if task == 2 else graph.done)(task)
    resolved = graph.resolved()
    failure = resolved[1].failure
    assert failure is not None
    assert resolved[1].state is S.failed
    assert failure.error == "JoinError: task 2 (app) failed with ValueError: no"
    assert failure.path == (2,)
    assert resolved[4].state is S.dep_fail
    assert resolved[4].failure is not None
    assert resolved[4].failure.error.startswith("DependencyError: task 2")


def test_a_join_of_a_cancelled_task_fails(graph: Graph) -> None:
    graph.call(1, kind=JOIN)
    graph.call(2)
    graph.joins(1, 2, many=False)
    graph.table.cancel([2], 1.0)
    assert graph.state(1) is S.failed


def test_a_join_whose_body_raises_fails(graph: Graph) -> None:
    there = graph.call(1, kind=JOIN)
    graph.table.attempt_ended(there, outcome(there, 1.0, 2.0, ERROR))
    assert graph.resolved()[1].failure is ERROR


def test_a_join_of_local_tasks_has_its_value_at_the_client(graph: Graph) -> None:
    graph.call(1, kind=JOIN)
    graph.call(2, kind=LOCAL)
    graph.call(3)
    graph.call(4, 1)
    graph.joins(1, 2, 3)
    graph.done(3)
    graph.ran_here(2)
    assert graph.state(1) is S.exec_done
    assert graph.wanted() == [1]
    graph.table.value_arrived(graph.table.tasks[1], StoredValue(b"v", []), 3.0)
    assert graph.state(4) is S.ready


def test_a_join_of_a_join(graph: Graph) -> None:
    graph.call(1, kind=JOIN)
    graph.call(2, kind=JOIN)
    graph.call(3)
    graph.joins(1, 2, many=False)
    graph.joins(2, 3)
    graph.done(3, b"x")
    value = graph.table.tasks[1].value
    assert value is not None
    assert value.parts is not None
    assert [part.inline for part in value.parts] == [b"x"]


# --- clients that leave ----------------------------------------------------------------------------------------------


def test_a_guest_that_leaves_takes_with_it_what_only_it_could_run(graph: Graph) -> None:
    graph.table.submit(7, call(1, kind=LOCAL), [], "app")
    graph.table.submit(7, call(2), [], "app")
    graph.call(3)
    graph.table.client_left(7, 1.0)
    assert 1 not in graph.table.tasks
    assert graph.state(2) is S.ready
    graph.done(2)
    assert set(graph.table.tasks) == {3}


def test_a_guest_that_leaves_with_a_value_that_others_wait_for(graph: Graph) -> None:
    """Its dependents waited for ever for a value that nobody could send any more."""
    graph.table.submit(7, call(1, kind=LOCAL), [], "app")
    graph.table.submit(7, call(2, 1), [], "app")
    graph.ran_here(1)
    assert graph.wanted() == [1]
    graph.table.client_left(7, 1.0)
    assert not graph.table.tasks
    assert graph.table.unfinished == 0


def test_every_final_state_is_reached_from_here(graph: Graph) -> None:
    for task in range(4):
        graph.call(task)
    graph.call(4, 1)
    graph.done(0)
    for task in (5, 6):
        graph.table.submit(0, memoized_call(task), [], "app")
        graph.ready()
        if task == 5:
            graph.done(5)
    graph.failed(1)
    graph.table.cancel([2], 1.0)
    assert {r.state for r in graph.resolved().values()} == FINAL
