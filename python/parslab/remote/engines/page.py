"""A page of memory that the host of an engine shares with those workers of the engine that run on the same host.

An engine says only when a whole batch ends.  Here a worker writes which task of the batch it runs, and the host writes
what it wants: the interruption of a task, or the tasks that it has taken back.  Each cell has one writer.  Workers of
other hosts cannot open the page; for them a batch is all that is known.

The page has no name in any folder: a worker opens it through the descriptor of the host, so nothing stays behind.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import secrets
from typing import NamedTuple

from parslab.remote.worker.output import anonymous_file

__all__ = ["ALL", "HostPage", "Running", "WorkerPage", "open_page"]

_CELLS = 8
"""Cells of a row, of eight bytes each; the first row is the header."""
_ROW = 8 * _CELLS
_BATCH, _PLACE, _SINCE, _PID, _INTERRUPT, _KEEP = range(6)
"""What each cell of a row holds."""
ALL = 1 << 40
"""More tasks than a batch has: none of them was taken back."""


class Running(NamedTuple):
    """What the worker of a batch has written."""

    place: int
    """The place of the task that it runs, or ran last."""
    since: float
    """When the task began."""
    pid: int


class HostPage:
    """The end of the host.

    Parameters
    ----------
    rows
        The most batches that are in flight at a time.

    Attributes
    ----------
    address
        What a worker needs in order to open the page.
    """

    def __init__(self, rows: int) -> None:
        self._descriptor = anonymous_file("parslab-engine")
        os.ftruncate(self._descriptor, _ROW * (rows + 1))
        self._memory = mmap.mmap(self._descriptor, _ROW * (rows + 1))
        self._cells = memoryview(self._memory).cast("q")
        self._free = list(range(rows, 0, -1))
        self._cells[0] = nonce = secrets.randbits(62)
        self.address = f"{os.getpid()}:{self._descriptor}:{nonce}:{_ROW * (rows + 1)}"

    def take(self, batch: int) -> int:
        """Return a row for a batch; 0 while none is free."""
        if not self._free:
            return 0
        row = self._free.pop()
        at = _CELLS * row
        self._cells[at + _BATCH] = -1 - batch  # no worker has begun it
        self._cells[at + _INTERRUPT] = -1
        self._cells[at + _KEEP] = ALL
        return row

    def give(self, row: int) -> None:
        """Free the row of a batch that has ended."""
        if row:
            self._free.append(row)

    def running(self, row: int, batch: int) -> Running | None:
        """Return what the worker of a batch has written; None if no worker of this host has begun the batch."""
        at = _CELLS * row
        if not row or self._cells[at + _BATCH] != batch:
            return None
        return Running(self._cells[at + _PLACE], self._cells[at + _SINCE] / 1e6, self._cells[at + _PID])

    def interrupt(self, row: int, place: int) -> None:
        """Ask the worker to interrupt the task at this place, if it runs."""
        self._cells[_CELLS * row + _INTERRUPT] = place

    def keep(self, row: int, tasks: int) -> None:
        """Leave the worker only the first tasks of its batch."""
        self._cells[_CELLS * row + _KEEP] = tasks

    def kept(self, row: int) -> int:
        """Return how many tasks the worker may begin."""
        return self._cells[_CELLS * row + _KEEP]

    def close(self) -> None:
        """Free the memory."""
        self._cells.release()
        self._memory.close()
        os.close(self._descriptor)


class WorkerPage:
    """The end of a worker: one row of the page.

    Parameters
    ----------
    cells
        The cells of the page.
    row
        The row of the batch.
    batch
        The number of the batch.
    """

    def __init__(self, cells: memoryview, row: int, batch: int) -> None:
        self._cells = cells
        self._at = _CELLS * row
        self._batch = batch

    def begin(self, place: int, since: float) -> bool:
        """Write that the task at this place begins; return False if the host has taken it back.

        The host takes tasks back in two steps, with a pause: it writes how many the worker keeps, and later looks which
        one runs.  So it sees what is written here, or this method sees what the host has written.
        """
        cells, at = self._cells, self._at
        cells[at + _PID] = os.getpid()
        cells[at + _SINCE] = int(since * 1e6)
        cells[at + _PLACE] = place
        cells[at + _BATCH] = self._batch
        return place < cells[at + _KEEP]

    @property
    def interrupted(self) -> int:
        """The place of the task that the host wants to be interrupted; -1: none."""
        return self._cells[self._at + _INTERRUPT]


@functools.lru_cache(maxsize=8)
def open_page(address: str) -> memoryview | None:
    """Return the cells of a page; None if this process runs on another host."""
    pid, descriptor, nonce, size = map(int, address.split(":"))
    with contextlib.suppress(OSError, ValueError):
        opened = os.open(f"/proc/{pid}/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC)
        try:
            cells = memoryview(mmap.mmap(opened, size)).cast("q")
        finally:
            os.close(opened)
        # A process of another host may have the same number.
        if cells[0] == nonce:
            return cells
    return None
