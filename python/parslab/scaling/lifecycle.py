"""The block's life as one table: (state, signal) -> state.  An impossible pair is our mistake and tells the story.

[core]  Signals are what the scheduler, the managers or we ourselves make happen to a block; ``blocks`` keeps what else
is known of it.
"""

from __future__ import annotations

from enum import IntEnum

from parslab.errors import InternalError
from parslab.records.states import BlockState

__all__ = ["BLOCK", "BlockSignal", "step"]


class BlockSignal(IntEnum):
    """What can happen to a block."""

    accepted = 1
    """The scheduler has taken its job and named it."""
    refused = 2
    """Its job was not taken."""
    waits = 3
    """The scheduler says that its job is in the queue, perhaps again."""
    runs = 4
    """The scheduler says that its job runs."""
    joined = 5
    """A manager of it is connected, whatever the scheduler says."""
    drains = 6
    """We want it to end when it has finished what it holds."""
    ended = 7
    """Its job ended by itself."""
    broke = 8
    """Its job failed, was killed or cancelled by others, or ended before a manager came."""
    vanished = 9
    """Nobody has known of its job for too long."""
    withdrawn = 10
    """Its job is cancelled, by us."""


S, T = BlockState, BlockSignal

BLOCK: dict[tuple[BlockState, BlockSignal], BlockState] = {
    (S.requested, T.accepted): S.queued,
    (S.requested, T.refused): S.failed,
    (S.requested, T.joined): S.running,  # a manager may be quicker than the answer to our own submission
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
    (S.running, T.refused): S.running,  # submission ran into its time-out, and yet the job is there
    (S.running, T.waits): S.queued,  # requeued, as after a node failure or preemption
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
"""A signal to a block that has ended is dropped by ``blocks``, never looked up here."""


def step(state: BlockState, signal: BlockSignal, story: str) -> BlockState:
    """The state after ``signal``.

    Raises
    ------
    InternalError
        The pair is impossible; ``story`` says which block and what happened to it.
    """
    try:
        return BLOCK[state, signal]
    except KeyError:
        raise InternalError(f"signal {signal.name} in block state {state}: {story}") from None
