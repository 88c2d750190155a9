"""The observations of a simulated run, for its checks at the end."""

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
    """A value with weak references, so that a test sees whether any object still holds it."""

    __slots__ = ("__weakref__",)


class History:
    """The observations of a run, by task."""

    def __init__(self) -> None:
        self.begun: Counter[tuple[int, int]] = Counter()
        """How often a body started, by task and attempt."""
        self.failures: dict[int, list[int]] = {}
        """The attempts whose failures monitoring got, in order."""
        self.attempts: dict[int, int] = {}
        """The last attempt that monitoring got."""
        self.late: dict[int, float] = {}
        """Seconds from the start of a body until monitoring learned that it runs."""
        self.moves: dict[int, list[TaskState]] = {}
        """The states that monitoring got, in order."""
        self.resolved: dict[int, list[TaskState]] = {}
        """The final states that the client got."""
        self.values: WeakSet[TracedValue] = WeakSet()
        """Values that something still holds."""
        self.first: dict[int, int] = {}
        """The first attempt of a task since it was reopened."""
        self.problems: list[str] = []
        """Broken promises, as sentences."""

    def reopened(self, event: TaskReopened) -> None:
        """Check that a task was reopened correctly, and start its history again."""
        if self.moves.pop(event.task, [None])[-1] is not event.was or event.was in SUCCESSES:
            self.problems.append(f"task {event.task} was reopened as if it had been {event.was}")
        self.failures.pop(event.task, None)
        self.first[event.task] = self.attempts[event.task] = event.attempt
