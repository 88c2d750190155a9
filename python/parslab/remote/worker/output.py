"""Capture what a task prints: descriptors 1 and 2 of the worker are anonymous files, emptied after each task (D6).

The files also hold what C libraries and child processes write. The main thread calls ``take`` after each task, and the
control thread calls it while a long task runs. A lock keeps the two from reading the same bytes twice.

Of each task and stream the first ``HEAD`` and the last ``TAIL`` bytes are kept, with a mark where something was cut.
While a task runs its file is never truncated, because the task may be writing at that moment. Bytes that are no longer
needed are given back to the system as a hole.
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
"""With the mark this is as much as monitoring keeps; monitoring would cut a longer tail again."""
DISPLAY = 3
"""The stream of rich output; 1 and 2 are stdout and stderr."""
SHOWN = 16 * 1024 * 1024
"""Bytes of rich output that a task may show."""
_TRIM = 4 * 1024 * 1024
"""Bytes that a running task may write beyond its head until their memory is given back."""
_BLOCK = 4096


def anonymous_file(name: str) -> int:
    """Return a file without a name: in memory where the system offers it, else an unlinked temporary file."""
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
        """Bytes of the file that have been sent or cut."""
        self.sent = 0
        self.cut = 0

    def take(self, task: int, final: bool) -> list[OutputPrinted]:
        size = os.lseek(self.fd, 0, os.SEEK_END)
        printed = []
        room = min(HEAD - self.sent, size - self.read)
        if room > 0:
            data = os.pread(self.fd, room, self.read)
            # Half a character at the end of one message would show as two broken ones: keep it for the next message.
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
        """Return the tail of the output, and empty the file for the next task."""
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
    """Give back the memory (or disk) of a file up to ``end``, where the system can; its length does not change."""
    end -= end % _BLOCK
    with contextlib.suppress(OSError, AttributeError):
        if sys.platform == "darwin":
            import fcntl
            import struct

            fcntl.fcntl(fd, 99, struct.pack("IIqq", 0, 0, 0, end))  # F_PUNCHHOLE
        else:
            import ctypes

            # Python has no call for this; 32-bit systems need the variant with 64-bit offsets.
            libc = ctypes.CDLL(None)
            punch = getattr(libc, "fallocate64", None) or libc.fallocate
            punch(fd, 0x03, ctypes.c_int64(0), ctypes.c_int64(end))  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE


def _begun_character(data: bytes) -> int:
    """Return how many bytes at the end begin a UTF-8 character whose other bytes are still missing."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            return back if back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4) else 0
        if byte < 0x80:
            break
    return 0


class _Text(io.TextIOWrapper):
    """The ``sys.stdout`` of a worker, which also accepts rich output and keeps it in order with the text."""

    show: Callable[[bytes], None]


class Output:
    """The two output files of this worker.

    Parameters
    ----------
    fds
        Files made by the parent, which reads the last words of a dead worker from them; None: make new ones.
    """

    def __init__(self, fds: tuple[int, int] | None = None) -> None:
        fds = fds or (anonymous_file("parslab-stdout"), anonymous_file("parslab-stderr"))
        import fcntl

        self._streams = []
        for fd, number in zip(fds, (1, 2), strict=True):
            # Appending matters: after the file was emptied, a writer with an old position would leave a run of zeros.
            fcntl.fcntl(fd, fcntl.F_SETFL, fcntl.fcntl(fd, fcntl.F_GETFL) | os.O_APPEND)
            os.dup2(fd, number)
            self._streams.append(_Stream(fd, number))
        self._shown: list[OutputPrinted] = []
        """Rich output that ``take`` has not returned yet, and the text printed before it."""
        self._shown_bytes = 0
        self.current: Callable[[], int] = lambda: -1
        """Returns the task that runs now, or -1."""
        self._lock = threading.Lock()
        self._open()

    def take(self, task: int, final: bool, still: Callable[[], bool] | None = None) -> list[OutputPrinted]:
        """Return what ``task`` has printed since the last call.

        Parameters
        ----------
        task
            The task that printed.
        final
            Whether the task has ended.
        still
            Returns whether the task still runs.  The control thread passes it, because the task may end at any moment.
        """
        for text in self._own if final else ():
            try:  # noqa: SIM105  # ``suppress`` takes as long as the flush
                text.flush()
            except (OSError, ValueError):  # the task closed it, which is no failure of the worker
                pass
        # Most tasks print nothing: they pay for two system calls, not for the lock and the reads.
        out, err = self._streams
        silent = not os.lseek(out.fd, 0, os.SEEK_END) and not os.lseek(err.fd, 0, os.SEEK_END)
        if silent and not (out.sent + err.sent) and not self._shown:
            return []
        with self._lock:
            # Under the lock: the main thread empties the files under it when a task ends, so all bytes are this task's.
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
        # The text that was printed before it is taken first, so that both keep their order.
        with self._lock:
            self._shown += out.take(task, final=False) + err.take(task, final=False)
            if self._shown_bytes + len(data) <= SHOWN:
                self._shown_bytes += len(data)
                self._shown.append(OutputPrinted(task, DISPLAY, data))
                return
        print("[rich output left out: the task has shown too much]", file=sys.stderr)

    def restore_streams(self) -> None:
        """Connect ``sys.stdout`` and ``sys.stderr`` to their files again, whatever the last task did to them."""
        for stream in self._streams:
            # The inode shows whether the descriptor still is our file: a task may have closed or redirected it.
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
        # ``closefd=False``: when a task closes ``sys.stdout``, fd 1 stays open, and no other file becomes fd 1.
        # Lone surrogates in names of files must not fail a task that prints them, hence ``backslashreplace``.
        out, err = (
            _Text(open(number, "wb", closefd=False), "utf-8", "backslashreplace", line_buffering=True)  # noqa: SIM115
            for number in (1, 2)
        )
        out.show = err.show = self.show
        self._own = sys.stdout, sys.stderr = out, err
        sys.__stdout__, sys.__stderr__ = out, err  # type: ignore[misc]
