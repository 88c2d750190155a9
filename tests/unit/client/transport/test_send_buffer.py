"""What a client sends, interrupted before every single step of it: nothing is lost, doubled or torn."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any

import pytest

from parslab.client.transport import send_buffer
from parslab.client.transport.send_buffer import SendBuffer
from parslab.wire.messages.client import ClientMessage, FollowOutput
from parslab.wire.shared_memory import allocate, in_memory, shares_memory
from parslab.wire.stream import Stream, decoder
from tests.unit.interrupting import interrupting, steps

if TYPE_CHECKING:
    from collections.abc import Sequence

FILE = SendBuffer.flush.__code__.co_filename


class Wire:
    """A socket that takes a few bytes at a time, and none every now and then."""

    def __init__(self, portion: int) -> None:
        self.portion = portion
        self.taken = bytearray()
        self.descriptors = 0
        self.broken = False
        self._calls = 0

    def sendmsg(self, parts: Sequence[memoryview], ancillary: Sequence[Any] = ()) -> int:
        self._calls += 1
        if self.broken:
            raise BrokenPipeError
        if self._calls % 3 == 0:
            raise BlockingIOError
        data = b"".join(parts)[: self.portion]
        self.taken += data
        self.descriptors += sum(len(numbers) for _, _, numbers in ancillary)
        return len(data)

    def send(self, data: bytes) -> int:
        return self.sendmsg([memoryview(data)])

    # What the receiving side of a Stream needs, to understand what was taken.

    def setsockopt(self, *_: object) -> None: ...

    def recvmsg_into(self, views: Sequence[memoryview], *_: int) -> tuple[int, list[Any], int, None]:
        return self.recv_into(views[0]), [], 0, None

    def recv_into(self, view: memoryview, size: int = 0, flags: int = 0) -> int:
        count = min(len(view), len(self.taken))
        view[:count] = self.taken[:count]
        del self.taken[:count]
        return count


def batches(wire: Wire) -> list[list[tuple[int, bytes]]]:
    """What a peer makes of the bytes: (task, its frame) of each message of each batch."""
    stream = Stream(wire, decoder(ClientMessage))  # type: ignore[arg-type]
    found: list[list[tuple[int, bytes]]] = []
    while wire.taken:
        for messages, frames in stream.receive():
            rest = b"".join(map(in_memory, frames))
            found.append([(message.task, rest) for message in messages])  # type: ignore[attr-defined]
    return found


def decoded(wire: Wire) -> list[list[Any]]:
    """The messages of each batch, where a block of shared memory is one byte."""
    found, at, taken = [], 0, bytes(wire.taken)
    while at < len(taken):
        length, count = struct.unpack_from("<II", taken, at)
        sizes = struct.unpack_from(f"<{count}Q", taken, at + 8)
        start = at + 8 + 8 * count
        found.append(decoder(ClientMessage)(taken[start : start + length]))
        at = start + length + sum(1 if size >> 63 else size for size in sizes)
    return found


def understood(wire: Wire) -> list[tuple[int, bytes]]:
    """The same of all of them."""
    return [one for batch in batches(wire) for one in batch]


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("portion", [3, 40, 1 << 20])
def test_messages_survive_an_interrupt_before_every_step(portion: int, keep: bool) -> None:
    def attempt(step: int) -> bool:
        wire = Wire(portion)
        out = SendBuffer(wire, keep)  # type: ignore[arg-type]
        for n in range(5):
            out.outbox.append(FollowOutput(n))

        def send() -> None:
            while not out.push():
                pass

        hit = interrupting(FILE, step, send)
        out.outbox.append(FollowOutput(5))
        while not out.push():
            pass
        assert [task for task, _ in understood(wire)] == [0, 1, 2, 3, 4, 5], step
        assert not out.congested
        assert not out.outbox
        return hit

    assert len(list(steps(attempt))) > 50


@pytest.mark.skipif(not shares_memory, reason="this system has no sealed shared memory")
@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("portion", [7, 90, 1 << 20])
def test_descriptors_leave_once_in_spite_of_an_interrupt_before_every_step(portion: int, keep: bool) -> None:
    made = allocate([b"x" * 100_000])
    assert made is not None

    def attempt(step: int) -> bool:
        wire = Wire(portion)
        out = SendBuffer(wire, keep)  # type: ignore[arg-type]
        out.outbox.append(FollowOutput(1))

        def send() -> None:
            out.add(FollowOutput(2), [made[0], b"plain", made[0]])
            while not out.flush():
                pass

        hit = interrupting(FILE, step, send)
        out.outbox.append(FollowOutput(3))
        while not out.push():
            pass
        whole = FollowOutput(2) in [message for messages in decoded(wire) for message in messages]
        assert wire.descriptors == (2 if whole else 0), step
        return hit

    assert len(list(steps(attempt))) > 50


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("portion", [7, 90, 1 << 20])
def test_frames_survive_an_interrupt_before_every_step(portion: int, keep: bool) -> None:
    """A message with frames is there once or not at all, and as it was at the call."""

    def attempt(step: int) -> bool:
        wire = Wire(portion)
        out = SendBuffer(wire, keep)  # type: ignore[arg-type]
        out.outbox.append(FollowOutput(1))
        array = bytearray(b"a" * 50)

        def send() -> None:
            out.add(FollowOutput(2), [memoryview(array), memoryview(array)])
            while not out.flush():
                pass

        hit = interrupting(FILE, step, send)
        if hit:
            out.own()
        array[:] = b"b" * 50
        out.outbox.append(FollowOutput(3))
        while not out.push():
            pass
        got = dict(understood(wire))
        assert list(got) in ([1, 2, 3], [1, 3]), step
        assert got.get(2, b"a" * 100) == b"a" * 100
        return hit

    assert len(list(steps(attempt))) > 50


def test_what_nobody_reads_any_more_is_dropped() -> None:
    wire = Wire(5)
    out = SendBuffer(wire)  # type: ignore[arg-type]
    out.outbox += [FollowOutput(n) for n in range(3)]
    assert not out.push()
    wire.broken = True
    assert out.flush()
    out.outbox.append(FollowOutput(4))
    assert out.push()
    assert not out.congested


@pytest.mark.parametrize("behind", [0, 2])
@pytest.mark.parametrize("portion", [40, 1 << 20])
def test_another_peer_gets_what_the_first_did_not_write_down(portion: int, behind: int) -> None:
    """Whenever the first one is gone, and whatever step an interrupt came before."""

    def attempt(step: int) -> bool:
        first, second = Wire(portion), Wire(portion)
        out = SendBuffer(first, keep=True)  # type: ignore[arg-type]
        array = bytearray(b"a" * 50)

        def send() -> None:
            for n in range(3):
                out.outbox.append(FollowOutput(n))
                out.push()
            out.add(FollowOutput(3), [memoryview(array)])
            while not out.flush():
                pass

        hit = interrupting(FILE, step, send)
        first.broken = True
        out.push()
        out.own()
        array[:] = b"b" * 50
        assert out.push()  # nothing waits for room any more
        out.outbox.append(FollowOutput(4))
        out.push()
        got = batches(first)
        there = max(0, len(got) - behind)
        out.resume(second, there)  # type: ignore[arg-type]
        out.outbox.append(FollowOutput(5))
        while not out.push():
            pass
        again = batches(second)
        tasks = [one for batch in (*got[:there], *again) for one in batch]
        assert [task for task, _ in tasks] in ([0, 1, 2, 3, 4, 5], [0, 1, 2, 4, 5], [0, 1, 4, 5], [0, 4, 5], [4, 5])
        assert hit or len(tasks) == 6
        assert dict(tasks).get(3, b"a" * 50) == b"a" * 50
        assert out.last == there + len(again)
        return hit

    assert len(list(steps(attempt))) > 50


def test_what_is_safe_is_not_kept() -> None:
    wire = Wire(1 << 20)
    out = SendBuffer(wire, keep=True)  # type: ignore[arg-type]
    for n in range(10):
        out.outbox.append(FollowOutput(n))
        while not out.push():
            pass
        out.safe = n
    assert len(out._kept) == 2
    assert out.last == 10
    out.stop_keeping()
    assert not out._kept
    out.outbox.append(FollowOutput(11))
    while not out.push():
        pass
    assert not out._kept


def test_what_is_too_much_to_keep_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(send_buffer, "_KEPT", 1000)
    first, second = Wire(1 << 20), Wire(1 << 20)
    out = SendBuffer(first, keep=True)  # type: ignore[arg-type]
    for n in range(4):
        out.add(FollowOutput(n), [b"x" * 400])
        while not out.flush():
            pass
    out.resume(second, 0)  # type: ignore[arg-type]
    while not out.flush():
        pass
    assert [[task for task, _ in batch] for batch in batches(second)] == [[], [], [2], [3]]
    assert out.last == 4


def test_a_message_that_cannot_be_encoded_fails_alone() -> None:
    """It stayed in the outbox, so that every later call and `cleanup()` raised its error."""
    wire = Wire(1 << 20)
    buffer = SendBuffer(wire)  # type: ignore[arg-type]
    bad = FollowOutput(1 << 70)
    buffer.outbox += [FollowOutput(1), bad, FollowOutput(2)]
    while not buffer.push():
        pass
    assert [task for batch in batches(wire) for task, _ in batch] == [1, 2]
    assert [message for message, _ in buffer.rejected] == [bad]
    assert isinstance(buffer.rejected[0][1], OverflowError)
    with pytest.raises(OverflowError):
        buffer.add(bad, [b"frame"])
    buffer.outbox.append(FollowOutput(3))
    while not buffer.push():
        pass
    assert [task for batch in batches(wire) for task, _ in batch] == [3]


class FullWire(Wire):
    """A socket that takes nothing until it is opened, and counts the attempts and the parts of each."""

    def __init__(self) -> None:
        super().__init__(1 << 20)
        self.full = True
        self.parts: list[int] = []

    def sendmsg(self, parts: Sequence[memoryview], ancillary: Sequence[Any] = ()) -> int:
        self.parts.append(len(parts))
        if self.full:
            raise BlockingIOError
        data = b"".join(parts)
        self.taken += data
        return len(data)


def test_messages_gather_while_the_peer_does_not_read() -> None:
    """Each was a batch of its own, and each sender tried to send all batches that waited."""
    wire = FullWire()
    out = SendBuffer(wire)  # type: ignore[arg-type]
    for task in range(100):
        out.outbox.append(FollowOutput(task))
        assert not out.push()
    assert set(wire.parts) == {1}
    wire.full = False
    assert out.push()
    assert [[task for task, _ in batch] for batch in batches(wire)] == [[0], list(range(1, 100))]


def test_a_message_with_frames_follows_those_that_have_gathered() -> None:
    wire = FullWire()
    out = SendBuffer(wire)  # type: ignore[arg-type]
    for task in range(3):
        out.outbox.append(FollowOutput(task))
        assert not out.push()
    out.add(FollowOutput(3), [b"frame"])
    wire.full = False
    assert out.flush()
    assert [task for task, _ in understood(wire)] == [0, 1, 2, 3]


def test_the_thread_of_the_link_may_ask_for_kept_blocks_while_another_one_sends() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        buffer = SendBuffer(ours, keep=True)

        class Sending(tuple[Any, ...]):
            """A piece during whose inspection another thread sends a batch."""

            __slots__ = ()

            def __getitem__(self, place: Any) -> Any:
                buffer._kept.append((1, b"", [], 1, None))
                return super().__getitem__(place)

        buffer._kept.extend([Sending((0, b"", [], 0, None)), (0, b"", [], 0, None)])
        assert not buffer.keeps_blocks
