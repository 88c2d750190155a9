"""Batches as ZeroMQ carries them: header and frames as parts of one message, none of them longer than ``PART``.

ZeroMQ takes a whole part into memory before it asks who sent it, so the length that is allowed is what a stranger can
make us hold. A batch with something longer in it is cut, and begins with a part that tells the true lengths; its first
byte is one that no header begins with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from parslab.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.wire.stream import Buffer

__all__ = ["PART", "WIRE_PART", "joined", "parted", "quickly_copied"]

PART = 16 * 1024 * 1024
WIRE_PART = PART + 4096
"""What a listening socket must let pass: encryption adds some bytes to a part."""
_MARK = b"\xc1"
_SMALL = 1 << 16
_lengths = msgspec.msgpack.Decoder(list[int])


def quickly_copied(frames: Sequence[Buffer]) -> bool:
    """Whether to copy these frames is quicker than to share their memory with ZeroMQ's thread."""
    return sum(memoryview(frame).nbytes for frame in frames) <= _SMALL


def parted(head: bytes, frames: Sequence[Buffer]) -> list[Buffer]:
    """The parts that carry a batch."""
    if len(head) <= PART and all(memoryview(frame).nbytes <= PART for frame in frames):
        return [head, *frames]
    whole = [memoryview(buffer).cast("B") for buffer in (head, *frames)]
    parts: list[Buffer] = [_MARK + msgspec.msgpack.encode([view.nbytes for view in whole])]
    for view in whole:
        parts += [view[at : at + PART] for at in range(0, view.nbytes, PART)]
    return parts


def joined(parts: list[Any]) -> list[Any]:
    """Header and frames of a batch; those that were cut come as ``bytearray``, others as they are.

    Raises
    ------
    ProtocolError
        The lengths that were told are not those of what came.
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
        if length < 0 or sum(map(len, own)) != length:
            raise ProtocolError("a batch whose parts are not as long as it says")
        whole.append(own[0] if count == 1 else bytearray().join(own))
    if at != len(parts) or not whole:
        raise ProtocolError("a batch whose parts are not as many as it says")
    return whole
