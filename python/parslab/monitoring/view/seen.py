"""Which task ids have come already, in memory that does not grow with the number of tasks.

[core]  Used by ``TaskRows``, which forgets finished tasks: without it a repeated ``TaskSubmitted`` would bring a
finished task back.  The ids of one client count up (``client << CLIENT_SHIFT | n``), so the next id of each client is
enough, and the few smaller ids that have not come yet.

Invariants: ``add(id)`` is true at most once for each id; at most ``MAX_MISSING`` missing ids are kept.  The oldest are
dropped, and their tasks would not be shown.
"""

from __future__ import annotations

from parslab.records.panel import CLIENT_SHIFT

__all__ = ["MAX_MISSING", "SeenTasks"]

MAX_MISSING = 4096


class SeenTasks:
    """The ids that have come so far."""

    __slots__ = ("_missing", "_next")

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        self._missing: dict[int, None] = {}

    @property
    def missing(self) -> int:
        """How many ids have not come although later ones have."""
        return len(self._missing)

    def add(self, task: int) -> bool:
        """Note an id; whether it comes for the first time."""
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
        self._missing.update(dict.fromkeys(range(max(first, end - MAX_MISSING), end)))
        while len(self._missing) > MAX_MISSING:
            del self._missing[next(iter(self._missing))]
