"""Put the buffers of packed values into shared memory, and find them again (D58).

A packed value is ``(inline, frames)``: a pickle stream, which is the first frame if ``inline`` is empty, and its
buffers.  A shared value has blocks as frames.  Its ``inline`` begins with a mark and a table, which says where in the
blocks each part lies; the stream follows.  Blocks may hold more than the value: a task that returns an array that it
received sends the block of that array on, and copies nothing.

:func:`unshared` returns what :func:`shared` got.  So hashes of values do not depend on who shared them.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from parslab.serialize.shared.addresses import address_of
from parslab.serialize.shared.changed_pages import is_changed
from parslab.wire.shared_memory import SHARED_SIZE, SharedFrame, allocate, in_memory, size_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.wire.shared_memory import Buffer, PlainBuffer

__all__ = ["KnownBlocks", "Mappings", "Place", "copy_scraps", "shared", "unshared"]

_MARK = b"\xb5"
"""Begins the ``inline`` of a shared value; a pickle begins with another byte."""
_HEAD = struct.Struct("<cIB")
"""The mark, the number of parts, and whether the first part is the pickle stream."""
_PART = struct.Struct("<IQQ")
"""The number of a frame, and the offset and the length of a part in it."""
_LEAST_REUSED = 2
"""A block is sent on if the value uses at least one in so many of its bytes: the rest would stay in memory unused."""


Place: TypeAlias = "tuple[SharedFrame, int]"
"""A block, and an offset in it."""


class KnownBlocks(Protocol):
    """Finds blocks that have the bytes of a value already."""

    def places(self, buffers: Sequence[PlainBuffer]) -> list[Place | None]:
        """Return where the bytes of each buffer are; None for those that no block has."""


class Mapping(NamedTuple):
    """A block that this process has mapped privately, the address of the mapping, and a view that keeps it."""

    address: int
    frame: SharedFrame
    view: memoryview


class Mappings:
    """The blocks that a task has received, so that it can send them on instead of copying them.

    The mappings live as long as this object: another buffer at the same address must not be taken for a block.
    """

    def __init__(self) -> None:
        self._found: list[Mapping] = []

    def add(self, frame: SharedFrame, view: memoryview) -> None:
        """Note that this view is the private mapping of a block."""
        self._found.append(Mapping(address_of(view), frame, view))

    def places(self, buffers: Sequence[PlainBuffer]) -> list[Place | None]:
        """Return where the bytes of each buffer are; None for those that no block has."""
        if not self._found:
            return [None] * len(buffers)
        places = [self._find(buffer) if size_of(buffer) >= SHARED_SIZE else None for buffer in buffers]
        copy_scraps(buffers, places)
        return places

    def _find(self, buffer: PlainBuffer) -> Place | None:
        size = size_of(buffer)
        address = address_of(buffer)
        for start, frame, _ in self._found:
            if start <= address and address + size <= start + frame.nbytes:
                # A page that the task has written to is a private copy, whose bytes the block does not have.
                return None if is_changed(address, size) else (frame, address - start)
        return None


def shared(
    inline: bytes, frames: Sequence[PlainBuffer], known: KnownBlocks | None = None
) -> tuple[bytes, Sequence[Buffer]]:
    """Move the buffers of a large value into shared memory.

    Parameters
    ----------
    inline, frames
        The value.
    known
        Finds the blocks that have parts of the value already.

    Returns
    -------
    tuple
        The shared value; the same value if it is small, or if the system has no shared memory for it.
    """
    if not frames or sum(map(size_of, frames)) < SHARED_SIZE:
        return inline, frames
    places: list[Place | None] = [None] * len(frames) if known is None else known.places(frames)
    left = [frame for frame, place in zip(frames, places, strict=True) if place is None]
    if left:
        made = allocate(left)
        if made is None:
            return inline, frames
        block, offsets = made
        rest = iter(offsets)
        places = [(block, next(rest)) if place is None else place for place in places]
    blocks: dict[int, tuple[int, SharedFrame]] = {}
    table = [_HEAD.pack(_MARK, len(frames), not inline)]
    for frame, place in zip(frames, places, strict=True):
        assert place is not None
        block, offset = place
        number, _ = blocks.setdefault(id(block), (len(blocks), block))
        table.append(_PART.pack(number, offset, size_of(frame)))
    return b"".join((*table, inline)), [block for _, block in blocks.values()]


def copy_scraps(frames: Sequence[PlainBuffer], places: list[Place | None]) -> None:
    """Do not keep a large block for the sake of a small part of it."""
    used: dict[int, int] = {}
    for frame, place in zip(frames, places, strict=True):
        if place is not None:
            used[id(place[0])] = used.get(id(place[0]), 0) + size_of(frame)
    for at, place in enumerate(places):
        if place is not None and used[id(place[0])] * _LEAST_REUSED < place[0].nbytes:
            places[at] = None


def unshared(
    inline: bytes, frames: Sequence[Buffer], *, private: bool = False, mappings: Mappings | None = None
) -> tuple[bytes, Sequence[PlainBuffer]]:
    """Return the stream and the buffers of a value, mapped into the memory of this process.

    Parameters
    ----------
    inline, frames
        The value; one that is not shared is returned as it is.
    private
        Whether to map blocks so that this process may write into its view of them.
    mappings
        Notes the mappings.
    """
    if inline[:1] != _MARK:
        return inline, [in_memory(frame) for frame in frames]
    _, count, streamed = _HEAD.unpack_from(inline)
    views: list[memoryview] = []
    for frame in frames:
        if not isinstance(frame, SharedFrame):  # it came from another host, or there were too many descriptors
            view = memoryview(frame)
        elif private:
            view = frame.private_view()
            if mappings is not None:
                mappings.add(frame, view)
        else:
            view = frame.view()
        views.append(view)
    end = _HEAD.size + count * _PART.size
    buffers: list[PlainBuffer] = [
        views[number][offset : offset + size] for number, offset, size in _PART.iter_unpack(inline[_HEAD.size : end])
    ]
    return b"" if streamed else inline[end:], buffers
