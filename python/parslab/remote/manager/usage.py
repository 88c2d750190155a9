"""What processes have used: CPU time, memory and I/O of a worker with everything that its task has started.

Read by ``sampling`` in the manager's process.  A tree of processes is found through the kernel's lists of children, so
that the cost depends on what runs here and not on what else runs on the node.  Children that have ended and were waited
for count in their parents; orphans have become children of the manager and are known by their process group, which is
their worker's.  Where there is no ``/proc`` (macOS) psutil is asked, and I/O is not known.
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
"""Places in ``stat`` behind the name: the process group; user and system time of itself and of children waited for."""
_SIZE = 65536


class Usage(NamedTuple):
    """What a tree of processes has used until now."""

    cpu: float
    """Seconds."""
    resident: int
    """Bytes that are in memory now, all processes together."""
    peak: int
    """Most bytes that one process of it had in memory at a time."""
    read: int
    """Bytes that came from storage."""
    written: int


class Processes:
    """The processes of this host, as ``/proc`` shows them.

    Parameters
    ----------
    proc
        Where it is mounted.
    """

    def __init__(self, proc: str = "/proc") -> None:
        self._proc = proc

    def used(self, worker: int, orphans: Iterable[int] = ()) -> Usage | None:
        """What a worker and all that descends from it have used; None when it is gone."""
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
        """Children of this process by process group, leaders left out: what workers' tasks have left behind."""
        found: dict[int, list[int]] = {}
        for pid in self._children(os.getpid()):
            fields = self._stat(pid)
            if fields and int(fields[_GROUP]) != pid:
                found.setdefault(int(fields[_GROUP]), []).append(pid)
        return found

    def forget_peak(self, pid: int) -> None:
        """Have the kernel measure the peak of this process from now on."""
        with contextlib.suppress(OSError), open(f"{self._proc}/{pid}/clear_refs", "w") as file:
            file.write("5")

    def _below(self, pids: list[int], root: int) -> Iterator[int]:
        """These processes and their descendants, without ``root``."""
        seen, todo = {root}, list(pids)
        while todo:
            pid = todo.pop()
            if pid not in seen:
                seen.add(pid)
                yield pid
            todo += (child for child in self._children(pid) if child not in seen)

    def _children(self, pid: int) -> list[int]:
        """Those of all threads: each thread has a list of its own."""
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
        # The name is in brackets and may hold brackets and spaces itself.
        return self._bytes(f"{pid}/stat").rpartition(b")")[2].split()

    def _bytes(self, name: str) -> bytes:
        """A file of a process; empty when it is gone, or not ours."""
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
    """The number behind ``name``; 0 where there is none."""
    _, _, rest = text.partition(name)
    return int(rest.split(None, 1)[0]) if rest else 0


class PsutilProcesses:
    """The same by psutil, where there is no ``/proc``."""

    def used(self, worker: int, orphans: Iterable[int] = ()) -> Usage | None:
        """As in :class:`Processes`."""
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
        """As in :class:`Processes`; only Linux hands orphans to us."""
        return {}

    def forget_peak(self, pid: int) -> None:
        """The peak is that of the samples."""
