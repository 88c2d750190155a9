"""How often a rank looks for messages [core].

MPI has no descriptor to wait for, and its own waits keep a core busy.  So a rank looks, and sleeps between two looks:
a moment while messages come, longer and longer while none do.
"""

from __future__ import annotations

__all__ = ["LONGEST", "SHORTEST", "PollPause"]

SHORTEST, LONGEST = 0.001, 0.02
"""Seconds between two looks; a timer of the system is hardly finer than the first, and the second is what a first task
waits for."""
_GROWTH = 1.1


class PollPause:
    """The pauses of one rank.

    Parameters
    ----------
    now
        The time.

    Attributes
    ----------
    due
        When to look next.
    """

    def __init__(self, now: float) -> None:
        self.due = now
        self._pause = SHORTEST

    def looked(self, found: bool, now: float) -> None:
        """Note a look, and whether messages had come, or others are on their way."""
        self._pause = SHORTEST if found else min(self._pause * _GROWTH, LONGEST)
        self.due = now + self._pause
