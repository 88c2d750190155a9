"""What a simulated run has observed, for its checks at the end."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING
from weakref import WeakSet

from parslab.dataflow.graph.values import StoredValue
from parslab.records.states import SUCCESSES

if TYPE_CHECKING:
    from parslab.records.events import TaskReopened
    from parslab.records.states import TaskState

__all__ = ["History", "TracedValue"]


class TracedValue(StoredValue):
    """A value that can be looked for after everybody has let go of it."""

    __slots__ = ("__weakref__",)


class History:
    """What was observed, by task."""

    def __init__(self) -> None:
        self.begun: Counter[tuple[int, int]] = Counter()
        """How often a body was started, by task and attempt."""
        self.failures: dict[int, list[int]] = {}
        """The attempts whose failure was told to monitoring, in order."""
        self.attempts: dict[int, int] = {}
        """The last attempt that monitoring heard of."""
        self.late: dict[int, float] = {}
        """Seconds from the begin of a body to when monitoring was told that it runs."""
        self.moves: dict[int, list[TaskState]] = {}
        """The states told to monitoring, in order."""
        self.resolved: dict[int, list[TaskState]] = {}
        """The final states told to the client."""
        self.values: WeakSet[TracedValue] = WeakSet()
        """Values that somebody still holds."""
        self.first: dict[int, int] = {}
        """The attempt from which a task is told of: it was reopened."""
        self.problems: list[str] = []
        """Promises that were broken, as sentences."""

    def reopened(self, event: TaskReopened) -> None:
        """A task begins anew."""
        if self.moves.pop(event.task, [None])[-1] is not event.was or event.was in SUCCESSES:
            self.problems.append(f"task {event.task} was reopened as if it had been {event.was}")
        self.failures.pop(event.task, None)
        self.first[event.task] = self.attempts[event.task] = event.attempt
