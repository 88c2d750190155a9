"""What ended without a result runs again, with what it comes from and what failed because of it, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from parslab.dataflow.graph.table import TaskTable
from parslab.dataflow.operations.invariants import check
from parslab.dataflow.operations.retry_plan import RetryPlan, functions_needed, of_app, plan, reopen
from parslab.records.events import TaskMoved, TaskReopened
from parslab.records.states import TaskState
from parslab.testing.fakes import call, outcome
from parslab.wire.messages.base import Failure, TaskKind, TaskSpec
from parslab.wire.messages.client import RedefinedApp, RequestValue, RunLocalTask, TasksReopened
from tests.unit.dataflow.graph.test_table import Graph

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from parslab.dataflow.graph.task import Task

S = TaskState
REMOTE, LOCAL, JOIN, EXTERNAL = TaskKind.remote, TaskKind.local, TaskKind.join, TaskKind.external


class Mending(Graph):
    """A graph whose failed tasks run again."""

    def again(
        self, *tasks: int, mended: Callable[[Task], RedefinedApp | None] = lambda _: None, bodies: tuple[int, ...] = ()
    ) -> RetryPlan:
        self.take_messages()
        found = plan(self.table, tasks, bodies)
        if found.tasks:
            reopen(self.table, found, mended, 5.0)
        return found

    def ran(self, plan: RetryPlan) -> list[int]:
        return [task.id for task in plan.tasks]

    def reopened(self) -> list[list[int]]:
        return [message.tasks for message in self.take_messages() if isinstance(message, TasksReopened)]

    def states(self, *tasks: int) -> list[TaskState]:
        return [self.state(task) for task in tasks]

    def started_at_client(self) -> list[int]:
        return [message.task for message in self.take_messages() if isinstance(message, RunLocalTask)]


@pytest.fixture
def graph() -> Iterator[Mending]:
    graph = Mending()
    yield graph
    check(graph.table)
    graph.table.cancel(None, 9.0)
    check(graph.table)
    graph.table.release(list(graph.table.tasks))
    assert not graph.table.tasks
    assert graph.table.unfinished == 0


def test_a_failed_task_runs_again(graph: Mending) -> None:
    task = graph.call(1)
    assert graph.ready() == [1]
    graph.failed(1)
    assert (task.state, task.args) == (S.failed, b"args")
    found = graph.again(1)
    assert (graph.ran(found), found.asked, found.refused) == ([1], 1, {})
    assert graph.reopened() == [[1]]
    assert (task.state, task.attempt, task.failure) == (S.ready, 1, None)
    assert graph.ready() == [1]
    graph.done(1)
    assert task.state is S.exec_done
    assert task.args == b""


def test_retry_is_reported_to_monitoring(graph: Mending) -> None:
    graph.call(1)
    graph.failed(1)
    graph.table.out.events.clear()
    graph.again(1)
    events = graph.table.out.events
    assert events[0] == TaskReopened(5.0, 1, S.pending, S.failed, 1, "app", "llex", 0)
    assert events[1:] == [TaskMoved(5.0, 1, S.ready, 1)]


def test_only_the_failed_branch_runs_again(graph: Mending) -> None:
    graph.call(1)
    graph.call(2)
    graph.call(3, 1)
    graph.call(4, 1, 2)
    graph.call(5, 4)
    graph.call(6, 3)
    graph.done(1)
    graph.failed(2)
    graph.done(3)
    graph.done(6)
    assert graph.states(4, 5) == [S.dep_fail, S.dep_fail]
    graph.ready()
    assert graph.ran(graph.again(2)) == [2, 4, 5]
    assert graph.states(2, 4, 5) == [S.ready, S.pending, S.pending]
    for task in (2, 4, 5):
        assert graph.ready() == [task]
        graph.done(task)
    assert graph.states(1, 2, 3, 4, 5, 6) == [S.exec_done] * 6


def test_a_dependent_brings_the_root_and_its_siblings(graph: Mending) -> None:
    graph.call(1)
    graph.call(2, 1)
    graph.call(3, 1)
    graph.failed(1)
    found = graph.again(3)
    assert graph.ran(found) == [1, 2, 3]
    assert found.asked == 1
    assert [task.attempt for task in found.tasks] == [1, 0, 0]


def test_what_failed_of_something_else_too_stays_as_it_is(graph: Mending) -> None:
    graph.call(1)
    graph.call(2)
    graph.call(3, 1, 2)
    graph.failed(1)
    graph.failed(2)
    assert graph.ran(graph.again(1)) == [1]
    assert graph.state(3) is S.dep_fail
    graph.done(1)
    assert graph.ran(graph.again(2)) == [2, 3]
    graph.done(2)
    graph.done(3)


def test_both_of_two_roots_bring_what_needs_both(graph: Mending) -> None:
    graph.call(1)
    graph.call(2)
    graph.call(3, 1, 2)
    graph.failed(1)
    graph.failed(2)
    assert graph.ran(graph.again(1, 2)) == [1, 2, 3]


def test_what_waits_for_something_else_waits_for_it_again(graph: Mending) -> None:
    """It had counted the failure, and would have run without a value, or failed of a task that runs."""
    graph.call(1)
    graph.call(2)
    task = graph.call(3, 1, 2)
    graph.failed(1)
    assert (task.state, task.waiting) == (S.pending, 1)
    assert graph.ran(graph.again(1)) == [1]
    assert (task.state, task.waiting) == (S.pending, 2)
    graph.done(2)
    assert task.state is S.pending
    graph.done(1)
    assert graph.state(3) is S.ready


def test_a_join_that_waits_for_something_else_waits_for_it_again(graph: Mending) -> None:
    task = graph.call(1, kind=JOIN)
    graph.call(2)
    graph.call(3)
    graph.joins(1, 2, 3)
    graph.failed(2)
    assert graph.ran(graph.again(2)) == [2]
    assert (task.state, task.waiting) == (S.joining, 2)
    graph.done(3)
    graph.done(2)
    assert graph.state(1) is S.exec_done


def test_the_value_of_a_released_need_is_kept(graph: Mending) -> None:
    graph.call(1)
    task = graph.call(2, 1)
    graph.done(1, b"mine")
    graph.table.release([1])
    graph.failed(2)
    assert 1 not in graph.table.tasks
    graph.again(2)
    assert [need.value.inline for need in task.needs if need.value] == [b"mine"]
    graph.done(2)
    assert task.needs == []


def test_a_released_root_comes_back_through_what_needs_it(graph: Mending) -> None:
    graph.call(1)
    graph.call(2, 1)
    graph.call(3, 2)
    graph.failed(1)
    graph.table.release([1, 2])
    assert list(graph.table.tasks) == [3]
    assert graph.ran(graph.again(3)) == [1, 2, 3]
    graph.done(1)
    assert 1 not in graph.table.tasks
    graph.done(2)
    graph.done(3)
    assert list(graph.table.tasks) == [3]


def test_what_follows_is_found_through_what_was_released(graph: Mending) -> None:
    graph.call(1)
    graph.call(2, 1)
    graph.call(3, 2)
    graph.call(4, 1)
    graph.failed(1)
    graph.table.release([2, 4])
    assert graph.ran(graph.again(1)) == [1, 2, 3]  # nobody can ask for 4


def test_a_cancelled_task_runs_again(graph: Mending) -> None:
    graph.call(1)
    task = graph.call(2, 1)
    graph.table.cancel([2], 1.0)
    assert graph.ran(graph.again(2)) == [2]
    assert graph.reopened() == [[2]]
    assert (task.state, task.waiting) == (S.pending, 1)
    graph.done(1)
    assert task.state is S.ready


def test_a_cancelled_task_comes_back_only_when_named_or_needed(graph: Mending) -> None:
    graph.call(1)
    graph.call(2, 1)
    graph.call(3, 2)
    graph.table.cancel([2], 1.0)
    graph.failed(1)
    assert graph.states(1, 2, 3) == [S.failed, S.cancelled, S.dep_fail]
    assert graph.ran(graph.again(1)) == [1]
    graph.done(1)
    assert graph.ran(graph.again(3)) == [2, 3]


def test_what_a_worker_has_not_let_go_of_holds_it_up(graph: Mending) -> None:
    task = graph.call(1)
    graph.table.sent(task, 1.0, "w")
    task.worker = object()
    graph.table.cancel([1], 2.0)
    assert plan(graph.table, [1]).held_up == [task]
    task.worker = None
    assert plan(graph.table, [1]).held_up == []


def test_it_fails_again(graph: Mending) -> None:
    graph.call(1)
    task = graph.call(2, 1)
    graph.failed(1)
    graph.again(2)
    graph.failed(1, Failure("KeyError: again"))
    assert task.failure is not None
    assert "KeyError: again" in task.failure.error
    assert graph.ran(graph.again(2)) == [1, 2]
    assert graph.table.tasks[1].attempt == 2


def test_retries_are_counted_anew() -> None:
    graph = Mending()
    graph.table = TaskTable(("llex", "threads"), retries=1)
    task = graph.call(1)
    graph.failed(1)
    graph.failed(1)
    assert (task.state, task.attempt) == (S.failed, 1)
    graph.again(1)
    graph.failed(1)
    assert (task.state, task.attempt) == (S.ready, 3)
    graph.failed(1)
    assert (task.state, task.attempt) == (S.failed, 3)
    check(graph.table)


def test_what_has_no_need_of_it_is_refused_or_left_alone(graph: Mending) -> None:
    graph.call(1)
    graph.done(1)
    graph.call(2)
    found = graph.again(1, 2, 99)
    assert (found.tasks, found.asked) == ([], 0)
    assert found.refused == {
        1: "Task 1 (app) has a result: there is nothing to try again.",
        99: "Task 99 is not held any more: a task can be tried again while its notebook has its future.",
    }
    assert graph.reopened() == []


# --- redefined functions ----------------------------------------------------------------------------------------------


def test_redefined_function_is_called_by_all_tasks_that_run_again(graph: Mending) -> None:
    first, second = graph.call(1), graph.call(2, 1)
    graph.failed(1)
    graph.again(2, mended=lambda task: RedefinedApp("fit", 7))
    assert (first.fn, second.fn) == (7, 7)


def test_limits_of_the_app_change_and_those_of_a_call_stay(graph: Mending) -> None:
    for number, spec in ((1, None), (2, TaskSpec(max_run_time=1.0)), (3, TaskSpec(max_run_time=9.0))):
        graph.table.submit(0, msgspec.structs.replace(call(number), spec=spec), [], "app")
        graph.failed(number)
    new = RedefinedApp("fit", 7, (None, TaskSpec(max_run_time=1.0)), TaskSpec(max_run_time=60.0))
    graph.again(1, 2, 3, mended=lambda _: new)
    assert [graph.table.tasks[n].spec for n in (1, 2, 3)] == [new.spec, new.spec, TaskSpec(max_run_time=9.0)]


def test_functions_of_what_may_run_again_are_needed(graph: Mending) -> None:
    for number, deps in ((1, ()), (2, (1,)), (3, ())):
        graph.table.submit(0, call(number, *deps, fn=number), [], "app")
    graph.failed(1)
    graph.done(3)
    graph.table.release([1])
    assert functions_needed(graph.table) == {1, 2}


# --- what runs in the notebook ---------------------------------------------------------------------------------------


def test_a_local_body_runs_again(graph: Mending) -> None:
    graph.call(1)
    task = graph.call(2, 1, kind=LOCAL)
    graph.done(1)
    assert graph.started_at_client() == [2]
    graph.table.attempt_ended(task, outcome(task, 1.0, 2.0, Failure("ValueError")))
    assert graph.ran(graph.again(2)) == [2]
    messages = graph.take_messages()
    assert [type(message) for message in messages] == [TasksReopened, RunLocalTask]
    graph.ran_here(2)


def test_a_local_task_that_was_never_run_waits_for_its_root(graph: Mending) -> None:
    graph.call(1)
    graph.call(2, 1, kind=LOCAL)
    graph.failed(1)
    graph.again(2)
    assert graph.started_at_client() == []
    graph.done(1)
    assert graph.started_at_client() == [2]


def test_a_local_task_whose_future_was_dropped_is_refused(graph: Mending) -> None:
    graph.call(1, kind=LOCAL)
    graph.call(2, 1)
    graph.table.attempt_ended(graph.table.tasks[1], outcome(graph.table.tasks[1], 1.0, 2.0, Failure("ValueError")))
    graph.table.release([1])
    found = graph.again(2)
    assert found.tasks == []
    assert found.refused[2].startswith("Task 1 (app) runs in the notebook, which has dropped its future")
    assert graph.state(2) is S.dep_fail


def test_a_value_that_could_not_be_sent_is_asked_for_again(graph: Mending) -> None:
    local = graph.call(1, kind=LOCAL)
    graph.call(2, 1)
    graph.ran_here(1)
    graph.table.value_not_picklable(local, Failure("SerializationError: a lock"), 3.0)
    assert graph.state(2) is S.dep_fail
    graph.again(2)
    assert [m.task for m in graph.take_messages() if isinstance(m, RequestValue)] == [1]
    graph.table.value_not_picklable(local, Failure("SerializationError: a lock"), 3.0)
    assert graph.state(2) is S.dep_fail


def test_a_value_that_is_gone_is_a_sentence(graph: Mending) -> None:
    local = graph.call(1, kind=LOCAL)
    graph.call(2, 1)
    graph.ran_here(1)
    graph.table.value_not_picklable(local, Failure("SerializationError: a lock"), 3.0)
    graph.table.release([1])
    found = graph.again(2)
    assert found.refused == {
        2: "Task 2 (app) needs the result of task 1 (app), which was in the notebook and is gone: call both again."
    }


def test_a_foreign_future_is_not_ours_to_run(graph: Mending) -> None:
    graph.call(1, kind=EXTERNAL)
    graph.call(2, 1)
    graph.table.attempt_ended(graph.table.tasks[1], outcome(graph.table.tasks[1], 1.0, 1.0, Failure("ValueError")))
    found = graph.again(1, 2)
    assert found.tasks == []
    assert set(found.refused) == {1, 2}
    assert "only who made it can try again" in found.refused[2]


# --- joins -----------------------------------------------------------------------------------------------------------


def test_a_join_whose_body_failed_runs_its_body_again(graph: Mending) -> None:
    task = graph.call(1, kind=JOIN)
    graph.take_messages()
    graph.table.attempt_ended(task, outcome(task, 1.0, 2.0, Failure("ValueError")))
    graph.again(1)
    assert graph.started_at_client() == [1]
    assert task.state is S.launched
    graph.call(2)
    graph.joins(1, 2)
    graph.done(2)
    assert graph.state(1) is S.exec_done


def test_a_join_that_an_inner_future_failed_waits_for_it_again(graph: Mending) -> None:
    task = graph.call(1, kind=JOIN)
    graph.call(2)
    graph.call(3)
    graph.joins(1, 2, 3)
    graph.done(2)
    graph.failed(3)
    assert task.state is S.failed
    assert graph.ran(graph.again(1)) == [1, 3]
    assert (task.state, task.attempt, task.waiting) == (S.joining, 0, 1)
    assert graph.started_at_client() == []
    graph.done(3)
    assert graph.state(1) is S.exec_done


def test_an_inner_future_brings_its_joins_and_their_dependents(graph: Mending) -> None:
    graph.call(1, kind=JOIN)
    graph.call(2, kind=JOIN)
    graph.call(3)
    graph.call(4, 1)
    graph.joins(1, 2)
    graph.joins(2, 3)
    graph.failed(3)
    assert graph.states(1, 2, 4) == [S.failed, S.failed, S.dep_fail]
    assert graph.ran(graph.again(3)) == [1, 2, 3, 4]
    assert graph.states(1, 2, 3, 4) == [S.joining, S.joining, S.ready, S.pending]
    graph.done(3)
    assert graph.states(1, 2, 4) == [S.exec_done, S.exec_done, S.ready]


def test_a_join_of_joins_brings_the_innermost(graph: Mending) -> None:
    graph.call(1, kind=JOIN)
    graph.call(2, kind=JOIN)
    graph.call(3)
    graph.call(4, kind=JOIN)
    graph.joins(1, 2, 4)
    graph.joins(2, 3)
    graph.failed(3)
    graph.table.attempt_ended(
        graph.table.tasks[4], outcome(graph.table.tasks[4], 1.0, 2.0, Failure("ValueError: body"))
    )
    assert graph.ran(graph.again(1)) == [1, 2, 3, 4]
    assert graph.started_at_client() == [4]
    graph.call(5)
    graph.joins(4, 5)
    graph.done(5)
    graph.done(3)
    assert graph.states(1, 2, 4) == [S.exec_done] * 3


def test_redefined_join_runs_its_body_again_and_drops_the_old_futures(graph: Mending) -> None:
    task = graph.call(1, kind=JOIN)
    graph.call(2)
    graph.joins(1, 2)
    graph.failed(2)
    assert graph.ran(graph.again(1, bodies=(1,))) == [1]
    assert (task.state, task.joins) == (S.launched, None)
    assert graph.state(2) is S.failed
    graph.call(3)
    graph.joins(1, 3, many=False)
    graph.done(3, b"three")
    assert task.value is not None
    assert task.value.inline == b"three"


def test_a_join_that_was_cancelled_waits_again(graph: Mending) -> None:
    task = graph.call(1, kind=JOIN)
    graph.call(2)
    graph.call(3)
    graph.joins(1, 2, 3)
    graph.table.cancel([1], 2.0)
    graph.done(2)
    assert graph.ran(graph.again(1)) == [1]
    assert (task.state, task.waiting) == (S.joining, 1)
    graph.done(3)
    assert task.state is S.exec_done


def test_a_cancelled_join_whose_inner_futures_have_ended_is_done_at_once(graph: Mending) -> None:
    task = graph.call(1, kind=JOIN)
    graph.call(2)
    graph.joins(1, 2)
    graph.table.cancel([1], 2.0)
    graph.done(2)
    graph.again(1)
    assert task.state is S.exec_done


# --- long and wide ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [0, 19_999])
def test_a_long_chain_is_no_deep_stack(graph: Mending, first: int) -> None:
    for number in range(20_000):
        graph.call(number, *([number - 1] if number else []))
    graph.failed(0)
    assert len(graph.again(first).tasks) == 20_000
    assert graph.state(19_999) is S.pending


def test_many_that_were_cancelled_wait_once_for_what_they_share(graph: Mending) -> None:
    graph.call(0)
    for number in range(1, 5_000):
        graph.call(number, 0)
    graph.table.cancel(range(1, 5_000), 1.0)
    graph.again(*range(1, 5_000))
    check(graph.table)
    graph.ready()
    graph.done(0)
    assert len(graph.ready()) == 4_999


def test_each_client_gets_reports_of_its_own_tasks(graph: Mending) -> None:
    graph.call(1)
    graph.table.submit(1, call(2, 1), [], "app")
    graph.failed(1)
    found: list[Any] = [(client, m.tasks) for client, m, _ in _replies(graph) if isinstance(m, TasksReopened)]
    assert found == [(0, [1]), (1, [2])]


def _replies(graph: Mending) -> list[Any]:
    graph.take_messages()
    reopen(graph.table, plan(graph.table, [2]), lambda _: None, 5.0)
    replies, graph.table.out.replies = graph.table.out.replies, []
    return replies


# --- who is meant, and who is there --------------------------------------------------------------------------------


def test_an_app_means_its_tasks_and_what_failed_because_of_them(graph: Mending) -> None:
    for number, app, deps in ((1, "load", ()), (2, "fit", ()), (3, "plot", (1,)), (4, "plot", (2,)), (5, "plot", ())):
        graph.table.submit(0, call(number, *deps), [], app)
    for number in (1, 2, 5):
        graph.failed(number)
    graph.table.release([2])
    there = sorted(graph.table.tasks)
    assert of_app(graph.table, there, "load") == [1, 3]
    assert of_app(graph.table, there, "fit") == [4]
    assert of_app(graph.table, there, "plot") == [3, 4, 5]
    assert of_app(graph.table, [99], "plot") == [99]


def test_what_runs_in_a_notebook_that_has_left_is_refused(graph: Mending) -> None:
    task = graph.call(1, kind=LOCAL)
    graph.call(2, 1)
    graph.call(3)
    graph.table.attempt_ended(task, outcome(task, 1.0, 2.0, Failure("ValueError")))
    graph.failed(3)
    found = plan(graph.table, [2, 3], here=())
    assert [task.id for task in found.tasks] == [3]
    assert found.refused == {2: "Task 1 (app) runs in the notebook that called it, which has left."}
