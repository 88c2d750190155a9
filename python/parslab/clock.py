"""The clock of a run: seconds since the epoch that never jump.

The wall clock may jump by hours: an administrator or a time server sets it, a laptop wakes up.  No timer, heartbeat,
limit or lease may notice.  So every process of a run reads :func:`steady_time`: the wall time at which the run began,
plus the monotonic clock since then.  It does not advance while the machine sleeps.

The process that starts a run reads the wall clock once (``set_anchor``).  It passes the anchor on to the processes that
it starts on the same host, so that their times can be compared.  Use :func:`time.time` only for times that are compared
with files or with those of another run, and say so there.
"""

from __future__ import annotations

import time
from time import monotonic

__all__ = ["anchor", "set_anchor", "steady_time", "to_wall_time", "wall_clock_offset"]

_anchor = time.time() - monotonic()


def steady_time() -> float:
    """Return seconds since the epoch, by the wall clock as it was when the run began."""
    return monotonic() + _anchor


def anchor() -> float:
    """Return the seconds that this process adds to its monotonic clock."""
    return _anchor


def set_anchor(value: float | None = None) -> None:
    """Use the anchor of the process that started this one, or with None a new anchor from the present wall clock."""
    global _anchor
    _anchor = time.time() - monotonic() if value is None else value


def wall_clock_offset() -> float:
    """Return how many seconds the wall clock is ahead of :func:`steady_time` now.

    It changes when somebody sets the wall clock, and by the length of each sleep of the machine.
    """
    return time.time() - steady_time()


def to_wall_time(moment: float) -> float:
    """Convert a moment of :func:`steady_time` to the wall clock as it is set now."""
    return moment + wall_clock_offset()
