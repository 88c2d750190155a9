"""Values to bytes and back: pickle protocol 5, large buffers out of band and never copied on the way out.

A packed value is ``(inline, frames)``: a small pickle stream rides in the message header, a large one is the first
frame; buffers of arrays follow as frames. Received frames are fresh ``bytearray`` s, so arrays made on them are
writable and nobody else's.
"""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, TypeAlias

from parslab.serialize.pickling import dumps
from parslab.wire.messages.base import INLINE, PackedValue, frame_count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.wire.stream import Buffer

__all__ = ["ATOMS", "Inline", "buffers_into", "pack", "split", "unpack"]

Inline: TypeAlias = bytes | tuple[PackedValue, ...]
"""A pickle stream, or the heads of a join's parts."""

ATOMS = frozenset({int, float, str, bool, type(None), bytes, complex})
"""Exact types that plain pickle packs whole, with nothing in them that parslab must see."""

_SMALL_BUFFER = 4096


def buffers_into(frames: list[Buffer]) -> Any:
    """A ``buffer_callback`` that keeps large buffers out of band and leaves small ones in the stream."""

    def take(buffer: pickle.PickleBuffer) -> bool:
        view = buffer.raw()
        if view.nbytes < _SMALL_BUFFER:
            return True
        frames.append(view)
        return False

    return take


def split(stream: bytes, frames: list[Buffer]) -> tuple[bytes, list[Buffer]]:
    """``(inline, frames)`` of a pickle stream and its out-of-band buffers."""
    return (stream, frames) if len(stream) <= INLINE else (b"", [stream, *frames])


def pack(value: Any) -> tuple[bytes, list[Buffer]]:
    """Pack a value.  Raises whatever the value raises while it is pickled."""
    if type(value) in ATOMS:
        return split(pickle.dumps(value, 5), [])
    frames: list[Buffer] = []
    return split(dumps(value, buffers_into(frames)), frames)


def unpack(inline: Inline, frames: Sequence[Buffer]) -> Any:
    """The value again; for the parts of a join, a list.  Raises whatever it raises while it is rebuilt."""
    if isinstance(inline, tuple):
        at = 0
        values = []
        for part in inline:
            count = frame_count(part)
            values.append(unpack(part.inline if part.parts is None else part.parts, frames[at : at + count]))
            at += count
        return values
    if inline:
        return pickle.loads(inline, buffers=frames) if frames else pickle.loads(inline)
    return pickle.loads(frames[0], buffers=frames[1:])
