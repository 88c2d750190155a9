"""The components of the task table alone: each gets what it needs, and returns a decision instead of calling back."""

from __future__ import annotations

import pytest

from parslab.dataflow.graph.dependencies import Dependencies
from parslab.dataflow.graph.dispatch import Dispatch
from parslab.dataflow.graph.function_registry import FunctionRegistry
from parslab.dataflow.graph.joins import Joins
from parslab.dataflow.graph.memoization.memo import Memo
from parslab.dataflow.graph.memoization.memoized_calls import MemoizedCalls
from parslab.dataflow.graph.resolution import resolution
from parslab.dataflow.graph.retrying import FinalFailure, Retries
from parslab.dataflow.graph.task import Effects, Task
from parslab.dataflow.graph.transitions import Transitions
from parslab.dataflow.graph.values import StoredValue
from parslab.errors import InternalError
from parslab.records.machine import Signal
from parslab.records.reasons import Reason
from parslab.records.states import TaskState
from parslab.testing.fakes import call, memoized_call
from parslab.wire.messages.base import Failure, TaskKind
from parslab.wire.messages.client import (
    JoinBodyReturned,
    RequestRetryCost,
    RequestValue,
    RetryCost,
    RunLocalTask,
    TaskResolved,
)

S = TaskState
ERROR = Failure("ValueError: no")


class Bench:
    """What the components share: tasks, effects and transitions."""

    def __init__(self) -> None:
        self.tasks: dict[int, Task] = {}
        self.effects = Effects()
        self.transitions = Transitions(self.effects)
        self.dependencies = Dependencies(self.tasks, self.effects)
        self.dispatch = Dispatch(self.effects, self.transitions)

    def task(self, number: int, kind: int = TaskKind.remote, state: TaskState = S.pending) -> Task:
        self.tasks[number] = task = Task(0, call(number, kind=kind), [], "fit")
        self.transitions.restore(task, state)
        return task

    def replies(self) -> list[object]:
        return [message for _, message, _ in self.effects.replies]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_a_task_waits_for_needs_that_have_not_ended(bench: Bench) -> None:
    ended, running, task = bench.task(1, state=S.exec_done), bench.task(2, state=S.running), bench.task(3)
    ended.value = StoredValue(b"1", [])
    bench.dependencies.add_needs(task, (1, 2))
    assert task.needs == [ended, running]
    assert (task.waiting, ended.dependents, running.dependents) == (1, None, [task])


def test_a_worker_needs_the_value_of_a_local_task(bench: Bench) -> None:
    local, task, other = bench.task(1, TaskKind.local, S.exec_done), bench.task(2), bench.task(3)
    bench.dependencies.add_needs(task, (1,))
    bench.dependencies.add_needs(other, (1,))
    assert bench.replies() == [RequestValue(1)]
    assert local.dependents == [task, other]


def test_a_need_that_the_table_has_forgotten_is_our_mistake(bench: Bench) -> None:
    with pytest.raises(InternalError, match="task 3 needs task 1"):
        bench.dependencies.add_needs(bench.task(3), (1,))


def test_ready_tasks_go_to_their_queue_or_back_to_their_client(bench: Bench) -> None:
    remote, local = bench.task(1, state=S.ready), bench.task(2, TaskKind.local, S.ready)
    external = bench.task(3, TaskKind.external, S.ready)
    for task in (remote, local, external):
        bench.dispatch.run(task, 1.0)
    assert bench.effects.ready == [remote]
    assert bench.replies() == [RunLocalTask(2)]
    assert (remote.state, local.state, external.state) == (S.ready, S.launched, S.ready)


def test_a_join_has_the_values_of_what_its_body_returned(bench: Bench) -> None:
    joins = Joins(bench.tasks, bench.effects, bench.transitions, bench.dependencies)
    join, first, second = bench.task(1, TaskKind.join, S.launched), bench.task(2, state=S.running), bench.task(3)
    assert joins.add_call(first, 1)
    joins.body_returned(join, JoinBodyReturned(1, (2, 3, 2), True, 1.0), 2.0)
    assert (join.state, join.waiting) == (S.joining, 2)
    for number, inner in enumerate((first, second)):
        bench.transitions.restore(inner, S.exec_done)
        inner.value = StoredValue(b"%d" % number, [])
    joins.finish(join, 3.0)
    assert join.state is S.exec_done
    assert join.value is not None
    assert [part.inline for part in join.value.parts or ()] == [b"0", b"1", b"0"]
    assert joins.take_calls(1) == [2]
    assert joins.take_calls(1) == []


def test_a_call_of_a_cancelled_join_must_be_cancelled(bench: Bench) -> None:
    joins = Joins(bench.tasks, bench.effects, bench.transitions, bench.dependencies)
    bench.task(1, TaskKind.join, S.cancelled)
    assert not joins.add_call(bench.task(2), 1)
    assert not joins.add_call(bench.task(3), 77)


def test_a_failed_attempt_is_followed_by_another_while_retries_last(bench: Bench) -> None:
    retries = Retries(bench.effects, bench.transitions, bench.dispatch, limit=1)
    task = bench.task(1, state=S.running)
    assert retries.attempt_failed(task, ERROR, "w", 1.0)
    assert (task.state, task.attempt, retries.count) == (S.ready, 1, 1)
    assert [(again.task, again.worker, again.lost) for again in bench.effects.again] == [(task, "w", False)]
    bench.transitions.move(task, Signal.sent, 2.0)
    assert not retries.attempt_failed(task, ERROR, "w", 3.0)
    assert task.state is S.launched  # the table ends it


def test_the_second_loss_in_a_row_waits(bench: Bench) -> None:
    retries = Retries(bench.effects, bench.transitions, bench.dispatch, limit=9)
    task, lost = bench.task(1, state=S.running), Failure("WorkerLost", reason=Reason.worker_lost.value)
    retries.attempt_failed(task, lost, "w", 1.0)
    bench.transitions.move(task, Signal.sent, 2.0)
    retries.attempt_failed(task, lost, "w", 3.0)
    assert bench.effects.later == [(1.0, task, 1)]
    assert task.state is S.fail_retryable
    retries.try_again(task, 0, 4.0)  # of an earlier attempt
    assert task.state is S.fail_retryable
    retries.try_again(task, 1, 4.0)
    assert (task.state, task.attempt) == (S.ready, 2)


@pytest.mark.parametrize(
    ("cost", "failure", "end"),
    [
        (0.5, None, None),
        (2.0, None, ERROR),
        (float("nan"), None, ERROR),
        (0.0, Failure("KeyError"), Failure("KeyError")),
    ],
)
def test_a_retry_handler_decides(bench: Bench, cost: float, failure: Failure | None, end: Failure | None) -> None:
    retries = Retries(bench.effects, bench.transitions, bench.dispatch, limit=1)
    retries.set_handler(5, (0,), 0.0)
    task = bench.task(1, state=S.running)
    assert retries.attempt_failed(task, ERROR, "w", 1.0)
    assert bench.effects.replies == [(5, RequestRetryCost(1, 0, ERROR), [])]
    assert retries.expects_cost(task, 0)
    decision = retries.cost_received(task, RetryCost(1, 0, cost, failure), 2.0)
    assert decision == (None if end is None else FinalFailure(task, end, Signal.failed))
    assert not retries.expects_cost(task, 0)


def test_equal_calls_share_one_end(bench: Bench) -> None:
    functions = FunctionRegistry()
    memoized = MemoizedCalls(Memo(functions), bench.dependencies)
    leader, follower = bench.task(1), bench.task(2)
    assert memoized.look_up(leader, memoized_call(1)) is None
    assert memoized.look_up(follower, memoized_call(2)) is None
    assert follower.call is not None
    assert follower.call.leader is leader
    bench.transitions.restore(leader, S.exec_done)
    leader.value = StoredValue(b"v", [])
    shared = memoized.share(leader)
    assert shared is not None
    assert (shared.followers, shared.value, shared.failure) == ([follower], leader.value, None)
    assert memoized.look_up(bench.task(3), memoized_call(3)) is leader.value


@pytest.mark.parametrize("state", [S.failed, S.cancelled])
def test_followers_share_a_failure_and_outlive_a_cancelled_leader(bench: Bench, state: TaskState) -> None:
    memoized = MemoizedCalls(Memo(FunctionRegistry()), bench.dependencies)
    leader, followers = bench.task(1), [bench.task(2), bench.task(3)]
    for task in (leader, *followers):
        memoized.look_up(task, memoized_call(task.id))
    bench.transitions.restore(leader, state)
    leader.failure = ERROR
    shared = memoized.share(leader)
    assert shared is not None
    if state is S.failed:
        assert (shared.followers, shared.failure) == (followers, ERROR)
    else:
        assert (shared.followers, shared.failure) == (followers[:1], None)
        assert followers[1].call is not None
        assert followers[1].call.leader is followers[0]


def test_a_large_value_is_announced_by_its_size(bench: Bench) -> None:
    task = bench.task(1, state=S.exec_done)
    task.value = StoredValue(b"", [b"x" * 5000])
    assert resolution(task) == TaskResolved(1, S.exec_done, b"", 5000, None)
    task.value = StoredValue(b"small", [])
    assert resolution(task) == TaskResolved(1, S.exec_done, b"small", 0, None)
