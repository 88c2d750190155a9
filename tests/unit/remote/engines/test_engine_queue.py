"""The queue of an engine: quick calls travel together, others alone, and some wait at the engine."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from parslab.dataflow.graph.task import Task
from parslab.records.states import TaskState
from parslab.remote.engines.queue import EngineBatch, EngineQueue
from parslab.testing.fakes import call

QUICK, SLOW = 0.0001, 1.0


def task(number: int, fn: int = 0) -> Task:
    made = Task(0, call(number, fn=fn), [], "app")
    made.state = TaskState.ready
    return made


class Wide:
    """Stands for a specification; ``demands`` below reads it."""

    def __init__(self, slots: int, limit: float) -> None:
        self.slots, self.limit = slots, limit


def demands(one: Any) -> tuple[int, float]:
    return one.spec.slots, one.spec.limit


def queue_of(workers: int, tasks: int, fn: int = 0) -> EngineQueue[Task]:
    queue: EngineQueue[Task] = EngineQueue(demands, workers)
    queue.put(task(n, fn) for n in range(tasks))
    return queue


def learn(queue: EngineQueue[Task], takes: float, fn: int = 0) -> None:
    batch: EngineBatch[Task] = EngineBatch(-1, [task(-1, fn)], 0, 0.0)
    assert queue.ended(batch, -1, takes) is not None


def numbers(batches: list[EngineBatch[Task]]) -> list[list[int]]:
    return [batch.places for batch in batches]


def test_calls_of_an_unknown_function_travel_alone() -> None:
    queue = queue_of(workers=2, tasks=10)
    assert numbers(queue.assign(0.0)) == [[0], [1], [2], [3]]  # two run, two wait at the engine
    assert len(queue.tasks) == 6
    assert queue.assign(0.0) == []


def test_quick_calls_travel_together_in_fair_shares() -> None:
    queue = queue_of(workers=2, tasks=10)
    learn(queue, QUICK)
    assert numbers(queue.assign(0.0)) == [[0, 1, 2], [3, 4, 5], [6, 7], [8, 9]]


def test_a_batch_is_no_longer_than_its_limit() -> None:
    queue = queue_of(workers=1, tasks=1000)
    learn(queue, 0.004)
    assert numbers(queue.assign(0.0)) == [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]


def test_a_slow_call_ends_a_batch_before_it() -> None:
    queue = queue_of(workers=1, tasks=0)
    learn(queue, QUICK, fn=0)
    learn(queue, SLOW, fn=1)
    queue.put([task(0), task(1), task(2, fn=1), task(3)])
    assert numbers(queue.assign(0.0)) == [[0, 1], [2]]


def test_cancelled_tasks_are_left_out() -> None:
    queue = queue_of(workers=1, tasks=3)
    learn(queue, QUICK)
    for one in list(queue.tasks)[:2]:
        one.state = TaskState.cancelled
    assert numbers(queue.assign(0.0)) == [[2]]


def test_a_task_with_a_limit_begins_at_once_or_waits() -> None:
    queue = queue_of(workers=2, tasks=3)
    queue.tasks[1].spec = Wide(1, 5.0)  # type: ignore[assignment]
    queue.tasks[2].spec = Wide(1, 5.0)  # type: ignore[assignment]
    first, second = queue.assign(0.0)
    assert numbers([first, second]) == [[0], [1]]
    queue.ended(first, 0, SLOW)
    assert queue.remove(first) == []
    assert numbers(queue.assign(0.0)) == [[2]]


def test_a_wide_task_occupies_several_workers() -> None:
    queue = queue_of(workers=3, tasks=3)
    queue.tasks[0].spec = Wide(2, 0.0)  # type: ignore[assignment]
    queue.tasks[1].spec = Wide(9, 0.0)  # type: ignore[assignment]
    (first,) = queue.assign(0.0)
    assert first.weight == 2
    queue.remove(first)
    second, third = queue.assign(0.0)
    assert second.weight == 3  # more than there are: all of them
    assert third.weight == 1


def test_tasks_that_have_not_begun_are_taken_back_in_order() -> None:
    queue = queue_of(workers=1, tasks=4)
    learn(queue, QUICK)
    batch = queue.assign(0.0)[0]
    assert batch.places == [0, 1]
    assert [one.id for one in queue.take_back(batch, range(1, 2))] == [1]
    assert queue.take_back(batch, range(1, 2)) == []
    assert queue.ended(batch, 1, QUICK) is None  # a late outcome
    assert [one.id for one in queue.remove(batch)] == [0]


class Engine(RuleBasedStateMachine):
    """Batches end in any order, fail, and give tasks back: each task ends once, and nothing waits for ever."""

    @initialize(workers=st.integers(1, 5))
    def begin(self, workers: int) -> None:
        self.queue: EngineQueue[Task] = EngineQueue(demands, workers)
        self.batches: list[EngineBatch[Task]] = []
        self.made = 0
        self.ended: list[int] = []

    @rule(
        count=st.integers(1, 40), fn=st.integers(0, 2), limit=st.sampled_from([None, 0.0, 3.0]), wide=st.integers(1, 7)
    )
    def arrive(self, count: int, fn: int, limit: float | None, wide: int) -> None:
        new = [task(self.made + n, fn) for n in range(count)]
        if limit is not None:
            new[0].spec = Wide(wide, limit)  # type: ignore[assignment]
        self.made += count
        self.queue.put(new)

    @rule()
    def give(self) -> None:
        self.batches += self.queue.assign(0.0)

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), takes=st.sampled_from([QUICK, 0.003, SLOW]))
    def end(self, data: st.DataObject, takes: float) -> None:
        batch = self.batches.pop(data.draw(st.integers(0, len(self.batches) - 1)))
        begun = data.draw(st.integers(0, len(batch.places)))
        for number in batch.places[:begun]:
            if self.queue.ended(batch, number, takes) is not None:
                self.ended.append(number)
        self.queue.put_back(self.queue.remove(batch))

    @invariant()
    def each_task_is_in_one_place(self) -> None:
        if not hasattr(self, "queue"):
            return
        waiting = [one.id for one in self.queue.tasks]
        there = [number for batch in self.batches for number in batch.tasks]
        assert sorted(waiting + there + self.ended) == list(range(self.made))
        assert self.queue.load == sum(batch.weight for batch in self.batches)
        assert self.queue.load <= max(self.queue.most, self.queue.workers)
        assert all(batch.tasks for batch in self.batches)

    def teardown(self) -> None:
        while self.queue.tasks or self.batches:
            self.batches += self.queue.assign(0.0)
            assert self.batches, "tasks wait, and nothing is at the engine"
            batch = self.batches.pop(0)
            for number in batch.places:
                if self.queue.ended(batch, number, QUICK) is not None:
                    self.ended.append(number)
            self.queue.remove(batch)
        assert sorted(self.ended) == list(range(self.made))


TestEngine = Engine.TestCase
TestEngine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
