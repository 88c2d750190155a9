"""The queue of a pool of thousands of workers [core]: a round costs as much as it moves, not as there are workers.

:class:`~parslab.remote.pool.queue.PoolQueue` looks at every worker in each round, which is quickest for the workers of
one node.  This queue knows which workers are idle and which are about to run out of work, and looks at no others.  The
worker that became idle last gets the next task: it is still awake.

The workers have managers of their own, which probe them and tell what they give back.

Invariant: a worker that has tasks and was not silent for long is in ``_lively``; one without tasks that may get some is
in ``_idle``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.remote.pool.queue import PoolQueue, runs_dry
from parslab.remote.pool.slots import TaskT, is_free

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from parslab.records.software import Software
    from parslab.remote.pool.slots import WorkerSlot

__all__ = ["WideQueue"]


class WideQueue(PoolQueue[TaskT]):
    """Ready tasks and many workers.

    Parameters
    ----------
    demands
        Returns for a task with a specification how many workers it occupies and how long it may run.
    """

    def __init__(self, demands: Callable[[TaskT], tuple[int, float]]) -> None:
        super().__init__(demands)
        self._idle: dict[WorkerSlot[TaskT], None] = {}
        self._lively: dict[WorkerSlot[TaskT], None] = {}
        self._drawn: list[WorkerSlot[TaskT]] = []
        """The workers that this round has looked at."""
        self._reserved: dict[int, list[WorkerSlot[TaskT]]] = {}
        """The workers that a task occupies besides the one that runs it."""

    def add(self, slot: WorkerSlot[TaskT]) -> None:
        """Add a worker."""
        super().add(slot)
        self.settle(slot)

    def remove(self, slot: WorkerSlot[TaskT]) -> list[TaskT]:
        """Remove a worker; return the tasks that it held, in the order in which they were sent."""
        held = super().remove(slot)
        self._idle.pop(slot, None)
        self._lively.pop(slot, None)
        return held

    def settle(self, slot: WorkerSlot[TaskT]) -> None:
        """Note that a worker has got or ended tasks, or may get some from now on."""
        if not slot.inflight:
            self._lively.pop(slot, None)
            if is_free(slot):
                self._idle[slot] = None
            return
        self._idle.pop(slot, None)
        if runs_dry(slot):
            self._lively[slot] = None
        else:
            self._lively.pop(slot, None)

    def assign(self, now: float) -> list[tuple[WorkerSlot[TaskT], list[TaskT]]]:
        """Take tasks from the queue for workers with room: the emptiest worker first, fair shares."""
        given = super().assign(now)
        for slot in self._drawn:
            self.settle(slot)
        self._drawn.clear()
        for slot, _ in given:  # tasks that get a worker for themselves are given without a look into these sets
            self.settle(slot)
        return given

    def _dry_slots(self) -> list[WorkerSlot[TaskT]]:
        wanted = len(self.tasks)
        found = self._draw(wanted)
        if len(found) < wanted:
            found += [slot for slot in self._lively if slot.usable and slot.reserved < 0]
        self._drawn += found
        return found

    def _draw(self, wanted: int) -> list[WorkerSlot[TaskT]]:
        """Take so many idle workers, or as many as there are; whoever gets nothing has to be settled again."""
        found: list[WorkerSlot[TaskT]] = []
        # Taken from the end, because a dictionary finds its first entry slowly after others were removed there.
        while self._idle and len(found) < wanted:
            slot, _ = self._idle.popitem()
            if is_free(slot):  # else it is settled when it may get tasks again
                found.append(slot)
        return found

    def _alone(self, task: TaskT, software: Software | None, now: float) -> WorkerSlot[TaskT] | None:
        assert self._demands is not None
        # A task that asks for more workers than there are gets all of them: it would otherwise wait for ever.
        wide = max(1, min(self._demands(task)[0], len(self.slots)))
        found = self._draw(wide)
        if len(found) < wide:
            for slot in found:
                self.settle(slot)
            return None
        first, *others = found
        self._occupy(first, others, task, now)
        if others:
            self._reserved[task.id] = others
        return first

    def _unreserve(self, slot: WorkerSlot[TaskT], task: int) -> None:
        for other in self._reserved.pop(task, ()):
            other.reserved = -1
            self.settle(other)

    def ended(self, slot: WorkerSlot[TaskT], task_id: int, took: float, now: float) -> TaskT | None:
        """Note the outcome of a task; return None if the worker does not hold it (a late or second outcome)."""
        task = super().ended(slot, task_id, took, now)
        self.settle(slot)
        return task

    def reported(self, slot: WorkerSlot[TaskT], running: int, returned: Iterable[int], now: float) -> list[TaskT]:
        """Process the report of a worker's manager; return the tasks that it gave back, now first in the queue."""
        back = super().reported(slot, running, returned, now)
        # It gives tasks back because the one before them is long, and speaks of that again only when it has ended.
        if slot.inflight:
            slot.expected = max(1.0, slot.expected)
        self.settle(slot)
        return back

    def silent_workers(self, now: float) -> list[WorkerSlot[TaskT]]:
        """Return none: the managers of the workers probe them."""
        return []

    def next_deadline(self) -> float | None:
        """Return None: no worker has to be probed."""
        return None
