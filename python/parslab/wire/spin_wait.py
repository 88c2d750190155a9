"""Waiting awake, for a moment, when the last answers came at once.

Waking a process that sleeps costs 30 to 60 microseconds, mostly in bringing its idle core back, and a round trip
through the DataFlowKernel has four such wake-ups.  So whoever was woken soon the last time looks again a few times,
offering its core to everybody else in between, before it sleeps.  In a quiet run nobody is ever awake for nothing.
"""

from __future__ import annotations

import os
from time import perf_counter
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["AWAKE", "CREDIT", "CROWDED", "HOLD_OFF", "SOON", "SpinWait"]

AWAKE = 150e-6
"""Seconds for which a waiter stays awake at most."""
SOON = 400e-6
"""A sleep shorter than this makes the waiter stay awake the next times."""
CREDIT = 4
"""Long waits in a row until it does not any more."""
CROWDED = 40e-6
"""Offering the core took longer than this: others need it, and sleepers are served before those who stay awake."""
HOLD_OFF = 200
"""Waits that are slept through after that."""

T = TypeVar("T")


class SpinWait:
    """Decides for one waiter, by how its last waits went."""

    __slots__ = ("credit", "hold_off")

    def __init__(self) -> None:
        self.credit = 0
        self.hold_off = 0

    def wait(self, look: Callable[[], T], sleep: Callable[[], T]) -> T:
        """What ``look`` finds within a moment, or else what ``sleep`` returns.

        Parameters
        ----------
        look
            Returns something true when there is something, at once.
        sleep
            Waits for it.
        """
        if self.credit:
            found = self._stay_awake(look)
            if found:
                return found
        began = perf_counter()
        found = sleep()
        if self.hold_off:
            self.hold_off -= 1
        elif perf_counter() - began < SOON:
            self.credit = CREDIT
        elif self.credit:
            self.credit -= 1
        return found

    def _stay_awake(self, look: Callable[[], T]) -> T | None:
        now = perf_counter()
        until = now + AWAKE
        while now < until:
            if found := look():
                return found
            os.sched_yield()
            before, now = now, perf_counter()
            if now - before > CROWDED:
                self.credit, self.hold_off = 0, HOLD_OFF
                break
        return None
