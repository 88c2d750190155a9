"""Files of entries: whatever happens to one entry, all the others are read."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parslab.wire import framed
from parslab.wire.framed import HEAD, MAGIC, DamagedRange, FrameAppender, FramedRecord, encode, read, read_at

if TYPE_CHECKING:
    from collections.abc import Sequence

PAYLOADS = st.lists(st.binary(max_size=40) | st.just(MAGIC) | st.just(MAGIC * 3 + bytes(9)), min_size=1, max_size=8)


def reread(content: bytes, offset: int = 0) -> list[FramedRecord | DamagedRange]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(content)
        return list(read(path, offset))


def offsets(payloads: Sequence[bytes]) -> list[int]:
    """Where each entry begins, and the end."""
    at = [0]
    for payload in payloads:
        at.append(at[-1] + HEAD + len(payload))
    return at


def covers(found: list[FramedRecord | DamagedRange], size: int) -> bool:
    """Whether what was found lies side by side from the beginning to the end."""
    at = 0
    for piece in found:
        assert piece.offset == at
        at += HEAD + len(piece.payload) if isinstance(piece, FramedRecord) else piece.length
    return at == size


@given(PAYLOADS)
def test_what_is_written_is_read(payloads: list[bytes]) -> None:
    content = b"".join(map(encode, payloads))
    assert reread(content) == [FramedRecord(o, p) for o, p in zip(offsets(payloads), payloads, strict=False)]
    second = offsets(payloads)[1]
    assert reread(content, second) == reread(content)[1:]


@given(PAYLOADS, st.data())
def test_cut_anywhere_all_whole_entries_are_read(payloads: list[bytes], data: st.DataObject) -> None:
    content = b"".join(map(encode, payloads))
    cut = data.draw(st.integers(0, len(content)))
    found = reread(content[:cut])
    whole = [FramedRecord(o, p) for o, p in zip(offsets(payloads), payloads, strict=False) if o + HEAD + len(p) <= cut]
    assert [piece for piece in found if isinstance(piece, FramedRecord)] == whole
    assert covers(found, cut)


@given(PAYLOADS, st.data())
def test_any_flipped_byte_costs_one_entry(payloads: list[bytes], data: st.DataObject) -> None:
    content = bytearray(b"".join(map(encode, payloads)))
    flip = data.draw(st.integers(0, len(content) - 1))
    content[flip] ^= data.draw(st.integers(1, 255))
    found = reread(bytes(content))
    others = [
        FramedRecord(o, p)
        for o, p in zip(offsets(payloads), payloads, strict=False)
        if not o <= flip < o + HEAD + len(p)
    ]  # fmt: skip
    assert [piece for piece in found if isinstance(piece, FramedRecord)] == others
    assert sum(isinstance(piece, DamagedRange) for piece in found) == 1
    assert covers(found, len(content))


@given(PAYLOADS, st.lists(st.binary(min_size=1, max_size=30), min_size=8, max_size=8))
def test_rubbish_between_entries_is_skipped(payloads: list[bytes], rubbish: list[bytes]) -> None:
    content = b"".join(trash + encode(payload) for payload, trash in zip(payloads, rubbish, strict=False))
    found = reread(content)
    assert [piece.payload for piece in found if isinstance(piece, FramedRecord)] == payloads
    assert covers(found, len(content))


def test_rubbish_larger_than_what_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framed, "_WINDOW", 64)
    for length in range(50, 80):  # the magic lies across the border of two windows once
        found = reread(encode(b"one") + bytes(length) + encode(b"x" * 100) + encode(b"two"))
        assert [piece.payload for piece in found if isinstance(piece, FramedRecord)] == [b"one", b"x" * 100, b"two"]


def test_a_length_that_lies_does_not_swallow_the_rest() -> None:
    lie = MAGIC + (1 << 31).to_bytes(4, "little") + bytes(4)
    found = reread(encode(b"one") + lie + encode(b"two"))
    assert [type(piece) for piece in found] == [FramedRecord, DamagedRange, FramedRecord]


def test_several_append_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "shared"
    first, second = FrameAppender(path), FrameAppender(path)
    for number in range(50):
        (first if number % 3 else second).append([encode(b"%d" % number), encode(b"-", b"%d" % number)])
    first.close()
    second.close()
    first.close()
    found = [piece.payload for piece in read(path) if isinstance(piece, FramedRecord)]
    assert found == [text for number in range(50) for text in (b"%d" % number, b"-%d" % number)]
    assert path.stat().st_mode & 0o777 == 0o600


def test_parts_need_not_be_joined_and_may_be_many(tmp_path: Path) -> None:
    parts = [b"%d" % number for number in range(3000)]
    with_parts = [framed.head(*parts), *parts]
    file = FrameAppender(tmp_path / "file")
    file.append(with_parts)
    file.append(with_parts)
    assert file.size == (tmp_path / "file").stat().st_size
    file.close()
    assert [p.payload for p in read(tmp_path / "file") if isinstance(p, FramedRecord)] == [b"".join(parts)] * 2
    assert len(list(read(tmp_path / "file"))) == 2


def test_what_is_appended_while_one_reads_is_for_the_next_time(tmp_path: Path) -> None:
    path = tmp_path / "file"
    file = FrameAppender(path)
    file.append([encode(b"one")])
    reading = read(path)
    assert next(reading) == FramedRecord(0, b"one")
    file.append([encode(b"two")])
    assert list(reading) == []
    assert list(read(path, HEAD + 3)) == [FramedRecord(HEAD + 3, b"two")]
    file.close()


def test_a_file_that_is_cut_off_while_one_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(framed, "_WINDOW", 64)
    path = tmp_path / "file"
    path.write_bytes(encode(b"one") + encode(b"x" * 500) + encode(b"two"))
    reading = read(path)
    assert next(reading) == FramedRecord(0, b"one")
    os.truncate(path, 100)
    assert [type(piece) for piece in reading] == [DamagedRange]


def test_one_entry_alone(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(encode(b"one") + encode(b"x" * 10_000))
    assert read_at(path, 0) == b"one"
    assert read_at(path, HEAD + 3) == b"x" * 10_000
    assert read_at(path, 5) is None
    assert read_at(path, 1 << 20) is None


def test_a_disk_that_takes_a_part_is_said_to_be_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = FrameAppender(tmp_path / "file")
    file.append([encode(b"one")])
    whole = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: whole(fd, bytes(data)[:7]))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
        file.append([encode(b"two")])
    assert caught.value.errno == errno.ENOSPC
    monkeypatch.undo()
    file.append([encode(b"three")])
    file.close()
    found = list(read(tmp_path / "file"))
    assert found == [FramedRecord(0, b"one"), DamagedRange(HEAD + 3, 7), FramedRecord(HEAD + 10, b"three")]


def test_one_that_is_shared_waits_for_others(tmp_path: Path) -> None:
    """A network's file system does not keep the writes of two hosts apart."""
    path = tmp_path / "file"
    ours, alone = FrameAppender(path, shared=True), FrameAppender(path)
    other = os.open(path, os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    writer = threading.Thread(target=ours.append, args=([encode(b"second")],))
    writer.start()
    alone.append([encode(b"first")])
    writer.join(0.05)
    assert writer.is_alive()
    os.close(other)
    writer.join(10)
    assert [entry.payload for entry in read(path) if isinstance(entry, FramedRecord)] == [b"first", b"second"]
    alone.close()
    ours.close()
