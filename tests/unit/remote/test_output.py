"""What a task prints: the first and the last of it, each byte once, and with a mark where something was cut."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parslab.remote.worker import output
from parslab.remote.worker.output import HEAD, TAIL, _Stream, anonymous_file

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def stream() -> Iterator[_Stream]:
    fd = anonymous_file("parslab-test")
    yield _Stream(fd, 1)
    os.close(fd)


def printed(stream: _Stream, text: bytes) -> None:
    """What a process does whose stdout this is: append."""
    os.pwrite(stream.fd, text, os.lseek(stream.fd, 0, os.SEEK_END))


def taken(stream: _Stream, final: bool = True, task: int = 3) -> bytes:
    messages = stream.take(task, final)
    assert all(m.task == task and m.stream == 1 for m in messages)
    return b"".join(m.text for m in messages)


def test_short_output_is_whole(stream: _Stream) -> None:
    printed(stream, b"hello\n")
    assert taken(stream) == b"hello\n"
    assert os.fstat(stream.fd).st_size == 0
    assert taken(stream) == b""


def test_each_byte_comes_once_while_the_task_runs(stream: _Stream) -> None:
    printed(stream, b"one ")
    assert taken(stream, final=False) == b"one "
    assert taken(stream, final=False) == b""
    printed(stream, b"two")
    assert taken(stream) == b"two"


def test_what_is_printed_while_memory_is_given_back_is_not_lost(
    stream: _Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file was emptied: what had been written since it was looked at was gone, and not counted as cut."""
    given_back = output._punch

    def while_printing(fd: int, end: int) -> None:
        printed(stream, b"meanwhile\n")
        given_back(fd, end)
        printed(stream, b"and after\n")

    monkeypatch.setattr(output, "_punch", while_printing)
    printed(stream, b"x" * (8 << 20))
    head = taken(stream, final=False)
    printed(stream, b"last\n")
    tail = taken(stream)
    assert head == b"x" * HEAD
    assert tail.endswith(b"xmeanwhile\nand after\nlast\n")
    cut = int(tail.split()[1].strip(b"["))
    assert HEAD + cut + len(tail.partition(b"...\n")[2]) == (8 << 20) + len(b"meanwhile\nand after\nlast\n")


def test_the_next_task_begins_anew(stream: _Stream) -> None:
    printed(stream, b"a" * (HEAD + TAIL + 500))
    taken(stream, task=1)
    printed(stream, b"b" * HEAD)
    assert taken(stream, task=2) == b"b" * HEAD


def test_much_output_keeps_its_beginning_and_its_end(stream: _Stream) -> None:
    printed(stream, b"H" * HEAD + b"m" * 1000 + b"T" * TAIL)
    assert taken(stream) == b"H" * HEAD + b"\n... [1000 bytes cut] ...\n" + b"T" * TAIL


def test_just_enough_output_is_not_cut(stream: _Stream) -> None:
    text = b"H" * HEAD + b"T" * TAIL
    printed(stream, text)
    assert taken(stream) == text


def test_a_task_that_prints_for_ever_is_bounded_on_disk_and_in_memory(stream: _Stream) -> None:
    sent = 0
    for _ in range(40):
        printed(stream, b"x" * (1 << 20))
        sent += len(taken(stream, final=False))
        assert os.fstat(stream.fd).st_blocks * 512 <= 6 << 20
    last = taken(stream)
    assert sent == HEAD
    cut = (40 << 20) - HEAD - TAIL
    assert last == f"\n... [{cut} bytes cut] ...\n".encode() + b"x" * TAIL


@given(st.lists(st.tuples(st.integers(0, 150_000), st.booleans()), max_size=12))
def test_beginning_and_end_are_right_however_it_is_taken(pieces: list[tuple[int, bool]]) -> None:
    fd = anonymous_file("parslab-test")
    try:
        stream = _Stream(fd, 1)
        whole, got = b"", b""
        for n, (size, look) in enumerate(pieces):
            text = bytes([65 + n]) * size
            whole += text
            printed(stream, text)
            if look:
                got += taken(stream, final=False)
        got += taken(stream)
        if len(whole) <= HEAD + TAIL:
            assert got == whole
        else:
            mark = f"\n... [{len(whole) - HEAD - TAIL} bytes cut] ...\n".encode()
            assert got == whole[:HEAD] + mark + whole[-TAIL:]
    finally:
        os.close(fd)
