"""The last lines that the job of a block has printed, read from the files that the scheduler writes.

[shell]  Such files are often on a network filesystem that may answer late or never, so each ask has a short thread of
its own (``parslab-jobfiles``): neither the loop nor the store's thread ever waits for them, and no more than ``ATONCE``
threads are there at a time.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from parslab.records.panel import BlockText, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.records.panel import BlockRow

__all__ = ["ATONCE", "TAIL", "JobFiles", "tail"]

TAIL = 64 * 1024
"""Bytes that are read from the end of a file."""

ATONCE = 4


class JobFiles:
    """Reads for panels."""

    def __init__(self) -> None:
        self._places = threading.BoundedSemaphore(ATONCE)  # given back by the threads, which no inbox is asked by

    def ask(self, ask: str, row: BlockRow, reply: Callable[[BlockText | Problem], None]) -> None:
        """Answer with the last lines of a block, in another thread."""
        if not self._places.acquire(blocking=False):
            reply(Problem(ask, f"The folder of {row.stdout or row.stderr} does not answer: look at it in a terminal."))
            return
        # A daemon: a filesystem that hangs must not keep the process.
        threading.Thread(target=self._work, args=(ask, row, reply), name="parslab-jobfiles", daemon=True).start()

    def _work(self, ask: str, row: BlockRow, reply: Callable[[BlockText | Problem], None]) -> None:
        try:
            stdout, first = tail(row.stdout)
            # Some schedulers join the two, and then both names are those of one file.
            stderr, second = ("", "") if row.stderr == row.stdout else tail(row.stderr)
            reply(BlockText(ask, row.executor, row.block, stdout, stderr, first or second))
        finally:
            self._places.release()


def tail(path: str, limit: int = TAIL) -> tuple[str, str]:
    """Return the last lines of a file, and one sentence if they could not be had.

    Examples
    --------
    >>> tail("/no/such/file")
    ('', 'There is no /no/such/file: the job has printed nothing yet, or its folder is not shared with this host.')
    """
    if not path:
        return "", ""
    try:
        # Not blocking, should somebody have put a pipe there.
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            size = os.fstat(file).st_size
            read = os.pread(file, limit, max(0, size - limit))
        finally:
            os.close(file)
    except FileNotFoundError:
        return "", f"There is no {path}: the job has printed nothing yet, or its folder is not shared with this host."
    except OSError as error:
        return "", f"{path} could not be read: {error.strerror or error}."
    if size > limit:
        read = read[read.find(b"\n") + 1 :]  # not from the middle of a line, or of a character
    return read.decode(errors="replace").replace("\0", "\u2400"), ""
