"""Waits that the user sees: each has a limit, and says what it waits for when it takes long."""

from __future__ import annotations

import sys
import time

__all__ = ["BoundedWait"]

_SILENCE = 3.0
"""Seconds after which the user is told what a call waits for."""


class BoundedWait:
    """One wait inside ``load()`` or ``attach()``.

    Parameters
    ----------
    what
        What it waits for, as ``Waiting for ...`` goes on.
    limit
        The most seconds that it takes.
    """

    def __init__(self, what: str, limit: float) -> None:
        self.what = what
        self._began = time.monotonic()
        self._limit = limit
        self._silent = True

    def step(self, most: float = 0.05) -> float:
        """The seconds to wait next, at most ``most``; 0 when the limit is reached."""
        waited = time.monotonic() - self._began
        if self._silent and waited < _SILENCE:
            most = min(most, _SILENCE - waited)
        elif self._silent:
            self._silent = False
            print(f"Waiting for {self.what} (at most {self._limit:g} s) ...", file=sys.stderr, flush=True)
        return max(0.0, min(most, self._limit - waited))

    def pause(self) -> None:
        """Sleep until it is worth another look."""
        time.sleep(self.step())
