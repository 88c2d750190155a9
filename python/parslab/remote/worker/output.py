"""What a task prints: fd 1 and 2 of the worker are anonymous files that are emptied after each task (D6).

Everything counts, also what C libraries and child processes write. ``take`` is called by the main thread after each
task, and by the control thread while a long task runs; the lock is for those two, who must not read the same bytes
twice. Of each task and stream the first ``HEAD`` and the last ``TAIL`` bytes are kept, with a mark where something
was cut. While a task runs its file is never made shorter, because it may be writing at that moment: what is not needed
any more is given back as a hole.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
import threading
from typing import TYPE_CHECKING

from parslab.wire.messages.base import OutputPrinted

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HEAD", "TAIL", "Output", "anonymous_file"]

HEAD = 256 * 1024
TAIL = 64 * 1024 - 64
"""With the mark it is as much as monitoring keeps, which would cut it again otherwise."""
DISPLAY = 3
"""The stream of rich output; 1 and 2 are stdout and stderr."""
SHOWN = 16 * 1024 * 1024
"""Bytes of rich output that a task may show."""
_TRIM = 4 * 1024 * 1024
"""A running task's file gives its memory back whenever so much has been written, and its head has been sent."""
_BLOCK = 4096


def anonymous_file(name: str) -> int:
    """A file without a name: in memory where the system offers it, else an unlinked temporary one."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create(name)
    else:
        fd, path = tempfile.mkstemp(prefix="parslab-")
        os.unlink(path)
    return fd


class _Stream:
    """One of the two files."""

    def __init__(self, fd: int, number: int) -> None:
        self.fd = fd
        self.number = number
        self.inode = os.fstat(fd).st_ino
        self.read = 0
        """Bytes of the file that have been dealt with."""
        self.sent = 0
        self.cut = 0

    def take(self, task: int, final: bool) -> list[OutputPrinted]:
        size = os.lseek(self.fd, 0, os.SEEK_END)
        printed = []
        room = min(HEAD - self.sent, size - self.read)
        if room > 0:
            data = os.pread(self.fd, room, self.read)
            if not final or self.read + len(data) < size:
                data = data[: len(data) - _begun_character(data)]
            self.read += len(data)
            self.sent += len(data)
            if data:
                printed.append(OutputPrinted(task, self.number, data))
        if final:
            printed += self._end(task, size)
        elif size - self.read > _TRIM:
            start = size - TAIL
            self.cut += start - self.read
            self.read = start
            _punch(self.fd, start)
        return printed

    def _end(self, task: int, size: int) -> list[OutputPrinted]:
        """The tail; the file is empty then."""
        start = max(self.read, size - TAIL)
        tail = os.pread(self.fd, size - start, start)
        cut = self.cut + start - self.read
        while cut and tail and tail[0] & 0xC0 == 0x80:  # the rest of a character that was cut
            tail = tail[1:]
            cut += 1
        os.ftruncate(self.fd, 0)
        self.read = self.sent = self.cut = 0
        mark = f"\n... [{cut} bytes cut] ...\n".encode() if cut else b""
        return [OutputPrinted(task, self.number, mark + tail)] if tail else []


def _punch(fd: int, end: int) -> None:
    """Give back the memory (or disk) of a file up to ``end``, where the system can; its length stays."""
    end -= end % _BLOCK
    with contextlib.suppress(OSError, AttributeError):
        if sys.platform == "darwin":
            import fcntl
            import struct

            fcntl.fcntl(fd, 99, struct.pack("IIqq", 0, 0, 0, end))  # F_PUNCHHOLE
        else:
            import ctypes

            libc = ctypes.CDLL(None)
            punch = getattr(libc, "fallocate64", None) or libc.fallocate
            punch(fd, 0x03, ctypes.c_int64(0), ctypes.c_int64(end))  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE


def _begun_character(data: bytes) -> int:
    """How many bytes at the end are the beginning of a character whose other bytes are not there yet."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            return back if back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) else 0
        if byte < 0x80:
            break
    return 0


class _Text(io.TextIOWrapper):
    """``sys.stdout`` of a worker: it also takes rich output, in order with the text."""

    show: Callable[[bytes], None]


class Output:
    """The two output files of this worker.

    Parameters
    ----------
    fds
        Files made by the parent, who reads the last words of a dead worker there; None makes some.
    """

    def __init__(self, fds: tuple[int, int] | None = None) -> None:
        fds = fds or (anonymous_file("parslab-stdout"), anonymous_file("parslab-stderr"))
        import fcntl

        self._streams = []
        for fd, number in zip(fds, (1, 2), strict=True):
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
            os.dup2(fd, number)
            self._streams.append(_Stream(fd, number))
        self._shown: list[OutputPrinted] = []
        """Rich output, and the text before it, that has not been taken yet."""
        self._shown_bytes = 0
        self.current: Callable[[], int] = lambda: -1
        """The task that runs now."""
        self._lock = threading.Lock()
        self._open()

    def take(self, task: int, final: bool, still: Callable[[], bool] | None = None) -> list[OutputPrinted]:
        """What ``task`` has printed since the last call; ``final`` when it has ended.

        Asked by the thread that does not run the tasks, ``still`` says whether it still runs: if so, what is there can
        only be its own.
        """
        for text in self._own if final else ():
            with contextlib.suppress(OSError, ValueError):  # the task closed it: not our failure
                text.flush()
        out, err = self._streams
        silent = not os.lseek(out.fd, 0, os.SEEK_END) and not os.lseek(err.fd, 0, os.SEEK_END)
        if silent and not (out.sent + err.sent) and not self._shown:
            return []
        with self._lock:
            if still is not None and not still():
                return []
            shown, self._shown = self._shown, []
            if final:
                self._shown_bytes = 0
            return shown + out.take(task, final) + err.take(task, final)

    def show(self, data: bytes) -> None:
        """Take one message of rich output; called by the body of a task."""
        task = self.current()
        if task < 0:
            return
        out, err = self._streams
        with self._lock:
            self._shown += out.take(task, final=False) + err.take(task, final=False)
            if self._shown_bytes + len(data) <= SHOWN:
                self._shown_bytes += len(data)
                self._shown.append(OutputPrinted(task, DISPLAY, data))
                return
        print("[rich output left out: the task has shown too much]", file=sys.stderr)

    def mend(self) -> None:
        """Give ``sys.stdout`` and ``sys.stderr`` back their files, whatever the last task did to them."""
        for stream in self._streams:
            try:
                same = os.fstat(stream.number).st_ino == stream.inode
            except OSError:
                same = False
            if not same:
                os.dup2(stream.fd, stream.number)
        own = self._own
        if sys.stdout is not own[0] or sys.stderr is not own[1]:
            sys.stdout, sys.stderr = own
        if own[0].closed or own[1].closed:
            self._open()

    def _open(self) -> None:
        # Closing one of these leaves its descriptor open: the next file that is opened must not become fd 1.
        out, err = (
            _Text(open(number, "wb", closefd=False), "utf-8", "backslashreplace", line_buffering=True)  # noqa: SIM115
            for number in (1, 2)
        )
        out.show = err.show = self.show
        self._own = sys.stdout, sys.stderr = out, err
        sys.__stdout__, sys.__stderr__ = out, err  # type: ignore[misc]
