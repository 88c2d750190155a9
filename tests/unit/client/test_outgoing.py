"""What a client sends, interrupted before every single step of it: nothing is lost, doubled or torn."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from parslab.client.outgoing import Outgoing
from parslab.wire.messages import ClientMessage, Follow
from parslab.wire.stream import Stream, decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

FILE = Outgoing.flush.__code__.co_filename


class Wire:
    """A socket that takes a few bytes at a time, and none every now and then."""

    def __init__(self, portion: int) -> None:
        self.portion = portion
        self.taken = bytearray()
        self.broken = False
        self._calls = 0

    def sendmsg(self, parts: Sequence[memoryview]) -> int:
        self._calls += 1
        if self.broken:
            raise BrokenPipeError
        if self._calls % 3 == 0:
            raise BlockingIOError
        data = b"".join(parts)[: self.portion]
        self.taken += data
        return len(data)

    def send(self, data: bytes) -> int:
        return self.sendmsg([memoryview(data)])

    # What the receiving side of a Stream needs, to understand what was taken.

    def setsockopt(self, *_: object) -> None: ...

    def recv_into(self, view: memoryview, size: int = 0, flags: int = 0) -> int:
        count = min(len(view), len(self.taken))
        view[:count] = self.taken[:count]
        del self.taken[:count]
        return count


def understood(wire: Wire) -> list[tuple[int, bytes]]:
    """What a peer makes of the bytes: (task, its frame) of each message."""
    stream = Stream(wire, decoder(ClientMessage))  # type: ignore[arg-type]
    found: list[tuple[int, bytes]] = []
    while wire.taken:
        for messages, frames in stream.receive():
            rest = b"".join(frames)
            found += [(message.task, rest) for message in messages]
    return found


def interrupting(step: int, call: Callable[[], Any]) -> bool:
    """Call with a KeyboardInterrupt before opcode number ``step`` of our file; whether there were that many."""
    seen = 0

    def trace(frame: Any, event: str, _: object) -> Any:
        nonlocal seen
        if frame.f_code.co_filename != FILE:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            seen += 1
            if seen == step:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    old = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(old)
    return False


def steps(call: Callable[[int], bool]) -> Iterator[int]:
    """Every step at which ``call(step)`` was interrupted, until there are no more."""
    for step in range(1, 5000):
        if not call(step):
            assert step > 50
            return
        yield step
    pytest.fail("it never ends")


@pytest.mark.parametrize("portion", [3, 40, 1 << 20])
def test_messages_survive_an_interrupt_before_every_step(portion: int) -> None:
    def attempt(step: int) -> bool:
        wire = Wire(portion)
        out = Outgoing(wire)  # type: ignore[arg-type]
        for n in range(5):
            out.outbox.append(Follow(n))

        def send() -> None:
            while not out.push():
                pass

        hit = interrupting(step, send)
        out.outbox.append(Follow(5))
        while not out.push():
            pass
        assert [task for task, _ in understood(wire)] == [0, 1, 2, 3, 4, 5], step
        assert not out.congested
        assert not out.outbox
        return hit

    assert len(list(steps(attempt))) > 50


@pytest.mark.parametrize("portion", [7, 90, 1 << 20])
def test_frames_survive_an_interrupt_before_every_step(portion: int) -> None:
    """A message with frames is there once or not at all, and as it was at the call."""

    def attempt(step: int) -> bool:
        wire = Wire(portion)
        out = Outgoing(wire)  # type: ignore[arg-type]
        out.outbox.append(Follow(1))
        array = bytearray(b"a" * 50)

        def send() -> None:
            out.add(Follow(2), [memoryview(array), memoryview(array)])
            while not out.flush():
                pass

        hit = interrupting(step, send)
        if hit:
            out.own()
        array[:] = b"b" * 50
        out.outbox.append(Follow(3))
        while not out.push():
            pass
        got = dict(understood(wire))
        assert list(got) in ([1, 2, 3], [1, 3]), step
        assert got.get(2, b"a" * 100) == b"a" * 100
        return hit

    assert len(list(steps(attempt))) > 50


def test_what_nobody_reads_any_more_is_dropped() -> None:
    wire = Wire(5)
    out = Outgoing(wire)  # type: ignore[arg-type]
    out.outbox += [Follow(n) for n in range(3)]
    assert not out.push()
    wire.broken = True
    assert out.flush()
    out.outbox.append(Follow(4))
    assert out.push()
    assert not out.congested
