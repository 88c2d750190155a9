"""How many tasks finish per second, over the last few seconds.

[core]  Counts are put into slots of a fraction of a second by the time at which the loop heard of them (the clocks of
workers are not ours).  Used by the view; memory is bounded by the number of slots.
"""

from __future__ import annotations

from collections import deque

__all__ = ["WINDOW", "FinishRate"]

WINDOW = 5.0
"""Seconds looked back."""

_SLOT = 0.25


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
        """Tasks per second; a run that began a moment ago is not blamed for the time before."""
        self._forget(now)
        if not self._slots:
            return 0.0
        span = min(WINDOW, max(1.0, now - self._slots[0][0]))
        return round(sum(slot[1] for slot in self._slots) / span, 1)

    def _forget(self, now: float) -> None:
        while self._slots and self._slots[0][0] <= now - WINDOW:
            self._slots.popleft()
