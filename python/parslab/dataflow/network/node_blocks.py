"""Notes which large blocks the manager of another host has, so that no block is sent to it twice [core].

Many tasks may have one large argument.  The DataFlowKernel holds it as one block, and the manager of a node keeps the
block under a number until it hears that nobody needs it any more.  It also keeps the large results of its own
tasks, for the next tasks that run there.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING

from parslab.errors import ProtocolError
from parslab.wire.messages.manager import BlocksSent
from parslab.wire.shared_memory import KEPT_SIZE, SharedFrame, moved

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.wire.messages.manager import BlocksMade
    from parslab.wire.shared_memory import Buffer

__all__ = ["NodeBlocks"]

_MOST_BYTES = 1 << 30
"""Bytes that a node keeps besides the latest block, because the results of tasks may live for as long as the run."""


class NodeBlocks:
    """The blocks that one manager keeps.

    Parameters
    ----------
    most
        How many bytes it keeps besides the latest block.
    """

    def __init__(self, most: int = _MOST_BYTES) -> None:
        self._most = most
        self._kept: OrderedDict[weakref.ref[SharedFrame], tuple[int, int]] = OrderedDict()
        """Number and size of each block, the latest used one last."""
        self._gone: list[weakref.ref[SharedFrame]] = []
        """Blocks that nobody in this process has any more."""
        self._unheld: list[int] = []
        """Numbers of blocks that the manager keeps in vain, because this process has them as bytes."""
        self._bytes = 0
        self._next = 0

    def __bool__(self) -> bool:
        return bool(self._kept or self._unheld)

    def incoming(self, made: BlocksMade, frames: Sequence[Buffer]) -> list[Buffer]:
        """Note the results of a batch that the manager keeps, and return the frames with these results as blocks.

        Raises
        ------
        ProtocolError
            The batch names a frame that does not exist.
        """
        found = list(frames)
        for place, number in made.kept:
            if not 0 <= place < len(found):
                raise ProtocolError(f"a manager names frame {place} of a batch with {len(found)} frames")
            frame = found[place] = moved(found[place])
            if type(frame) is SharedFrame:
                self._kept[weakref.ref(frame, self._gone.append)] = number, frame.nbytes
                self._bytes += frame.nbytes
            else:
                self._unheld.append(number)
        return found

    def outgoing(self, frames: Sequence[Buffer]) -> tuple[BlocksSent | None, Sequence[Buffer]]:
        """Replace the frames of a batch that the manager has by empty ones.

        Returns
        -------
        tuple
            What the manager must know before it reads the batch, or None; and the frames to send.
        """
        kept: list[tuple[int, int]] = []
        known: list[tuple[int, int]] = []
        sent = list(frames)
        for place, frame in enumerate(frames):
            if type(frame) is not SharedFrame or frame.nbytes < KEPT_SIZE:
                continue
            block = weakref.ref(frame, self._gone.append)
            if block in self._kept:
                self._kept.move_to_end(block)
                known.append((place, self._kept[block][0]))
                sent[place] = b""
            else:
                self._kept[block] = self._next, frame.nbytes
                self._bytes += frame.nbytes
                kept.append((place, self._next))
                self._next += 1
        # The manager drops these after it has read the batch, which may have them.
        forgotten = self._forget()
        if not (kept or known or forgotten):
            return None, frames
        return BlocksSent(tuple(kept), tuple(known), tuple(forgotten)), sent

    def _forget(self) -> list[int]:
        """Forget blocks that nobody needs, and the oldest ones if there are too many; return their numbers."""
        numbers, self._unheld = self._unheld, []
        while self._gone:
            self._drop(self._gone.pop(), numbers)
        while len(self._kept) > 1:
            latest = self._kept[next(reversed(self._kept))][1]
            if self._bytes - latest <= self._most:
                break
            self._drop(next(iter(self._kept)), numbers)
        return numbers

    def _drop(self, block: weakref.ref[SharedFrame], numbers: list[int]) -> None:
        # Another thread may have let go of the last reference after the block was dropped here.
        entry = self._kept.pop(block, None)
        if entry is not None:
            numbers.append(entry[0])
            self._bytes -= entry[1]
