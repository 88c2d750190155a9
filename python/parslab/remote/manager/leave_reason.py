"""Say why a signal ends a manager, for the errors of the tasks that are lost with it [core].

A scheduler sends the same signal for a cancelled job and for the end of its walltime.  So the script of the job exports
when its walltime ends.  The clock of the node is exact enough: only the text of errors depends on it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["leave_reason"]

_TOLERANCE = 5.0
"""Seconds before the end of the walltime in which a signal counts as sent for it."""


def leave_reason(signal: str, environment: Mapping[str, str], now: float) -> str:
    """Return the reason, as a part of a sentence.

    Parameters
    ----------
    signal
        The name of the signal.
    environment
        The environment of the manager.
    now
        Seconds since the epoch.
    """
    try:
        walltime, ends = float(environment["PARSLAB_WALLTIME"]), float(environment["PARSLAB_JOB_ENDS"])
    except (KeyError, ValueError):
        return f"it received {signal}"
    if now >= ends - _TOLERANCE:
        return f"its block reached its walltime of {walltime:g} s ({signal})"
    return f"it received {signal}"
