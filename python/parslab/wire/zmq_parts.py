"""Convert batches to multipart messages of ZeroMQ, in which no part is longer than ``PART``.

ZeroMQ loads a whole part into memory before it checks who sent it. So the longest allowed part bounds the memory that a
stranger can occupy. A batch with a longer header or frame is cut into several parts. Its first part then lists the true
lengths, and starts with a byte that never starts a header.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from parslab.errors import ProtocolError
from parslab.wire.shared_memory import in_memory, size_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.wire.shared_memory import Buffer, PlainBuffer

__all__ = ["PART", "WIRE_PART", "joined", "parted", "quickly_copied"]

PART = 16 * 1024 * 1024
WIRE_PART = PART + 4096
"""The longest part that a listening socket accepts: encryption adds some bytes to a part."""
_MARK = b"\xc1"
"""The one byte that msgpack never uses."""
_SMALL = 1 << 16
"""Below this size a copy costs less than the locks and the callback that shared memory needs."""
_lengths = msgspec.msgpack.Decoder(list[int])


def quickly_copied(frames: Sequence[Buffer]) -> bool:
    """Return whether a copy of these frames is faster than sharing their memory with the thread of ZeroMQ."""
    return sum(map(size_of, frames)) <= _SMALL


def parted(head: bytes, frames: Sequence[Buffer]) -> list[PlainBuffer]:
    """Return the parts that carry a batch."""
    if len(head) <= PART and all(size_of(frame) <= PART for frame in frames):
        return [head, *map(in_memory, frames)]
    whole = [memoryview(in_memory(buffer)).cast("B") for buffer in (head, *frames)]
    parts: list[PlainBuffer] = [_MARK + msgspec.msgpack.encode([view.nbytes for view in whole])]
    # Slices share the memory of a frame: even a value of many gigabytes is not copied here.
    for view in whole:
        parts += [view[at : at + PART] for at in range(0, view.nbytes, PART)]
    return parts


def joined(parts: list[Any]) -> list[Any]:
    """Return header and frames of a batch; those that were cut are joined to a ``bytearray``.

    Raises
    ------
    ProtocolError
        The parts do not have the announced lengths.
    """
    if not parts or parts[0][:1] != _MARK:
        return parts
    try:
        lengths = _lengths.decode(memoryview(parts[0])[1:])
    except msgspec.MsgspecError as error:
        raise ProtocolError(f"a batch in parts that cannot be read ({error})") from error
    whole: list[Any] = []
    at = 1
    for length in lengths:
        count = -(-length // PART)
        own = parts[at : at + count]
        at += count
        # A peer may announce anything, and nothing is allocated before the parts are known to fit.
        if length < 0 or sum(map(len, own)) != length:
            raise ProtocolError("a batch whose parts are not as long as it says")
        whole.append(own[0] if count == 1 else bytearray().join(own))
    if at != len(parts) or not whole:
        raise ProtocolError("a batch whose parts are not as many as it says")
    return whole
