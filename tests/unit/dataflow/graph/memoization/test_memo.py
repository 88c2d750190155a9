"""What is remembered of calls: found, joined, dropped, and never mixed up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from parslab.dataflow.graph.function_registry import FunctionRegistry
from parslab.dataflow.graph.memoization.memo import Memo
from parslab.dataflow.graph.table import TaskTable
from parslab.dataflow.graph.task import Task
from parslab.dataflow.graph.values import StoredValue
from parslab.dataflow.operations.explain import explain
from parslab.dataflow.operations.invariants import check
from parslab.dataflow.operations.retry_plan import plan, reopen
from parslab.errors import ParslabError
from parslab.records.states import FINAL, TaskState
from parslab.testing.fakes import call, memoized_call, outcome
from parslab.wire.messages.base import DefineFunction, Failure, TaskKind
from parslab.wire.messages.client import JoinBodyReturned, RedefinedApp, RequestValue, RunLocalTask, TaskResolved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

S = TaskState
LOCAL, JOIN, REMOTE = TaskKind.local, TaskKind.join, TaskKind.remote
ERROR = Failure("ValueError: no")


class Graph:
    """A table with a memory, and short words for what happens to it."""

    def __init__(self, on: bool = True, bound: int = 1 << 20) -> None:
        self.codes = FunctionRegistry()
        self.memo = Memo(self.codes, on, bound)
        self.table = TaskTable(("llex",), 0, self.memo)
        self.replies: list[Any] = []

    def function(self, fingerprint: bytes, **parts: bytes) -> int:
        return self.codes.add(DefineFunction(0, b"digest", "f", 1, fingerprint, parts), b"pickle")

    def f(
        self, task: int, *deps: int, identity: bytes = b"x", kind: int = REMOTE, fn: int = -1, app: str = "f"
    ) -> Task:
        """Call an app that remembers."""
        self.table.submit(0, memoized_call(task, *deps, identity=identity, kind=kind, fn=fn), [], "f")
        return self.table.tasks[task]

    def unknown(self, task: int, why: str) -> Task:
        """Call an app that caches, with an argument that has no identity."""
        message = memoized_call(task, identity=b"")
        message.unknown = why
        self.table.submit(0, message, [], "f")
        return self.table.tasks[task]

    def plain(self, task: int, *deps: int, kind: int = REMOTE) -> Task:
        """Call one that does not."""
        self.table.submit(0, call(task, *deps, kind=kind), [], "g")
        return self.table.tasks[task]

    def done(self, task: int, text: bytes = b"value") -> None:
        there = self.table.tasks[task]
        assert there in self.table.out.ready
        self.table.out.ready.remove(there)
        self.table.sent(there, 1.0, "w")
        self.table.attempt_ended(there, outcome(there, 1.5, 2.0), StoredValue(text, []), "w")

    def fail(self, task: int) -> None:
        there = self.table.tasks[task]
        self.table.out.ready.remove(there)
        self.table.sent(there, 1.0, "w")
        self.table.attempt_ended(there, outcome(there, 1.5, 2.0, ERROR), None, "w")

    def ran_here(self, task: int, state: str = "done") -> None:
        there = self.table.tasks[task]
        if state == "done":
            self.table.attempt_ended(there, outcome(there, 1.5, 2.0))
        else:
            self.table.attempt_ended(there, outcome(there, 1.5, 2.0, ERROR))

    def ready(self) -> list[int]:
        return [task.id for task in self.table.out.ready]

    def messages(self, kind: type) -> list[Any]:
        self.replies += [message for _, message, _ in self.table.out.replies]
        self.table.out.replies = []
        return [message for message in self.replies if isinstance(message, kind)]

    def result(self, task: int) -> tuple[TaskState, bytes]:
        (found,) = [m for m in self.messages(TaskResolved) if m.task == task]
        return found.state, found.inline

    def state(self, task: int) -> TaskState:
        return self.table.tasks[task].state

    def why(self, task: int) -> str:
        return explain(task, self.table, self.memo)


@pytest.fixture
def graph() -> Iterator[Graph]:
    graph = Graph()
    yield graph
    check(graph.table)
    graph.table.cancel(None, 9.0)
    check(graph.table)
    graph.table.release(list(graph.table.tasks))
    for want in graph.messages(RequestValue):
        if want.task in graph.table.tasks:
            graph.table.value_not_picklable(graph.table.tasks[want.task], ERROR, 9.0)
    assert not graph.table.tasks
    assert graph.table.unfinished == 0
    assert not graph.memo._running


def test_an_equal_call_has_the_result_at_once(graph: Graph) -> None:
    graph.f(1)
    graph.done(1, b"one")
    graph.f(2)
    assert graph.result(2) == (S.memo_done, b"one")
    graph.f(3, identity=b"y")
    assert graph.ready() == [3]
    assert graph.memo.hits == 1


def test_it_outlives_its_task(graph: Graph) -> None:
    graph.f(1)
    graph.done(1, b"one")
    graph.table.release([1])
    graph.f(2)
    assert graph.result(2) == (S.memo_done, b"one")


def test_a_changed_function_runs(graph: Graph) -> None:
    graph.f(1, fn=graph.function(b"old"))
    graph.done(1)
    graph.f(2, fn=graph.function(b"new"))
    assert graph.ready() == [2]


def test_the_pickle_counts_where_there_is_no_other_identity(graph: Graph) -> None:
    fn = graph.function(b"print")
    for task, frames in ((1, [b"a", b"b"]), (2, [b"ab", b""]), (3, [b"a", b"b"])):
        message = memoized_call(task, fn=fn)
        message.identity = b""
        graph.table.submit(0, message, list(frames), "f")
        if task < 3:
            graph.done(task, b"%d" % task)
    assert graph.result(3) == (S.memo_done, b"1")


def test_nothing_is_memoized_when_caching_is_off() -> None:
    graph = Graph(on=False)
    graph.f(1)
    graph.done(1)
    graph.f(2)
    assert graph.ready() == [2]
    assert "app_cache=False" in graph.why(2)


# --- lineage ---------------------------------------------------------------------------------------------------------


def test_the_end_of_a_chain_is_found_without_its_head(graph: Graph) -> None:
    graph.f(1)
    graph.f(2, 1, identity=b"second")
    graph.done(1)
    graph.done(2, b"end")
    graph.memo._drop(graph.memo.calls[1].key or b"")  # the head was dropped from memory
    graph.f(3)
    graph.f(4, 3, identity=b"second")
    assert graph.state(3) is S.ready
    assert graph.result(4) == (S.memo_done, b"end")


def test_result_of_an_app_without_cache_counts_by_its_value(graph: Graph) -> None:
    for task, value in ((1, b"same"), (3, b"other"), (5, b"same")):
        graph.plain(task)
        graph.f(task + 1, task)
        assert graph.state(task + 1) is S.pending
        graph.done(task, value)
        if task < 5:
            graph.done(task + 1, b"of " + value)
    assert graph.result(6) == (S.memo_done, b"of same")


def test_a_value_that_is_there_already_counts_at_once(graph: Graph) -> None:
    graph.plain(1)
    graph.done(1)
    graph.f(2, 1)
    graph.done(2, b"two")
    graph.f(3, 1)
    assert graph.result(3) == (S.memo_done, b"two")


def test_dependent_takes_a_memoized_value(graph: Graph) -> None:
    graph.f(1)
    graph.done(1)
    graph.f(2)
    dependent = graph.plain(3, 2)
    assert [need.value.inline for need in dependent.needs if need.value] == [b"value"]
    graph.done(3)


# --- equal calls in flight -------------------------------------------------------------------------------------------


def test_an_equal_call_in_flight_is_joined(graph: Graph) -> None:
    graph.f(1)
    graph.f(2)
    graph.plain(3, 2)
    assert graph.ready() == [1]
    assert "waits for task 1" in graph.why(2)
    graph.done(1)
    assert graph.result(2) == (S.memo_done, b"value")
    assert graph.ready() == [3]


def test_whole_chains_are_joined(graph: Graph) -> None:
    for first in (1, 11):
        graph.f(first)
        graph.f(first + 1, first, identity=b"b")
        graph.f(first + 2, first + 1, identity=b"c")
    for task in (1, 2, 3):
        assert graph.ready() == [task]
        graph.done(task)
    assert {graph.state(task) for task in (11, 12, 13)} == {S.memo_done}


def test_who_joined_fails_alike(graph: Graph) -> None:
    graph.f(1)
    graph.f(2)
    graph.plain(3, 2)
    graph.fail(1)
    assert [graph.state(task) for task in (1, 2, 3)] == [S.failed, S.failed, S.dep_fail]
    assert graph.table.tasks[2].failure is ERROR


def test_failures_are_not_memoized(graph: Graph) -> None:
    graph.f(1)
    graph.fail(1)
    graph.f(2)
    assert graph.ready() == [2]
    assert "failures are not cached" in graph.why(1)


def test_the_second_runs_when_the_first_is_cancelled(graph: Graph) -> None:
    for task in (1, 2, 3):
        graph.f(task)
    graph.table.cancel([1], 1.0)
    assert [t for t in graph.ready() if t != 1] == [2]
    graph.done(2)
    assert graph.result(3) == (S.memo_done, b"value")


def test_a_second_that_was_cancelled_is_passed_over(graph: Graph) -> None:
    for task in (1, 2, 3):
        graph.f(task)
    graph.table.cancel([2], 1.0)
    graph.table.cancel([1], 1.0)
    assert graph.state(3) is S.ready


def test_who_joined_goes_on_by_itself_when_the_first_cannot_run(graph: Graph) -> None:
    graph.plain(1)
    graph.f(2)
    graph.f(3, 2, identity=b"b")
    graph.f(12)
    graph.f(13, 12, identity=b"b")
    graph.table.cancel([2], 1.0)
    assert [graph.state(task) for task in (2, 3, 12, 13)] == [S.cancelled, S.dep_fail, S.ready, S.pending]
    graph.done(12)
    graph.done(13)


def test_thousands_whose_inputs_failed_do_not_deepen_the_stack(graph: Graph) -> None:
    graph.f(0)
    for task in range(1, 6001, 2):
        graph.f(task)
        graph.f(task + 1, task, identity=b"b")
    graph.table.cancel(range(0, 6000), 1.0)
    assert {task.state for task in graph.table.tasks.values()} <= FINAL | {S.ready, S.pending}


# --- bodies that run at the client -----------------------------------------------------------------------------------


def test_the_value_of_a_local_task_is_fetched_and_memoized(graph: Graph) -> None:
    graph.f(1, kind=LOCAL)
    graph.f(2, kind=LOCAL)
    graph.ran_here(1)
    graph.table.release([1])
    assert [want.task for want in graph.messages(RequestValue)] == [1]
    assert graph.state(2) is S.pending
    graph.table.value_arrived(graph.table.tasks[1], StoredValue(b"local", []), 3.0)
    assert 1 not in graph.table.tasks
    assert graph.result(2) == (S.memo_done, b"local")
    graph.f(3, kind=LOCAL)
    assert graph.result(3) == (S.memo_done, b"local")


def test_result_that_cannot_leave_the_notebook_is_not_memoized(graph: Graph) -> None:
    for task in (1, 2, 3):
        graph.f(task, kind=LOCAL)
    graph.ran_here(1)
    graph.table.value_not_picklable(graph.table.tasks[1], Failure("SerializationError: a lock"), 3.0)
    assert [message.task for message in graph.messages(RunLocalTask)] == [1, 2, 3]
    assert "a lock" in graph.why(2)
    graph.ran_here(2)
    graph.ran_here(3, "failed")


def test_who_waits_for_a_notebook_that_leaves_runs_by_itself(graph: Graph) -> None:
    graph.f(1, kind=LOCAL)
    graph.ran_here(1)
    graph.table.submit(7, memoized_call(2, kind=LOCAL), [], "f")
    graph.table.client_left(0, 3.0)
    assert [message.task for message in graph.messages(RunLocalTask)] == [1, 2]
    graph.ran_here(2)


def test_join_is_memoized_with_its_parts(graph: Graph) -> None:
    graph.f(1, kind=JOIN)
    for task in (2, 3):
        graph.plain(task)
        graph.done(task, b"%d" % task)
    graph.table.join_body_returned(graph.table.tasks[1], JoinBodyReturned(1, (2, 3), True, 1.0), 2.0)
    graph.f(4, kind=JOIN)
    (resolved,) = [m for m in graph.messages(TaskResolved) if m.task == 4]
    assert (resolved.state, resolved.inline, resolved.size) == (S.memo_done, b"", 2)
    value = graph.table.tasks[4].value
    assert value is not None
    assert [part.inline for part in value.parts or ()] == [b"2", b"3"]


def test_input_in_the_notebook_gives_no_key(graph: Graph) -> None:
    graph.plain(1, kind=LOCAL)
    graph.f(2, 1, kind=LOCAL)
    graph.ran_here(1)
    assert [message.task for message in graph.messages(RunLocalTask)] == [1, 2]
    assert "task 1 (g), lies in the notebook" in graph.why(2)
    graph.ran_here(2)
    graph.f(3, 1, kind=LOCAL)
    assert graph.state(3) is S.launched


# --- memory ----------------------------------------------------------------------------------------------------------


def test_the_least_recently_used_goes_first() -> None:
    graph = Graph(bound=3 * 1600)
    for task in (1, 2, 3):
        graph.f(task, identity=b"%d" % task)
        graph.done(task, bytes(900))
    graph.f(11, identity=b"1")
    graph.f(4, identity=b"4")
    graph.done(4, bytes(900))
    assert graph.memo.held <= graph.memo.bound
    graph.f(21, identity=b"1")
    graph.f(22, identity=b"2")
    assert [graph.state(21), graph.state(22)] == [S.memo_done, S.ready]
    assert "dropped to save memory" in graph.why(22)


def test_what_is_written_leaves_memory_and_is_read_again() -> None:
    graph = Graph(bound=2 * 1600)
    graph.memo.durable = True
    disk: dict[int, Any] = {}
    graph.memo.fetch = disk.get
    for task in range(5):
        graph.f(task, identity=b"%d" % task)
        graph.done(task, bytes(900) + b"%d" % task)
        if graph.memo.pressed:
            for key, held in list(graph.memo.unwritten.items()):
                disk[task * 10] = (held.call, held.value)
                graph.memo.wrote(key, task * 10)
                task += 100
            graph.memo.relieve(durable=True)
    assert graph.memo.held <= graph.memo.bound
    assert len(graph.memo) >= 5
    graph.f(50, identity=b"0")
    assert graph.result(50) == (S.memo_done, bytes(900) + b"0")


def test_what_cannot_be_read_any_more_runs(graph: Graph) -> None:
    graph.f(1)
    graph.done(1)
    (key,) = graph.memo.unwritten
    graph.memo.wrote(key, 7)
    graph.memo._drop(key)
    graph.memo.fetch = lambda place: None
    graph.f(2)
    assert graph.ready() == [2]
    graph.done(2)
    graph.f(3)
    assert graph.state(3) is S.memo_done


# --- why -------------------------------------------------------------------------------------------------------------


def shown(graph: Graph, task: int, text: str, *deps: int, fn: int = -1, identity: bytes = b"") -> None:
    message = memoized_call(task, *deps, identity=identity or text.encode(), fn=fn)
    message.shown = text
    graph.table.submit(0, message, [], "f")


def test_it_is_said_what_differs(graph: Graph) -> None:
    old, new = graph.function(b"old", body=b"1", scale=b"2"), graph.function(b"new", body=b"1", scale=b"3", k=b"")
    shown(graph, 1, "2, 'a, b'", fn=old)
    assert graph.why(1) == "Task 1 (f) will run because no result of f was cached when it was called."
    graph.done(1)
    shown(graph, 2, "3, 'a, b', k=1", fn=old)
    graph.done(2)
    assert (
        graph.why(2)
        == "Task 2 (f) ran because its arguments differ: argument 1: 3, was 2, argument k: 1, was not given."
    )
    shown(graph, 3, "3, 'a, b', k=1", fn=new)
    assert graph.why(3) == "Task 3 (f) will run because its function has changed: scale changed, k is new."
    shown(graph, 4, "3, 'a, b', k=1", fn=old, identity=b"else")
    assert "another content" in graph.why(4)
    shown(graph, 5, "2, 'a, b'", fn=old)
    assert graph.why(5) == "Task 5 (f) did not run: its result is that of task 1, an equal call."


def test_new_inputs_are_named(graph: Graph) -> None:
    shown(graph, 1, "1")
    shown(graph, 2, "task 1", 1, identity=b"b")
    graph.done(1)
    graph.done(2)
    shown(graph, 3, "2")
    shown(graph, 4, "task 3", 3, identity=b"b")
    assert graph.why(4) == (
        "Task 4 (f) will run because its input, task 3 (f), is new (its arguments differ: argument 1: 2, was 1)."
    )
    graph.plain(5)
    graph.done(5)
    shown(graph, 6, "task 5", 5, identity=b"b")
    assert "its input, task 5, has another value" in graph.why(6)


def test_app_without_cache_is_explained(graph: Graph) -> None:
    graph.plain(1)
    assert graph.why(1) == "Task 1 (g) will run because its app does not cache results (cache=True)."
    with pytest.raises(ParslabError, match="The run does not know task 77"):
        graph.why(77)


def test_reasons_of_others_are_asked_first(graph: Graph) -> None:
    graph.plain(1)
    reasons: list[Callable[[int], str | None]] = [lambda task: None, {1: "It was taken over."}.get]
    assert explain(1, graph.table, graph.memo, reasons) == "It was taken over."


def test_a_call_that_waits_for_values_is_not_known_yet(graph: Graph) -> None:
    graph.plain(1)
    graph.f(2, 1)
    assert "values have to be there first" in graph.why(2)


def test_call_without_identity_runs_and_explains_why() -> None:
    graph = Graph()
    for task in (1, 2):
        graph.unknown(task, "argument 'via' (Connection): no")
        graph.done(task)
        assert graph.why(task).endswith("nothing distinguishes it from other calls: argument 'via' (Connection): no.")
    assert not graph.memo.hits


# --- again -----------------------------------------------------------------------------------------------------------


def test_a_call_that_is_tried_again_is_asked_for_anew(graph: Graph) -> None:
    old, new = graph.function(b"old"), graph.function(b"new")
    graph.f(1, fn=new)
    graph.done(1, b"new")
    graph.f(2, fn=old)
    graph.fail(2)
    reopen(graph.table, plan(graph.table, [2]), lambda task: RedefinedApp("", new), 5.0)
    assert graph.state(2) is S.memo_done
    assert "its result is that of task 1" in graph.why(2)
    graph.messages(TaskResolved)
    graph.f(3, identity=b"y", fn=old)
    graph.fail(3)
    reopen(graph.table, plan(graph.table, [3]), lambda task: None, 5.0)
    graph.done(3, b"second")
    graph.f(4, identity=b"y", fn=old)
    assert graph.result(4) == (S.memo_done, b"second")


def test_results_of_a_lost_kernel_are_memoized(graph: Graph) -> None:
    graph.f(1)
    graph.done(1, b"one")
    message = memoized_call(2, 1, identity=b"b")
    adopted = Task(0, message, [], "f")
    adopted.state, adopted.value = S.exec_done, StoredValue(b"two", [])
    graph.memo.adopt(adopted, message, [graph.table.tasks[1]])
    graph.f(3, 1, identity=b"b")
    assert graph.result(3) == (S.memo_done, b"two")


def test_what_was_given_is_not_forgotten_with_what_it_needed(graph: Graph) -> None:
    """A local call that is tried again had the key of a call that was given nothing."""
    graph.f(1)
    graph.done(1)
    graph.f(2, 1, identity=b"b", kind=LOCAL)
    graph.ran_here(2, "failed")
    graph.f(3, identity=b"b", kind=LOCAL)
    graph.ran_here(3)
    graph.table.value_arrived(graph.table.tasks[3], StoredValue(b"of nothing", []), 3.0)
    reopen(graph.table, plan(graph.table, [2]), lambda task: None, 5.0)
    assert graph.state(2) is S.launched
    assert "tried again" in graph.why(2)
    graph.ran_here(2)


def test_memoized_result_ends_a_reopened_task_before_the_next_one(graph: Graph) -> None:
    graph.f(1)
    graph.f(2, 1, identity=b"b")
    graph.table.cancel([1], 1.0)
    graph.f(3)
    graph.done(3)
    reopen(graph.table, plan(graph.table, [1]), lambda task: None, 5.0)
    assert [graph.state(1), graph.state(2)] == [S.memo_done, S.ready]
