"""The tasks that managers had when their DataFlowKernel was lost, until the managers come back with them [core].

A manager that loses its DataFlowKernel lets its tasks go on, and lists them in its next hello.  The next DataFlowKernel
takes them over as they are.  What no manager has brought back in time runs again, as another attempt.  Time is an
argument.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.records.states import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from parslab.dataflow.graph.task import Task
    from parslab.wire.messages.manager import HeldTask

__all__ = ["HeldTasks"]

_FIRST = 10.0
"""Seconds within which the first manager comes back: as long as managers keep their tasks."""
_NEXT = 2.0
"""Seconds after one manager within which the next one comes back: a thousand of them take their time."""


class HeldTasks:
    """Tasks that wait for the managers that have them.

    Parameters
    ----------
    tasks
        The tasks, in the order of their calls; each is ready, or will be when its inputs are restored.
    now
        The present time.

    Attributes
    ----------
    deadline
        When the tasks that are left run again.
    returned
        How many tasks came back with their managers.
    """

    def __init__(self, tasks: Iterable[Task] = (), now: float = 0.0) -> None:
        self._waiting = {task.id: (task, task.attempt) for task in tasks}
        self.deadline = now + _FIRST
        self.returned = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def holds(self, task: Task) -> bool:
        """Return whether a task must not be given to a manager, because another one may have it."""
        found = self._waiting.get(task.id)
        # A task that was cancelled and is retried is at another attempt, which no manager has.
        return found is not None and found[1] == task.attempt

    def give_up(self, task: Task) -> None:
        """Wait for this task no more: nobody needs it now."""
        self._waiting.pop(task.id, None)

    def claim(self, executor: int, held: Sequence[HeldTask], now: float) -> list[tuple[Task, float]]:
        """Hand the tasks of a list to the manager that has brought it.

        Parameters
        ----------
        executor
            The executor of the manager.
        held
            The tasks that the manager has kept.
        now
            The present time.

        Returns
        -------
        list of tuple of (Task, float)
            Those of them that it goes on with, and when each began (0: not known).
        """
        self.deadline = max(self.deadline, now + _NEXT)
        claimed = []
        for one in held:
            task, attempt = self._waiting.get(one.task, (None, 0))
            if task is None or attempt != one.attempt or task.executor != executor:
                continue
            del self._waiting[one.task]
            if task.state is TaskState.ready and task.attempt == attempt:
                claimed.append((task, one.since))
        self.returned += len(claimed)
        return claimed

    def expired(self) -> list[Task]:
        """Return the tasks that no manager has brought back, in the order of their calls, for their next attempt."""
        waiting, self._waiting = self._waiting, {}
        left = [task for task, attempt in waiting.values() if task.state is TaskState.ready and task.attempt == attempt]
        for task in left:
            # The attempt at the manager counts: it may have run in part.
            task.attempt += 1
        return left
