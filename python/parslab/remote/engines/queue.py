"""The queue of an engine [core]: it decides which ready tasks travel together, and how many batches the engine has.

The engine itself decides which of its workers runs a batch.  Calls of functions that are known to be quick travel
together, because each call of an engine costs as much as many short tasks.  Calls of unknown or slower functions travel
alone.  The engine holds some batches more than it has workers, so that none of its workers waits for a round trip.

Invariants: a task is in ``tasks`` or in one batch, never both; ``load`` is the sum of the weights of the batches.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Generic

from parslab.records.states import TaskState
from parslab.remote.pool.slots import TaskT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["AHEAD", "EngineBatch", "EngineQueue"]

AHEAD = 0.02
"""Seconds of work of one batch."""
_SHORT = 0.005
"""A function that is not faster than this gets a call of the engine for each of its tasks."""
_MOST = 512
"""The most tasks of a batch: those that are lost with a worker run again."""
_WAITING = 1.0
"""Batches that may wait at the engine for each of its workers."""


class EngineBatch(Generic[TaskT]):
    """Tasks that are at the engine together.

    Parameters
    ----------
    number
        Its number; no other batch of this engine has it.
    tasks
        Its tasks, in the order in which they run.
    weight
        How many workers it occupies.
    now
        The time.

    Attributes
    ----------
    row
        Its row on the page; 0: none.
    reported
        The place of the last task that was reported as running.
    """

    __slots__ = ("cancelled", "number", "places", "reported", "row", "sent", "tasks", "weight")

    def __init__(self, number: int, tasks: list[TaskT], weight: int, now: float) -> None:
        self.number = number
        self.tasks: dict[int, TaskT] = {task.id: task for task in tasks}
        self.places: list[int] = [task.id for task in tasks]
        """The tasks in the order in which they run."""
        self.weight = weight
        self.sent = now
        self.row = 0
        self.reported = -1
        self.cancelled = False
        """Whether the host has asked the engine to cancel it."""


class EngineQueue(Generic[TaskT]):
    """Ready tasks, and the batches at the engine.

    Parameters
    ----------
    demands
        Returns for a task with a specification how many workers it occupies and how long it may run.
    workers
        The workers of the engine.
    """

    def __init__(self, demands: Callable[[TaskT], tuple[int, float]], workers: int) -> None:
        self.tasks: deque[TaskT] = deque()
        self.load = 0
        self.workers = workers
        self._demands = demands
        self._mean: dict[int, float] = {}
        self._made = 0

    def put(self, tasks: Iterable[TaskT]) -> None:
        """Queue tasks that are ready."""
        self.tasks.extend(tasks)

    def put_back(self, tasks: list[TaskT]) -> None:
        """Queue tasks that the engine has not begun in front of all others."""
        self.tasks.extendleft(reversed(tasks))

    def take_all(self) -> list[TaskT]:
        """Empty the queue and return its tasks."""
        taken = list(self.tasks)
        self.tasks.clear()
        return taken

    @property
    def most(self) -> int:
        """The most workers' worth of batches that are at the engine at a time."""
        return self.workers + max(1, int(self.workers * _WAITING))

    def assign(self, now: float) -> list[EngineBatch[TaskT]]:
        """Take tasks from the queue for as many batches as the engine should get now."""
        made: list[EngineBatch[TaskT]] = []
        queue = self.tasks
        while queue and self.load < self.most:
            task = queue[0]
            if task.state is not TaskState.ready:
                queue.popleft()  # cancelled while it waited
                continue
            weight, taken = 1, []
            if task.spec is not None:
                wide, limit = self._demands(task)
                weight = max(1, min(wide, self.workers))
                # It must begin at once: its limit counts, and a wide one would overload the workers.
                if (limit > 0 or weight > 1) and self.load + weight > self.workers:
                    break
                taken.append(queue.popleft())
            else:
                taken = self._plain(-(-len(queue) // (self.most - self.load)))
            batch = EngineBatch(self._made, taken, weight, now)
            self._made += 1
            self.load += weight
            for one in taken:
                one.worker = batch
            made.append(batch)
        return made

    def _plain(self, share: int) -> list[TaskT]:
        """Take the next task, and quick ones after it, without specifications."""
        queue, expected = self.tasks, 0.0
        taken: list[TaskT] = []
        while queue and len(taken) < min(share, _MOST):
            task = queue[0]
            if task.spec is not None:
                break
            if task.state is not TaskState.ready:
                queue.popleft()
                continue
            # The first calls of a function are spread over all workers.
            takes = self._mean.get(task.fn, 1.0)
            if taken and (takes >= _SHORT or expected + takes > AHEAD):
                break
            expected += takes
            taken.append(queue.popleft())
            if takes >= _SHORT:
                break
        return taken

    def ended(self, batch: EngineBatch[TaskT], task_id: int, took: float) -> TaskT | None:
        """Note that a task of a batch has ended; return None if the batch does not hold it any more."""
        task = batch.tasks.pop(task_id, None)
        if task is None:
            return None
        task.worker = None
        mean = self._mean.get(task.fn)
        self._mean[task.fn] = took if mean is None else mean + 0.1 * (took - mean)
        return task

    def take_back(self, batch: EngineBatch[TaskT], places: Iterable[int]) -> list[TaskT]:
        """Take tasks out of a batch that its worker will not begin; return them in the order in which they run."""
        back = [task for place in places if (task := batch.tasks.pop(batch.places[place], None)) is not None]
        for task in back:
            task.worker = None
        return back

    def remove(self, batch: EngineBatch[TaskT]) -> list[TaskT]:
        """Remove a batch that has ended; return the tasks that it still holds, in the order in which they run."""
        self.load -= batch.weight
        held = list(batch.tasks.values())
        batch.tasks = {}
        for task in held:
            task.worker = None
        return held
