"""Counts the failed starts of an executor's blocks, and decides when the next block may be requested [core].

A start fails when a block ends before one of its managers has worked, although parslab did not end the block.  Each
failed start counts once: when the controller has read the block's output, or ``OUTPUT_WITHIN`` seconds later without
it.  ``MAX_IN_A_ROW`` failed starts stop the executor, unless one of its other blocks may still work.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parslab.scaling.block import Block

__all__ = ["BACKOFF", "MAX_IN_A_ROW", "OUTPUT_WITHIN", "FailedStarts"]

MAX_IN_A_ROW = 3
"""Failed starts in a row that stop the executor.

A single failure may be the fault of one node.  More attempts with a wrong configuration only fill the queue.
"""

OUTPUT_WITHIN = 10.0
"""Seconds to wait for the last lines of a block's output.

A shared file system shows the output late.  One that hangs must not prevent the executor from stopping.
"""

BACKOFF = (1.0, 5.0, 30.0)
"""Seconds before the next block is requested, after the first, second ... failed start in a row."""


class FailedStarts:
    """The failed starts of one executor since a block last worked."""

    def __init__(self) -> None:
        self.count = 0
        self.retry_at = 0.0
        """No block is requested before this time."""
        self.stopped_by: Block | None = None
        """The block whose failed start stopped the executor."""
        # A start counts after its output is read, so that the sentence that stops the executor contains the cause.
        self._uncounted: dict[str, Block] = {}

    @property
    def any(self) -> bool:
        """Whether a start has failed since a block last worked."""
        return bool(self.count or self._uncounted)

    def allows_request(self, alive: Iterable[Block], now: float) -> bool:
        """Return whether one more block may be requested: one at a time, and after a pause."""
        trying = self._uncounted or any(block.starting for block in alive)
        return not trying and now >= self.retry_at

    def reset(self) -> None:
        """Start again from zero, because a block works."""
        self.count = 0
        self.retry_at = 0.0

    def add(self, block: Block, now: float) -> None:
        """Add a block whose start has failed; the start counts when the block's output is read."""
        block.count_at = now + OUTPUT_WITHIN
        self._uncounted[block.id] = block

    def overdue(self, now: float) -> list[Block]:
        """Return blocks whose output could not be read in time."""
        return [block for block in self._uncounted.values() if block.count_at is not None and now >= block.count_at]

    def count_now(self, block: Block, alive: Iterable[Block], now: float, refused: bool = False) -> None:
        """Count the failed start of a block.

        Parameters
        ----------
        alive
            The blocks that have not ended.  The executor does not stop while one of them may work.
        refused
            The scheduler did not accept the job.  Then a block in the scheduler's queue counts as one that may work,
            because a scheduler that has accepted other jobs probably limits their number.
        """
        block.count_at = None
        self._uncounted.pop(block.id, None)
        self.count += 1
        self.retry_at = now + BACKOFF[min(self.count, len(BACKOFF)) - 1]
        hope = any(other.may_come or (refused and other.in_queue) for other in alive)
        if self.count >= MAX_IN_A_ROW and self.stopped_by is None and not hope:
            self.stopped_by = block

    def defer(self, now: float) -> None:
        """Postpone the next request, because the scheduler's queue has no room for another job now."""
        # The pause applies only while ``any`` is true.  A count of 1 never stops the executor by itself.
        self.count = max(1, self.count)
        self.retry_at = now + BACKOFF[-1]

    def deadlines(self, now: float) -> list[float]:
        """Return the times at which the controller must decide, even if no event happens."""
        times = [block.count_at for block in self._uncounted.values() if block.count_at is not None]
        if self.count and self.retry_at > now:
            times.append(self.retry_at)
        return times
