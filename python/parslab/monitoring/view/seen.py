"""Which task ids have been told already, in memory that does not grow with the number of tasks.

[core]  Used by the view, whose rows of finished tasks are gone: without it a doubled ``TaskSubmitted`` would bring a
finished task back.  Ids of one client count up (``client << CLIENT_SHIFT | n``), so a high-water mark a client is
enough, and the few numbers below it that have not come yet.

Invariants: ``new(id)`` is true at most once for each id; at most ``GAPS`` missing numbers are remembered (the oldest
are given up, their tasks would not be shown).
"""

from __future__ import annotations

__all__ = ["CLIENT_SHIFT", "GAPS", "SeenNames"]

CLIENT_SHIFT = 40
"""Bits of a task id that number the tasks of one client."""

GAPS = 4096


class SeenNames:
    """The ids told so far."""

    __slots__ = ("_missing", "_next")

    def __init__(self) -> None:
        self._next: dict[int, int] = {}
        self._missing: dict[int, None] = {}

    def new(self, task: int) -> bool:
        """Note the id; whether it is told for the first time."""
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
        self._missing.update(dict.fromkeys(range(max(first, end - GAPS), end)))
        while len(self._missing) > GAPS:
            del self._missing[next(iter(self._missing))]
