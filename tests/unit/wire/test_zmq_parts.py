"""Batches with something long travel in parts and come out as they went in; what does not add up is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from parslab.errors import ProtocolError
from parslab.wire import zmq_parts
from parslab.wire.zmq_parts import joined, parted

if TYPE_CHECKING:
    from collections.abc import Sequence


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zmq_parts, "PART", 8)


def as_sent(buffers: Sequence[Any]) -> list[bytes]:
    return [bytes(buffer) for buffer in buffers]


@pytest.mark.parametrize("frames", [[], [b""], [b"12345678"], [b"a", b"", b"bc"]])
def test_a_short_batch_goes_as_it_is(frames: list[bytes]) -> None:
    assert parted(b"head", frames) == [b"head", *frames]
    assert joined([b"head", *frames]) == [b"head", *frames]


@pytest.mark.parametrize(
    ("head", "frames"),
    [
        (b"head", [b"123456789"]),
        (b"a long header", []),
        (b"h", [b"", b"0123456789abcdef", b"x", b"0123456789abcdefg"]),
        (b"header that is long", [bytes(1000), b""]),
    ],
)
def test_what_is_long_is_cut_and_joined(head: bytes, frames: list[bytes]) -> None:
    sent = as_sent(parted(head, frames))
    assert all(len(part) <= 8 for part in sent[1:])
    assert as_sent(joined(sent)) == [head, *frames]


def test_frames_of_other_kinds_of_numbers_are_cut_by_their_bytes() -> None:
    numbers: Any = memoryview(bytes(64)).cast("d")
    sent = as_sent(parted(b"h", [numbers]))
    assert len(sent) == 1 + 1 + 8
    assert as_sent(joined(sent)) == [b"h", bytes(64)]


def test_nothing_has_no_parts() -> None:
    assert joined([]) == []
    assert joined([b""]) == [b""]


def mark(*lengths: int) -> bytes:
    return b"\xc1" + msgspec.msgpack.encode(lengths)


@pytest.mark.parametrize(
    "sent",
    [
        [b"\xc1"],
        [b"\xc1garbage"],
        [mark()],
        [mark(4)],
        [mark(4), b"abc"],
        [mark(4), b"abcd", b"more"],
        [mark(-4), b"abcd"],
        [mark(1 << 62), b"abcd"],
        [mark(9), b"12345678", b"9", b""],
    ],
)
def test_parts_that_do_not_add_up_are_refused(sent: list[bytes]) -> None:
    with pytest.raises(ProtocolError, match="a batch"):
        joined(sent)
