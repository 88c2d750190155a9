"""Groups the tasks that have failed by the pattern of their errors, as they fail and as they are retried.  [core]

The view owns the one object, and tells it of failed attempts only: tasks that succeed cost nothing.  An attempt that
failed may be followed by another one, so ``settle`` counts a task only once the events of its end have been applied.
Invariants:

* a tracked task is in one group, and only while its state is ``failed``;
* there are at most ``MAX_GROUPS`` groups; later patterns share the group ``OTHER``;
* at most ``MAX_TRACKED`` tasks are tracked; later ones are only counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from parslab.monitoring.failures.patterns import OTHER, Pattern, pattern_of
from parslab.records.panel import FailureGroupRow
from parslab.records.states import FINAL, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from parslab.records.events import FailureRecalled

__all__ = ["MAX_GROUPS", "MAX_NAMES", "MAX_TRACKED", "OTHER_NAMES", "FailureGroups", "LastAttempt"]

MAX_GROUPS = 50
"""Patterns with a group of their own; ``OTHER`` counts the later ones, or each snapshot would grow with them."""

MAX_NAMES = 20
"""Apps, executors and hosts that a group counts one by one, of each kind."""

MAX_TRACKED = 1_000_000
"""Failed tasks whose numbers are kept, about 100 bytes each, so that they can be retried and leave their group."""

OTHER_NAMES = "(others)"
"""Counts the apps, executors or hosts beyond ``MAX_NAMES``."""

_FAILED = TaskState.failed.name
_BEFORE_THE_END = {state.name for state in TaskState if state not in FINAL and state is not TaskState.fail_retryable}
_PATTERN_OF_OTHERS = Pattern(OTHER, "", "")


StateOf: TypeAlias = "Callable[[int], tuple[str, int] | None]"


class LastAttempt(NamedTuple):
    """A failed attempt of a task that may or may not end with it."""

    time: float
    attempt: int
    error: str
    app: str
    executor: str
    worker: str


class _Origin(NamedTuple):
    """Where failed tasks come from; tasks of the same origin share the object."""

    app: str
    executor: str
    host: str


class _Group:
    """The failed tasks of one pattern."""

    __slots__ = ("first", "kind", "last", "message", "names", "number", "origins", "tasks", "untracked")

    def __init__(self, pattern: Pattern) -> None:
        self.number, self.kind, self.message = pattern
        self.tasks: dict[int, _Origin] = {}
        """By number of the task, in the order of failure."""
        self.untracked = 0
        self.first: float | None = None
        self.last: float | None = None
        self.names: tuple[dict[str, int], ...] = ({}, {}, {})
        """How many of the tasks are of each app, executor and host."""
        self.origins: dict[_Origin, _Origin] = {}

    @property
    def count(self) -> int:
        return len(self.tasks) + self.untracked

    def add(self, task: int, time: float | None, origin: _Origin, *, track: bool) -> None:
        counted = _Origin(*(_named(names, name) for names, name in zip(self.names, origin, strict=True)))
        for names, name in zip(self.names, counted, strict=True):
            names[name] = names.get(name, 0) + 1
        if track:
            self.tasks[task] = self.origins.setdefault(counted, counted)
        else:
            self.untracked += 1
        if time is not None:
            self.first = time if self.first is None else min(self.first, time)
            self.last = time if self.last is None else max(self.last, time)

    def remove(self, task: int) -> None:
        for names, name in zip(self.names, self.tasks.pop(task), strict=True):
            names[name] -= 1

    def row(self) -> FailureGroupRow:
        apps, executors, hosts = ({name: n for name, n in names.items() if n and name} for names in self.names)
        return FailureGroupRow(
            number=self.number,
            kind=self.kind,
            message=self.message,
            tasks=self.count,
            first=self.first,
            last=self.last,
            apps=apps,
            executors=executors,
            hosts=hosts,
            example=next(iter(self.tasks), None),
        )


def _named(names: dict[str, int], name: str) -> str:
    return name if name in names or len(names) < MAX_NAMES else OTHER_NAMES


class FailureGroups:
    """The groups of one run.

    Examples
    --------
    >>> groups = FailureGroups()
    >>> groups.attempt_failed(7, LastAttempt(12.0, 0, "ValueError: 7 is odd", "fit", "htex", "node1"))
    >>> groups.settle({7: ("failed", 0)}.get, lambda worker: "here")
    >>> [(group.kind, group.message, group.tasks) for group in groups.all_rows()]
    [('ValueError', 'N is odd', 1)]
    """

    __slots__ = ("_changed", "_groups", "_open", "_tracked", "_unwritten")

    def __init__(self) -> None:
        self._groups: dict[int, _Group] = {}
        self._open: dict[int, LastAttempt] = {}
        """Failed attempts whose task has not moved since, by task."""
        self._tracked = 0
        self._changed: set[int] = set()
        self._unwritten: set[int] = set()

    # ----- events

    @property
    def unsettled(self) -> bool:
        """Whether ``settle`` has anything to do."""
        return bool(self._open)

    def attempt_failed(self, task: int, attempt: LastAttempt) -> None:
        """An attempt failed; the task fails with it unless it is tried again."""
        self._open[task] = attempt

    def settle(self, state_of: StateOf, host_of: Callable[[str], str]) -> None:
        """Count the tasks that have failed for good since the last call.

        Parameters
        ----------
        state_of
            Returns the name of a task's state and the number of its attempt; None if the task is not in memory.
        host_of
            Returns the host of a worker.  Asked for now, because a worker is often reported after its first tasks.
        """
        still_open: dict[int, LastAttempt] = {}
        for task, failed in self._open.items():
            found = state_of(task)
            if found is None:
                continue
            state, attempt = found
            if state == _FAILED:
                origin = _Origin(failed.app, failed.executor, host_of(failed.worker))
                self._add(task, failed.error, failed.time, origin)
            elif attempt == failed.attempt and state in _BEFORE_THE_END:
                still_open[task] = failed  # the event of the move is in the next batch
        self._open = still_open

    def recalled(self, event: FailureRecalled) -> None:
        """A task had failed under a lost DataFlowKernel; when and where is only in the database."""
        self._add(event.task, event.error, None, _Origin(event.app, event.executor, ""))

    def reopened(self, task: int) -> None:
        """A task is retried, whatever its state was."""
        for group in self._groups.values():
            if task in group.tasks:
                group.remove(task)
                self._tracked -= 1
                self._touch(group)
                return

    def _add(self, task: int, error: str, time: float | None, origin: _Origin) -> None:
        pattern = pattern_of(error)
        group = self._groups.get(pattern.group)
        if group is None:
            if len(self._groups) - (OTHER in self._groups) >= MAX_GROUPS and not self._forget_empty():
                pattern = _PATTERN_OF_OTHERS
            group = self._groups.setdefault(pattern.group, _Group(pattern))
        track = self._tracked < MAX_TRACKED
        self._tracked += track
        group.add(task, time, origin, track=track)
        self._touch(group)

    def _forget_empty(self) -> bool:
        """Make room for a new pattern: drop a group whose tasks have all been retried."""
        # Not one that panels or the store still show with tasks.
        empty = (group for group in self._groups.values() if not group.count and group.number != OTHER)
        group = next((group for group in empty if group.number not in self._changed | self._unwritten), None)
        if group is None:
            return False
        del self._groups[group.number]
        return True

    def _touch(self, group: _Group) -> None:
        self._changed.add(group.number)
        self._unwritten.add(group.number)

    # ----- for panels, retries and the store

    def tasks_of(self, group: int) -> list[int]:
        """Return the numbers of the tracked tasks of a group, in the order of failure."""
        found = self._groups.get(group)
        return [] if found is None else list(found.tasks)

    def all_rows(self) -> list[FailureGroupRow]:
        """Return the groups that have tasks."""
        return [group.row() for group in self._groups.values() if group.count]

    def take_changed(self) -> list[FailureGroupRow]:
        """Return the groups that changed since the last call, also those without tasks."""
        numbers, self._changed = self._changed, set()
        return self._rows(numbers)

    @property
    def unwritten(self) -> bool:
        """Whether a group changed since it was handed to the store."""
        return bool(self._unwritten)

    def take_unwritten(self) -> list[FailureGroupRow]:
        """Return the groups for the store that changed since the last call."""
        numbers, self._unwritten = self._unwritten, set()
        return self._rows(numbers)

    def _rows(self, numbers: Iterable[int]) -> list[FailureGroupRow]:
        return [self._groups[number].row() for number in sorted(numbers)]
