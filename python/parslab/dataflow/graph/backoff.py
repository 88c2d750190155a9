"""Counts the failed attempts of a task, and says how long its next attempt waits [core].

The table makes a :class:`RetryState` at the first failure of a task that may be tried again, or about which a retry
handler decides.  The next attempt follows at once when the function raised, and after the first loss with a
machine.  After more losses in a row it waits 1, 2, 4 ... seconds, because what ended the attempts may still be there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.records.reasons import INFRASTRUCTURE

if TYPE_CHECKING:
    from parslab.dataflow.graph.task import Task
    from parslab.wire.messages.base import Failure

__all__ = ["LONGEST", "RetryState", "pause_after"]

LONGEST = 30.0
"""The most seconds that a next attempt waits."""


class RetryState:
    """The attempts of one task so far.

    Attributes
    ----------
    task
        The task.
    cost
        The part of its retries that its failed attempts have cost.
    losses
        How many of the last attempts in a row were lost with a machine.
    worker
        The worker or manager that had the last attempt.
    asked
        The failure about which the retry handler has been asked; None if it has answered or there is no handler.
    """

    __slots__ = ("asked", "cost", "losses", "task", "worker")

    def __init__(self, task: Task) -> None:
        self.task = task
        self.cost = 0.0
        self.losses = 0
        self.worker = ""
        self.asked: Failure | None = None

    def note(self, failure: Failure, worker: str) -> None:
        """Count one more failed attempt."""
        # An error of the function shows that its machine works, so the losses in a row end there.
        self.losses = self.losses + 1 if failure.reason in INFRASTRUCTURE else 0
        self.worker = worker

    @property
    def pause(self) -> float:
        """Return the seconds until the next attempt."""
        return pause_after(self.losses)


def pause_after(losses: int) -> float:
    """Return the seconds that a task waits after so many attempts in a row were lost.

    Examples
    --------
    >>> [pause_after(losses) for losses in range(9)]
    [0.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    """
    # The exponent has a bound, because a task may be lost so often that the power would overflow.
    return 0.0 if losses < 2 else min(2.0 ** min(losses - 2, 10), LONGEST)
