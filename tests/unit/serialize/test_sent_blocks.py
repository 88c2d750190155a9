"""Calls with equal large arguments send one block, and a changed argument is never taken for an old one."""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

import pytest

from parslab.serialize.shared import sent_blocks
from parslab.serialize.shared.sent_blocks import LEAST, CallBlocks, SentBlocks
from parslab.serialize.shared.values import shared, unshared
from parslab.wire import shared_memory
from parslab.wire.shared_memory import SHARED_SIZE, SharedFrame, held_frames, shares_memory
from tests.unit.interrupting import interrupting, steps, switching

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from parslab.wire.shared_memory import Buffer, PlainBuffer

pytestmark = pytest.mark.skipif(not shares_memory, reason="this system has no sealed shared memory")


Held = Callable[[], list[int]]


@pytest.fixture(autouse=True)
def held() -> Iterator[Held]:
    """Return the sizes of the blocks that the test has made; all are gone when it ends."""
    gc.collect()
    before = held_frames()

    def sizes() -> list[int]:
        return [frame.nbytes for frame in held_frames() if frame not in before]

    yield sizes
    gc.collect()
    assert sizes() == []


@pytest.fixture
def sent() -> SentBlocks:
    return SentBlocks(1 << 40)


class Call:
    """A call with these buffers, which ends when :meth:`end` is called."""

    def __init__(self, sent: SentBlocks, *buffers: PlainBuffer) -> None:
        self.future: Future[None] = Future()
        blocks = CallBlocks(sent)
        self.inline, self.frames = shared(b"stream", buffers, blocks)
        if blocks:
            self.future.add_done_callback(blocks)

    def is_sent(self) -> Sequence[Buffer]:
        """Return the blocks, which only the call holds from now on."""
        frames, self.frames = self.frames, ()
        return frames

    def end(self) -> None:
        self.future.set_result(None)
        self.future = Future()


def values(call: Call) -> Sequence[Any]:
    return [bytes(buffer) for buffer in unshared(call.inline, call.frames)[1]]


def big(byte: int, size: int = LEAST) -> bytearray:
    return bytearray([byte]) * size


def test_calls_with_one_array_send_one_block(sent: SentBlocks, held: Held) -> None:
    array = big(1)
    calls = [Call(sent, array) for _ in range(5)]
    assert len({id(call.frames[0]) for call in calls}) == 1
    assert len(held()) == 1
    assert values(calls[4]) == [array]


def test_a_copy_of_the_array_sends_the_same_block(sent: SentBlocks) -> None:
    one, other = Call(sent, big(1)), Call(sent, big(1))
    assert one.frames[0] is other.frames[0]


@pytest.mark.parametrize("at", [0, 5, LEAST // 2 + 7, LEAST - 1])
def test_a_changed_array_is_sent_anew(sent: SentBlocks, at: int) -> None:
    array = big(1)
    before = Call(sent, array)
    array[at] = 9
    after = Call(sent, array)
    assert before.frames[0] is not after.frames[0]
    assert values(before) == [big(1)]
    assert values(after) == [array]
    array[at] = 1
    assert Call(sent, array).frames[0] is before.frames[0]


def test_the_block_is_gone_with_the_last_unfinished_call(sent: SentBlocks, held: Held) -> None:
    array = big(1)
    calls = [Call(sent, array) for _ in range(3)]
    for call in calls:
        call.is_sent()
    for call in calls:
        assert len(held()) == 1
        call.end()
    assert not held()
    assert values(Call(sent, array)) == [array]


def test_a_block_that_the_link_may_send_again_is_found_after_the_end_of_its_call(sent: SentBlocks, held: Held) -> None:
    """Short calls, one after the other, needed a block each for as long as the event log waits."""
    call = Call(sent, big(1))
    kept = call.is_sent()
    call.end()
    again = Call(sent, big(1))
    assert again.frames[0] is kept[0]
    del kept
    again.is_sent()
    assert held() == [LEAST]
    again.end()
    assert not held()


def test_the_block_is_gone_with_the_future_of_a_call_that_was_not_sent(sent: SentBlocks, held: Held) -> None:
    call = Call(sent, big(1))
    del call
    assert not held()


def test_an_argument_of_its_own_does_not_keep_a_call_from_sharing(sent: SentBlocks) -> None:
    model = big(1, 3 * LEAST)
    one, other = (Call(sent, model, big(byte, 2 * LEAST), bytes([byte]) * 5000) for byte in (7, 8))
    shared_frames = {id(frame) for frame in one.frames} & {id(frame) for frame in other.frames}
    assert len(shared_frames) == 1
    assert values(other) == [model, big(8, 2 * LEAST), bytes([8]) * 5000]


def test_a_model_of_many_arrays_occupies_one_block(sent: SentBlocks) -> None:
    model = [big(byte) for byte in range(20)]
    one, other = Call(sent, *model), Call(sent, *model, b"x" * 5000)
    assert one.frames[0] is other.frames[0]
    assert (len(one.frames), len(other.frames)) == (1, 2)
    assert values(other) == [*model, b"x" * 5000]


def test_a_small_part_of_a_model_does_not_keep_the_model(sent: SentBlocks, held: Held) -> None:
    model = [big(byte) for byte in range(20)]
    whole, part = Call(sent, *model), Call(sent, model[3])
    assert whole.frames[0] is not part.frames[0]
    assert values(part) == [model[3]]
    whole.is_sent()
    whole.end()
    assert held() == [LEAST]


def test_too_many_blocks_are_not_held(sent: SentBlocks, held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sent_blocks, "_MOST_BLOCKS", 3)
    calls = [Call(sent, big(byte)) for byte in range(10)]
    for call in calls:
        call.is_sent()
    assert len(held()) == 3


def test_too_many_bytes_are_not_held_but_the_latest_block_is(
    sent: SentBlocks, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sent_blocks, "_MOST_BYTES", 2 * LEAST)
    calls = [Call(sent, big(byte)) for byte in range(10)]
    calls.append(Call(sent, big(99, 50 * LEAST)))
    for call in calls:
        call.is_sent()
    assert held() == [LEAST, LEAST, 50 * LEAST]


def test_calls_hold_a_part_of_what_the_run_may_have_in_memory(held: Held) -> None:
    """The DataFlowKernel cannot free the memory of a block that the client holds, too."""
    sent = SentBlocks(8 * LEAST)
    calls = [Call(sent, big(byte)) for byte in range(10)]
    for call in calls:
        call.is_sent()
    assert len(held()) == 3


def test_threads_that_call_at_once_hold_no_more_blocks(held: Held, monkeypatch: pytest.MonkeyPatch) -> None:
    """A block that one thread had forgotten, because another changed the list, was held until its call ended."""
    monkeypatch.setattr(sent_blocks, "LEAST", SHARED_SIZE)
    monkeypatch.setattr(sent_blocks, "_MOST_BLOCKS", 2)
    arrays = [bytes([byte]) * SHARED_SIZE for byte in range(6)]

    def hit(step: int) -> bool:
        """Let another thread call before this step of a call."""
        sent = SentBlocks(1 << 40)
        calls = [Call(sent, arrays[byte]) for byte in range(3)]
        reached = switching(
            sent_blocks.__file__,
            step,
            lambda: calls.append(Call(sent, arrays[3])),
            lambda: calls.append(Call(sent, arrays[4])),
        )
        calls.append(Call(sent, arrays[5]))
        for call in calls:
            call.is_sent()
        assert len(calls) == 5 + reached
        assert len(held()) == 2, f"step {step}"
        calls.clear()
        return reached

    for _ in steps(hit):
        pass


def test_arrays_that_differ_late_are_not_compared_with_many_blocks(
    sent: SentBlocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each call compared a state of a simulation with four earlier states, which took longer than to copy it."""
    size = 16 * LEAST
    array = big(1, size)
    calls = []
    for number in range(6):
        array[size * 7 // 8] = number
        calls.append(Call(sent, array))
    read = 0
    preadv = os.preadv

    def count(*args: Any) -> int:
        nonlocal read
        done = preadv(*args)
        read += done
        return done

    monkeypatch.setattr(os, "preadv", count)
    array[size * 7 // 8] = 77
    calls.append(Call(sent, array))
    assert read <= size
    assert len({id(call.frames[0]) for call in calls}) == 7


def test_an_array_that_every_call_has_stays_however_many_others_there_are(
    sent: SentBlocks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sent_blocks, "_MOST_BLOCKS", 3)
    model = big(1, 2 * LEAST)
    calls = [Call(sent, model, big(byte)) for byte in range(10)]
    assert len({id(call.frames[0]) for call in calls}) == 1


def test_smaller_values_are_not_compared(sent: SentBlocks) -> None:
    small = bytearray(SHARED_SIZE)
    one, other = Call(sent, small), Call(sent, small)
    assert one.frames[0] is not other.frames[0]


def test_without_room_for_descriptors_values_are_copied(sent: SentBlocks, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Call(sent, big(1))
    monkeypatch.setattr(shared_memory, "most_frames", lambda: 0)
    call = Call(sent, big(2))
    assert not any(isinstance(frame, SharedFrame) for frame in call.frames)
    # What is there already needs no descriptor.
    assert Call(sent, big(1)).frames[0] is first.frames[0]


def test_a_block_that_cannot_be_read_is_sent_anew(sent: SentBlocks, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> int:
        raise OSError(errno.EIO, "no memory")

    monkeypatch.setattr(SharedFrame, "equal_at", refuse)
    one, other = Call(sent, big(1)), Call(sent, big(1))
    assert one.frames[0] is not other.frames[0]


def test_an_interrupt_before_any_step_leaves_no_block(sent: SentBlocks, held: Held) -> None:
    array, made = big(1), []

    def hit(step: int) -> bool:
        return interrupting(sent_blocks.__file__, step, lambda: made.append(Call(sent, array)))

    for step in steps(hit):
        made.clear()
        assert not held(), f"step {step}"
    made.clear()
