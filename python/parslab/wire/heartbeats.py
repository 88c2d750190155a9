"""Decides when a silent peer counts as lost [core].

The DataFlowKernel and its managers send each other heartbeats, and each side checks the other once in each period.

A busy machine or a signal may make a process stand still.  Meanwhile messages of its peers gather in its sockets, so
their silence proves nothing.  Such a process reads first, and judges its peers at its next check.
"""

from __future__ import annotations

__all__ = ["SilenceCheck"]


class SilenceCheck:
    """The checks of one process.

    Parameters
    ----------
    period
        Seconds between two checks.
    threshold
        Seconds of silence after which a peer is lost.
    now
        The present time.
    """

    def __init__(self, period: float, threshold: float, now: float) -> None:
        self._period = period
        self._threshold = threshold
        self._due = now
        self._late = False

    def begin(self, now: float) -> float:
        """Begin a check, and return when the next one is due."""
        self._late = now > self._due + self._period
        self._due = now + self._period
        return self._due

    def is_lost(self, last_seen: float, now: float) -> bool:
        """Whether a peer is lost whose last message was read at the time ``last_seen``."""
        return now - last_seen > self._threshold and not self._late
