"""Batches over a socket: whatever is sent arrives, however it is cut, and nonsense is refused."""

from __future__ import annotations

import socket
import struct
import tracemalloc
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import parslab.wire.stream as stream_module
from parslab.errors import ProtocolError
from parslab.wire.messages.base import DefineFunction, OutputPrinted
from parslab.wire.messages.client import CancelTasks, ReleaseTasks, SubmitTask
from parslab.wire.shared_memory import in_memory
from parslab.wire.stream import Batch, Stream, decoder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

decode = decoder(CancelTasks | DefineFunction | OutputPrinted | ReleaseTasks | SubmitTask)


class FakeSocket:
    """A socket that takes and gives bytes in pieces of given sizes, then all it can; a size of 0 means: would block."""

    def __init__(self, sizes: Sequence[int] = ()) -> None:
        self.wire = bytearray()
        self.closed = False
        self._sizes = list(sizes)
        self._turn = 0

    def _piece(self, most: int) -> int:
        if self._turn == len(self._sizes):
            return most
        size = self._sizes[self._turn]
        self._turn += 1
        if not size:
            raise BlockingIOError
        return min(size, most)

    def setsockopt(self, *_: Any) -> None:
        pass

    def send(self, data: Any) -> int:
        return self.sendmsg([data])

    def sendmsg(self, parts: Sequence[Any]) -> int:
        data = b"".join(parts)
        count = self._piece(len(data))
        self.wire += data[:count]
        return count

    def recvmsg_into(self, views: Sequence[memoryview], *_: int) -> tuple[int, list[Any], int, None]:
        return self.recv_into(views[0]), [], 0, None

    def recv_into(self, view: memoryview, size: int = 0, flags: int = 0) -> int:
        assert len(view), "asked for nothing: that looks like the end of the connection"
        if not self.wire:
            if self.closed:
                return 0
            raise BlockingIOError
        count = self._piece(min(len(view), len(self.wire)))
        view[:count] = self.wire[:count]
        del self.wire[:count]
        return count


def fake(sock: FakeSocket) -> Stream:
    return Stream(sock, decode)  # type: ignore[arg-type]


@contextmanager
def pair() -> Iterator[tuple[Stream, Stream]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with closing(Stream(ours, decode)) as a, closing(Stream(theirs, decode)) as b:
        yield a, b


def drain(stream: Stream, sock: FakeSocket) -> list[Any]:
    """Everything that has been written, read piece by piece."""
    batches: list[Batch] = []
    while sock.wire:  # what would block now does not the next time
        batches += stream.receive()
    return batches


def encoded(messages: Sequence[Any], frames: Sequence[bytes] = ()) -> bytes:
    header = msgspec.msgpack.encode(messages)
    lengths = struct.pack(f"<{len(frames)}Q", *map(len, frames))
    return struct.pack("<II", len(header), len(frames)) + lengths + header + b"".join(frames)


SIZES = st.one_of(st.integers(0, 40), st.sampled_from([0, 1, 4095, 1 << 16, (1 << 18) - 1, 1 << 18, (1 << 18) + 7]))
BATCHES = st.lists(
    st.tuples(
        st.lists(
            st.one_of(st.builds(CancelTasks, st.lists(st.integers(0, 9), max_size=4)), st.integers(0, 3)), max_size=5
        ),
        st.lists(SIZES, max_size=4),
    ),
    min_size=1,
    max_size=6,
)
PIECES = st.lists(st.sampled_from([0, 1, 3, 8, 100, 4096, 1 << 17, 1 << 18, 1 << 20]), max_size=40)


def made(batches: Sequence[tuple[Sequence[Any], Sequence[int]]]) -> list[tuple[list[Any], list[bytes]]]:
    """Messages, large ones among them, and frames with different contents."""
    whole = []
    for n, (words, sizes) in enumerate(batches):
        messages = [
            OutputPrinted(n, 1, b"p" * 1000**word) if isinstance(word, int) and word < 2 else word for word in words
        ]
        messages = [OutputPrinted(n, 2, b"q" * 300_000) if isinstance(m, int) else m for m in messages]
        whole.append((messages, [bytes([n + i]) * size for i, size in enumerate(sizes)]))
    return whole


@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large], max_examples=120)
@given(batches=BATCHES, sent=PIECES, received=PIECES)
def test_every_batch_arrives_however_it_is_cut(
    batches: list[tuple[list[Any], list[int]]], sent: list[int], received: list[int]
) -> None:
    out, whole = FakeSocket(sent), made(batches)
    sender = fake(out)
    for messages, frames in whole:
        sender.send(messages, frames)
    while not sender.flush():
        pass
    assert not sender.congested
    assert bytes(out.wire) == b"".join(encoded(m, f) for m, f in whole)
    source = FakeSocket(received)
    source.wire = out.wire
    got = drain(fake(source), source)
    assert got == whole


def test_a_frame_of_megabytes_goes_into_its_own_memory() -> None:
    data = bytes(range(256)) * (20 << 12)
    with pair() as (a, b):
        a.send([DefineFunction(1, b"d", "f", 2)], [data, b""])
        assert a.congested
        got: list[Batch] = []
        while not got:
            a.flush()
            got += b.receive()
        ((messages, (frame, empty)),) = got
        assert messages == [DefineFunction(1, b"d", "f", 2)]
        assert frame == data
        assert type(frame) is bytearray
        assert empty == b""
        assert b.receive() == []


def test_what_waits_keeps_its_order_and_its_bytes() -> None:
    with pair() as (a, b):
        big = bytearray(b"x" * (8 << 20))
        a.send([CancelTasks([0])], [big])
        assert a.congested
        for n in range(1, 50):
            a.send([CancelTasks([n])])  # each uses the same buffer for its header: none may spoil what waits
        a.send([CancelTasks([50])], [b"last"])
        got: list[Batch] = []
        while len(got) < 51:
            a.flush()
            got += b.receive()
        assert not a.congested
        assert [m.tasks for (m,), _ in got] == [[n] for n in range(51)]
        assert got[-1][1] == [b"last"]


def test_many_frames_need_several_calls() -> None:
    sock = FakeSocket()
    stream = fake(sock)
    frames = [bytes([n % 256]) * (n % 3) for n in range(2000)]
    stream.send([], frames)
    assert not stream.congested
    assert drain(fake(sock), sock) == [([], frames)]


def test_an_empty_batch_and_an_empty_frame() -> None:
    with pair() as (a, b):
        a.send([])
        a.send([], [b"", memoryview(b""), bytearray()])
        got: list[Any] = b.receive()
        assert got == [([], []), ([], [b"", b"", b""])]


def test_frames_of_arrays_are_sent_as_bytes() -> None:
    import array

    numbers = array.array("d", [1.0, 2.0])
    with pair() as (a, b):
        a.send([], [memoryview(numbers)])
        ((_, (frame,)),) = b.receive()
        assert array.array("d", bytes(in_memory(frame))) == numbers


def test_a_header_larger_than_the_buffer() -> None:
    with pair() as (a, b):
        text = b"t" * (3 << 20)
        a.send([OutputPrinted(1, 1, text), CancelTasks([1])])
        got: list[Batch] = []
        while not got:
            a.flush()
            got += b.receive()
        assert got == [([OutputPrinted(1, 1, text), CancelTasks([1])], [])]
        a.send([CancelTasks([2])])
        assert b.receive() == [([CancelTasks([2])], [])]


def test_buffers_grown_for_one_large_header_are_given_back() -> None:
    sock = FakeSocket()
    sender, receiver = fake(sock), fake(sock)
    sender.send([OutputPrinted(1, 1, b"t" * (6 << 20))])
    assert len(drain(receiver, sock)) == 1
    for n in range(3):
        sender.send([CancelTasks([n])])
        assert drain(receiver, sock) == [([CancelTasks([n])], [])]
    assert len(sender._out) < 1 << 19
    assert len(receiver._input) < 1 << 20


def test_frames_belong_to_who_receives_them() -> None:
    with pair() as (a, b):
        a.send([], [b"abc"])
        ((_, (first,)),) = b.receive()
        a.send([], [b"xyz"])
        b.receive()
        assert isinstance(first, bytearray)
        first[0] = 65
        assert first == b"Abc"


def test_nothing_has_come() -> None:
    with pair() as (_, b):
        assert b.receive() == []


@pytest.mark.parametrize("cut", [0, 3, 8, 12, 40])
def test_the_end_of_the_connection(cut: int) -> None:
    whole = encoded([CancelTasks([1, 2, 3])], [b"x" * 30])
    sock = FakeSocket()
    sock.wire += whole[:cut]
    sock.closed = True
    stream = fake(sock)
    assert drain(stream, sock) == []
    with pytest.raises(EOFError):
        stream.receive()


def test_batches_before_the_end_still_count() -> None:
    with pair() as (a, b):
        a.send([CancelTasks([1])])
        a.close()
        assert b.receive() == [([CancelTasks([1])], [])]
        with pytest.raises(EOFError):
            b.receive()
        a.close()


def test_a_reset_is_an_end() -> None:
    class Broken(FakeSocket):
        def recv_into(self, *_: Any) -> int:
            raise ConnectionResetError

        recvmsg_into = recv_into  # type: ignore[assignment]

    with pytest.raises(EOFError):
        fake(Broken()).receive()


def test_sending_to_somebody_who_left_says_so() -> None:
    with pair() as (a, b):
        b.close()
        with pytest.raises(OSError, match=r"[Bb]roken pipe"):
            a.send([CancelTasks([1])])


@pytest.mark.parametrize(
    "garbage",
    [
        struct.pack("<II", (1 << 30) + 1, 0),
        struct.pack("<II", 4, (1 << 20) + 1),
        struct.pack("<IIQ", 1, 1, 1 << 45) + msgspec.msgpack.encode([]),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        struct.pack("<II", 3, 0) + b"\xff\xff\xff",
        encoded([{"not": "a message"}]),
        encoded([[250, 1, 2]]),
        encoded([[4, "tasks"]]),
        struct.pack("<II", 1, 0) + msgspec.msgpack.encode(7),
        struct.pack("<II", 0, 0),
    ],
    ids=["header", "frames", "frame", "http", "bytes", "dict", "tag", "type", "number", "nothing"],
)
def test_nonsense_is_refused(garbage: bytes) -> None:
    sock = FakeSocket()
    sock.wire += garbage
    with pytest.raises(ProtocolError, match="a peer"):
        drain(fake(sock), sock)


def test_a_frame_that_no_memory_can_hold_is_refused() -> None:
    """The MemoryError of one worker's lie ended the DataFlowKernel."""
    sock = FakeSocket()
    sock.wire += struct.pack("<IIQ", 1, 1, 1 << 44) + msgspec.msgpack.encode([])
    with pytest.raises(ProtocolError, match="no memory"):
        drain(fake(sock), sock)


@pytest.mark.parametrize("length", [1 << 36, (1 << 30) - 8])
def test_memory_is_taken_only_for_bytes_that_come(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A false length must not use up the memory: where the system promises more than it has, it kills the process."""
    monkeypatch.setattr(stream_module, "_MOST_MEMORY", 1 << 40)
    sock = FakeSocket()
    as_frame = struct.pack("<IIQ", 1, 1, length) + msgspec.msgpack.encode([])
    sock.wire += (as_frame if length > 1 << 30 else struct.pack("<II", length, 0)) + b"x" * 1000
    tracemalloc.start()
    stream = fake(sock)
    try:
        assert drain(stream, sock) == []
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


@given(BATCHES, PIECES, st.integers(1, 1 << 19))
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_frames_that_grow_while_they_come(sizes: list[Any], pieces: list[int], first: int) -> None:
    batches = [([CancelTasks([n])], [bytes([n]) * size for size in of]) for n, (_, of) in enumerate(sizes)]
    sock = FakeSocket()
    for messages, frames in batches:
        sock.wire += encoded(messages, frames)
    sock._sizes = pieces
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stream_module, "_FIRST_PART", first)
        assert drain(fake(sock), sock) == batches


@given(st.binary(min_size=8, max_size=300))
def test_random_bytes_never_do_worse_than_a_protocol_error(data: bytes) -> None:
    sock = FakeSocket()
    sock.wire += data[:8].replace(b"\xff", b"\0")[:3] + b"\0\1\0\0\0" + data[8:]
    with suppress(ProtocolError):
        drain(fake(sock), sock)


def test_a_message_of_the_other_direction_is_refused() -> None:
    sock = FakeSocket()
    Stream(sock, decode).send([CancelTasks([1])])  # type: ignore[arg-type]
    with pytest.raises(ProtocolError):
        drain(Stream(sock, decoder(DefineFunction | ReleaseTasks)), sock)  # type: ignore[arg-type]


def test_a_message_that_cannot_be_encoded_spoils_nothing() -> None:
    with pair() as (a, b):
        with pytest.raises(TypeError):
            a.send([CancelTasks([1]), object()])  # type: ignore[list-item]
        a.send([CancelTasks([2])])
        assert b.receive() == [([CancelTasks([2])], [])]
