"""Which tasks a returning manager goes on with, and which of them run again."""

from __future__ import annotations

from parslab.dataflow.resume.held_tasks import HeldTasks
from parslab.records.states import TaskState
from parslab.testing.fakes import call
from parslab.wire.messages.manager import HeldTask
from tests.unit.dataflow.graph.test_table import Graph


class Lost(Graph):
    """A restored table; each of its tasks was at a manager."""

    def __init__(self, count: int) -> None:
        super().__init__()
        for number in range(count):
            self.table.submit(0, call(number), [], "f")
        self.all = [self.table.tasks[number] for number in range(count)]
        self.held = HeldTasks(self.all, 100.0)

    def claimed(self, *held: HeldTask, executor: int = 0, now: float = 101.0) -> list[tuple[int, float]]:
        return [(task.id, since) for task, since in self.held.claim(executor, held, now)]


def test_a_manager_goes_on_with_what_it_has() -> None:
    lost = Lost(3)
    assert lost.claimed(HeldTask(2, 0, 5.0), HeldTask(0, 0, 0.0)) == [(2, 5.0), (0, 0.0)]
    assert [lost.held.holds(task) for task in lost.all] == [False, True, False]
    assert lost.held.returned == 2


def test_nobody_gets_a_task_twice() -> None:
    lost = Lost(1)
    assert lost.claimed(HeldTask(0, 0, 5.0)) == [(0, 5.0)]
    assert lost.claimed(HeldTask(0, 0, 5.0)) == []


def test_a_task_of_another_executor_or_attempt_and_an_unknown_one_are_refused() -> None:
    lost = Lost(2)
    assert lost.claimed(HeldTask(0, 0, 5.0), executor=1) == []
    assert lost.claimed(HeldTask(1, 1, 5.0), HeldTask(7, 0, 5.0)) == []
    assert len(lost.held) == 2


def test_a_task_that_was_cancelled_meanwhile_is_refused() -> None:
    lost = Lost(2)
    lost.table.cancel((1,), 100.5)
    assert lost.claimed(HeldTask(0, 0, 5.0), HeldTask(1, 0, 5.0)) == [(0, 5.0)]
    assert lost.held.expired() == []


def test_what_nobody_brings_back_runs_again_in_the_order_of_the_calls() -> None:
    lost = Lost(4)
    lost.claimed(HeldTask(1, 0, 5.0))
    lost.table.cancel((2,), 100.5)
    left = lost.held.expired()
    assert [(task.id, task.attempt) for task in left] == [(0, 1), (3, 1)]
    assert not any(lost.held.holds(task) for task in lost.all)
    assert lost.claimed(HeldTask(0, 0, 5.0)) == []


def test_a_task_that_nobody_needs_is_not_waited_for() -> None:
    lost = Lost(1)
    lost.held.give_up(lost.all[0])
    assert not lost.held
    assert lost.claimed(HeldTask(0, 0, 5.0)) == []


def test_a_retried_task_is_not_held_back() -> None:
    lost = Lost(1)
    lost.all[0].attempt = 1
    assert lost.all[0].state is TaskState.ready
    assert not lost.held.holds(lost.all[0])


def test_each_manager_gives_the_next_ones_time() -> None:
    lost = Lost(1)
    assert lost.held.deadline == 110.0
    lost.claimed(now=101.0)
    assert lost.held.deadline == 110.0
    lost.claimed(now=109.5)
    assert lost.held.deadline == 111.5
