"""Takes over the blocks of a DataFlowKernel that was killed, for the one that was started in its place [shell].

What there was stands in the journal.  The table of blocks gets it before any manager can come back; jobs are taken over
when the runner is there.  After that they are blocks like others: the scheduler says whether their jobs still are, and
those whose managers do not come back are cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.scaling.block_journal import left

if TYPE_CHECKING:
    from pathlib import Path

    from parslab.scaling.block_jobs import BlockJobs
    from parslab.scaling.block_table import Block, BlockTable
    from parslab.scaling.state_tracker import StateTracker

__all__ = ["BlockRecovery"]

_UNWANTED = "it was not needed any more when the DataFlowKernel was killed"


class BlockRecovery:
    """The blocks that are taken over; made in the loop's thread before the run's doors serve anybody.

    Parameters
    ----------
    run_dir, label
        Of the run, and of the executor.
    blocks, sight
        What is known of its blocks, and how the strategy sees them.
    now
        Seconds since the epoch.
    """

    def __init__(self, run_dir: Path, label: str, blocks: BlockTable, sight: StateTracker, now: float) -> None:
        found = left(run_dir, label)
        self._label = label
        self._taken: list[Block] = []
        blocks.skip(found.first)
        for name, entry in found.blocks.items():
            block = blocks.adopt(name, entry.job, now, entry.came)
            block.held = entry.held
            if entry.draining:
                blocks.end(block, now, _UNWANTED)
            else:
                self._taken.append(block)
        self._all = [blocks.alive[name] for name in found.blocks]
        if found.first:
            sight.resume(len(self._taken), found.pinned, now)

    def carry_out(self, jobs: BlockJobs) -> None:
        """The runner is there."""
        for block in self._all:
            jobs.adopt(block)
        known = [f"{block.id} (job {block.job})" for block in self._taken if block.job]
        if known:
            one = len(known) == 1
            jobs.notice(
                "info",
                f"Block{'' if one else 's'} {', '.join(known)} of executor {self._label} {'goes' if one else 'go'} on "
                "with the DataFlowKernel that was started again.",
            )
