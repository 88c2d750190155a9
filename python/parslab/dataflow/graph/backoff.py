"""What is remembered of a task whose attempt has failed, until it has ended [core].

The table makes a :class:`RetryState` at the first failure of a task that may be tried again, or that a retry handler
is to
be asked about; a task that does not fail never has one.  An attempt whose function raised is followed by the next one
at once.  So is the first that was lost with a machine; the next in a row are followed after 1, 2, 4 ... seconds,
because what ended them may still be there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from parslab.records.reasons import INFRASTRUCTURE

if TYPE_CHECKING:
    from parslab.wire.messages.base import Failure

__all__ = ["LONGEST", "NextAttempt", "RetryState", "pause_after"]

LONGEST = 30.0
"""Seconds that the next attempt waits at most."""


class NextAttempt(NamedTuple):
    """A task that is ready for another attempt, to be given before those that wait for their first one."""

    task: Any
    worker: str
    """Who had the attempt that failed: the manager or worker that had better not get it again."""
    lost: bool
    """Whether it was lost with a machine, so that another place is worth waiting for."""


class RetryState:
    """The attempts of one task so far.

    Attributes
    ----------
    cost
        What its failed attempts have cost of its retries.
    losses
        How many of the last ones, in a row, were lost with a machine.
    worker
        Who had the last one.
    asked
        Its failure, while the retry handler is asked about it.
    """

    __slots__ = ("asked", "cost", "losses", "worker")

    def __init__(self) -> None:
        self.cost = 0.0
        self.losses = 0
        self.worker = ""
        self.asked: Failure | None = None

    def note(self, failure: Failure, worker: str) -> None:
        """One more attempt has failed."""
        self.losses = self.losses + 1 if failure.reason in INFRASTRUCTURE else 0
        self.worker = worker

    @property
    def pause(self) -> float:
        """Seconds until the next attempt."""
        return pause_after(self.losses)


def pause_after(losses: int) -> float:
    """Seconds that a task waits which so many attempts in a row were lost of.

    Examples
    --------
    >>> [pause_after(losses) for losses in range(9)]
    [0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    """
    return 0.0 if losses < 2 else min(2.0 ** min(losses - 2, 10), LONGEST)
