"""Reads the last lines that the job of a block has printed from the files that the scheduler writes.

[shell]  Such files are often on a network filesystem, which may answer late or never.  So each request gets a
short-lived thread (``parslab-jobfiles``), and neither the loop nor the store's thread waits for it.  At most ``ATONCE``
such threads exist at a time.
"""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from parslab.records.panel import BlockOutput, ErrorReply

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.records.panel import BlockRow

__all__ = ["ATONCE", "TAIL", "JobFiles", "tail"]

TAIL = 64 * 1024
"""Bytes that are read from the end of a file."""

ATONCE = 4
"""Most reads at a time: a filesystem that hangs keeps its threads, and each request would add one."""

NOTHING = "There is no {}: the job has printed nothing yet, or its folder is not shared with this host."


class JobFiles:
    """Reads the output of jobs for panels."""

    def __init__(self) -> None:
        # A semaphore and not an inbox: the threads that read release it, and they may hang at any time.
        self._places = threading.BoundedSemaphore(ATONCE)

    def ask(self, ask: str, row: BlockRow, reply: Callable[[BlockOutput | ErrorReply], None]) -> None:
        """Answer with the last lines of a block, in another thread."""
        if not self._places.acquire(blocking=False):
            reply(
                ErrorReply(ask, f"The folder of {row.stdout or row.stderr} does not answer: look at it in a terminal.")
            )
            return
        # A daemon thread, because a filesystem that hangs must not keep the process alive.
        threading.Thread(target=self._work, args=(ask, row, reply), name="parslab-jobfiles", daemon=True).start()

    def _work(self, ask: str, row: BlockRow, reply: Callable[[BlockOutput | ErrorReply], None]) -> None:
        # Some schedulers write both streams to one file, which a panel must not show twice.
        paths = (row.stdout, "" if row.stderr == row.stdout else row.stderr)
        texts, problems, missing = [], [], []
        try:
            for path in paths:
                text = ""
                try:
                    text = tail(path) if path else ""
                except FileNotFoundError:
                    missing.append(path)
                except OSError as error:
                    problems.append(f"{path} could not be read: {error.strerror or error}.")
                texts.append(text)
            if missing and len(missing) == sum(map(bool, paths)):  # many schedulers make only one of the two files
                problems.append(NOTHING.format(missing[0]))
            reply(BlockOutput(ask, row.executor, row.block, texts[0], texts[1], " ".join(problems)))
        finally:
            self._places.release()


def tail(path: str, limit: int = TAIL) -> str:
    """Return the last lines of a file."""
    # Without O_NONBLOCK, the open of a named pipe would wait for a writer.
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        size = os.fstat(file).st_size
        read = os.pread(file, limit, max(0, size - limit))
    finally:
        os.close(file)
    if size > limit:
        read = read[read.find(b"\n") + 1 :]  # the cut may be inside a line, and even inside a character
    return read.decode(errors="replace").replace("\0", "\u2400")
