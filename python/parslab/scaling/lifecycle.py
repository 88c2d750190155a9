"""The states of a block as one table, (state, signal) -> state; an impossible pair raises with the block's story.

[core]  A signal reports an event that the scheduler, a manager or the controller causes.  The table of blocks keeps all
other facts about a block.
"""

from __future__ import annotations

from enum import IntEnum

from parslab.records.states import BlockState

__all__ = ["BLOCK", "BlockSignal"]


class BlockSignal(IntEnum):
    """The events of a block."""

    accepted = 1
    """The scheduler has accepted its job."""
    refused = 2
    """The scheduler has refused its job."""
    waits = 3
    """The scheduler reports that its job is queued, perhaps again."""
    runs = 4
    """The scheduler reports that its job runs."""
    joined = 5
    """A manager of it is connected, whatever the scheduler reports."""
    drains = 6
    """The controller ends the block as soon as its tasks have ended."""
    ended = 7
    """Its job ended by itself."""
    broke = 8
    """Its job failed, was killed or cancelled by others, or ended before a manager connected."""
    vanished = 9
    """Its job has been unknown for too long."""
    withdrawn = 10
    """The controller has cancelled its job."""


S, T = BlockState, BlockSignal

BLOCK: dict[tuple[BlockState, BlockSignal], BlockState] = {
    (S.requested, T.accepted): S.queued,
    (S.requested, T.refused): S.failed,
    (S.requested, T.joined): S.running,  # a manager may connect before the submit command has answered
    (S.requested, T.drains): S.draining,
    (S.requested, T.withdrawn): S.scaled_in,
    (S.queued, T.waits): S.queued,
    (S.queued, T.runs): S.running,
    (S.queued, T.joined): S.running,
    (S.queued, T.drains): S.draining,
    (S.queued, T.ended): S.finished,
    (S.queued, T.broke): S.failed,
    (S.queued, T.vanished): S.missing,
    (S.queued, T.withdrawn): S.scaled_in,
    (S.running, T.accepted): S.running,
    (S.running, T.refused): S.running,  # the submit command timed out, and yet the job exists
    (S.running, T.waits): S.queued,  # the scheduler requeued the job, as after a node failure or a preemption
    (S.running, T.runs): S.running,
    (S.running, T.joined): S.running,
    (S.running, T.drains): S.draining,
    (S.running, T.ended): S.finished,
    (S.running, T.broke): S.failed,
    (S.running, T.vanished): S.missing,
    (S.running, T.withdrawn): S.scaled_in,
    (S.draining, T.accepted): S.draining,
    (S.draining, T.refused): S.scaled_in,
    (S.draining, T.waits): S.draining,
    (S.draining, T.runs): S.draining,
    (S.draining, T.joined): S.draining,
    (S.draining, T.drains): S.draining,
    (S.draining, T.ended): S.scaled_in,
    (S.draining, T.broke): S.scaled_in,
    (S.draining, T.vanished): S.scaled_in,
    (S.draining, T.withdrawn): S.scaled_in,
}
"""The table of blocks drops a signal to a block that has ended, so such pairs are not listed."""
