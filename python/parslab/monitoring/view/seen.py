"""Distinguishes new task ids from repeated ones, in memory that does not grow with the number of tasks.

[core]  ``TaskRows`` uses it, because it drops finished tasks: a repeated ``TaskSubmitted`` would make a finished task
live again.  The ids of one client count up (``client << CLIENT_SHIFT | n``).  So it is enough to keep the next id of
each client, and the few smaller ids that are still missing.

Invariants: ``add(id)`` is true at most once for each id; at most ``MAX_MISSING`` missing ids are kept.  The oldest
missing ids are dropped, and panels would not show their tasks.
"""

from __future__ import annotations

from parslab.records.panel import CLIENT_SHIFT

__all__ = ["MAX_MISSING", "SeenTasks"]

MAX_MISSING = 4096
"""Most missing ids that are kept, which bounds the memory."""


class SeenTasks:
    """The ids that were added so far."""

    __slots__ = ("_missing", "_next")

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        self._missing: dict[int, None] = {}

    @property
    def missing(self) -> int:
        """How many ids are missing although later ids of the same client were added."""
        return len(self._missing)

    def add(self, task: int) -> bool:
        """Add an id; return whether it is new."""
        client = task >> CLIENT_SHIFT
        expected = self._next.get(client)
        if task == expected:
            self._next[client] = task + 1
            return True
        if expected is None:
            expected = client << CLIENT_SHIFT
        if task >= expected:
            self._next[client] = task + 1
            self._skip(expected, task)
            return True
        if task in self._missing:
            del self._missing[task]
            return True
        return False

    def _skip(self, first: int, end: int) -> None:
        # An id that is far ahead must not fill the memory, so only the newest missing ids are listed.
        self._missing.update(dict.fromkeys(range(max(first, end - MAX_MISSING), end)))
        while len(self._missing) > MAX_MISSING:
            del self._missing[next(iter(self._missing))]
