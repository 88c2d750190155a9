"""Blocks of shared memory: sealed, mapped without a copy, and gone with their last holder."""

from __future__ import annotations

import errno
import fcntl
import gc
import os
import socket
import sys
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from parslab.errors import ProtocolError
from parslab.serialize.shared.addresses import address_of
from parslab.serialize.shared.values import Mappings, shared, unshared
from parslab.wire import shared_memory
from parslab.wire.messages.client import CancelTasks
from parslab.wire.shared_memory import (
    SHARED_SIZE,
    Buffer,
    PlainBuffer,
    SharedFrame,
    allocate,
    held_frames,
    in_memory,
    received,
    shares_memory,
    size_of,
    unnamed_file,
)
from parslab.wire.stream import Stream, decoder
from tests.unit.interrupting import interrupting, steps, switching

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(not shares_memory, reason="this system has no sealed shared memory")

decode = decoder(CancelTasks)


@pytest.fixture(autouse=True)
def nothing_held() -> Iterator[None]:
    """Each block of a test is gone when the test ends."""
    gc.collect()
    before = len(held_frames())
    yield
    gc.collect()
    assert len(held_frames()) == before


@contextmanager
def pair() -> Iterator[tuple[Stream, Stream]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with closing(Stream(ours, decode)) as a, closing(Stream(theirs, decode)) as b:
        yield a, b


def block(data: bytes = b"x" * SHARED_SIZE) -> SharedFrame:
    made = allocate([data])
    assert made is not None
    return made[0]


def test_a_block_holds_all_buffers_and_cannot_be_changed() -> None:
    buffers: list[PlainBuffer] = [b"abc", bytearray(b"d" * 100_000), memoryview(b""), b"e"]
    made = allocate(buffers)
    assert made is not None
    frame, offsets = made
    view = frame.view()
    assert [bytes(view[at : at + len(buffer)]) for at, buffer in zip(offsets, buffers, strict=True)] == buffers
    assert offsets[1] % 4096 == 0
    with pytest.raises(PermissionError):
        os.pwrite(frame.descriptor, b"z", 0)
    with pytest.raises(PermissionError):
        os.ftruncate(frame.descriptor, 0)
    assert fcntl.fcntl(frame.descriptor, 1034) == 0x0F
    with pytest.raises(TypeError):
        view[0] = 1


def test_what_is_written_to_a_private_view_nobody_else_sees() -> None:
    frame = block()
    one, two = frame.private_view(), frame.private_view()
    one[0] = 65
    assert (one[0], two[0], frame.view()[0]) == (65, 120, 120)


def test_no_python_runs_when_a_block_and_its_mappings_end() -> None:
    """An interrupt would be lost there."""
    frame = block()
    view = frame.private_view()
    called: list[object] = []
    sys.setprofile(lambda at, event, arg: called.append((event, arg if event != "call" else at.f_code.co_name)))
    del view, frame
    sys.setprofile(None)
    assert [what for what in called if what != ("c_call", sys.setprofile)] == []


def test_a_view_outlives_the_frame_and_its_descriptor() -> None:
    frame = block()
    view = frame.view()[10:20]
    before = len(os.listdir("/proc/self/fd"))
    del frame
    assert len(os.listdir("/proc/self/fd")) == before - 1
    assert bytes(view) == b"x" * 10


def test_blocks_go_through_a_socket_as_descriptors() -> None:
    frames: list[Buffer] = [b"plain", *[block(bytes([n]) * SHARED_SIZE) for n in range(40)], b"after", block()]
    with pair() as (a, b):
        a.send([CancelTasks([1])], frames)
        a.send([CancelTasks([2])])
        got: list[Any] = []
        while len(got) < 2:
            a.flush()
            got += b.receive()
    (first, arrived), (second, none) = got
    assert (first, second, none) == ([CancelTasks([1])], [CancelTasks([2])], [])
    assert [bytes(in_memory(frame)) for frame in arrived] == [bytes(in_memory(frame)) for frame in frames]
    assert [type(frame) for frame in arrived] == [
        bytearray if isinstance(frame, bytes) else SharedFrame for frame in frames
    ]


def test_many_batches_wait_for_a_slow_reader() -> None:
    with pair() as (a, b):
        for n in range(300):
            a.send([CancelTasks([n])], [block(b"%6d" % n * SHARED_SIZE), b"p" * 5000])
        got: list[Any] = []
        while len(got) < 300:
            a.flush()
            got += b.receive()
        assert [messages[0].tasks for messages, _ in got] == [[n] for n in range(300)]
        assert [bytes(in_memory(frames[0])[:6]) for _, frames in got] == [b"%6d" % n for n in range(300)]
        assert not a.congested


def test_a_process_without_room_for_descriptors_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = [block()]
    monkeypatch.setattr(shared_memory, "most_frames", lambda: 0)
    assert allocate([b"x" * SHARED_SIZE]) is None
    inline, frames = shared(b"stream", [b"x" * SHARED_SIZE])
    assert (inline, frames) == (b"stream", [b"x" * SHARED_SIZE])
    with pair() as (a, b):
        a.send([], kept)
        ((_, (frame,)),) = b.receive()
    assert frame == bytearray(b"x" * SHARED_SIZE)


def test_a_system_without_memory_for_a_block_copies(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "writev", full)
    assert allocate([b"x" * SHARED_SIZE]) is None


def test_a_block_that_is_shorter_than_announced_is_refused() -> None:
    descriptor = os.memfd_create("short")
    with pytest.raises(OSError, match="shorter"):
        received(descriptor, 10)
    with pair() as (a, b):
        lie = block()
        lie.nbytes += 1
        a.send([], [lie])
        with pytest.raises(ProtocolError, match="shorter"):
            b.receive()


def test_a_block_without_its_descriptor_is_refused() -> None:
    with pair() as (a, b):
        frame = block()
        head = bytearray()
        from parslab.wire import stream

        stream.encode_batch(a._encoder, [], [frame], head)
        a.sock.send(bytes(head) + b"\0")
        with pytest.raises(ProtocolError, match="shared memory"):
            b.receive()


def test_descriptors_of_a_batch_that_was_not_read_are_closed() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pair() as (a, b):
        frame = block()
        head = bytearray()
        from parslab.wire import stream

        stream.encode_batch(a._encoder, [], [frame], head)
        stream.send_piece(a.sock, stream.DescriptorPiece(bytes(head[:5]), (frame,)))
        assert b.receive() == []
        del frame
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_block_that_arrives_again_is_the_one_that_is_here() -> None:
    """A block that a thousand tasks share occupied a thousand descriptors, and then as many copies."""
    frame, other = block(), block()
    with pair() as (a, b):
        arrived: list[Buffer] = []
        for _ in range(10):
            a.send([], [frame, other, frame])
            arrived += b.receive()[0][1]
    assert len({id(one) for one in arrived}) == 2
    assert arrived[0] is arrived[2]
    assert isinstance(arrived[0], SharedFrame)
    descriptors = len(os.listdir("/proc/self/fd"))
    del arrived
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == descriptors - 2


def test_two_threads_forget_blocks_that_are_gone_at_once() -> None:
    """Each run of a process has a thread that receives blocks; one of them ended with a KeyError."""

    def hit(step: int) -> bool:
        with pair() as (a, b):
            for _ in range(3):
                a.send([], [block()])
                b.receive()
        return switching(shared_memory.__file__, step, shared_memory._forget, shared_memory._forget)

    for step in range(1, 200):
        if not hit(step):
            assert step > 20
            return


def test_a_block_that_has_moved_to_the_disk_does_not_come_back_to_memory(tmp_path: Path) -> None:
    frame = block()
    with pair() as (a, b):
        a.send([], [frame])
        ((_, (arrived,)),) = b.receive()
        assert isinstance(arrived, SharedFrame)
        descriptor = unnamed_file(str(tmp_path))
        arrived.copy_to(descriptor)
        arrived.move_to(descriptor)
        a.send([], [frame])
        ((_, (again,)),) = b.receive()
        assert again is arrived


def test_a_block_is_compared_with_bytes_in_memory() -> None:
    data = bytes(range(256)) * 8192
    frame = block(data)
    other = bytearray(data)
    assert frame.equal_at(0, address_of(other), len(data)) == len(data)
    assert frame.equal_at(1000, address_of(other) + 1000, 500_000) == 500_000
    assert frame.equal_at(1, address_of(other), 1000) == 0
    other[-1] ^= 1
    assert frame.equal_at(0, address_of(other), len(data)) == 1 << 20
    assert frame.equal_at(len(data) - 10, address_of(data) + len(data) - 10, 100) < 100, "beyond the end"


def test_a_block_moves_to_a_file_without_a_name(tmp_path: Path) -> None:
    frame = block(b"abc" * SHARED_SIZE)
    descriptor = unnamed_file(str(tmp_path))
    frame.copy_to(descriptor)
    frame.move_to(descriptor)
    assert frame.on_disk
    assert list(tmp_path.iterdir()) == []
    assert bytes(frame.view()) == bytes(frame.private_view()) == b"abc" * SHARED_SIZE
    with pair() as (a, b):
        a.send([], [frame])
        ((_, (arrived,)),) = b.receive()
        assert bytes(in_memory(arrived)) == b"abc" * SHARED_SIZE


# --- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("inline", [b"\x80stream", b""])
def test_a_shared_value_comes_back_as_it_was(inline: bytes) -> None:
    frames = [b"first" * 10, b"x" * SHARED_SIZE, b"", b"z" * 5000]
    packed, blocks = shared(inline, frames)
    assert len(blocks) == 1
    assert unshared(packed, blocks) == (inline, frames)
    # On another host the block is bytes.
    assert unshared(packed, [bytes(in_memory(one)) for one in blocks]) == (inline, frames)


def test_small_values_are_not_shared() -> None:
    frames = [b"x" * (SHARED_SIZE - 1)]
    assert shared(b"stream", frames) == (b"stream", frames)
    assert shared(b"stream", []) == (b"stream", [])


def test_a_value_that_was_not_changed_is_not_copied() -> None:
    packed, blocks = shared(b"s", [b"a" * SHARED_SIZE, b"b" * (2 * SHARED_SIZE)])
    mappings = Mappings()
    _, buffers = unshared(packed, blocks, private=True, mappings=mappings)
    again, same = shared(b"t", buffers, mappings)
    assert len(same) == 1
    assert same[0] is blocks[0]
    assert unshared(again, same) == (b"t", [b"a" * SHARED_SIZE, b"b" * (2 * SHARED_SIZE)])


def test_a_changed_page_is_copied_and_the_other_buffers_are_not() -> None:
    packed, blocks = shared(b"s", [b"a" * SHARED_SIZE, b"b" * (2 * SHARED_SIZE)])
    mappings = Mappings()
    _, (first, second) = unshared(packed, blocks, private=True, mappings=mappings)
    assert isinstance(first, memoryview)
    first[-1] = 65
    again, frames = shared(b"t", [first, second], mappings)
    assert [frame is blocks[0] for frame in frames] == [False, True]
    assert unshared(again, frames) == (b"t", [b"a" * (SHARED_SIZE - 1) + b"A", b"b" * (2 * SHARED_SIZE)])
    assert unshared(packed, blocks)[1][0] == b"a" * SHARED_SIZE


def test_a_small_part_does_not_keep_a_large_block() -> None:
    packed, blocks = shared(b"s", [b"a" * (3 * SHARED_SIZE)])
    mappings = Mappings()
    _, (buffer,) = unshared(packed, blocks, private=True, mappings=mappings)
    part = memoryview(buffer)[:SHARED_SIZE]
    again, frames = shared(b"t", [part], mappings)
    assert frames[0] is not blocks[0]
    assert size_of(frames[0]) == SHARED_SIZE
    assert unshared(again, frames) == (b"t", [b"a" * SHARED_SIZE])


def test_where_the_system_does_not_show_changed_pages_everything_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    from parslab.serialize.shared import changed_pages

    monkeypatch.setattr(changed_pages, "_PAGEMAP", "/nowhere")
    packed, blocks = shared(b"s", [b"a" * SHARED_SIZE])
    mappings = Mappings()
    _, buffers = unshared(packed, blocks, private=True, mappings=mappings)
    _, frames = shared(b"t", buffers, mappings)
    assert frames[0] is not blocks[0]


def test_an_interrupt_before_any_step_leaves_no_descriptor() -> None:
    made: list[Any] = []
    before = set(os.listdir("/proc/self/fd"))

    def hit(step: int) -> bool:
        return interrupting(shared_memory.__file__, step, lambda: made.append(allocate([b"x" * SHARED_SIZE])))

    for step in steps(hit):
        made.clear()
        assert set(os.listdir("/proc/self/fd")) == before, f"step {step}"
    made.clear()
