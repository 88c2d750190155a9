"""Append-only files of entries, which one process or several write, and which survive a cut at any byte.

An entry is ``magic, length, crc32, payload``.  The checksum starts from the inverted length, so that no run of zeros is
an entry.  Each append is one write at the end of the file, so processes that share the file do not tear each other's
entries.  The system may still cut the last entry (kill -9, a full disk).  A reader skips damaged bytes and continues at
the next magic whose checksum fits.  This module does not interpret payloads.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from parslab.errors import UntrustedPathError
from parslab.trust import check_opened, open_file
from parslab.wire.stream import IOV

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from parslab.wire.shared_memory import PlainBuffer

__all__ = ["HEAD", "MAGIC", "DamagedRange", "FrameAppender", "FramedRecord", "encode", "head", "read", "read_at"]

MAGIC = b"\xf5pe\x0a"
"""Never part of UTF-8 text, nor of msgpack outside of opaque bytes; so few false starts after damage."""

_HEAD = struct.Struct("<4sII")
HEAD = _HEAD.size
"""Bytes in front of each payload."""

_ONES = 0xFFFFFFFF
_WINDOW = 1 << 20
"""Bytes that a reader loads at a time, because a log may be larger than the memory."""


class FramedRecord(NamedTuple):
    """A whole entry, and the offset at which it begins."""

    offset: int
    payload: bytes


class DamagedRange(NamedTuple):
    """Bytes that are no entry.  At the end of the file they may be an entry that a process is writing."""

    offset: int
    length: int


def head(*parts: PlainBuffer) -> bytes:
    """Return the head of an entry whose payload consists of ``parts``."""
    length = sum([memoryview(part).nbytes for part in parts])
    check = length ^ _ONES
    for part in parts:
        check = crc32(part, check)
    return _HEAD.pack(MAGIC, length, check)


def encode(*parts: PlainBuffer) -> bytes:
    """Return an entry whose payload is the concatenation of ``parts``.

    Examples
    --------
    >>> len(encode(b"abc", b"d")) - HEAD
    4
    """
    payload = b"".join(parts)
    length = len(payload)
    return _HEAD.pack(MAGIC, length, crc32(payload, length ^ _ONES)) + payload


class FrameAppender:
    """A file that is open for appending; a missing file is created, readable by its owner only.

    Parameters
    ----------
    path
        Path of the file.
    shared
        Whether processes of other hosts may append at the same time.  On a network file system one write is not
        atomic, so each append takes a lock.  A file system without locks is used without them.
    mode
        Permissions of a file that is created.

    Raises
    ------
    UntrustedPathError
        The file belongs to another user, or others can write to it.
    OSError
        The file cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], shared: bool = False, mode: int = 0o600) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(path, flags, mode)
        # The descriptor is checked, not the path, so that nobody can exchange the file in between (D33).
        try:
            check_opened(self._fd, path)
        except UntrustedPathError:
            self.close()
            raise
        self.size = os.fstat(self._fd).st_size
        """Size of the file when it was opened, plus the bytes that this object has appended since."""
        self._locks = shared

    def append(self, buffers: Sequence[PlainBuffer]) -> int:
        """Append whole entries (what :func:`encode` gives, or :func:`head` and its parts) in one write.

        Returns
        -------
        int
            Offset of the first of these entries, which other processes' appends may have moved.

        Raises
        ------
        OSError
            The entries cannot be written, or only in part because the disk is full.  Readers skip a cut entry.
        """
        if not self._locks:
            return self._append(buffers)
        with contextlib.suppress(OSError):
            fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            return self._append(buffers)
        finally:
            with contextlib.suppress(OSError):
                fcntl.flock(self._fd, fcntl.LOCK_UN)

    def _append(self, buffers: Sequence[PlainBuffer]) -> int:
        if len(buffers) == 1:
            wanted = memoryview(buffers[0]).nbytes
            written = os.write(self._fd, buffers[0])
        else:
            wanted = sum([memoryview(buffer).nbytes for buffer in buffers])
            written = os.writev(self._fd, buffers if len(buffers) <= IOV else [b"".join(buffers)])
        self.size += written
        # No second write for the rest: another process may append in between, and would split the entry.
        if written < wanted:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        # O_APPEND moves the position behind our own write, so it shows where the entries are, even if others append.
        return os.lseek(self._fd, 0, os.SEEK_CUR) - written

    def close(self) -> None:
        """Close the file; twice is safe."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def read(
    path: str | os.PathLike[str], offset: int = 0, owners: Collection[int] = ()
) -> Iterator[FramedRecord | DamagedRange]:
    """Yield all entries that are in the file now, in order, and the damaged ranges between them.

    Parameters
    ----------
    path
        Path of the file; other processes may append to it meanwhile.
    offset
        Where to begin: at the end of an entry that was read before, or at the beginning of a damaged range.
    owners
        User ids that are trusted besides our own and root's.

    Raises
    ------
    UntrustedPathError
        The file belongs to another user, or others can write to it.
    OSError
        The file cannot be opened or read.
    """
    with open(open_file(path, owners), "rb", buffering=0) as file:
        window = _Window(file.fileno())
        at = offset
        while at < window.size:
            payload = window.entry(at)
            if payload is not None:
                yield FramedRecord(at, payload)
                at += HEAD + len(payload)
            else:
                next_one = window.next_entry(at + 1)
                yield DamagedRange(at, next_one - at)
                at = next_one


def read_at(path: str | os.PathLike[str], offset: int, owners: Collection[int] = ()) -> bytes | None:
    """Return the payload of the entry at ``offset``; None if no whole entry begins there."""
    with open(open_file(path, owners), "rb", buffering=0) as file:
        return _Window(file.fileno(), 4096).entry(offset)


class _Window:
    """A part of a file in memory; bytes that are appended after the file was opened are ignored."""

    def __init__(self, fd: int, ahead: int = 0) -> None:
        self.size = os.fstat(fd).st_size
        self._fd = fd
        self._ahead = ahead or _WINDOW
        self._start = 0
        self._data = b""

    def bytes_at(self, at: int, count: int) -> memoryview:
        """Return ``count`` bytes from offset ``at``; fewer at the end of the file."""
        count = min(count, self.size - at)
        begin = at - self._start
        if begin < 0 or begin + count > len(self._data):
            self._start, begin = at, 0
            pieces = []
            wanted = min(max(count, self._ahead), self.size - at)
            while wanted > 0:
                piece = os.pread(self._fd, wanted, at)
                if not piece:  # another process truncated the file
                    self.size = at
                    break
                pieces.append(piece)
                at += len(piece)
                wanted -= len(piece)
            self._data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return memoryview(self._data)[begin : begin + max(0, count)]

    def entry(self, at: int) -> bytes | None:
        """Return the payload of the entry at ``at``; None if no whole entry begins there."""
        found = self.bytes_at(at, HEAD)
        if len(found) < HEAD:
            return None
        magic, length, check = _HEAD.unpack(found)
        # A damaged length may be any number: it is compared with the size of the file before memory is allocated.
        if magic != MAGIC or at + HEAD + length > self.size:
            return None
        payload = bytes(self.bytes_at(at + HEAD, length))
        if len(payload) < length or crc32(payload, length ^ _ONES) != check:
            return None
        return payload

    def next_entry(self, at: int) -> int:
        """Return the offset of the next whole entry, or the end of the file if there is none."""
        while at < self.size:
            data = bytes(self.bytes_at(at, _WINDOW))
            found = data.find(MAGIC)
            while found >= 0:
                if self.entry(at + found) is not None:
                    return at + found
                found = data.find(MAGIC, found + 1)
            if at + len(data) >= self.size:
                break
            # The windows overlap by three bytes, because a magic may begin in one and end in the next.
            at += max(1, len(data) - len(MAGIC) + 1)
        return self.size
