"""Takes over the blocks of a DataFlowKernel that was killed, for the DataFlowKernel that replaces it [shell].

The block journal lists those blocks.  They enter the table of blocks before any manager can connect, and their jobs are
adopted once the runner exists.  From then on they are blocks like others: the scheduler reports whether their jobs
still exist, and a block whose managers do not return is cancelled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.scaling.block_journal import unfinished_blocks

if TYPE_CHECKING:
    from pathlib import Path

    from parslab.scaling.block import Block
    from parslab.scaling.block_jobs import BlockJobs
    from parslab.scaling.block_table import BlockTable
    from parslab.scaling.state_tracker import StateTracker

__all__ = ["BlockRecovery"]

_UNWANTED = "it was not needed any more when the DataFlowKernel was killed"


class BlockRecovery:
    """Puts the blocks that the journal lists into the table; the loop's thread makes it before managers connect.

    Parameters
    ----------
    run_dir, label
        The folder of the run, and the label of the executor.
    table, tracker
        The table of blocks and the state tracker of the executor.
    now
        The present time in seconds since the epoch.
    """

    def __init__(self, run_dir: Path, label: str, table: BlockTable, tracker: StateTracker, now: float) -> None:
        found = unfinished_blocks(run_dir, label)
        self._label = label
        self._wanted: list[Block] = []
        # Ended blocks count too: a manager of such a block may still connect, and must not join a new block of this id.
        table.skip_ids(found.first)
        for name, entry in found.blocks.items():
            block = table.adopt(name, entry.job, now, entry.joined)
            block.held = entry.held
            # Managers end their workers when they lose their DataFlowKernel, so the block has no task left to finish.
            if entry.draining:
                table.end(block, now, _UNWANTED)
            else:
                self._wanted.append(block)
        self._all = [table.alive[name] for name in found.blocks]
        # Without a request in the journal, the killed process made no decision, and ``init_blocks`` still applies.
        if found.first:
            tracker.resume(len(self._wanted), found.pinned, now)

    def adopt_jobs(self, jobs: BlockJobs) -> None:
        """Adopt the jobs of the blocks; call this once the runner exists."""
        for block in self._all:
            jobs.adopt(block)
        known = [f"{block.id} (job {block.job})" for block in self._wanted if block.job]
        if known:
            one = len(known) == 1
            jobs.notice(
                "info",
                f"Block{'' if one else 's'} {', '.join(known)} of executor {self._label} {'goes' if one else 'go'} on "
                "with the DataFlowKernel that was started again.",
            )
