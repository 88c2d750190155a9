"""Measures how many tasks finish per second, as an average over the last few seconds.

[core]  The view uses it.  Counts go into slots by the time at which the loop applied the events, because the clocks of
workers may be wrong.  The number of slots bounds the memory.
"""

from __future__ import annotations

from collections import deque

__all__ = ["WINDOW", "FinishRate"]

WINDOW = 5.0
"""Seconds over which the rate is averaged."""

_SLOT = 0.25
"""Seconds whose counts are added up in one slot."""


class FinishRate:
    """A sliding window of counts."""

    __slots__ = ("_slots",)

    def __init__(self) -> None:
        self._slots: deque[list[float]] = deque()

    def add(self, count: int, now: float) -> None:
        """Count tasks that finished."""
        if self._slots and now - self._slots[-1][0] < _SLOT:
            self._slots[-1][1] += count
        else:
            self._slots.append([now, count])
            self._forget(now)

    def rate(self, now: float) -> float:
        """Tasks per second; the time before the first task does not count."""
        self._forget(now)
        if not self._slots:
            return 0.0
        # At least a second, or the first tasks of a run would show as thousands per second.
        span = min(WINDOW, max(1.0, now - self._slots[0][0]))
        return round(sum(slot[1] for slot in self._slots) / span, 1)

    def _forget(self, now: float) -> None:
        while self._slots and self._slots[0][0] <= now - WINDOW:
            self._slots.popleft()
