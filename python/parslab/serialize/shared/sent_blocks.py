"""Sends the blocks of earlier calls again, if a call has the same bytes as arguments (D65).

Many calls often share a large argument.  The first call copies it into a block of its own.  A later call compares its
bytes with those of the block, and sends the block again.  A comparison takes less time than a copy and needs no memory.
It notices that somebody has changed an array between two calls.

The future of a call holds its blocks until the call has ended, as its done callback.  This module itself holds none:
the block of an array is gone with the last unfinished call that has it, once the link need not send it again.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, NamedTuple

from parslab.serialize.shared.addresses import address_of
from parslab.serialize.shared.values import copy_scraps
from parslab.wire.shared_memory import allocate, size_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.serialize.shared.values import Place
    from parslab.wire.shared_memory import PlainBuffer, SharedFrame

__all__ = ["LEAST", "CallBlocks", "SentBlocks"]

LEAST = 1 << 20
"""Bytes from which on a buffer is compared: below, that saves too little."""
_MOST_ALONE = 4
"""So many new buffers of a call have a block each, and more share one: each block occupies a descriptor."""
_MOST_BLOCKS = 16
"""Blocks that are held for later calls."""
_MOST_BYTES = 1 << 30
"""Bytes that are held besides the latest block: the DataFlowKernel cannot move them to the disk."""
_MOST_COMPARED = 4
"""Buffers of the same length that a buffer is compared with."""
_SAMPLE = 64
"""Bytes that are compared at the end and in the middle of a buffer before the whole of it is."""


class _Sent(NamedTuple):
    """Where a buffer was when it was sent, and its offset in its block."""

    address: int
    offset: int


class _Hold:
    """What unfinished calls hold of a block; ``frame`` is None if too many blocks are held."""

    __slots__ = ("__weakref__", "frame")

    def __init__(self, frame: SharedFrame) -> None:
        self.frame: SharedFrame | None = frame


class SentBlock:
    """A block that calls have as arguments.

    Attributes
    ----------
    frame
        The block, if anybody in this process still has it.
    hold
        What unfinished calls hold of it.
    buffers
        What it has, by length.
    """

    __slots__ = ("buffers", "frame", "hold")

    def __init__(self, frame: SharedFrame, hold: _Hold) -> None:
        self.frame = weakref.ref(frame)
        self.hold = weakref.ref(hold)
        self.buffers: dict[int, list[_Sent]] = {}


class SentBlocks:
    """The blocks that unfinished calls of this process hold.

    Any thread may call an app.  Each change replaces the list, so that there is no lock: if two threads change it at
    once, one block is forgotten, and its bytes are copied again.
    """

    def __init__(self) -> None:
        self._recent: list[SentBlock] = []
        """The latest used one first."""

    def find(self, buffer: PlainBuffer) -> tuple[SentBlock, Place] | None:
        """Return where the bytes of a buffer are that was sent before."""
        size = size_of(buffer)
        same = [
            (block, frame, sent)
            for block in self._recent
            if (frame := block.frame()) is not None
            for sent in block.buffers.get(size, ())
        ]
        if not same:
            return None
        address = address_of(buffer)
        # First the same array: if nobody has changed it, no other block need be looked at.
        same.sort(key=lambda each: each[2].address != address)
        for block, frame, sent in same[:_MOST_COMPARED]:
            if _same_bytes(frame, sent.offset, address, size):
                return block, (frame, sent.offset)
        return None

    def use(self, block: SentBlock) -> None:
        """Note that a block is sent, and let go of the oldest ones if there are too many."""
        recent = [block]
        held = 0
        for each in self._recent:
            frame = each.frame()
            if frame is None or each is block:
                continue
            held += frame.nbytes
            if len(recent) < _MOST_BLOCKS and held <= _MOST_BYTES:
                recent.append(each)
            elif (hold := each.hold()) is not None:
                hold.frame = None
        self._recent = recent


class CallBlocks:
    """The blocks of one call.  The future of the call holds this object as a done callback, and drops it at its end.

    Parameters
    ----------
    sent
        The blocks of all calls.
    """

    def __init__(self, sent: SentBlocks) -> None:
        self._sent = sent
        self._held: list[_Hold] = []

    def __bool__(self) -> bool:
        return bool(self._held)

    def __call__(self, future: object) -> None:
        """Do nothing: to be dropped is all that matters."""

    def places(self, buffers: Sequence[PlainBuffer]) -> list[Place | None]:
        """Return where the bytes of large buffers are, in blocks of earlier calls or in new ones."""
        places: list[Place | None] = [None] * len(buffers)
        large = [at for at, buffer in enumerate(buffers) if size_of(buffer) >= LEAST]
        blocks: dict[int, SentBlock] = {}
        for at in large:
            found = self._sent.find(buffers[at])
            if found is not None:
                block, places[at] = found
                blocks[id(block)] = block
        copy_scraps(buffers, places)
        for block in blocks.values():
            frame = next((place[0] for place in places if place is not None and place[0] is block.frame()), None)
            if frame is not None:
                hold = block.hold()
                if hold is None or hold.frame is None:  # the calls that had the block have ended
                    hold = _Hold(frame)
                    block.hold = weakref.ref(hold)
                self._use(block, hold)
        new = [at for at in large if places[at] is None]
        for group in [[at] for at in new] if len(new) <= _MOST_ALONE else [new]:
            self._allocate(buffers, group, places)
        return places

    def _allocate(self, buffers: Sequence[PlainBuffer], group: list[int], places: list[Place | None]) -> None:
        """Copy some of the buffers into a new block."""
        made = allocate([buffers[at] for at in group])
        if made is None:
            return
        frame, offsets = made
        hold = _Hold(frame)
        block = SentBlock(frame, hold)
        for at, offset in zip(group, offsets, strict=True):
            places[at] = frame, offset
            block.buffers.setdefault(size_of(buffers[at]), []).append(_Sent(address_of(buffers[at]), offset))
        self._use(block, hold)

    def _use(self, block: SentBlock, hold: _Hold) -> None:
        self._held.append(hold)
        self._sent.use(block)


def _same_bytes(frame: SharedFrame, offset: int, address: int, size: int) -> bool:
    """Return whether a block has, from an offset on, the bytes at an address of this process."""
    # Samples first, because arrays that differ often begin with the same bytes.
    pieces = ((size - _SAMPLE, _SAMPLE), (size // 2, _SAMPLE), (0, size))
    try:
        return all(frame.has_at(offset + at, address + at, count) for at, count in pieces)
    except OSError:  # no memory for a mapping: the call sends a copy
        return False
