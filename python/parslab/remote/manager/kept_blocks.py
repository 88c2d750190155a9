"""Keeps the large blocks that the DataFlowKernel of another host sends to this node once for all tasks [core]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.errors import ProtocolError
from parslab.wire.shared_memory import allocate, size_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.wire.messages.manager import BlocksSent
    from parslab.wire.shared_memory import Buffer, PlainBuffer

__all__ = ["KeptBlocks"]


class KeptBlocks:
    """The blocks of one connection, by the numbers that the DataFlowKernel has given them."""

    def __init__(self) -> None:
        self._blocks: dict[int, Buffer] = {}

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
