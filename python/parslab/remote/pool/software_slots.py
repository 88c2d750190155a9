"""Workers with software of their own [core]: which of them gets a task, and which is stopped to make room.

Each rank of a pool has one plain worker.  A rank may also have workers with other software, but only one of them has
tasks at a time.  So tasks of all kinds share the cores of the pool, and an idle worker costs only memory.  There is
still one queue: a task with software is given out in its turn, so no kind of task starves another.

A task whose software is not ready yet is parked, and later tasks overtake it.  It returns to the head of the queue.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol

from parslab.remote.pool.slots import TaskT, is_free

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from parslab.records.software import Software
    from parslab.remote.pool.slots import WorkerSlot

__all__ = ["IDLE", "SoftwareSlots", "SoftwareWorkers"]

IDLE = 300.0
"""Seconds without a task after which a worker with software is stopped."""
_FEW = 4
"""Workers with software that every pool may keep, however few ranks it has."""


class SoftwareWorkers(Protocol[TaskT]):
    """Starts and stops workers with software."""

    def is_ready(self, software: Software) -> bool | None:
        """Return whether workers with it can start; None: it is being prepared, which this question begins."""

    def refuse(self, task: TaskT, software: Software) -> None:
        """Fail a task whose software cannot be prepared."""

    def start(self, software: Software, rank: int) -> WorkerSlot[TaskT] | None:
        """Start a worker; None if that is not possible now."""

    def stop(self, slot: WorkerSlot[TaskT]) -> None:
        """Stop an idle worker."""


class SoftwareSlots(Generic[TaskT]):
    """The workers with software of one pool, and the tasks that wait for software.

    Parameters
    ----------
    software_of
        Returns the software of a task with a specification; None: that of plain workers.
    workers
        Starts and stops workers.
    """

    def __init__(self, software_of: Callable[[TaskT], Software | None], workers: SoftwareWorkers[TaskT]) -> None:
        self.software_of = software_of
        self._workers = workers
        self.slots: list[WorkerSlot[TaskT]] = []
        self._parked: dict[Software, list[TaskT]] = {}

    # ----- tasks that wait for software

    def holds_back(self, task: TaskT, software: Software) -> bool:
        """Park or refuse a task whose software is not ready; return whether the queue must drop it."""
        ready = self._workers.is_ready(software)
        if ready:
            return False
        if ready is None:
            self._parked.setdefault(software, []).append(task)
        else:
            self._workers.refuse(task, software)
        return True

    def unpark(self, software: Software) -> list[TaskT]:
        """Return the tasks that waited for this software."""
        return self._parked.pop(software, [])

    def take_all(self) -> list[TaskT]:
        """Return all parked tasks, which are parked no more."""
        parked = [task for tasks in self._parked.values() for task in tasks]
        self._parked.clear()
        return parked

    def drop(self, ids: Collection[int]) -> None:
        """Remove cancelled tasks, because they are about to be queued again."""
        for software, tasks in self._parked.items():
            self._parked[software] = [task for task in tasks if task.id not in ids]

    # ----- workers

    def choose(
        self, software: Software, plain: Sequence[WorkerSlot[TaskT]], runs_dry: Callable[[WorkerSlot[TaskT]], bool]
    ) -> WorkerSlot[TaskT] | None:
        """Return a worker with this software that can get a task now; start one if a rank is free.

        Parameters
        ----------
        plain
            The plain workers of the pool.
        runs_dry
            Whether a busy worker should get more tasks ahead.
        """
        mine = [slot for slot in self.slots if slot.software == software and slot.usable]
        free = [slot.rank for slot in plain if is_free(slot) and slot.rank >= 0]
        for slot in mine:
            if slot.rank in free and not slot.inflight:
                return slot
        # Before another worker is started, which takes much longer than a short task.
        for slot in mine:
            if slot.inflight and runs_dry(slot):
                return slot
        return self._start(software, free[0], len(plain)) if free else None

    def on_rank(self, software: Software, rank: int, ranks: int) -> WorkerSlot[TaskT] | None:
        """Return the idle worker of a free rank with this software; start it if there is none."""
        for slot in self.slots:
            if slot.rank == rank and slot.software == software and slot.usable:
                return slot
        return self._start(software, rank, ranks)

    def _start(self, software: Software, rank: int, ranks: int) -> WorkerSlot[TaskT] | None:
        if len(self.slots) >= max(_FEW, ranks):
            idle = [slot for slot in self.slots if not slot.inflight]
            if not idle:
                return None
            self._stop(min(idle, key=lambda slot: slot.last_seen))
        slot = self._workers.start(software, rank)
        if slot is not None:
            self.slots.append(slot)
        return slot

    def stop_unused(self, now: float) -> None:
        """Stop workers that have had no task for a long time."""
        for slot in [slot for slot in self.slots if not slot.inflight and now - slot.last_seen > IDLE]:
            self._stop(slot)

    def _stop(self, slot: WorkerSlot[TaskT]) -> None:
        self.slots.remove(slot)
        slot.usable = False
        self._workers.stop(slot)

    def busy_on(self, rank: int) -> WorkerSlot[TaskT] | None:
        """Return the worker with software that has the tasks of this rank."""
        return next((slot for slot in self.slots if slot.rank == rank and slot.inflight), None)
