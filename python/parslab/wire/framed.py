"""Files of entries that are only ever appended to, by one process or several, and survive being cut off anywhere.

An entry is ``magic, length, crc32, payload``; the checksum begins with the inverted length, so that no run of zeros is
an entry.  Appending is one write at the end of the file, so that processes that share it do not tear each other's
entries; the system may still cut the last one (kill -9, a full disk).  Whoever reads goes on behind what is damaged: at
the next magic whose checksum fits.  Nothing here knows what the payloads mean.
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

    from parslab.wire.stream import Buffer

__all__ = ["HEAD", "MAGIC", "DamagedRange", "FrameAppender", "FramedRecord", "encode", "head", "read", "read_at"]

MAGIC = b"\xf5pe\x0a"
"""No UTF-8 text holds it, and no msgpack that is not opaque bytes."""

_HEAD = struct.Struct("<4sII")
HEAD = _HEAD.size
"""Bytes in front of each payload."""

_ONES = 0xFFFFFFFF
_WINDOW = 1 << 20


class FramedRecord(NamedTuple):
    """A whole entry, and where it begins."""

    offset: int
    payload: bytes


class DamagedRange(NamedTuple):
    """Bytes that are no entry.  When they reach the end of the file, they may be one that is being written."""

    offset: int
    length: int


def head(*parts: Buffer) -> bytes:
    """What stands in front of a payload that consists of ``parts``."""
    length = sum([memoryview(part).nbytes for part in parts])
    check = length ^ _ONES
    for part in parts:
        check = crc32(part, check)
    return _HEAD.pack(MAGIC, length, check)


def encode(*parts: Buffer) -> bytes:
    """An entry whose payload is ``parts``, one behind the other.

    Examples
    --------
    >>> len(encode(b"abc", b"d")) - HEAD
    4
    """
    payload = b"".join(parts)
    length = len(payload)
    return _HEAD.pack(MAGIC, length, crc32(payload, length ^ _ONES)) + payload


class FrameAppender:
    """A file that is open for appending; made when it is not there, for our eyes only.

    Parameters
    ----------
    path
        Of the file.
    shared
        Whether processes of other hosts may append at the same time: a network's file system needs a lock for what
        one write does elsewhere.  One that has no locks is used without.

    mode
        Who may do what with a file that is made.

    Raises
    ------
    UntrustedPathError
        The file belongs to somebody else, or others can write to it.
    OSError
        It cannot be opened.
    """

    def __init__(self, path: str | os.PathLike[str], shared: bool = False, mode: int = 0o600) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        self._fd = os.open(path, flags, mode)
        try:
            check_opened(self._fd, path)
        except UntrustedPathError:
            self.close()
            raise
        self.size = os.fstat(self._fd).st_size
        """Bytes of the file when it was opened, and of what we have appended since."""
        self._locks = shared

    def append(self, buffers: Sequence[Buffer]) -> int:
        """Append whole entries (what :func:`encode` gives, or :func:`head` and its parts) in one write.

        Returns
        -------
        int
            Where the first of them begins in the file, others may append to it meanwhile.

        Raises
        ------
        OSError
            They cannot be written, or not all of them: the disk is full.  Readers skip what was cut.
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

    def _append(self, buffers: Sequence[Buffer]) -> int:
        if len(buffers) == 1:
            wanted = memoryview(buffers[0]).nbytes
            written = os.write(self._fd, buffers[0])
        else:
            wanted = sum([memoryview(buffer).nbytes for buffer in buffers])
            written = os.writev(self._fd, buffers if len(buffers) <= IOV else [b"".join(buffers)])
        self.size += written
        if written < wanted:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return os.lseek(self._fd, 0, os.SEEK_CUR) - written

    def close(self) -> None:
        """Close the file; twice is safe."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def read(
    path: str | os.PathLike[str], offset: int = 0, owners: Collection[int] = ()
) -> Iterator[FramedRecord | DamagedRange]:
    """All entries that are in the file now, in order, and the stretches between them that are none.

    Parameters
    ----------
    path
        Of the file; others may go on appending to it.
    offset
        Where to begin: behind an entry that was read before, or at the beginning of damage.
    owners
        User numbers that are trusted besides our own and root's.

    Raises
    ------
    UntrustedPathError
        The file belongs to somebody else, or others can write to it.
    OSError
        It cannot be opened or read.
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
    """The payload of the entry that begins there; None where no whole entry does."""
    with open(open_file(path, owners), "rb", buffering=0) as file:
        return _Window(file.fileno(), 4096).entry(offset)


class _Window:
    """A file as far as it was written when it was opened, of which a part is in memory."""

    def __init__(self, fd: int, ahead: int = 0) -> None:
        self.size = os.fstat(fd).st_size
        self._fd = fd
        self._ahead = ahead or _WINDOW
        self._start = 0
        self._data = b""

    def bytes_at(self, at: int, count: int) -> memoryview:
        """``count`` bytes; fewer at the end of the file."""
        count = min(count, self.size - at)
        begin = at - self._start
        if begin < 0 or begin + count > len(self._data):
            self._start, begin = at, 0
            pieces = []
            wanted = min(max(count, self._ahead), self.size - at)
            while wanted > 0:
                piece = os.pread(self._fd, wanted, at)
                if not piece:  # somebody cut the file off
                    self.size = at
                    break
                pieces.append(piece)
                at += len(piece)
                wanted -= len(piece)
            self._data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return memoryview(self._data)[begin : begin + max(0, count)]

    def entry(self, at: int) -> bytes | None:
        """The payload of the entry that begins there, if one does."""
        found = self.bytes_at(at, HEAD)
        if len(found) < HEAD:
            return None
        magic, length, check = _HEAD.unpack(found)
        if magic != MAGIC or at + HEAD + length > self.size:
            return None
        payload = bytes(self.bytes_at(at + HEAD, length))
        if len(payload) < length or crc32(payload, length ^ _ONES) != check:
            return None
        return payload

    def next_entry(self, at: int) -> int:
        """Where the next whole entry begins; the end of the file when there is none."""
        while at < self.size:
            data = bytes(self.bytes_at(at, _WINDOW))
            found = data.find(MAGIC)
            while found >= 0:
                if self.entry(at + found) is not None:
                    return at + found
                found = data.find(MAGIC, found + 1)
            if at + len(data) >= self.size:
                break
            at += max(1, len(data) - len(MAGIC) + 1)
        return self.size
