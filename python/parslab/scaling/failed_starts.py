"""Counts the failed starts of an executor's blocks, and decides when the next block may be requested [core].

A start fails when a block ends, by no wish of ours, before any manager of it has worked.  It counts once: when the end
of the block's output is known, or after ``OUTPUT_WITHIN`` seconds without it.  ``MAX_IN_A_ROW`` failed starts with no
block that works stop the executor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parslab.scaling.block import Block

__all__ = ["BACKOFF", "MAX_IN_A_ROW", "OUTPUT_WITHIN", "FailedStarts"]

MAX_IN_A_ROW = 3
"""Failed starts in a row, with no block that works, that stop the executor."""

OUTPUT_WITHIN = 10.0
"""Seconds to wait for the last lines of a block's output."""

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
        self._uncounted: dict[str, Block] = {}

    @property
    def any(self) -> bool:
        """Whether a start has failed since a block last worked."""
        return bool(self.count or self._uncounted)

    def allows_request(self, alive: Iterable[Block], now: float) -> bool:
        """Whether one more block may be requested: one at a time, and after a pause."""
        trying = self._uncounted or any(block.starting for block in alive)
        return not trying and now >= self.retry_at

    def reset(self) -> None:
        """A block works."""
        self.count = 0
        self.retry_at = 0.0

    def add(self, block: Block, now: float) -> None:
        """The start of a block has failed; it counts when its output is read."""
        block.count_at = now + OUTPUT_WITHIN
        self._uncounted[block.id] = block

    def overdue(self, now: float) -> list[Block]:
        """Blocks whose output could not be read in time."""
        return [block for block in self._uncounted.values() if block.count_at is not None and now >= block.count_at]

    def count_now(self, block: Block, alive: Iterable[Block], now: float, refused: bool = False) -> None:
        """Count the failed start of a block.

        Parameters
        ----------
        alive
            The blocks that have not ended: while one of them may work, the executor is not stopped.
        refused
            The scheduler did not accept the job.  Then a block in its queue counts as one that may work: a scheduler
            that accepts other jobs refuses one more because their number is limited.
        """
        block.count_at = None
        self._uncounted.pop(block.id, None)
        self.count += 1
        self.retry_at = now + BACKOFF[min(self.count, len(BACKOFF)) - 1]
        hope = any(other.may_come or (refused and other.in_queue) for other in alive)
        if self.count >= MAX_IN_A_ROW and self.stopped_by is None and not hope:
            self.stopped_by = block

    def defer(self, now: float) -> None:
        """The scheduler's queue has no room for another job now: request one later, and stop nothing."""
        self.count = max(1, self.count)
        self.retry_at = now + BACKOFF[-1]

    def deadlines(self, now: float) -> list[float]:
        """When something is due if nothing else happens."""
        times = [block.count_at for block in self._uncounted.values() if block.count_at is not None]
        if self.count and self.retry_at > now:
            times.append(self.retry_at)
        return times
