"""Sends the blocks of earlier calls again, if a call has the same bytes as arguments (D65).

Many calls often share a large argument.  The first call copies it into a block of its own.  A later call compares its
bytes with those of the block, and sends the block again.  A comparison takes less time than a copy and needs no memory.
It notices that somebody has changed an array between two calls.

The future of a call holds its blocks until the call has ended, as its done callback.  This module itself holds none:
the block of an array is gone with the last unfinished call that has it, once the link need not send it again.
"""

from __future__ import annotations

import itertools
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
"""Bytes that are held besides the latest block, if the run may have enough in memory."""
_SHARE_OF_LIMIT = 4
"""One in so many of the bytes that the run may have in memory: the DataFlowKernel cannot move these to the disk."""
_MOST_COMPARED = 4
"""Buffers of the same length that a buffer is compared with."""
_LEAST_WASTED = 2
"""No further block is read after comparisons in vain of one in so many bytes of a buffer: a copy takes less time."""
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

    def __init__(self, frame: SharedFrame, hold: _Hold, buffers: dict[int, list[_Sent]]) -> None:
        self.frame = weakref.ref(frame)
        self.hold = weakref.ref(hold)
        self.buffers = buffers


class SentBlocks:
    """The blocks that unfinished calls of this process hold.

    Any thread may call an app.  There is no lock: each change of the dictionary is one operation, which is atomic in
    CPython.  A block is held only while it is in the dictionary, or about to be.  Each thread that calls at the same
    time may hold one block more for a moment.

    Parameters
    ----------
    limit
        Bytes of values that the run may have in memory.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit // _SHARE_OF_LIMIT
        self._used: dict[SentBlock, int] = {}
        """The blocks, and when each was sent last, as a number of :attr:`_clock`."""
        self._clock = itertools.count()

    def _recent(self) -> list[SentBlock]:
        """Return the blocks, the latest used one first."""
        used = self._used.copy()
        return sorted(used, key=used.__getitem__, reverse=True)

    def find(self, buffer: PlainBuffer) -> tuple[SentBlock, Place] | None:
        """Return where the bytes of a buffer are that was sent before."""
        size = size_of(buffer)
        same = [
            (block, frame, sent)
            for block in self._recent()
            if (frame := block.frame()) is not None
            for sent in block.buffers.get(size, ())
        ]
        if not same:
            return None
        address = address_of(buffer)
        # First the same array: if nobody has changed it, no other block need be looked at.
        same.sort(key=lambda each: each[2].address != address)
        wasted = 0
        for block, frame, sent in same[:_MOST_COMPARED]:
            equal = _equal_bytes(frame, sent.offset, address, size)
            if equal == size:
                return block, (frame, sent.offset)
            wasted += equal
            if wasted * _LEAST_WASTED > size:
                break
        return None

    def use(self, block: SentBlock, frame: SharedFrame) -> _Hold:
        """Note that a block is sent; return what its call has to hold."""
        hold = block.hold()
        if hold is None:  # the calls that had the block have ended
            self._used.pop(block, None)
            hold = _Hold(frame)
            block = SentBlock(frame, hold, block.buffers)
        self._make_room(block)
        # First held, then in the dictionary: a thread that lets go of the block meanwhile must not be undone.
        hold.frame = frame
        self._used[block] = next(self._clock)
        return hold

    def _make_room(self, latest: SentBlock) -> None:
        """Let go of the oldest blocks if there are too many, besides the latest one."""
        most = min(_MOST_BYTES, self._limit)
        blocks = held = 0
        for block in self._recent():
            if block is latest:
                continue
            frame = block.frame()
            if frame is not None:
                blocks += 1
                held += frame.nbytes
                if blocks < _MOST_BLOCKS and held <= most:
                    continue
            self._used.pop(block, None)
            if (hold := block.hold()) is not None:
                hold.frame = None


class CallBlocks:
    """The blocks of one call.  The future of the call holds this object as a done callback, and drops it at its end.

    Parameters
    ----------
    sent
        The blocks of all calls.
    """

    __slots__ = ("_held", "_sent")

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
                self._held.append(self._sent.use(block, frame))
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
        sent: dict[int, list[_Sent]] = {}
        for at, offset in zip(group, offsets, strict=True):
            places[at] = frame, offset
            sent.setdefault(size_of(buffers[at]), []).append(_Sent(address_of(buffers[at]), offset))
        hold = _Hold(frame)
        self._held.append(self._sent.use(SentBlock(frame, hold, sent), frame))


def _equal_bytes(frame: SharedFrame, offset: int, address: int, size: int) -> int:
    """Return how many bytes of a block, from an offset on, are those at an address of this process; see ``equal_at``.

    The result is 0 if a sample differs: arrays that differ often begin with the same bytes.
    """
    try:
        if all(frame.equal_at(offset + at, address + at, _SAMPLE) == _SAMPLE for at in (size - _SAMPLE, size // 2)):
            return frame.equal_at(offset, address, size)
    except OSError:  # the block cannot be read: the call sends a copy
        pass
    return 0
