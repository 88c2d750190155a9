"""Tasks with software of their own: they share the ranks of a pool with all others, and none waits for ever."""

from __future__ import annotations

import itertools

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from parslab.dataflow.graph.task import Task
from parslab.records.software import Software
from parslab.records.states import TaskState
from parslab.remote.pool.queue import PROBE_AFTER, PoolQueue, WorkerSlot, not_begun
from parslab.remote.pool.software_slots import IDLE, SoftwareSlots
from parslab.testing.fakes import call
from parslab.wire.messages.base import TaskSpec

OLD, NEW = Software(("tiny<2",)), Software(("tiny>=2",))


class Bench:
    """A queue and its workers, which are only objects here."""

    def __init__(self, ranks: int) -> None:
        self.ready: dict[Software, bool | None] = {}
        self.refused: list[int] = []
        self.started: list[WorkerSlot[Task]] = []
        self.stopped: list[WorkerSlot[Task]] = []
        self.starts = True
        self.now = 0.0
        self._numbers = itertools.count()
        self.slots: SoftwareSlots[Task] = SoftwareSlots(lambda task: task.spec.software if task.spec else None, self)
        self.queue: PoolQueue[Task] = PoolQueue(self.demands, self.slots)
        for rank in range(ranks):
            self.queue.add(WorkerSlot(f"w{rank}", 0.0, rank))

    @staticmethod
    def demands(task: Task) -> tuple[int, float]:
        assert task.spec is not None
        return max(1, int(task.spec.cores)), task.spec.max_run_time

    # ----- SoftwareWorkers

    def is_ready(self, software: Software) -> bool | None:
        return self.ready.get(software, True)

    def refuse(self, task: Task, software: Software) -> None:
        task.state = TaskState.failed
        self.refused.append(task.id)

    def start(self, software: Software, rank: int) -> WorkerSlot[Task] | None:
        if not self.starts:
            return None
        self.started.append(WorkerSlot(f"s{len(self.started)}", self.now, rank, software))
        return self.started[-1]

    def stop(self, slot: WorkerSlot[Task]) -> None:
        assert not slot.inflight
        self.stopped.append(slot)

    # ----- tasks

    def put(self, *kinds: Software | None, cores: float = 0.0) -> list[Task]:
        made = []
        for kind in kinds:
            task = Task(0, call(0, fn=0 if kind is None else hash(kind) % 100 + 1), [], "app")
            task.id = next(self._numbers)
            task.spec = None if kind is None and not cores else TaskSpec(software=kind, cores=cores)
            task.state = TaskState.ready
            made.append(task)
        self.queue.put(made)
        return made

    def assign(self) -> list[str]:
        given = self.queue.assign(self.now)
        for _, tasks in given:
            for task in tasks:
                task.state = TaskState.launched
        return [slot.name for slot, tasks in given for _ in tasks]

    def end(self, slot: WorkerSlot[Task], takes: float = 1.0) -> None:
        self.queue.ended(slot, next(iter(slot.inflight)), takes, self.now)

    def everybody(self) -> list[WorkerSlot[Task]]:
        return [*self.queue.slots, *self.slots.slots]

    def busy(self) -> list[WorkerSlot[Task]]:
        return [slot for slot in self.everybody() if slot.inflight]


def test_a_task_with_software_takes_a_rank_from_the_plain_worker() -> None:
    bench = Bench(1)
    bench.put(OLD, None)
    assert bench.assign() == ["s0"]
    assert bench.assign() == []
    bench.end(bench.started[0])
    assert bench.assign() == ["w0"]


def test_its_worker_is_kept_and_used_again() -> None:
    bench = Bench(2)
    for _ in range(3):
        bench.put(OLD)
        assert bench.assign() == ["s0"]
        bench.end(bench.started[0])
    assert len(bench.started) == 1


def test_a_special_task_behind_plain_ones_does_not_wait_for_a_round() -> None:
    bench = Bench(3)
    bench.put(None, OLD, None)
    assert sorted(bench.assign()) == ["s0", "w0", "w2"]


def test_kinds_that_alternate_keep_their_order_and_their_workers() -> None:
    bench = Bench(1)
    bench.put(*[OLD, NEW, None] * 4)
    order = []
    while bench.queue.tasks:
        order += bench.assign()
        bench.end(bench.busy()[0])
    assert order == ["s0", "s1", "w0"] * 4
    assert bench.stopped == []


def test_the_worker_that_was_idle_longest_makes_room() -> None:
    bench = Bench(1)
    kinds = [Software((f"tiny=={n}",)) for n in range(6)]
    for kind in kinds:
        bench.now += 1.0
        bench.put(kind)
        bench.assign()
        bench.end(bench.started[-1])
    assert [slot.name for slot in bench.stopped] == ["s0", "s1"]
    assert len(bench.slots.slots) == 4


def test_a_worker_that_is_idle_for_long_is_stopped() -> None:
    bench = Bench(1)
    bench.put(OLD)
    bench.assign()
    bench.queue.stop_unused(IDLE * 2)
    assert bench.stopped == []  # it has a task
    bench.end(bench.started[0])
    bench.queue.stop_unused(IDLE * 2)
    assert [slot.name for slot in bench.stopped] == ["s0"]


def test_tasks_whose_software_is_not_ready_are_overtaken_and_come_first_later() -> None:
    bench = Bench(1)
    bench.ready[OLD] = None
    bench.put(OLD, OLD, None, None)
    assert bench.assign() == ["w0"]
    bench.end(bench.queue.slots[0])
    bench.ready[OLD] = True
    bench.queue.unpark(OLD)
    assert bench.assign() == ["s0"]
    assert [task.id for task in bench.queue.tasks] == [1, 3]


def test_tasks_whose_software_cannot_be_had_are_refused() -> None:
    bench = Bench(1)
    bench.ready[OLD] = False
    bench.put(OLD, None, OLD)
    assert bench.assign() == ["w0"]
    bench.end(bench.queue.slots[0])
    bench.assign()
    assert bench.refused == [0, 2]


def test_parked_tasks_are_dropped_and_taken_with_the_others() -> None:
    bench = Bench(1)
    bench.ready[OLD] = None
    tasks = bench.put(OLD, OLD, OLD)
    bench.assign()
    bench.queue.drop({1})
    assert [task.id for task in bench.queue.take_all()] == [0, 2]
    assert tasks[0].state is TaskState.ready


def test_a_wide_task_with_software_reserves_its_ranks() -> None:
    bench = Bench(3)
    bench.put(OLD, cores=2)
    assert bench.assign() == ["s0"]
    assert [slot.reserved for slot in bench.queue.slots] == [0, 0, -1]
    bench.end(bench.started[0])
    assert [slot.reserved for slot in bench.queue.slots] == [-1, -1, -1]


def test_a_plain_worker_that_is_replaced_finds_its_rank_taken() -> None:
    bench = Bench(1)
    bench.put(OLD, None)
    bench.assign()
    bench.queue.remove(bench.queue.slots[0])
    bench.queue.add(WorkerSlot("w9", 0.0, 0))
    assert bench.assign() == []
    bench.end(bench.started[0])
    assert bench.assign() == ["w9"]


def test_a_task_that_is_given_back_frees_its_ranks() -> None:
    bench = Bench(2)
    (task,) = bench.put(OLD, cores=2)
    bench.assign()
    assert bench.queue.reported(bench.started[0], -1, [0], 0.0) == [task]
    assert [slot.reserved for slot in bench.queue.slots] == [-1, -1]


def test_workers_of_other_hosts_get_no_task_with_software() -> None:
    bench = Bench(0)
    bench.queue.add(WorkerSlot("remote", 0.0))
    bench.put(OLD)
    assert bench.assign() == []


# --- any order -------------------------------------------------------------------------------------------------------


class SoftwareMachine(RuleBasedStateMachine):
    """Tasks of three kinds on three ranks, whose workers and software come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.bench = Bench(3)
        self.made: list[Task] = []
        self.over: set[int] = set()
        self.plain = 3

    @rule(seconds=st.sampled_from([0.0001, PROBE_AFTER, IDLE + 1]))
    def time_passes(self, seconds: float) -> None:
        self.bench.now += seconds
        self.bench.queue.stop_unused(self.bench.now)

    @rule(kinds=st.lists(st.sampled_from([OLD, NEW, None]), min_size=1, max_size=8), cores=st.sampled_from([0, 0, 2]))
    def submitted(self, kinds: list[Software | None], cores: int) -> None:
        self.made += self.bench.put(*kinds, cores=cores)

    @rule(kind=st.sampled_from([OLD, NEW]), ready=st.sampled_from([True, False, None]))
    def software_changed(self, kind: Software, ready: bool | None) -> None:
        self.bench.ready[kind] = ready
        self.bench.queue.unpark(kind)

    @rule(starts=st.booleans())
    def starts_work(self, starts: bool) -> None:
        self.bench.starts = starts

    @rule()
    def assigned(self) -> None:
        self.bench.assign()
        self.over |= set(self.bench.refused)

    @precondition(lambda self: self.bench.busy())
    @rule(data=st.data(), takes=st.sampled_from([0.0001, 2.0]))
    def ended(self, data: st.DataObject, takes: float) -> None:
        slot = data.draw(st.sampled_from(self.bench.busy()))
        self.over.add(next(iter(slot.inflight)))
        self.bench.end(slot, takes)

    @precondition(lambda self: self.bench.busy())
    @rule(data=st.data())
    def gave_back(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.bench.busy()))
        for task in self.bench.queue.reported(slot, -1, list(slot.inflight), self.bench.now):
            task.state = TaskState.ready

    @precondition(lambda self: self.bench.everybody())
    @rule(data=st.data())
    def died(self, data: st.DataObject) -> None:
        slot = data.draw(st.sampled_from(self.bench.everybody()))
        held = self.bench.queue.remove(slot)
        again = not_begun(held, held[0].id if held else -1)
        self.over |= {task.id for task in held} - {task.id for task in again}
        for task in again:
            task.state = TaskState.ready
        self.bench.queue.put_back(again)
        if slot.software is None:
            self.bench.queue.add(WorkerSlot(f"w{self.plain}", self.bench.now, slot.rank))
            self.plain += 1

    @invariant()
    def one_busy_worker_a_rank(self) -> None:
        ranks = [slot.rank for slot in self.bench.busy()]
        assert len(ranks) == len(set(ranks))
        held = {number for slot in self.bench.busy() for number in slot.inflight}
        assert all(slot.reserved == -1 or slot.reserved in held for slot in self.bench.queue.slots)
        assert len(self.bench.slots.slots) <= 4
        assert not held & self.over

    def teardown(self) -> None:
        """Whatever has happened: with working software, every task ends."""
        self.bench.starts, self.bench.ready = True, {}
        for kind in (OLD, NEW):
            self.bench.queue.unpark(kind)
        for _ in range(4 * len(self.made) + 4):
            self.bench.assign()
            self.one_busy_worker_a_rank()
            for slot in self.bench.busy():
                self.over.add(next(iter(slot.inflight)))
                self.bench.end(slot)
        assert not self.bench.queue.tasks
        assert self.over == {task.id for task in self.made}


TestSoftware = SoftwareMachine.TestCase
TestSoftware.settings = settings(max_examples=80, stateful_step_count=40)
