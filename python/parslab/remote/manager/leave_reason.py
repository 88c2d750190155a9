"""Why a signal ends a manager, for the errors of the tasks that are lost with it [core].

The script of a batch job exports when the walltime of the job is over, because only the scheduler knows that a signal
comes for this reason.  The clock of the node is good enough: the words change, and nothing is decided by them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["leave_reason"]

_TOLERANCE = 5.0
"""Seconds before the end of the walltime in which a signal counts as sent for it."""


def leave_reason(signal: str, environment: Mapping[str, str], now: float) -> str:
    """The reason, as a part of a sentence.

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
        return f"it was told to leave by {signal}"
    if now >= ends - _TOLERANCE:
        return f"its block reached its walltime of {walltime:g} s ({signal})"
    return f"it was told to leave by {signal}"
