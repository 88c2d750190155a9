"""Pack values to bytes and unpack them: pickle protocol 5, with large buffers out of band and not copied.

A packed value is ``(inline, frames)``. A small pickle stream is a part of the message header, a large one is the first
frame. The buffers of arrays follow as frames. Received frames are new ``bytearray`` objects, or blocks of shared
memory that are mapped privately. Arrays that use them are writable, and what is written to them nobody else sees.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, TypeAlias

from parslab.serialize.pickling import dumps
from parslab.serialize.shared.values import unshared
from parslab.wire.messages.base import INLINE, PackedValue, frame_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.serialize.shared.values import Mappings
    from parslab.wire.shared_memory import Buffer, PlainBuffer

__all__ = ["ATOMS", "Inline", "buffers_into", "pack", "split", "unpack"]

Inline: TypeAlias = bytes | tuple[PackedValue, ...]
"""A pickle stream, or the packed values of a join's parts."""

ATOMS = frozenset({int, float, str, bool, type(None), bytes, complex})
"""Exact types that C pickle packs alone, because they hold no futures, functions or classes."""

_SMALL_BUFFER = 4096
"""Bytes below which a buffer stays in the stream: a copy costs less than a frame of its own."""


def buffers_into(frames: list[PlainBuffer]) -> Any:
    """Return a ``buffer_callback`` that puts large buffers into ``frames`` and leaves small ones in the stream."""

    def take(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < _SMALL_BUFFER:
            return True
        frames.append(view)
        return False

    return take


def split(stream: bytes, frames: list[PlainBuffer]) -> tuple[bytes, list[PlainBuffer]]:
    """Return ``(inline, frames)`` for a pickle stream and its out-of-band buffers."""
    return (stream, frames) if len(stream) <= INLINE else (b"", [stream, *frames])


def pack(value: Any) -> tuple[bytes, list[PlainBuffer]]:
    """Pack a value; errors of the value's own pickling code pass through."""
    if type(value) in ATOMS:
        return split(pickle.dumps(value, 5), [])
    frames: list[PlainBuffer] = []
    return split(dumps(value, buffers_into(frames)), frames)


def unpack(inline: Inline, frames: Sequence[Buffer], mappings: Mappings | None = None) -> Any:
    """Unpack a value, the parts of a join to a list; errors of the value's own code pass through.

    Parameters
    ----------
    inline, frames
        The packed value.
    mappings
        Notes the blocks of shared memory that the value uses.
    """
    if isinstance(inline, tuple):
        at = 0
        values = []
        for part in inline:
            count = frame_count(part)
            values.append(unpack(part.inline if part.parts is None else part.parts, frames[at : at + count], mappings))
            at += count
        return values
    if not frames:
        return pickle.loads(inline)
    stream, buffers = unshared(inline, frames, private=True, mappings=mappings)
    if stream:
        return pickle.loads(stream, buffers=buffers)
    return pickle.loads(buffers[0], buffers=buffers[1:])
