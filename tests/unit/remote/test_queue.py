"""The queue of a low-latency executor: fair, never far ahead, and never ignorant for long of what runs."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from parslab.dataflow.graph.task import Task
from parslab.records.states import TaskState
from parslab.remote.pool.queue import AHEAD, PROBE_AFTER, PoolQueue, WorkerSlot, not_begun
from parslab.testing.fakes import call

SHORT, LONG = 0.0001, 1.0


def task(number: int, fn: int = 0) -> Task:
    made = Task(0, call(number, fn=fn), [], "app")
    made.state = TaskState.ready
    return made


def queue_of(workers: int, tasks: int, fn: int = 0) -> PoolQueue[Task]:
    queue: PoolQueue[Task] = PoolQueue()
    for n in range(workers):
        queue.add(WorkerSlot(f"w{n}", 0.0))
    queue.tasks.extend(task(n, fn) for n in range(tasks))
    return queue


def shares(queue: PoolQueue[Task], now: float = 0.0) -> dict[str, list[int]]:
    return {slot.name: [t.id for t in tasks] for slot, tasks in queue.assign(now)}


def learn(queue: PoolQueue[Task], takes: float, fn: int = 0) -> None:
    """Let the queue know how long a function takes."""
    slot: WorkerSlot[Task] = WorkerSlot("teacher", 0.0)
    slot.inflight[-1] = task(-1, fn)
    queue.ended(slot, -1, takes, 0.0)


# --- who gets what ---------------------------------------------------------------------------------------------------


def test_nothing_to_do() -> None:
    assert shares(queue_of(2, 0)) == {}
    assert shares(queue_of(0, 3)) == {}
    assert queue_of(2, 0).next_deadline() is None


def test_an_unknown_function_is_given_one_at_a_time() -> None:
    queue = queue_of(2, 5)
    assert shares(queue) == {"w0": [0], "w1": [1]}
    assert shares(queue) == {}
    assert len(queue.tasks) == 3


def test_short_tasks_are_given_ahead_but_not_far() -> None:
    queue = queue_of(1, 1000)
    learn(queue, SHORT)
    given = shares(queue)["w0"]
    assert given == list(range(len(given)))
    assert len(given) == round(AHEAD / SHORT)


def test_very_short_tasks_are_bounded_in_number() -> None:
    queue = queue_of(1, 5000)
    learn(queue, 0.0)
    assert len(shares(queue)["w0"]) == 512
    assert shares(queue) == {}


def test_a_long_task_is_never_followed_by_one_ahead() -> None:
    queue = queue_of(1, 5)
    learn(queue, LONG)
    assert shares(queue) == {"w0": [0]}


def test_tasks_of_ten_milliseconds_have_one_waiting() -> None:
    queue = queue_of(1, 5)
    learn(queue, 0.01)
    assert shares(queue) == {"w0": [0, 1]}
    assert shares(queue) == {}
    (slot,) = queue.slots
    queue.ended(slot, 0, 0.01, 0.01)
    assert shares(queue, 0.01) == {"w0": [2]}  # before the worker has to wait for it


def test_few_short_tasks_are_shared_evenly() -> None:
    queue = queue_of(3, 8)
    learn(queue, SHORT)
    assert sorted(len(tasks) for tasks in shares(queue).values()) == [2, 3, 3]


def test_the_emptiest_worker_is_served_first() -> None:
    queue = queue_of(2, 0)
    learn(queue, SHORT)
    queue.tasks.extend(task(n) for n in range(4))
    assert len(shares(queue)) == 2
    first, second = queue.slots
    for number in list(first.inflight):
        queue.ended(first, number, SHORT, 0.1)
    queue.tasks.append(task(9))
    assert shares(queue, 0.1) == {first.name: [9]}
    assert second.inflight


def test_a_worker_that_is_being_stopped_gets_nothing() -> None:
    queue = queue_of(2, 2)
    queue.slots[0].usable = False
    assert shares(queue) == {"w1": [0]}


def test_cancelled_tasks_are_skipped() -> None:
    queue = queue_of(1, 3)
    queue.tasks[0].state = queue.tasks[1].state = TaskState.cancelled
    assert shares(queue) == {"w0": [2]}
    assert not queue.tasks


def test_a_function_that_turned_slow_is_noticed() -> None:
    queue = queue_of(1, 100)
    learn(queue, SHORT)
    (slot,) = queue.slots
    for _ in range(100):
        queue.assign(0.0)
        for number in list(slot.inflight):
            queue.ended(slot, number, LONG, 0.0)
    queue.tasks.extend(task(n) for n in range(200, 210))
    assert len(shares(queue)["w0"]) == 1


# --- what comes back -------------------------------------------------------------------------------------------------


def test_an_outcome_that_nobody_waits_for_is_none() -> None:
    queue = queue_of(1, 1)
    queue.assign(0.0)
    (slot,) = queue.slots
    assert queue.ended(slot, 0, LONG, 1.0) is not None
    assert queue.ended(slot, 0, LONG, 1.0) is None
    assert queue.ended(slot, 99, LONG, 1.0) is None


def test_tasks_given_back_are_next_and_in_order() -> None:
    queue = queue_of(1, 100)
    learn(queue, SHORT)
    given = shares(queue)["w0"]
    (slot,) = queue.slots
    back = queue.reported(slot, given[0], given[1:], PROBE_AFTER)
    assert [t.id for t in back] == given[1:]
    assert [t.id for t in queue.tasks] == list(range(1, 100))
    assert all(t.worker is None for t in back)
    assert list(slot.inflight) == [given[0]]


def test_a_worker_in_a_long_task_is_given_nothing_more() -> None:
    queue = queue_of(2, 50)
    learn(queue, SHORT)
    queue.assign(0.0)
    first, second = queue.slots
    queue.reported(first, min(first.inflight), list(first.inflight)[1:], PROBE_AFTER)
    for number in list(second.inflight):
        queue.ended(second, number, SHORT, PROBE_AFTER)
    assert set(shares(queue, PROBE_AFTER)) == {"w1"}


def test_a_worker_that_left_hands_over_what_it_held() -> None:
    queue = queue_of(1, 30)
    learn(queue, SHORT)
    queue.assign(0.0)
    (slot,) = queue.slots
    held = queue.remove(slot)
    assert [t.id for t in held] == list(range(len(held)))
    assert not slot.inflight
    assert queue.remove(slot) == []
    assert queue.ended(slot, 0, SHORT, 1.0) is None


def test_what_a_dead_worker_had_not_begun() -> None:
    held = [task(n) for n in (5, 6, 7)]
    assert not_begun(held, 5) == held[1:]
    assert not_begun(held, -1 - 5) == held[1:]
    assert not_begun(held, 7) == []
    assert not_begun(held, 3) == held  # the task that it had before was reported
    assert not_begun(held, -1 << 62) == held  # it never began anything
    assert not_begun(held, None) == []
    assert not_begun([], 5) == []
    held[0].attempt = 1  # its first attempt was begun, and has failed, here
    assert not_begun(held, -1 - 5, 0) == held
    assert not_begun(held, -1 - 5, 1) == held[1:]


# --- looks -----------------------------------------------------------------------------------------------------------


def test_a_silent_worker_is_looked_at_once() -> None:
    queue = queue_of(2, 1)
    queue.assign(10.0)
    (slot,) = [s for s in queue.slots if s.inflight]
    assert queue.next_deadline() == 10.0 + PROBE_AFTER
    assert queue.silent_workers(10.0 + PROBE_AFTER / 2) == []
    assert queue.silent_workers(10.0 + PROBE_AFTER) == [slot]
    assert queue.silent_workers(11.0) == []
    assert queue.next_deadline() is None


def test_the_deadline_that_was_named_is_kept() -> None:
    """The difference of two times was compared, the sum was announced: rounding made the loop spin."""
    for n in range(2000):
        queue = queue_of(1, 1)
        queue.assign(1.7e9 + n / 977)
        due = queue.next_deadline()
        assert due is not None
        assert queue.silent_workers(due)


def test_an_outcome_ends_the_silence() -> None:
    queue = queue_of(1, 100)
    learn(queue, SHORT)
    queue.assign(0.0)
    (slot,) = queue.slots
    queue.silent_workers(PROBE_AFTER)
    queue.ended(slot, 0, SHORT, 0.2)
    assert queue.next_deadline() == 0.2 + PROBE_AFTER


def test_a_worker_that_gave_everything_back_is_looked_at_again() -> None:
    """Asked while it was starting it answered before its first task, and nobody learnt that the task ran."""
    queue = queue_of(1, 1)
    queue.assign(0.0)
    (slot,) = queue.slots
    assert queue.silent_workers(PROBE_AFTER) == [slot]
    queue.reported(slot, -1, [0], 0.1)
    assert shares(queue, 0.1) == {"w0": [0]}
    assert queue.next_deadline() == 0.1 + PROBE_AFTER


def test_a_worker_asked_between_two_tasks_is_asked_again() -> None:
    queue = queue_of(1, 1)
    queue.assign(0.0)
    (slot,) = queue.slots
    queue.silent_workers(PROBE_AFTER)
    queue.reported(slot, -1, [], 0.1)  # the task is in its socket still
    assert list(slot.inflight) == [0]
    assert queue.next_deadline() == 0.1 + PROBE_AFTER


def test_a_worker_known_to_run_is_left_in_peace() -> None:
    queue = queue_of(1, 1)
    queue.assign(0.0)
    (slot,) = queue.slots
    queue.silent_workers(PROBE_AFTER)
    queue.reported(slot, 0, [], 0.1)
    assert queue.next_deadline() is None


# --- any order -------------------------------------------------------------------------------------------------------


class QueueMachine(RuleBasedStateMachine):
    """Workers that come, answer, give back and die; a task is in the queue or at one worker, in one place."""

    @initialize()
    def begin(self) -> None:
        self.queue: PoolQueue[Task] = PoolQueue()
        self.now = 0.0
        self.made: list[Task] = []
        self.out: set[int] = set()
        """Tasks that have ended or were failed with their worker."""
        self.workers = 0

    @rule(seconds=st.sampled_from([0.0, 0.0001, 0.01, PROBE_AFTER, 1.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(count=st.integers(1, 40), fn=st.integers(0, 2))
    def submitted(self, count: int, fn: int) -> None:
        for _ in range(count):
            self.made.append(task(len(self.made), fn))
            self.queue.tasks.append(self.made[-1])

    @rule()
    def worker_came(self) -> None:
        if self.workers < 5:
            self.queue.add(WorkerSlot(f"w{self.workers}", self.now))
            self.workers += 1

    @rule()
    def assigned(self) -> None:
        before = [t.id for t in self.queue.tasks if t.state is TaskState.ready]
        given = self.queue.assign(self.now)
        for slot, tasks in given:
            assert tasks
            assert all(t.worker is slot for t in tasks)
            assert list(slot.inflight.values())[-len(tasks) :] == tasks
            for each in tasks:
                each.state = TaskState.launched
        # Whatever left the queue went to a worker, from the front on.
        gone = sorted(t.id for _, tasks in given for t in tasks)
        assert gone == sorted(before[: len(gone)])

    def busy(self) -> list[WorkerSlot[Task]]:
        return [slot for slot in self.queue.slots if slot.inflight]

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), takes=st.sampled_from([0.0, 0.0001, 0.01, 2.0]))
    def ended(self, data: st.DataObject, takes: float) -> None:
        slot = data.draw(st.sampled_from(self.busy()))
        number = next(iter(slot.inflight))
        there = self.queue.ended(slot, number, takes, self.now)
        assert there is self.made[number]
        self.out.add(number)

    @precondition(lambda self: self.busy())
    @rule(data=st.data(), begun=st.booleans())
    def gave_back(self, data: st.DataObject, begun: bool) -> None:
        slot = data.draw(st.sampled_from(self.busy()))
        numbers = list(slot.inflight)
        running = numbers[0] if begun else -1
        back = self.queue.reported(slot, running, numbers[1:] if begun else numbers, self.now)
        for each in back:
            each.state = TaskState.ready
        assert [t.id for t in self.queue.tasks][: len(back)] == [t.id for t in back]

    @precondition(lambda self: self.queue.slots)
    @rule(data=st.data(), page=st.integers(-50, 50))
    def died(self, data: st.DataObject, page: int) -> None:
        slot = data.draw(st.sampled_from(self.queue.slots))
        held = self.queue.remove(slot)
        again = not_begun(held, page)
        self.out |= {t.id for t in held} - {t.id for t in again}
        for each in again:
            each.worker, each.state = None, TaskState.ready
        self.queue.tasks.extendleft(reversed(again))

    @precondition(lambda self: self.queue.tasks)
    @rule(data=st.data())
    def cancelled_in_the_queue(self, data: st.DataObject) -> None:
        there = data.draw(st.sampled_from(list(self.queue.tasks)))
        there.state = TaskState.cancelled

    @rule()
    def probed(self) -> None:
        for slot in self.queue.silent_workers(self.now):
            assert self.now >= slot.last_seen + PROBE_AFTER
        due = self.queue.next_deadline()
        assert due is None or due > self.now

    @invariant()
    def one_place_each(self) -> None:
        if not hasattr(self, "queue"):
            return
        places: list[Any] = [t.id for t in self.queue.tasks]
        for slot in self.queue.slots:
            places += slot.inflight
            assert slot.expected >= 0.0
            assert len(slot.inflight) <= 512
        assert len(places) == len(set(places))
        everywhere = set(places) | self.out
        lost = {t.id for t in self.made} - everywhere
        assert all(self.made[number].state is TaskState.cancelled for number in lost)
        assert not self.out & set(places)


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=80, stateful_step_count=40)
