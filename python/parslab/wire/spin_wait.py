"""Poll for a moment before sleeping, if the last answers arrived soon (D8).

Waking a sleeping process costs 30 to 60 microseconds, mostly to wake its idle core.  A round trip through the
DataFlowKernel has four such wake-ups.  A waiter whose last wait was short polls for a moment before it sleeps again.
It yields its core between two polls.  In a quiet run no process polls.  On a machine where others need the cores, a
waiter polls ever more rarely.
"""

from __future__ import annotations

import os
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AWAKE", "CREDIT", "CROWDED", "LONGEST_PAUSE", "SHORTEST_PAUSE", "SpinWait"]

AWAKE = 300e-6
"""Seconds for which a waiter polls at most; shorter waits are worth it."""
CREDIT = 4
"""Waits in a row that last longer, after which the waiter stops polling."""
CROWDED = 400e-6
"""A yield that lasts longer than this shows that others need the core; the system prefers them to one that yields."""
SHORTEST_PAUSE, LONGEST_PAUSE = 32, 4096
"""Waits without polling after such a yield: twice as many each time, one less after each answer found awake."""

T = TypeVar("T")


class SpinWait:
    """Decides whether one waiter polls, from the length of its last waits."""

    __slots__ = ("credit", "hold_off", "pause")

    def __init__(self) -> None:
        self.credit = 0
        self.hold_off = 0
        self.pause = SHORTEST_PAUSE

    def wait(self, look: Callable[[], T], sleep: Callable[[], T]) -> T:
        """Return what ``look`` finds within a moment, or else what ``sleep`` returns.

        Parameters
        ----------
        look
            Returns at once; its value is true if something arrived.
        sleep
            Waits until something arrives.
        """
        if self.credit:
            found = self._stay_awake(look)
            if found:
                return found
            if self.credit:
                self.credit -= 1
            return sleep()
        began = perf_counter()
        found = sleep()
        if self.hold_off:
            self.hold_off -= 1
        elif perf_counter() - began < AWAKE:
            self.credit = CREDIT
        return found

    def _stay_awake(self, look: Callable[[], T]) -> T | None:
        now = perf_counter()
        until = now + AWAKE
        while now < until:
            if found := look():
                self.credit = CREDIT
                if self.pause > SHORTEST_PAUSE:
                    self.pause -= 1
                return found
            # The process that must answer may need this very core.
            os.sched_yield()
            before, now = now, perf_counter()
            if now - before > CROWDED:
                self.credit, self.hold_off = 0, self.pause
                self.pause = min(2 * self.pause, LONGEST_PAUSE)
                break
        return None
