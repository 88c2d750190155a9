"""Encode messages, and the JSON of panels, with any string that users put into them.

msgspec refuses lone surrogates, with which Python represents file names that are not UTF-8. Such strings are rare.
So messages are encoded unchanged first, and copied with escapes only after an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from parslab.records.text import encodable

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["encode_into", "encode_json", "encode_messages", "escaped"]


def encode_messages(messages: Sequence[object]) -> bytes:
    """Return messages as one msgpack header."""
    try:
        return msgspec.msgpack.encode(messages)
    except UnicodeEncodeError:
        return msgspec.msgpack.encode(escaped(messages))


def encode_into(encoder: msgspec.msgpack.Encoder, messages: Sequence[object], out: bytearray, start: int) -> None:
    """Write messages as one msgpack header into ``out``, from ``start`` to its end."""
    try:
        encoder.encode_into(messages, out, start)
    except UnicodeEncodeError:
        encoder.encode_into(escaped(messages), out, start)


def encode_json(message: object) -> bytes:
    """Return a message of the panel protocol as JSON."""
    try:
        return msgspec.json.encode(message)
    except UnicodeEncodeError:
        return msgspec.json.encode(escaped(message))


def escaped(value: Any) -> Any:
    """Return a copy of a value of messages in which every string can be encoded."""
    kind = type(value)
    if kind is str:
        return encodable(value)
    if kind in (list, tuple):
        return kind([escaped(item) for item in value])
    if kind is dict:
        return {escaped(key): escaped(item) for key, item in value.items()}
    # A copy, never a change in place: the table of tasks may hold the same struct.
    if isinstance(value, msgspec.Struct):
        return kind(**{name: escaped(getattr(value, name)) for name in value.__struct_fields__})
    return value
