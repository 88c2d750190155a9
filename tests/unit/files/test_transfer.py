"""The course of a transfer, over all that a source can do wrong."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from parslab.files.transfer import (
    CHUNK,
    FAILURES,
    MISMATCHES,
    SILENCE,
    WINDOW,
    AskForSource,
    Command,
    GiveUp,
    RequestChunks,
    StartAgain,
    Transfer,
    TransferState,
    VerifyHash,
)
from parslab.wire.messages.files import ContentId


def transfer(size: int, written: int = 0) -> Transfer:
    return Transfer(ContentId(b"x" * 32, size), written)


def test_an_empty_file_needs_no_source() -> None:
    one = transfer(0)
    assert one.begin() == [VerifyHash()]
    assert one.verified(True, 0.0) == []
    assert one.state is TransferState.done


def test_it_starts_at_the_bytes_that_an_earlier_process_has_written() -> None:
    one = transfer(3 * CHUNK, written=CHUNK)
    assert one.begin() == [AskForSource()]
    assert one.sourced("n1", 7, 0.0) == [RequestChunks("n1", 7, CHUNK, 2 * CHUNK)]


def test_never_more_than_a_window_is_on_the_way() -> None:
    one = transfer(10 * WINDOW)
    one.begin()
    asked = _asked(one.sourced("n1", 1, 0.0))
    while one.state is TransferState.receiving:
        assert 0 < asked - one.written <= WINDOW
        assert one.accepts(1, one.written, CHUNK)
        asked += _asked(one.wrote(CHUNK, 0.0))
    assert asked == one.content.size


def _asked(commands: list[Command]) -> int:
    return sum(command.length for command in commands if isinstance(command, RequestChunks))


def test_a_source_that_fails_half_way_is_replaced_and_nothing_is_sent_twice() -> None:
    one = transfer(4 * CHUNK)
    one.begin()
    one.sourced("n1", 1, 0.0)
    one.wrote(CHUNK, 0.0)
    assert one.source_failed(1, "the connection broke", 1.0) == [AskForSource("n1", "n1: the connection broke")]
    assert one.sourced("hub", 2, 1.0) == [RequestChunks("hub", 2, CHUNK, 3 * CHUNK)]
    assert not one.accepts(1, CHUNK, CHUNK)  # a late chunk of the first source
    assert one.accepts(2, CHUNK, CHUNK)


def test_a_silent_source_counts_as_failed() -> None:
    one = transfer(4 * CHUNK)
    one.begin()
    one.sourced("n1", 1, 0.0)
    assert one.check(SILENCE - 0.1) == []
    assert one.check(one.next_deadline() or 0.0) == [AskForSource("n1", "n1: it sent nothing for 10 s")]


def test_it_gives_up_after_failures_in_a_row_and_names_the_last_one() -> None:
    one, now = transfer(CHUNK), 0.0
    one.begin()
    for attempt in range(1, FAILURES):
        one.sourced("n1", attempt, now)
        one.source_failed(attempt, "no such content", now)
        now = one.next_deadline() or now
        one.check(now)
    one.sourced("n1", FAILURES, now)
    assert one.source_failed(FAILURES, "no such content", now) == [GiveUp("n1: no such content")]
    assert one.state is TransferState.failed
    assert one.next_deadline() is None


def test_a_wrong_hash_starts_it_again_and_not_for_ever() -> None:
    one = transfer(CHUNK)
    one.begin()
    for attempt in range(1, MISMATCHES):
        one.sourced("n1", attempt, 0.0)
        assert one.wrote(CHUNK, 0.0) == [VerifyHash()]
        assert one.verified(False, 0.0) == [StartAgain(), AskForSource(reason="its checksum was wrong")]
        assert one.written == 0
    one.sourced("n1", MISMATCHES, 0.0)
    one.wrote(CHUNK, 0.0)
    assert one.verified(False, 0.0) == [GiveUp("its checksum was wrong 3 times")]


def test_a_full_disk_ends_it_at_once() -> None:
    one = transfer(CHUNK)
    one.begin()
    one.sourced("n1", 1, 0.0)
    assert one.stop("no space left") == [GiveUp("no space left")]
    assert one.stop("no space left") == []


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 3 * WINDOW), st.integers(0, 2**32), st.sampled_from([0.0, 0.05, 0.4]))
def test_every_transfer_ends_with_all_bytes_or_a_reason(size: int, seed: int, trouble: float) -> None:
    """A source sends each byte once and in order, but may fail, fall silent or send nonsense at any time."""
    dice, one, now, ask = random.Random(seed), transfer(size), 0.0, 0
    disk = bytearray()
    right = True
    todo: list[Command] = one.begin()
    wire: list[tuple[int, int, int]] = []
    for _ in range(20_000):
        if one.state in (TransferState.done, TransferState.failed):
            break
        if todo:
            match todo.pop(0):
                case AskForSource():
                    ask += 1
                    wire.clear()
                    todo += one.no_source("nobody has it", now) if dice.random() < trouble else []
                    todo += one.sourced(f"n{ask}", ask, now)
                case RequestChunks(ask=number, offset=offset, length=length):
                    wire += [
                        (number, at, min(CHUNK, offset + length - at)) for at in range(offset, offset + length, CHUNK)
                    ]
                case VerifyHash():
                    right = dice.random() >= trouble
                    todo += one.verified(right, now)
                case StartAgain():
                    disk.clear()
                case GiveUp(reason=reason):
                    assert reason
        elif wire and dice.random() >= trouble:
            number, offset, length = wire.pop(0)
            if one.accepts(number, offset, length):
                assert offset == len(disk)
                disk += bytes(length)
                todo += one.wrote(length, now)
        elif wire and dice.random() < 0.5:
            todo += one.source_failed(ask, "it broke", now)
        else:
            due = one.next_deadline()
            assert due is not None, "it waits for nothing"
            now = due
            todo += one.check(now)
    if one.state is TransferState.done:
        assert len(disk) == size
        assert right
    else:
        assert one.state is TransferState.failed
