"""``BoundedWait`` waits at most for a given time, and prints what it waits for when that takes long."""

from __future__ import annotations

import sys
import time

__all__ = ["BoundedWait"]

_SILENCE = 3.0
"""Seconds after which a wait prints its message."""


class BoundedWait:
    """One wait inside ``load()`` or ``attach()``.

    Parameters
    ----------
    what
        What the call waits for; the message prints it after "Waiting for".
    limit
        The most seconds that the wait takes.
    """

    def __init__(self, what: str, limit: float) -> None:
        self.what = what
        self._began = time.monotonic()
        self._limit = limit
        self._silent = True

    def step(self, most: float = 0.05) -> float:
        """Return the seconds to wait next, at most ``most``; 0 when the limit is reached."""
        waited = time.monotonic() - self._began
        if self._silent and waited < _SILENCE:
            # A caller that waits in one long step would otherwise print the message too late.
            most = min(most, _SILENCE - waited)
        elif self._silent:
            self._silent = False
            print(f"Waiting for {self.what} (at most {self._limit:g} s) ...", file=sys.stderr, flush=True)
        return max(0.0, min(most, self._limit - waited))

    def pause(self) -> None:
        """Sleep for one step."""
        time.sleep(self.step())
