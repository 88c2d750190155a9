"""Queues the tasks of a high-throughput executor and decides which manager gets which [core] ([HPDC19 §4.3.1]).

Time and the source of chance are arguments.  A manager may hold one task for each of its workers and ``prefetch`` more.
Of functions that are known to be quick it may hold more: enough to keep its workers busy for ``AHEAD`` seconds, so that
no worker waits for a round trip between two tasks.  A manager gives back what it cannot begin soon.

Rules:

- A manager with room is drawn in constant time, so the cost of a task does not grow with the number of managers.
- Tasks with a priority run before tasks without one; the smallest number runs first.
- A task that asks for more than one worker's share of a node takes several places of one manager.  The queue keeps that
  manager free until the task fits.
- A task that is retried runs before all others without a priority, on another manager than before if there is one.

Invariants: a task is queued or in the ``inflight`` of one manager, never both; ``load`` is the sum of the places of
what is in flight; a manager is in ``free`` exactly when it is usable, not booked and has room.
"""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

from parslab.records.states import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from parslab.dataflow.graph.task import NextAttempt, Task
    from parslab.wire.messages.base import TaskSpec

__all__ = ["AHEAD", "SELECTORS", "ManagerSlot", "Scheduler"]

SlotT = TypeVar("SlotT", bound="ManagerSlot")

AHEAD = 0.03
"""Seconds of work for each of its workers that a manager may hold beyond what they run."""
_MOST = 512
"""Tasks that a manager may hold for each worker."""
_CHUNK = 1e-3
"""Seconds of work that go to one manager rather than to several: a message costs more than the shortest tasks."""
_LOOKED_AT = 64
"""The most wide tasks that one round tries to place; it bounds the cost of a round."""
_ELSEWHERE = 5.0
"""Seconds that a task waits for another manager after it was lost with one, or failed on one that fails many tasks."""
_LONG = 1.0
"""Assumed seconds of a function whose first call has not ended: long, so that its calls are spread."""


class ManagerSlot:
    """One connected manager, as the queue sees it.

    Parameters
    ----------
    name, block
        Its name, and the id of the block that it belongs to.
    workers, prefetch
        How many tasks it runs at a time, and how many more it may hold.
    cores, memory, accelerators
        The resources that its workers share.
    now
        When it joined.
    """

    __slots__ = (
        "accelerators",
        "block",
        "booked",
        "capacity",
        "cores",
        "draining",
        "expected",
        "held",
        "idle_since",
        "inflight",
        "known",
        "last_seen",
        "load",
        "memory",
        "name",
        "place",
        "size",
        "turn",
        "workers",
    )

    def __init__(
        self,
        name: str,
        block: str,
        workers: int,
        now: float,
        *,
        prefetch: int = 0,
        cores: int = 0,
        memory: int = 0,
        accelerators: int = 0,
    ) -> None:
        self.name = name
        self.block = block
        self.workers = workers
        self.capacity = workers + prefetch
        self.size = workers
        """The places that it has; in MPI mode the cores of its block."""
        self.cores = cores
        self.memory = memory
        self.accelerators = accelerators
        self.inflight: dict[int, Task] = {}
        self.load = 0
        """Places that the tasks in flight take."""
        self.expected = 0.0
        """Seconds that the tasks in flight should take together."""
        self.last_seen = now
        """The time of its last message."""
        self.idle_since: float | None = now
        self.held = self.draining = False
        self.booked: Task | None = None
        """The wide task for which it is kept free."""
        self.place = -1
        """Its index in the list of managers with room; -1: it has no room."""
        self.turn = 0
        """A number that rises each time it gets tasks, for the selector ``round_robin``."""
        self.known: set[int] = set()
        """Functions that it was sent."""

    @property
    def usable(self) -> bool:
        """Return whether it takes new tasks."""
        return not (self.held or self.draining)

    def places(self, spec: TaskSpec) -> int:
        """Return how many places a task with this specification takes; more than ``workers`` if it never fits."""
        most = 1
        for asked, there in (
            (spec.cores, self.cores),
            (spec.memory, self.memory),
            (spec.gpus, self.accelerators),
        ):
            if asked:
                if asked > there:
                    return self.workers + 1
                most = max(most, math.ceil(asked * self.workers / there))
        return most


def _random(free: Sequence[ManagerSlot], count: int, dice: random.Random) -> int:
    return int(dice.random() * count)


def _block_id(free: Sequence[ManagerSlot], count: int, dice: random.Random) -> int:
    return min(range(count), key=lambda i: (_number(free[i].block), free[i].name))


def _round_robin(free: Sequence[ManagerSlot], count: int, dice: random.Random) -> int:
    return min(range(count), key=lambda i: free[i].turn)


def _number(block: str) -> int:
    return int(block) if block.isdigit() else 0


SELECTORS: dict[str, Callable[[Sequence[ManagerSlot], int, random.Random], int]] = {
    "random": _random,
    "block_id": _block_id,
    "round_robin": _round_robin,
}
"""How to choose the next manager with room: at random, from the oldest block so that other blocks can drain, or the one
that was served longest ago."""


class Scheduler(Generic[SlotT]):
    """The ready tasks and the managers of one executor.

    Parameters
    ----------
    selector
        A key of ``SELECTORS``.
    dice
        The source of chance.
    suspected
        Whether a task that failed on this manager should wait for another one.
    """

    def __init__(
        self,
        selector: str = "random",
        dice: random.Random | None = None,
        suspected: Callable[[str], bool] | None = None,
    ) -> None:
        self.tasks: deque[Task] = deque()
        self.slots: dict[str, SlotT] = {}
        self._urgent: list[tuple[float, int, Task]] = []
        self._wide: deque[Task] = deque()
        self._again: deque[tuple[Task, str, float]] = deque()
        """(task, the manager that failed it, until when it waits for another manager)"""
        self._free: list[SlotT] = []
        self._mean: dict[int, float] = {}
        self._suspected = suspected or (lambda _: False)
        self._packs = selector == "block_id"
        self._select = SELECTORS[selector]
        self._dice = dice or random.Random()
        self._order = itertools.count()
        # Falling numbers below zero: returned tasks run before all others of the same priority.
        self._back = itertools.count(-1, -1)
        self._turns = itertools.count(1)

    @property
    def waiting(self) -> int:
        """Return how many tasks are queued; cancelled ones count until the queue meets them."""
        return len(self.tasks) + len(self._urgent) + len(self._wide) + len(self._again)

    @property
    def wanted(self) -> int:
        """Return how many places the queued tasks will take; a task counts as one until a manager is chosen."""
        return self.waiting

    # ----- tasks arrive

    def put(self, tasks: Iterable[Task]) -> None:
        """Queue tasks that are ready."""
        for task in tasks:
            if task.spec is None:
                self.tasks.append(task)
            else:
                self._put_special(task, task.spec, next(self._order))

    def put_back(self, tasks: list[Task]) -> None:
        """Queue tasks that a manager gave back in front of all others."""
        for task in reversed(tasks):
            if task.spec is None:
                self.tasks.appendleft(task)
            else:
                self._put_special(task, task.spec, next(self._back))

    def put_again(self, tasks: Sequence[NextAttempt], now: float) -> None:
        """Queue tasks for their next attempt (``graph.backoff.NextAttempt``), in front of all others.

        Those with a specification go first among their kind, to any manager with room.
        """
        special = [again.task for again in tasks if again.task.spec is not None]
        self.put_back(special)
        self._again.extend(
            (task, worker, now + _ELSEWHERE if lost or self._suspected(worker) else now)
            for task, worker, lost in tasks
            if task.spec is None
        )

    def _put_special(self, task: Task, spec: TaskSpec, order: int) -> None:
        if spec.cores or spec.memory or spec.gpus:
            if order < 0:
                self._wide.appendleft(task)
            else:
                self._wide.append(task)
        elif spec.priority is not None:
            heapq.heappush(self._urgent, (spec.priority, order, task))
        elif order < 0:
            self.tasks.appendleft(task)
        else:
            self.tasks.append(task)

    def drop(self, ids: Collection[int]) -> None:
        """Remove cancelled tasks, because they are about to be queued again."""
        self.tasks = deque(task for task in self.tasks if task.id not in ids)
        self._wide = deque(task for task in self._wide if task.id not in ids)
        self._urgent = [entry for entry in self._urgent if entry[2].id not in ids]
        heapq.heapify(self._urgent)
        self._again = deque(entry for entry in self._again if entry[0].id not in ids)
        for slot in self.slots.values():
            if slot.booked is not None and slot.booked.id in ids:
                slot.booked = None
                self._see_to(slot)

    def take_all(self) -> list[Task]:
        """Empty the queue and return its tasks."""
        urgent = [entry[2] for entry in sorted(self._urgent, key=lambda e: e[:2])]
        taken = [*self._wide, *urgent, *(entry[0] for entry in self._again), *self.tasks]
        self._again.clear()
        self._wide.clear()
        self._urgent.clear()
        self.tasks.clear()
        for slot in self.slots.values():
            slot.booked = None
            self._see_to(slot)
        return taken

    # ----- managers join and leave

    def add(self, slot: SlotT) -> None:
        """Add a manager."""
        self.slots[slot.name] = slot
        self._see_to(slot)

    def remove(self, slot: SlotT) -> list[Task]:
        """Remove a manager; returns the tasks it held, in the order in which they were sent."""
        self.slots.pop(slot.name, None)
        # A dictionary keeps the order of insertion, which is the order in which the tasks were sent.
        held = list(slot.inflight.values())
        slot.inflight, slot.load, slot.expected = {}, 0, 0.0
        slot.draining, slot.booked = True, None
        self._see_to(slot)
        for task in held:
            task.worker = None
        return held

    def hold(self, slot: SlotT, held: bool) -> None:
        """Stop or resume giving new tasks to a manager."""
        slot.held = held
        self._see_to(slot)

    def drain(self, slot: SlotT) -> None:
        """Give this manager no tasks any more."""
        slot.draining, slot.booked = True, None
        self._see_to(slot)

    def _has_room(self, slot: SlotT) -> bool:
        if slot.load < slot.capacity:
            return True
        # Half of ``AHEAD``, so that a manager is filled in larger steps and not with each outcome.
        return slot.expected < slot.workers * AHEAD / 2 and len(slot.inflight) < slot.workers * _MOST

    def _see_to(self, slot: SlotT) -> None:
        """Put a manager into the list of those with room, or take it out."""
        free = self._free
        if not (slot.held or slot.draining) and slot.booked is None and self._has_room(slot):
            if slot.place < 0:
                slot.place = len(free)
                free.append(slot)
        elif slot.place >= 0:
            # The last manager fills the gap: a removal from the middle would cost time with each manager.
            last = free.pop()
            if last is not slot:
                free[slot.place] = last
                last.place = slot.place
            slot.place = -1

    # ----- tasks go out

    def assign(self, now: float) -> list[tuple[SlotT, list[Task]]]:
        """Take tasks from the queue for managers with room: fair shares, in the order of the selector."""
        given: dict[str, tuple[SlotT, list[Task]]] = {}
        if self._wide:
            # Wide tasks first: narrow ones would take the places that a wide one needs together.
            self._assign_wide(given, now)
        if self._again:
            # Then retried tasks, which have waited the longest and hold up their dependents.
            self._assign_again(given, now)
        free = self._free
        while free and (self.tasks or self._urgent):
            before = len(given), len(self.tasks) + len(self._urgent)
            # The managers beyond ``count`` have had their share in this pass; nobody leaves ``free`` while it lasts.
            for count in range(len(free), 0, -1):
                slot = free[self._select(free, count, self._dice)]
                waiting = len(self.tasks) + len(self._urgent)
                # A fair share for each manager that is left, but no less than what is worth a message.
                share = waiting if self._packs else max(-(-waiting // count), self._chunk())
                taken = self._fill(slot, share, now)
                if taken:
                    slot.turn = next(self._turns)
                    given.setdefault(slot.name, (slot, []))[1].extend(taken)
                self._put_last(slot, count)
                if not (self.tasks or self._urgent):
                    break
            for slot, _ in given.values():
                self._see_to(slot)
            # No manager could take another task: one more pass would do the same for ever.
            if before == (len(given), len(self.tasks) + len(self._urgent)):
                break
        return list(given.values())

    def _chunk(self) -> int:
        """Return how many calls of the next task's function are cheaper to send to one manager than to spread."""
        takes = self._mean.get(self._next().fn, _LONG)
        return int(_CHUNK / takes) if takes > 1e-7 else _MOST

    def _put_last(self, slot: SlotT, count: int) -> None:
        """Move a manager that had its share behind those that this round still has to serve."""
        free, here, there = self._free, slot.place, count - 1
        other = free[there]
        free[here], free[there] = other, slot
        other.place, slot.place = here, there

    def _next(self) -> Task:
        if self._urgent:
            return self._urgent[0][2]
        return self.tasks[0]

    def _drop_next(self) -> None:
        if self._urgent:
            heapq.heappop(self._urgent)
        else:
            self.tasks.popleft()

    def _fill(self, slot: SlotT, share: int, now: float) -> list[Task]:
        inflight, mean, tasks = slot.inflight, self._mean, self.tasks
        taken: list[Task] = []
        # Local names, because this loop runs once for each task.
        load, expected, capacity = slot.load, slot.expected, slot.capacity
        ahead, most = slot.workers * AHEAD, slot.workers * _MOST
        while len(taken) < share and (tasks or self._urgent):
            task = tasks[0] if not self._urgent else self._next()
            if task.state is not TaskState.ready:
                self._drop_next()  # cancelled while it waited
                continue
            takes = mean.get(task.fn, _LONG)
            # Beyond its capacity a manager gets only quick tasks, and few enough that it can end them soon.
            if load >= capacity and (expected + takes > ahead or len(inflight) >= most):
                break
            if self._urgent:
                self._drop_next()
            else:
                tasks.popleft()
            inflight[task.id] = task
            task.worker = slot
            load += 1
            expected += takes
            taken.append(task)
        slot.load, slot.expected = load, expected
        if taken:
            slot.idle_since = None
        return taken

    def _assign_again(self, given: dict[str, tuple[SlotT, list[Task]]], now: float) -> None:
        """Give tasks their next attempt on managers with room; a manager that failed a task gets it last."""
        waiting, self._again = self._again, deque()
        if self._urgent:  # then all wait in one line behind the tasks with a priority
            self.tasks.extendleft(entry[0] for entry in reversed(waiting))
            return
        for entry in waiting:
            task, failed_by, until = entry
            if task.state is not TaskState.ready:
                continue  # cancelled while it waited
            slot = self._place_for(failed_by, now >= until) if self._free else None
            if slot is None:
                self._again.append(entry)
                continue
            slot.inflight[task.id] = task
            task.worker = slot
            slot.load += 1
            slot.expected += self._mean.get(task.fn, _LONG)
            slot.idle_since = None
            slot.turn = next(self._turns)
            given.setdefault(slot.name, (slot, []))[1].append(task)
            self._see_to(slot)

    def _place_for(self, failed_by: str, anywhere: bool) -> SlotT | None:
        """Return a manager with room for a task that ``failed_by`` failed; None: the task should wait for another."""
        free = self._free
        number = self._select(free, len(free), self._dice)
        slot = free[number]
        if slot.name != failed_by:
            return slot
        if len(free) > 1:
            # Any other manager will do; a second draw could meet the same one again.
            return free[number - 1]
        # Another manager may get room soon; without one there is nothing to wait for.
        others = any(one.usable for one in self.slots.values() if one is not slot)
        return slot if anywhere or not others else None

    def _assign_wide(self, given: dict[str, tuple[SlotT, list[Task]]], now: float) -> None:
        """Give out tasks that take several places; the first that does not fit books the manager nearest to fitting."""
        # A booked task may have been cancelled: its manager must not stay reserved.
        for slot in list(self.slots.values()):
            if slot.booked is not None and slot.booked.state is not TaskState.ready:
                slot.booked = None
                self._see_to(slot)
        left: list[Task] = []
        # Tasks of one burst mostly have the same specification: what did not fit once is not tried again.
        hopeless: set[TaskSpec] = set()
        for _ in range(min(len(self._wide), _LOOKED_AT)):
            task = self._wide.popleft()
            if task.state is not TaskState.ready:
                continue
            spec = task.spec
            assert spec is not None
            if spec in hopeless or not self._place_wide(task, spec, given):
                hopeless.add(spec)
                left.append(task)
        self._wide.extendleft(reversed(left))

    def _place_wide(self, task: Task, spec: TaskSpec, given: dict[str, tuple[SlotT, list[Task]]]) -> bool:
        """Give a wide task to a manager with room for it, or book the manager nearest to having room."""
        fitting = [
            (places, slot)
            for slot in self.slots.values()
            if slot.usable and slot.booked in (None, task) and (places := slot.places(spec)) <= slot.workers
        ]
        if not fitting:
            return False
        # The manager that lacks the fewest places is free the soonest.
        places, slot = min(fitting, key=lambda pair: pair[1].load + pair[0] - pair[1].workers)
        booked = [one for _, one in fitting if one.booked is task]
        fits = slot.load + places <= slot.workers
        if fits:
            slot.inflight[task.id] = task
            task.worker = slot
            slot.load += places
            slot.expected += self._mean.get(task.fn, _LONG)
            slot.idle_since = None
            given.setdefault(slot.name, (slot, []))[1].append(task)
            for one in booked:
                one.booked = None
        elif not booked:
            # Without a booking narrow tasks would fill each place as it gets free, and the wide task would starve.
            slot.booked = task
        for one in (slot, *booked):
            self._see_to(one)
        return fits

    def unfit(self) -> list[Task]:
        """Return the tasks that ask for more than any manager has; empty while no manager is connected."""
        # Without managers nothing is known of the nodes: a larger one may still join.
        if not self._wide or not self.slots:
            return []
        return [
            task
            for task in self._wide
            if task.state is TaskState.ready and task.spec is not None and self._fits_nowhere(task.spec)
        ]

    def _fits_nowhere(self, spec: TaskSpec) -> bool:
        return all(slot.places(spec) > slot.workers for slot in self.slots.values())

    def discard(self, task: Task) -> None:
        """Remove one task that has a specification from the queue."""
        if task in self._wide:
            self._wide.remove(task)

    # ----- messages of managers

    def ended(self, slot: SlotT, task_id: int, took: float, now: float) -> Task | None:
        """Note the outcome of a task; return None if the manager does not hold the task (late or doubled)."""
        slot.last_seen = now
        task = slot.inflight.pop(task_id, None)
        if task is None:
            return None
        task.worker = None
        mean = self._mean.get(task.fn)
        # A moving mean: a function may get slower during a run, and old calls must not hide that.
        self._mean[task.fn] = mean = took if mean is None else mean + 0.1 * (took - mean)
        self._freed(slot, task, mean, now)
        return task

    def returned(self, slot: SlotT, ids: Iterable[int], now: float) -> list[Task]:
        """Take back tasks that a manager has not begun; the caller queues them (:meth:`put_back`)."""
        slot.last_seen = now
        back = [task for i in ids if (task := slot.inflight.pop(i, None)) is not None]
        for task in back:
            task.worker = None
            # Its workers are busy, maybe with this very function: send no more of it ahead until its cost is known.
            self._mean[task.fn] = max(self._mean.get(task.fn, _LONG), slot.workers * AHEAD)
            self._freed(slot, task, self._mean[task.fn], now)
        if back:
            self._see_to(slot)
        return back

    def adopt(self, slot: SlotT, task: Task) -> None:
        """Note that a manager holds a task that an earlier DataFlowKernel has sent to it."""
        slot.inflight[task.id] = task
        task.worker = slot
        slot.load += 1 if task.spec is None else min(slot.places(task.spec), slot.workers)
        slot.expected += self._mean.get(task.fn, _LONG)
        slot.idle_since = None
        self._see_to(slot)

    def _freed(self, slot: SlotT, task: Task, mean: float, now: float) -> None:
        slot.load -= 1 if task.spec is None else min(slot.places(task.spec), slot.workers)
        if not slot.inflight:
            slot.expected, slot.load, slot.idle_since = 0.0, 0, now
        elif slot.expected > mean:
            slot.expected -= mean
        else:
            # The means have moved meanwhile. A guess will do: an exact sum would cost a loop over the tasks.
            slot.expected = mean * len(slot.inflight)
            self._see_to(slot)
        if slot.place < 0:
            self._see_to(slot)

    def check(self) -> None:
        """Check the invariants; for tests."""
        for slot in self.slots.values():
            load = sum(1 if t.spec is None else slot.places(t.spec) for t in slot.inflight.values())
            assert slot.load == load, slot.name
            free = slot.usable and slot.booked is None and self._has_room(slot)
            assert (slot.place >= 0) == free, slot.name
            assert slot.place < 0 or self._free[slot.place] is slot, slot.name
            assert (slot.idle_since is None) == bool(slot.inflight), slot.name
        assert all(slot.name in self.slots for slot in self._free)
