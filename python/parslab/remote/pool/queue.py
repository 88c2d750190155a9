"""The queue of a pool of workers [core]: it decides which worker gets which ready task, and how far ahead.

Time is an argument [HPDC19 §4.3.3].  A worker gets its next tasks before it has finished, but only as many as should
take ``AHEAD`` seconds together.  The queue learns the mean time of each function from outcomes.  Tasks of an
unknown or slower function are sent one at a time (two if it is short), so that work is spread evenly.

The pool probes a busy worker that was silent for ``PROBE_AFTER`` seconds (D5); the tasks that it has not begun go back
to the head of the queue.  A task that occupies several workers, or has a time limit, gets an idle worker for itself.
A task with software of its own goes to a worker that has it (``software_slots``).

Invariants: a task is in ``queue`` or in the ``inflight`` of one worker, never both; ``inflight`` is in the order sent.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from parslab.records.states import TaskState
from parslab.remote.pool.slots import QueuedTask, TaskT, WorkerSlot, is_free

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from parslab.records.software import Software
    from parslab.remote.pool.software_slots import SoftwareSlots

__all__ = [
    "AHEAD",
    "PROBE_AFTER",
    "PoolQueue",
    "QueuedTask",
    "RetriedTask",
    "TaskT",
    "WorkerSlot",
    "not_begun",
    "runs_dry",
]

AHEAD = 0.004
"""Seconds of work that a worker may hold beyond what it runs."""
PROBE_AFTER = 0.05
"""Seconds of silence after which the pool probes a busy worker."""
_SHORT = 0.02
"""A function faster than this may have one call waiting at the worker."""
_MOST = 512
"""Tasks that a worker may hold: a worker that dies or becomes slow has to return them all."""


TaskT_co = TypeVar("TaskT_co", bound=QueuedTask, covariant=True)


class RetriedTask(Protocol[TaskT_co]):
    """A task that is ready for another attempt (``graph.task.NextAttempt``)."""

    @property
    def task(self) -> TaskT_co:
        """The task."""


class PoolQueue(Generic[TaskT]):
    """Ready tasks and the workers of one pool.

    Parameters
    ----------
    demands
        Returns for a task with a specification how many workers it occupies and how long it may run.
    special
        The workers with software of their own; None for a pool whose tasks ask for none.
    """

    def __init__(
        self,
        demands: Callable[[TaskT], tuple[int, float]] | None = None,
        special: SoftwareSlots[TaskT] | None = None,
    ) -> None:
        self.tasks: deque[TaskT] = deque()
        self._demands = demands
        self._special = special
        self.slots: list[WorkerSlot[TaskT]] = []
        self._mean: dict[int, float] = {}

    def add(self, slot: WorkerSlot[TaskT]) -> None:
        """Add a plain worker."""
        self.slots.append(slot)
        other = self._special.busy_on(slot.rank) if self._special is not None else None
        if other is not None:  # the worker that this one replaces died meanwhile
            slot.reserved = next(iter(other.inflight))

    @property
    def waiting(self) -> int:
        """How many tasks are queued; a cancelled task counts until the queue reaches it."""
        return len(self.tasks)

    def put(self, tasks: Iterable[TaskT]) -> None:
        """Queue tasks that are ready."""
        self.tasks.extend(tasks)

    def put_back(self, tasks: list[TaskT]) -> None:
        """Queue tasks that a worker gave back in front of all others."""
        self.tasks.extendleft(reversed(tasks))

    def put_again(self, tasks: Sequence[RetriedTask[TaskT]], now: float) -> None:
        """Queue tasks for their next attempt in front of all others."""
        self.put_back([again.task for again in tasks])

    def unpark(self, software: Software) -> None:
        """Queue the tasks that waited for this software in front of all others."""
        if self._special is not None:
            self.put_back(self._special.unpark(software))

    def stop_unused(self, now: float) -> None:
        """Stop the workers with software that have been idle for long."""
        if self._special is not None:
            self._special.stop_unused(now)

    def take_all(self) -> list[TaskT]:
        """Empty the queue and return its tasks."""
        taken = [*(self._special.take_all() if self._special is not None else ()), *self.tasks]
        self.tasks.clear()
        return taken

    def drop(self, ids: Collection[int]) -> None:
        """Remove cancelled tasks, because they are about to be queued again."""
        self.tasks = deque(task for task in self.tasks if task.id not in ids)
        if self._special is not None:
            self._special.drop(ids)

    def remove(self, slot: WorkerSlot[TaskT]) -> list[TaskT]:
        """Remove a worker; return the tasks that it held, in the order in which they were sent."""
        if slot in self.slots:
            self.slots.remove(slot)
        elif self._special is not None and slot in self._special.slots:
            self._special.slots.remove(slot)
        held = list(slot.inflight.values())
        slot.inflight = {}
        slot.expected = 0.0
        for task in held:
            if task.spec is not None:
                self._unreserve(slot, task.id)
        return held

    def assign(self, now: float) -> list[tuple[WorkerSlot[TaskT], list[TaskT]]]:
        """Take tasks from the queue for workers with room: the emptiest worker first, fair shares."""
        queue = self.tasks
        given: list[tuple[WorkerSlot[TaskT], list[TaskT]]] = []
        while queue:
            if queue[0].spec is not None and not self._assign_special(given, now):
                return given  # later tasks wait, too: they would take every free worker from this one
            before = len(given)
            self._assign_plain(given, now)
            # Where the plain tasks end at a special one, another worker may be free for that.
            if not queue or queue[0].spec is None or len(given) == before:
                break
        return given

    def _assign_plain(self, given: list[tuple[WorkerSlot[TaskT], list[TaskT]]], now: float) -> None:
        """Give out tasks up to the first special one."""
        queue = self.tasks
        free = self._dry_slots()
        # The emptiest worker first, and shares rounded up: when tasks are few, idle workers get them.
        if len(free) > 1:
            free.sort(key=_load)
        for count, slot in zip(range(len(free), 0, -1), free, strict=True):
            if not queue:
                break
            share = -(-len(queue) // count)
            taken = self._fill(slot, share, now)
            if taken:
                given.append((slot, taken))

    def _dry_slots(self) -> list[WorkerSlot[TaskT]]:
        """Return the plain workers that may get tasks now."""
        return [s for s in self.slots if s.usable and s.reserved < 0 and runs_dry(s)]

    def _assign_special(self, given: list[tuple[WorkerSlot[TaskT], list[TaskT]]], now: float) -> bool:
        """Give out special tasks up to the first plain one; return False if one has to wait for room."""
        queue = self.tasks
        while queue and (task := queue[0]).spec is not None:
            software = self._software_of(task)
            alone = self._alone_on_worker(task)
            if software is None and not alone:
                break
            if task.state is not TaskState.ready:
                queue.popleft()  # cancelled while it waited
                continue
            if software is not None and self._special is not None and self._special.holds_back(task, software):
                queue.popleft()
                continue
            if alone:
                slot = self._alone(task, software, now)
                taken = [] if slot is None else [queue.popleft()]
            else:
                assert software is not None
                slot, taken = self._fill_special(software, now)
            if slot is None or not taken:
                return False
            given.append((slot, taken))
        return True

    def _fill_special(self, software: Software, now: float) -> tuple[WorkerSlot[TaskT] | None, list[TaskT]]:
        """Give tasks at the head of the queue to a worker with their software, and reserve its rank for it."""
        assert self._special is not None
        slot = self._special.choose(software, self.slots, runs_dry)
        if slot is None:
            return None, []
        idle = sum(map(is_free, self.slots))
        taken = self._fill(slot, -(-len(self.tasks) // max(1, idle)), now)
        for plain in self.slots:
            if plain.rank == slot.rank and plain.reserved < 0 and taken:
                plain.reserved = taken[0].id
        return slot, taken

    def _software_of(self, task: TaskT) -> Software | None:
        return None if self._special is None else self._special.software_of(task)

    def _alone_on_worker(self, task: TaskT) -> bool:
        """Return whether a task must be alone on its worker."""
        if task.spec is None or self._demands is None:
            return False
        wide, limit = self._demands(task)
        return wide > 1 or limit > 0

    def _alone(self, task: TaskT, software: Software | None, now: float) -> WorkerSlot[TaskT] | None:
        """Give a special task to a slot of its own, and reserve others for it; return None while there is no room."""
        assert self._demands is not None
        # A task that asks for more workers than there are gets all of them: it would otherwise wait for ever.
        wide = min(self._demands(task)[0], len(self.slots))
        free = [s for s in self.slots if is_free(s) and (software is None or s.rank >= 0)]
        if len(free) < max(1, wide):
            return None
        first, *others = free[: max(1, wide)]
        if software is not None and self._special is not None:
            others.append(first)
            worker = self._special.on_rank(software, first.rank, len(self.slots))
            if worker is None:
                return None
            first = worker
        self._occupy(first, others, task, now)
        return first

    def _occupy(self, first: WorkerSlot[TaskT], others: Iterable[WorkerSlot[TaskT]], task: TaskT, now: float) -> None:
        """Give a task a slot for itself, and reserve others for it."""
        for slot in others:
            slot.reserved = task.id
        # It counts as long, so that nothing is sent behind it.
        first.last_seen, first.probed, first.expected = now, False, 1.0
        first.inflight[task.id] = task
        task.worker = first

    def _unreserve(self, slot: WorkerSlot[TaskT], task: int) -> None:
        """Free the ranks that were reserved for a task which ``slot`` does not hold any more."""
        for other in self.slots:
            if other.reserved == task:
                # Its worker has more tasks with this software, which were sent together with this one.
                more = other.rank == slot.rank and slot.software is not None and slot.inflight
                other.reserved = next(iter(slot.inflight)) if more else -1

    def _fill(self, slot: WorkerSlot[TaskT], share: int, now: float) -> list[TaskT]:
        queue, inflight, mean, software = self.tasks, slot.inflight, self._mean, slot.software
        taken: list[TaskT] = []
        expected = slot.expected
        if not inflight:
            slot.last_seen, slot.probed = now, False
        while queue and len(taken) < share:
            task = queue[0]
            if task.state is not TaskState.ready:
                queue.popleft()  # cancelled while it waited
                continue
            if (task.spec is not None or software is not None) and not self._belongs(task, software):
                break
            # An unknown function counts as long, so its first calls are spread over all workers.
            takes = mean.get(task.fn, 1.0)
            if inflight and (expected + takes > AHEAD or len(inflight) >= _MOST):
                # One short task may wait at the worker, which would otherwise be idle for a round trip.
                short = takes < _SHORT and len(inflight) < 2 and expected < _SHORT
                if not short:
                    break
            queue.popleft()
            inflight[task.id] = task
            task.worker = slot
            expected += takes
            taken.append(task)
        slot.expected = expected
        return taken

    def _belongs(self, task: TaskT, software: Software | None) -> bool:
        """Return whether a worker with this software may get the task together with others."""
        if task.spec is None:
            return software is None
        return self._software_of(task) == software and not self._alone_on_worker(task)

    def ended(self, slot: WorkerSlot[TaskT], task_id: int, took: float, now: float) -> TaskT | None:
        """Note the outcome of a task; return None if the worker does not hold it (a late or second outcome)."""
        slot.last_seen = now
        slot.probed = False
        task = slot.inflight.pop(task_id, None)
        if task is None:
            return None
        task.worker = None
        if task.spec is not None:
            self._unreserve(slot, task_id)
        if slot.running == task_id:
            slot.running = -1
        # A moving average: one slow call must not change how far ahead a fast function is sent.
        mean = self._mean.get(task.fn)
        if mean is None:
            mean = self._mean[task.fn] = took
        else:
            self._mean[task.fn] = mean = mean + 0.1 * (took - mean)
        slot.expected = slot.expected - mean if slot.inflight and slot.expected > mean else 0.0
        if slot.inflight and not slot.expected:
            slot.expected = mean * len(slot.inflight)  # an estimate: the means have changed since these tasks were sent
        return task

    def reported(self, slot: WorkerSlot[TaskT], running: int, returned: Iterable[int], now: float) -> list[TaskT]:
        """Process the report of a probed worker; return the tasks that it gave back, now first in the queue."""
        slot.running = running
        back = [task for i in returned if (task := slot.inflight.pop(i, None)) is not None]
        for task in back:
            task.worker = None
            if task.spec is not None:
                self._unreserve(slot, task.id)
        if running in slot.inflight:
            slot.expected = max(1.0, slot.expected)
        else:
            # The probe arrived between two tasks, or before the first one. The next task may be long, so probe again.
            slot.expected = 0.0
            slot.last_seen, slot.probed = now, False
        self.tasks.extendleft(reversed(back))
        return back

    def silent_workers(self, now: float) -> list[WorkerSlot[TaskT]]:
        """Return busy workers that have been silent for too long; each is returned once per silence."""
        silent = [s for s in self._all() if s.inflight and not s.probed and now >= s.last_seen + PROBE_AFTER]
        for slot in silent:
            slot.probed = True
        return silent

    def next_deadline(self) -> float | None:
        """Return when :meth:`silent_workers` may return a worker next."""
        times = [s.last_seen + PROBE_AFTER for s in self._all() if s.inflight and not s.probed]
        return min(times) if times else None

    def _all(self) -> list[WorkerSlot[TaskT]]:
        """Return the workers of every kind."""
        return self.slots + self._special.slots if self._special is not None and self._special.slots else self.slots


def runs_dry(slot: WorkerSlot[TaskT]) -> bool:
    """Return whether a worker has little work left."""
    # Not earlier: a worker that got one task for each outcome would need a message and a wake-up for every task.
    if len(slot.inflight) == 1:
        return slot.expected < _SHORT
    return slot.expected < AHEAD / 2 and len(slot.inflight) < _MOST


def _load(slot: WorkerSlot[TaskT]) -> tuple[float, int]:
    return slot.expected, len(slot.inflight)


def not_begun(held: list[TaskT], page: int | None, attempt: int = 0) -> list[TaskT]:
    """Return those of the tasks of a dead worker, in the order sent, that it certainly had not begun.

    ``page`` is what the worker wrote on its shared page: ``t`` when it began task t, ``-1 - t`` when t had ended.  It
    is None for a worker of another host.  ``attempt`` is the attempt of t, because ``held`` may contain the next one.
    """
    if page is None:
        return []
    begun = page if page >= 0 else -1 - page
    for place, task in enumerate(held):
        if task.id == begun and task.attempt == attempt:
            return held[place + 1 :]
    # The worker had ended all tasks that it reported; those it holds were sent later.
    return held
