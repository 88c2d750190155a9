"""Keeps large blocks on a node, so that the DataFlowKernel of another host need not send them again [core].

They are arguments that it sent once for all tasks, and results that tasks of this node made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.errors import ProtocolError
from parslab.wire.messages.manager import BlocksMade
from parslab.wire.shared_memory import KEPT_SIZE, SharedFrame, allocate, size_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.wire.messages.manager import BlocksSent
    from parslab.wire.shared_memory import Buffer, PlainBuffer

__all__ = ["KeptBlocks"]


class KeptBlocks:
    """The blocks of one connection, by their numbers: those of results, which the node numbers itself, are below 0."""

    def __init__(self) -> None:
        self._blocks: dict[int, Buffer] = {}
        self._made = 0
        """How many blocks of results were kept so far."""

    def __len__(self) -> int:
        return len(self._blocks)

    def incoming(self, sent: BlocksSent, frames: Sequence[PlainBuffer]) -> list[Buffer]:
        """Return the frames of a batch, with the kept blocks in the places of the empty ones.

        Raises
        ------
        ProtocolError
            The batch names a frame or a block that does not exist.
        """
        found: list[Buffer] = list(frames)
        try:
            for place, number in sent.kept:
                # In shared memory: all workers of the node then read the same copy.
                made = allocate([frames[place]]) if size_of(frames[place]) else None
                found[place] = self._blocks[number] = frames[place] if made is None else made[0]
            for place, number in sent.known:
                found[place] = self._blocks[number]
            for number in sent.forgotten:
                del self._blocks[number]
        except LookupError as error:
            raise ProtocolError(f"the DataFlowKernel names block {error}, which this node does not have") from None
        return found

    def outgoing(self, frames: Sequence[Buffer]) -> BlocksMade | None:
        """Keep the large results among the frames of a batch, until the DataFlowKernel says that nobody needs them.

        Returns
        -------
        BlocksMade or None
            What the DataFlowKernel must know before it reads the batch; None if nothing is kept.
        """
        kept: list[tuple[int, int]] = []
        for place, frame in enumerate(frames):
            # Only what is in shared memory: to keep anything else would cost a copy, also of results that nobody needs.
            if type(frame) is SharedFrame and frame.nbytes >= KEPT_SIZE:
                self._made += 1
                self._blocks[-self._made] = frame
                kept.append((place, -self._made))
        return BlocksMade(tuple(kept)) if kept else None
