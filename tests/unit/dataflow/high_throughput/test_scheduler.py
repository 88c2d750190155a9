"""The queue of a high-throughput executor: fair shares, room, priorities, wide tasks, and what a lost manager held."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, cast

import pytest

from parslab.dataflow.graph.task import NextAttempt, Task
from parslab.dataflow.high_throughput.scheduler import AHEAD, SELECTORS, ManagerSlot, Scheduler
from parslab.records.states import TaskState
from parslab.wire.messages.base import TaskSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

GB = 1 << 30


class FakeTask(Task):
    """A task as the queue sees it."""

    def __init__(self, number: int, fn: int = 0, spec: TaskSpec | None = None) -> None:
        self.id = number
        self.attempt = 0
        self.fn = fn
        self.state = TaskState.ready
        self.spec = spec
        self.worker: Any = None

    def __repr__(self) -> str:
        return f"task {self.id}"


def tasks(count: int, **options: Any) -> list[FakeTask]:
    return [FakeTask(n, **options) for n in range(count)]


def slot(name: str = "m", workers: int = 2, block: str = "0", **options: Any) -> ManagerSlot:
    return ManagerSlot(name, block, workers, 0.0, **options)


def dispatch(*slots: ManagerSlot, selector: str = "random", seed: int = 0) -> Scheduler[ManagerSlot]:
    made: Scheduler[ManagerSlot] = Scheduler(selector, random.Random(seed))
    for one in slots:
        made.add(one)
    return made


def given(queue: Scheduler[ManagerSlot], now: float = 0.0) -> dict[str, list[int]]:
    out = {s.name: [t.id for t in sent] for s, sent in queue.assign(now)}
    queue.check()
    return out


def finish(queue: Scheduler[ManagerSlot], one: ManagerSlot, *ids: int, took: float = 1.0, now: float = 1.0) -> None:
    for number in ids:
        assert queue.ended(one, number, took, now) is not None
    queue.check()


def learn(queue: Scheduler[ManagerSlot], one: ManagerSlot, took: float, fn: int = 0) -> None:
    """Let the queue see one call of a function."""
    queue.put([FakeTask(-1 - fn, fn=fn)])
    queue.assign(0.0)
    finish(queue, one, -1 - fn, took=took, now=0.0)


def test_an_unknown_function_goes_to_as_many_workers_as_there_are() -> None:
    one = slot(workers=3)
    queue = dispatch(one)
    queue.put(tasks(10))
    assert given(queue) == {"m": [0, 1, 2]}
    assert given(queue) == {}
    finish(queue, one, 1)
    assert given(queue) == {"m": [3]}
    assert queue.waiting == 6


def test_prefetch_lets_a_manager_hold_more() -> None:
    queue = dispatch(slot(workers=2, prefetch=3))
    queue.put(tasks(10))
    assert given(queue) == {"m": [0, 1, 2, 3, 4]}


def test_quick_functions_are_sent_ahead_for_a_while_and_no_longer() -> None:
    one = slot(workers=2)
    queue = dispatch(one)
    learn(queue, one, took=AHEAD / 10)
    queue.put(tasks(1000))
    sent = given(queue)["m"]
    assert len(sent) == pytest.approx(2 * 10, abs=2)
    finish(queue, one, *sent[:-1], took=AHEAD / 10)
    assert given(queue)["m"]  # refilled before it ran empty


def test_shares_are_fair() -> None:
    slots = [slot(f"m{n}", workers=8) for n in range(4)]
    queue = dispatch(*slots)
    queue.put(tasks(16))
    assert sorted(map(len, given(queue).values())) == [4, 4, 4, 4]


def test_what_one_manager_cannot_take_the_others_get() -> None:
    queue = dispatch(slot("small", workers=1), slot("large", workers=30))
    queue.put(tasks(31))
    assert {name: len(ids) for name, ids in given(queue).items()} == {"small": 1, "large": 30}


def test_random_selection_spreads_single_tasks() -> None:
    slots = [slot(f"m{n}", workers=4) for n in range(8)]
    queue = dispatch(*slots)
    for task in tasks(16):
        queue.put([task])
        given(queue)
    assert sum(bool(s.inflight) for s in slots) > 5


def test_block_id_packs_the_oldest_block_so_that_others_can_drain() -> None:
    slots = [slot(f"m{n}", workers=2, block=str(n)) for n in (10, 2, 1)]
    queue = dispatch(*slots, selector="block_id")
    queue.put(tasks(3))
    assert given(queue) == {"m1": [0, 1], "m2": [2]}


def test_round_robin_takes_turns() -> None:
    slots = [slot(f"m{n}", workers=10) for n in range(3)]
    queue = dispatch(*slots, selector="round_robin")
    order = []
    for task in tasks(9):
        queue.put([task])
        order += list(given(queue))
    assert order[:3] * 3 == order
    assert set(order) == {"m0", "m1", "m2"}


def test_smaller_priorities_go_first_and_none_goes_last() -> None:
    one = slot(workers=1)
    queue = dispatch(one)
    specs = [None, TaskSpec(priority=5), TaskSpec(priority=1), TaskSpec(priority=5), None]
    queue.put([FakeTask(n, spec=spec) for n, spec in enumerate(specs)])
    order = []
    while sent := given(queue):
        order += sent["m"]
        finish(queue, one, *sent["m"])
    assert order == [2, 1, 3, 0, 4]


def test_what_comes_back_goes_first_again() -> None:
    one = slot(workers=2)
    queue = dispatch(one)
    queue.put(tasks(4))
    given(queue)
    back = queue.returned(one, [0, 1], 0.0)
    queue.put_back(back)
    queue.check()
    assert given(queue) == {"m": [0, 1]}


def test_a_manager_that_gives_back_is_sent_no_more_ahead() -> None:
    one = slot(workers=1)
    queue = dispatch(one)
    learn(queue, one, took=0.0001)
    queue.put(tasks(50))
    sent = given(queue)["m"]
    assert len(sent) > 10
    queue.put_back(queue.returned(one, sent[1:], 0.0))
    assert given(queue) == {}
    assert queue.waiting == 49


def test_cancelled_tasks_are_not_sent() -> None:
    queue = dispatch(slot(workers=4))
    some = tasks(3)
    some[0].state = some[1].state = TaskState.cancelled
    queue.put(some)
    assert given(queue) == {"m": [2]}
    assert queue.waiting == 0


def test_held_and_draining_managers_get_nothing() -> None:
    held, draining, free = slot("held"), slot("draining"), slot("free", workers=1)
    queue = dispatch(held, draining, free)
    queue.hold(held, True)
    queue.drain(draining)
    queue.put(tasks(5))
    assert given(queue) == {"free": [0]}
    queue.hold(held, False)
    assert given(queue) == {"held": [1, 2]}


def test_a_lost_manager_gives_its_tasks_in_the_order_sent() -> None:
    one, other = slot("a", workers=3), slot("b", workers=1)
    queue = dispatch(one, other)
    queue.put(tasks(4))
    given(queue)
    held = list(one.inflight.values())
    assert queue.remove(one) == held
    queue.check()
    assert all(task.worker is None for task in held)
    assert queue.ended(one, held[0].id, 1.0, 0.0) is None  # late


def test_outcomes_that_come_twice_are_nobodys() -> None:
    one = slot()
    queue = dispatch(one)
    queue.put(tasks(1))
    given(queue)
    finish(queue, one, 0)
    assert queue.ended(one, 0, 1.0, 2.0) is None


def test_idle_since_is_when_the_last_task_ended() -> None:
    one = slot(workers=2)
    queue = dispatch(one)
    assert one.idle_since == 0.0
    queue.put(tasks(2))
    given(queue)
    assert one.idle_since is None
    finish(queue, one, 0, now=3.0)
    assert one.idle_since is None
    finish(queue, one, 1, now=4.0)
    assert one.idle_since == 4.0


class TestWide:
    """Tasks that ask for more than one worker's share."""

    def node(self, name: str = "n", workers: int = 4) -> ManagerSlot:
        return slot(name, workers, cores=8, memory=32 * GB, accelerators=2)

    @pytest.mark.parametrize(
        ("spec", "places"),
        [
            (TaskSpec(cores=1), 1),
            (TaskSpec(cores=2), 1),
            (TaskSpec(cores=3), 2),
            (TaskSpec(cores=8), 4),
            (TaskSpec(cores=9), 5),
            (TaskSpec(memory=8 * GB), 1),
            (TaskSpec(memory=9 * GB), 2),
            (TaskSpec(memory=33 * GB), 5),
            (TaskSpec(gpus=1), 2),
            (TaskSpec(gpus=2, cores=1), 4),
            (TaskSpec(gpus=3), 5),
        ],
    )
    def test_places(self, spec: TaskSpec, places: int) -> None:
        assert self.node().places(spec) == places

    def test_takes_as_many_places(self) -> None:
        one = self.node()
        queue = dispatch(one)
        queue.put([FakeTask(0, spec=TaskSpec(cores=6)), *[FakeTask(n) for n in range(1, 4)]])
        assert given(queue) == {"n": [0, 1]}
        finish(queue, one, 0)
        assert given(queue) == {"n": [2, 3]}

    def test_a_node_is_kept_free_until_it_fits(self) -> None:
        one = self.node()
        queue = dispatch(one)
        queue.put([FakeTask(n) for n in range(3)])
        given(queue)
        queue.put([FakeTask(9, spec=TaskSpec(cores=8)), FakeTask(10)])
        assert given(queue) == {}  # the free place is not given to task 10
        finish(queue, one, 0, 1)
        assert given(queue) == {}
        finish(queue, one, 2)
        assert given(queue) == {"n": [9]}
        finish(queue, one, 9)
        assert given(queue) == {"n": [10]}

    def test_a_booking_ends_when_its_task_is_cancelled(self) -> None:
        one = self.node()
        queue = dispatch(one)
        queue.put([FakeTask(0)])
        given(queue)
        wide = FakeTask(9, spec=TaskSpec(cores=8))
        queue.put([wide])
        assert given(queue) == {}
        wide.state = TaskState.cancelled
        queue.put([FakeTask(1)])
        assert given(queue) == {"n": [1]}

    def test_other_nodes_go_on(self) -> None:
        queue = dispatch(self.node("a"), self.node("b"))
        queue.put([FakeTask(n) for n in range(8)])
        given(queue)
        queue.put([FakeTask(9, spec=TaskSpec(cores=8)), FakeTask(10)])
        assert given(queue) == {}
        booked = next(s for s in queue.slots.values() if s.booked is not None)
        other = next(s for s in queue.slots.values() if s.booked is None)
        finish(queue, other, next(iter(other.inflight)))
        assert given(queue) == {other.name: [10]}
        finish(queue, booked, *booked.inflight)
        assert given(queue) == {booked.name: [9]}

    def test_what_fits_nowhere_is_named(self) -> None:
        queue = dispatch()
        wide = FakeTask(0, spec=TaskSpec(cores=64))
        queue.put([wide])
        assert queue.unfit() == []  # a larger node may still come
        queue.add(self.node())
        assert given(queue) == {}
        assert queue.unfit() == [wide]
        queue.discard(wide)
        assert queue.waiting == 0


def test_the_cost_of_a_choice_does_not_grow_with_the_managers() -> None:
    """Counted, not timed: how many managers are looked at for one task."""
    slots = [slot(f"m{n}", workers=32) for n in range(2048)]
    queue = dispatch(*slots)
    looked_at = 0

    def counting(free: Sequence[ManagerSlot], count: int, dice: random.Random) -> int:
        nonlocal looked_at
        looked_at += 1
        return SELECTORS["random"](free, count, dice)

    queue._select = counting
    for task in tasks(100):
        queue.put([task])
        given(queue)
    assert looked_at == 100


@pytest.mark.parametrize("selector", sorted(SELECTORS))
@pytest.mark.parametrize("seed", range(15))
def test_every_task_is_given_once_whatever_happens(selector: str, seed: int) -> None:
    """Random arrivals, outcomes, returns, holds, losses and cancellations; the invariants hold after each."""
    dice = random.Random(seed)
    queue = dispatch(selector=selector, seed=seed)
    waiting: dict[int, FakeTask] = {}
    ended: set[int] = set()
    made = 0
    for step in range(400):
        now = float(step)
        chance = dice.random()
        slots = list(queue.slots.values())
        busy = [s for s in slots if s.inflight]
        if chance < 0.1 and len(slots) < 6:
            name = f"m{step}"
            node = slot(name, dice.choice((1, 2, 8)), str(step), cores=8, memory=GB, prefetch=dice.choice((0, 2)))
            queue.add(node)
        elif chance < 0.15 and slots:
            lost = queue.remove(dice.choice(slots))
            queue.put_back(lost)
        elif chance < 0.2 and slots:
            queue.hold(dice.choice(slots), dice.random() < 0.4)
        elif chance < 0.5:
            for _ in range(dice.randrange(8)):
                spec = dice.choice(
                    (None, None, TaskSpec(priority=dice.randrange(3)), TaskSpec(cores=dice.choice((1, 4, 8))))
                )
                waiting[made] = FakeTask(made, fn=dice.randrange(3), spec=spec)
                queue.put([waiting[made]])
                made += 1
        elif chance < 0.55 and waiting:
            task = dice.choice(list(waiting.values()))
            task.state = TaskState.cancelled
            if task.worker is None:
                waiting.pop(task.id)
        elif chance < 0.6 and busy:
            one = dice.choice(busy)
            back = queue.returned(one, dice.sample(list(one.inflight), 1), now)
            queue.put_back([t for t in back if t.state is TaskState.ready])
            for t in back:
                if t.state is not TaskState.ready:
                    waiting.pop(t.id)
        elif busy:
            one = dice.choice(busy)
            number = dice.choice(list(one.inflight))
            assert queue.ended(one, number, dice.choice((1e-4, 0.01, 3.0)), now) is waiting.pop(number)
            assert number not in ended
            ended.add(number)
        for one, sent in queue.assign(now):
            assert one.usable
            for given_out in sent:
                assert given_out.worker is one
                assert one.inflight[given_out.id] is given_out
        queue.check()
    queue.add(slot("last", 50, "999", cores=8, memory=GB))
    for one in queue.slots.values():
        queue.hold(one, False)
    while rest := queue.assign(0.0):
        for one, some in rest:
            for left_over in some:
                assert left_over.state is TaskState.ready
                waiting.pop(left_over.id)
                queue.ended(one, left_over.id, 0.001, 0.0)
        queue.check()
    left = [t for t in waiting.values() if t.state is TaskState.ready and t.worker is None]
    assert left == []


def again(*some: FakeTask, by: str = "m", lost: bool = True) -> list[NextAttempt]:
    return [NextAttempt(cast("Any", task), by, lost) for task in some]


def test_what_is_tried_again_goes_first() -> None:
    one = slot(workers=2)
    queue = dispatch(one)
    queue.put(tasks(10))
    retried = [FakeTask(20), FakeTask(21)]
    queue.put_again(again(*retried, by="gone"), 0.0)
    assert queue.waiting == 12
    assert given(queue) == {"m": [20, 21]}
    finish(queue, one, 20, 21)
    assert given(queue) == {"m": [0, 1]}


def test_priorities_are_kept_by_what_is_tried_again() -> None:
    queue = dispatch(slot(workers=1))
    urgent = FakeTask(1, spec=TaskSpec(priority=1.0))
    other = FakeTask(2, spec=TaskSpec(priority=1.0))
    queue.put([FakeTask(0), urgent])
    queue.put_again(again(FakeTask(3), other), 0.0)
    order = []
    for _ in range(4):
        (sent,) = given(queue).values()
        order += sent
        finish(queue, queue.slots["m"], *sent)
    assert order == [2, 1, 3, 0]


def test_what_is_tried_again_goes_to_another_manager() -> None:
    for seed in range(20):
        queue = dispatch(slot("m"), slot("n"), seed=seed)
        queue.put_again(again(FakeTask(0), by="m", lost=False), 0.0)
        assert given(queue) == {"n": [0]}


def test_what_a_machine_has_lost_waits_a_while_for_another_one() -> None:
    full = slot("n", workers=1)
    queue = dispatch(full)
    queue.put(tasks(1))
    given(queue)
    queue.add(slot("m", workers=2))
    retried, raised = FakeTask(1), FakeTask(2)
    queue.put_again(again(retried, by="m"), 0.0)
    assert given(queue) == {}
    queue.put([FakeTask(3)])
    assert given(queue) == {"m": [3]}  # the place is not kept free meanwhile
    queue.put_again(again(raised, by="m", lost=False), 0.0)
    assert given(queue) == {"m": [2]}  # an error of its own is most likely not the machine's
    finish(queue, queue.slots["m"], 2, 3)
    assert given(queue, now=1.0) == {}
    assert given(queue, now=6.0) == {"m": [1]}


def test_the_only_manager_gets_it_again_at_once() -> None:
    queue = dispatch(slot("m"), slot("n"))
    queue.hold(queue.slots["n"], True)
    queue.put_again(again(FakeTask(0), by="m"), 0.0)
    assert given(queue) == {"m": [0]}


def test_what_is_cancelled_before_it_is_tried_again_is_dropped() -> None:
    queue = dispatch(slot("m"))
    gone, there = FakeTask(0), FakeTask(1)
    queue.put_again(again(gone, there), 0.0)
    gone.state = TaskState.cancelled
    assert given(queue) == {"m": [1]}
    queue.put_again(again(FakeTask(2)), 0.0)
    assert [task.id for task in queue.take_all()] == [2]
    assert queue.waiting == 0


def test_a_manager_comes_back_with_tasks() -> None:
    one = slot(workers=2, cores=4)
    queue = dispatch(one)
    plain, wide = FakeTask(1), FakeTask(2, spec=TaskSpec(cores=2))
    queue.adopt(one, plain)
    queue.check()
    assert one.idle_since is None
    queue.adopt(one, wide)
    queue.check()
    # It is full now, as if it had got them from this queue.
    queue.put(tasks(1))
    assert given(queue) == {}
    finish(queue, one, 2, 1)
    assert given(queue) == {"m": [0]}
