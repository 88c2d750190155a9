"""The queue of an executor in MPI mode: order, claims, no oversubscription and no starvation."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parslab.dataflow.graph.task import NextAttempt, Task
from parslab.dataflow.high_throughput.mpi_scheduler import MpiScheduler
from parslab.dataflow.high_throughput.scheduler import ManagerSlot
from parslab.records.mpi import MpiNode, MpiSpec
from parslab.records.states import TaskState
from parslab.wire.messages.base import TaskSpec


class FakeTask(Task):
    """A task as the queue sees it."""

    def __init__(self, number: int, mpi: MpiSpec | None, priority: float | None = None) -> None:
        self.id = number
        self.attempt = 0
        self.fn = 0
        self.state = TaskState.ready
        self.spec = TaskSpec(priority=priority, mpi=mpi)
        self.worker: Any = None

    def __repr__(self) -> str:
        return f"task {self.id}"


def whole(nodes: int, ranks_per_node: int = 1) -> MpiSpec:
    return MpiSpec(nodes, nodes * ranks_per_node, ranks_per_node)


def shared(cores: int) -> MpiSpec:
    return MpiSpec(1, cores, cores, cores=cores)


class Bench:
    """A queue with the blocks that a test describes: the cores of the nodes of each."""

    def __init__(self, *blocks: list[int], workers: int = 100) -> None:
        self.nodes = {
            f"m{number}": [MpiNode(f"b{number}n{place}", cores) for place, cores in enumerate(block)]
            for number, block in enumerate(blocks)
        }
        self.queue: MpiScheduler[ManagerSlot] = MpiScheduler(lambda slot: self.nodes[slot.name])
        self.slots = {name: ManagerSlot(name, name[1:], workers, 0.0) for name in self.nodes}
        for slot in self.slots.values():
            self.queue.add(slot)
        self.tasks: dict[int, FakeTask] = {}

    def put(self, *specs: MpiSpec | None, priority: float | None = None) -> None:
        new = [FakeTask(len(self.tasks) + place, spec, priority) for place, spec in enumerate(specs)]
        self.tasks |= {task.id: task for task in new}
        self.queue.put(new)

    def assign(self) -> list[int]:
        sent = [task.id for _, tasks in self.queue.assign(0.0) for task in tasks]
        self.queue.check()
        return sent

    def end(self, *numbers: int) -> None:
        for number in numbers:
            slot = next(slot for slot in self.slots.values() if number in slot.inflight)
            assert self.queue.ended(slot, number, 1.0, 1.0) is self.tasks[number]
        self.queue.check()

    def running(self) -> list[int]:
        return [number for slot in self.slots.values() for number in slot.inflight]

    def names(self, number: int) -> tuple[str, ...]:
        placement = self.queue.placement(number)
        assert placement is not None
        return placement.nodes


def test_tasks_run_side_by_side_and_never_more_than_fit() -> None:
    bench = Bench([8])
    bench.put(*[shared(2)] * 6)
    assert bench.assign() == [0, 1, 2, 3]
    assert bench.assign() == []
    bench.end(1)
    assert bench.assign() == [4]
    assert bench.slots["m0"].load == 8


def test_a_worker_is_needed_too() -> None:
    bench = Bench([8], workers=2)
    bench.put(*[shared(1)] * 3)
    assert bench.assign() == [0, 1]
    assert bench.queue.why_waiting(bench.tasks[2]) == "waits for a worker: all run tasks"
    # Each task counts as half of the block, because a block is full with two of them.
    assert (bench.slots["m0"].size, bench.slots["m0"].load, bench.queue.wanted) == (8, 8, 4)


def test_a_large_task_claims_nodes_and_small_ones_run_beside_it() -> None:
    bench = Bench([2, 2, 2])
    bench.put(*[shared(1)] * 5)
    assert bench.assign() == [0, 1, 2, 3, 4]
    bench.put(whole(2), shared(1), shared(1))
    # Two nodes are kept for task 5: those with the fewest busy cores.  The third one has no room.
    assert bench.assign() == []
    bench.end(0)
    assert bench.names(1) == ("b0n0",)
    assert bench.assign() == []
    assert "waits for 2 whole nodes: the nearest (b0n0, b0n2) still miss 2 busy cores" in str(
        bench.queue.why_waiting(bench.tasks[5])
    )
    bench.end(2)
    assert bench.assign() == [6]
    bench.end(1, 4)
    assert bench.assign() == [5]
    assert bench.names(5) == ("b0n0", "b0n2")


@pytest.mark.parametrize("seed", range(20))
def test_no_stream_of_small_tasks_starves_a_large_one(seed: int) -> None:
    bench = Bench([4, 4, 4, 4])
    dice = random.Random(seed)
    bench.put(*[shared(1)] * 16)
    bench.assign()
    bench.put(whole(3, 4))
    large = 16
    kept = 0
    while large not in bench.running():
        bench.put(shared(1))
        # The claim only gets nearer: none of its cores is given to a later task.
        missing = int(str(bench.queue.why_waiting(bench.tasks[large])).split("still miss ")[1].split()[0])
        assert not kept or missing <= kept
        kept = missing
        bench.end(dice.choice(bench.running()))
        bench.assign()
    assert len(bench.running()) <= 5


def test_a_claim_does_not_move_between_equal_nodes() -> None:
    bench = Bench([2, 2])
    bench.put(*[shared(1)] * 4)
    assert bench.assign() == [0, 1, 2, 3]
    bench.put(whole(1))
    # Both nodes have two busy cores; then the second one has one, and keeps the claim while the first one has one, too.
    bench.end(2)
    assert bench.assign() == []
    bench.put(shared(1))
    bench.end(0)
    assert bench.assign() == [5]
    assert bench.names(5) == ("b0n0",)
    bench.end(3)
    assert bench.assign() == [4]
    assert bench.names(4) == ("b0n1",)


def test_priorities_come_first_then_the_order_of_submission() -> None:
    bench = Bench([1])
    bench.put(shared(1))
    bench.assign()
    bench.put(shared(1))
    bench.put(shared(1), priority=5)
    bench.put(shared(1), priority=-1)
    order = []
    for _ in range(3):
        bench.end(*bench.running())
        order += bench.assign()
    assert order == [3, 2, 1]


def test_a_task_that_is_tried_again_goes_in_front() -> None:
    bench = Bench([2])
    bench.put(whole(1), whole(1), whole(1))
    assert bench.assign() == [0]
    bench.end(0)
    bench.queue.put_again([NextAttempt(bench.tasks[0], "m0", False)], 1.0)
    assert bench.assign() == [0]


def test_a_large_block_is_filled_in_one_round() -> None:
    bench = Bench([1] * 600, workers=600)
    bench.put(*[whole(1)] * 601)
    assert len(bench.assign()) == 600


def test_a_round_does_not_look_at_all_tasks_that_wait() -> None:
    bench = Bench([2])
    bench.put(*[whole(1)] * 1000, *[shared(1)] * 1000)
    assert bench.assign() == [0]
    looks: list[int] = []

    class Watched(FakeTask):
        def __getattribute__(self, name: str) -> Any:
            if name == "state":
                looks.append(1)
            return super().__getattribute__(name)

    for task in bench.tasks.values():
        task.__class__ = Watched
    assert bench.queue.assign(0.0) == []
    assert bench.queue.unfit() == []
    assert len(looks) <= 10


def test_cancelled_tasks_are_not_wanted_any_more() -> None:
    bench = Bench([2])
    bench.put(*[whole(1)] * 4)
    bench.assign()
    for number in (2, 3):
        bench.tasks[number].state = TaskState.cancelled
    assert bench.queue.wanted == 2
    bench.tasks[1].state = TaskState.cancelled
    bench.assign()
    assert bench.queue.waiting == 0


def test_tasks_that_are_dropped_leave_the_others_in_order() -> None:
    bench = Bench([1])
    bench.put(*[shared(1), whole(1)] * 3)
    bench.queue.drop({0, 3})
    bench.queue.discard(bench.tasks[4])
    assert [task.id for task in bench.queue.take_all()] == [1, 2, 5]
    assert bench.queue.waiting == 0


def test_a_task_that_fits_on_no_block_is_found() -> None:
    bench = Bench([4, 4], [2])
    bench.put(whole(3), whole(2, 4), shared(4), shared(5), whole(1, 5))
    assert [task.id for task in bench.queue.unfit()] == [0, 3, 4]
    assert bench.queue.largest() == (2, 4)
    assert [task.id for task in MpiScheduler(lambda slot: []).unfit()] == []


def test_a_full_block_is_filled_before_another_one() -> None:
    bench = Bench([4], [4])
    bench.put(shared(1))
    first = bench.names(0) if bench.assign() else ()
    bench.put(shared(1), shared(2))
    bench.assign()
    assert bench.names(1) == bench.names(2) == first


def test_the_tasks_of_a_lost_manager_come_back_in_order() -> None:
    bench = Bench([2], [2])
    bench.put(*[whole(1)] * 3)
    assert bench.assign() == [0, 1]
    slot = bench.slots["m0"]
    held = bench.queue.remove(slot)
    bench.queue.put_back(held)
    assert bench.assign() == []
    del bench.slots["m0"]
    bench.end(1)
    assert bench.assign() == [0]


def test_held_and_draining_managers_get_nothing() -> None:
    bench = Bench([2], [2])
    bench.queue.hold(bench.slots["m0"], True)
    bench.queue.drain(bench.slots["m1"])
    bench.put(shared(1))
    assert bench.assign() == []
    assert bench.queue.why_waiting(bench.tasks[0]) == "waits because all blocks are held or leave"
    bench.queue.hold(bench.slots["m0"], False)
    assert bench.assign() == [0]
    assert bench.queue.why_waiting(bench.tasks[0]) is None


def test_returned_and_cancelled_tasks_leave_their_nodes() -> None:
    bench = Bench([2])
    bench.put(whole(1), whole(1), None)
    assert bench.assign() == [0]
    back = bench.queue.returned(bench.slots["m0"], [0, 7], 1.0)
    assert [task.id for task in back] == [0]
    bench.queue.put_back(back)
    bench.tasks[0].state = TaskState.cancelled
    assert bench.assign() == [1]
    bench.queue.discard(bench.tasks[2])
    assert bench.queue.waiting == 0
    assert bench.queue.take_all() == []


def test_the_transfer_of_a_file_takes_one_core() -> None:
    bench = Bench([2])
    bench.put(None, shared(1), shared(1))
    assert bench.assign() == [0, 1]


SPECS = st.one_of(st.builds(whole, st.integers(1, 4), st.integers(1, 4)), st.builds(shared, st.integers(1, 4)))


@settings(max_examples=60)
@example(blocks=[[1, 2, 4, 4]], specs=[whole(3, 2), shared(1)], workers=2, seed=0)
@given(
    blocks=st.lists(st.lists(st.integers(1, 4), min_size=1, max_size=4), min_size=1, max_size=3),
    specs=st.lists(SPECS, min_size=1, max_size=40),
    workers=st.integers(1, 6),
    seed=st.integers(0, 1000),
)
def test_every_task_that_fits_runs_once_and_the_first_in_line_is_never_passed_for_ever(
    blocks: list[list[int]], specs: list[MpiSpec], workers: int, seed: int
) -> None:
    bench = Bench(*blocks, workers=workers)
    dice = random.Random(seed)
    bench.put(*specs)
    for task in bench.queue.unfit():
        bench.queue.discard(task)
    left = bench.queue.waiting
    done: list[int] = []
    for _ in itertools.count():
        bench.assign()
        running = bench.running()
        if not running:
            break
        for slot in bench.slots.values():
            # Each task also counts for the part of the cores that its worker stands for.
            cores = sum(node.cores for node in bench.nodes[slot.name])
            assert slot.load <= cores + len(slot.inflight) * -(-cores // workers)
        ended = dice.choice(running)
        bench.end(ended)
        done.append(ended)
    assert sorted(done) == sorted(set(done))
    assert len(done) == left
    assert bench.queue.waiting == 0
