"""Strings of users that are not UTF-8 can be sent, and one message that cannot be encoded fails alone."""

from __future__ import annotations

import msgspec

from parslab.records.panel import ErrorReply
from parslab.wire.encoding import encode_into, encode_json, encode_messages, escaped
from parslab.wire.messages.base import DefineFunction, Failure, PackedValue, TaskSpec
from parslab.wire.messages.client import ClientMessage, SubmitTask
from parslab.wire.stream import decoder

ODD = "caf\udce9"
SHOWN = "caf\\udce9"


def test_messages_with_such_strings_arrive_with_escapes() -> None:
    submit = SubmitTask(1, 0, 0, 0, b"\xe9", 0, (), 1.5, ODD, "In [1]", ODD, False, TaskSpec(cores=2))
    define = DefineFunction(0, b"d", ODD, 1, b"", {f"global {ODD}": b"p"}, ODD)
    out = bytearray(b"head")
    encode_into(msgspec.msgpack.Encoder(), [submit, define], out, 4)
    assert bytes(out[4:]) == encode_messages([submit, define])
    first, second = decoder(ClientMessage)(out[4:])
    assert isinstance(first, SubmitTask)
    assert isinstance(second, DefineFunction)
    assert (first.shown, first.name, first.args, first.spec) == (SHOWN, SHOWN, b"\xe9", TaskSpec(cores=2))
    assert (second.name, second.parts, second.origin) == (SHOWN, {f"global {SHOWN}": b"p"}, SHOWN)


def test_json_of_panels_carries_such_strings_as_escapes() -> None:
    """msgspec raised UnicodeEncodeError."""
    decoded = msgspec.json.decode(encode_json(ErrorReply("1", ODD)))
    assert SHOWN in decoded.values()


def test_all_that_messages_hold_is_copied_with_escapes() -> None:
    failure = Failure(ODD, "", b"p", ((3, ODD, "x"),), (3,), "")
    assert escaped(failure) == Failure(SHOWN, "", b"p", ((3, SHOWN, "x"),), (3,), "")
    value = PackedValue(b"", 0, (PackedValue(b"x", 1),))
    assert escaped(value) == value
    assert escaped({ODD: [1, None, ODD]}) == {SHOWN: [1, None, SHOWN]}
