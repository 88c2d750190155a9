"""Read CPU time, memory and I/O of a worker together with all processes that its task has started.

``sampling`` calls this module in the manager's process.

- The kernel's lists of children give the tree of processes, so other processes of the node add no cost.
- The kernel adds the CPU time of an ended child to its parent when the parent waits for it.
- Orphans become children of the manager.  Their process group is that of their worker, which identifies them.
- Without ``/proc`` (macOS) psutil reads the values, and I/O is unknown.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import psutil

__all__ = ["Processes", "PsutilProcesses", "Usage"]

_TICKS = os.sysconf("SC_CLK_TCK")
_GROUP, _TIMES = 2, slice(11, 15)
"""Fields of ``stat`` after the name: process group; user and system time, also of children that were waited for."""
_SIZE = 65536
"""Bytes to read at once: the kernel makes these files anew for each read, so one read gives consistent values."""


class Usage(NamedTuple):
    """What a tree of processes has used so far."""

    cpu: float
    """Seconds."""
    resident: int
    """Bytes in memory now, of all processes together."""
    peak: int
    """The largest number of bytes that one of the processes ever had in memory."""
    read: int
    """Bytes that were read from storage."""
    written: int


class Processes:
    """The processes of this host, as ``/proc`` shows them.

    Parameters
    ----------
    proc
        Where the ``proc`` file system is mounted.
    """

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc

    def used(self, worker: int, orphans: Iterable[int] = ()) -> Usage | None:
        """Return what a worker, its descendants and its orphans have used; None if the worker is gone."""
        own = self._one(worker)
        if own is None:
            return None
        cpu, resident, peak, read, written = own
        for pid in self._below([worker, *orphans], worker):
            one = self._one(pid)
            if one is not None:
                cpu += one.cpu
                resident += one.resident
                peak = max(peak, one.peak)
                read += one.read
                written += one.written
        return Usage(cpu, resident, peak, read, written)

    def orphans(self) -> dict[int, list[int]]:
        """Return the orphans of tasks: children of this process, grouped by process group, without group leaders."""
        # Each worker leads its group (D9), so a child that leads none was left behind by a task.
        found: dict[int, list[int]] = {}
        for pid in self._children(os.getpid()):
            fields = self._stat(pid)
            if fields and int(fields[_GROUP]) != pid:
                found.setdefault(int(fields[_GROUP]), []).append(pid)
        return found

    def forget_peak(self, pid: int) -> None:
        """Reset the peak memory of a process, so that the kernel measures it from now on."""
        # 5 resets VmHWM alone (Linux 4.0 and later); other values clear marks of its pages that tools may use.
        with contextlib.suppress(OSError), open(f"{self._proc}/{pid}/clear_refs", "w") as file:
            file.write("5")

    def _below(self, pids: list[int], root: int) -> Iterator[int]:
        """Yield these processes and their descendants, without ``root``."""
        # A process may end, and its pid may be used again, during this walk: ``seen`` keeps it from running in circles.
        seen, todo = {root}, list(pids)
        while todo:
            pid = todo.pop()
            if pid not in seen:
                seen.add(pid)
                yield pid
            todo += (child for child in self._children(pid) if child not in seen)

    def _children(self, pid: int) -> list[int]:
        """Return the children of all threads, because each thread has its own list."""
        found: list[int] = []
        with contextlib.suppress(OSError):
            for thread in os.listdir(f"{self._proc}/{pid}/task"):
                found += map(int, self._bytes(f"{pid}/task/{thread}/children").split())
        return found

    def _one(self, pid: int) -> Usage | None:
        fields = self._stat(pid)
        if not fields:
            return None
        status, io = self._bytes(f"{pid}/status"), self._bytes(f"{pid}/io")
        return Usage(
            sum(map(int, fields[_TIMES])) / _TICKS,
            _number(status, b"\nVmRSS:") * 1024,
            _number(status, b"\nVmHWM:") * 1024,
            _number(io, b"\nread_bytes:"),
            _number(io, b"\nwrite_bytes:"),
        )

    def _stat(self, pid: int) -> list[bytes]:
        # The name is in brackets, and may contain brackets and spaces itself.
        return self._bytes(f"{pid}/stat").rpartition(b")")[2].split()

    def _bytes(self, name: str) -> bytes:
        """Return a file of a process; empty if the process is gone or belongs to another user."""
        try:
            fd = os.open(f"{self._proc}/{name}", os.O_RDONLY)
        except OSError:
            return b""
        try:
            return os.read(fd, _SIZE)
        except OSError:
            return b""
        finally:
            os.close(fd)


def _number(text: bytes, name: bytes) -> int:
    """Return the number after ``name``; 0 if there is none."""
    _, _, rest = text.partition(name)
    return int(rest.split(None, 1)[0]) if rest else 0


class PsutilProcesses:
    """Reads the same values with psutil, on systems without ``/proc``."""

    def used(self, worker: int, orphans: Iterable[int] = ()) -> Usage | None:
        """Return what a worker, its descendants and its orphans have used; None if the worker is gone."""
        import psutil

        try:
            root = psutil.Process(worker)
            members = [root, *root.children(recursive=True)]
        except psutil.Error:
            return None
        for pid in orphans:
            with contextlib.suppress(psutil.Error):
                members.append(psutil.Process(pid))
        found = [self._one(member) for member in members]
        resident = [size for _, size in found]
        return Usage(sum(cpu for cpu, _ in found), sum(resident), max(resident), 0, 0)

    @staticmethod
    def _one(process: psutil.Process) -> tuple[float, int]:
        import psutil

        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            waited = getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
            return times.user + times.system + waited, process.memory_info().rss
        return 0.0, 0

    def orphans(self) -> dict[int, list[int]]:
        """Return nothing: only Linux makes orphans children of this process."""
        return {}

    def forget_peak(self, pid: int) -> None:
        """Do nothing: on these systems only the samples show a peak."""
