"""Measure how busy the node is and what its long tasks use [shell]: the manager's samples for monitoring.

The values are read from ``/proc`` and the cgroup of the job, because to load psutil takes longer than all samples of an
hour.  Only a system without ``/proc`` uses psutil.  "The node" means the part that this job may use: the cores of its
affinity, the quota and the memory of its cgroup.

A measurement starts when a worker reports that a task runs; tasks of a few hundredths of a second are never reported.
The usage of the worker before that is subtracted.  A task that ends within ``SHORT`` seconds gets no sample.  The peak
memory of a task is the larger of two values: the kernel's peak of the worker process since the task began, and the
largest total of all its processes in the samples.
"""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from parslab.cores import cgroups, quota
from parslab.errors import ConfigurationError
from parslab.remote.manager.usage import Processes, PsutilProcesses, Usage
from parslab.wire.messages.manager import NodeSample, TaskSample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

__all__ = ["MEMORY", "SHORT", "Sampler", "usable_memory"]

MEMORY = ("PARSLAB_MEMORY_GB", "PARSL_MEMORY_GB")
"""Environment variables that override the memory that is found; the first one that is set counts."""

SHORT = 1.0
"""Seconds that a task must have run to be measured at its end; shorter tasks do not repay the reads."""

_IDLE = slice(3, 5)
"""Positions of idle time and of I/O wait in a line of ``stat``."""


class _Processes(Protocol):
    def used(self, worker: int, orphans: Iterable[int] = ()) -> Usage | None: ...
    def orphans(self) -> dict[int, list[int]]: ...
    def forget_peak(self, pid: int) -> None: ...


def usable_memory(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Return the bytes of memory that this job may use: all of the machine, or the limit of its cgroup.

    Raises
    ------
    ConfigurationError
        An override is not a number above 0.
    """
    for name in MEMORY:
        asked = environment.get(name, "").strip()
        if asked:
            try:
                size = float(asked) * 10**9
            except ValueError:
                size = 0.0
            if not 0 < size < float("inf"):
                raise ConfigurationError(f"{name} must be a number of GB above 0, not {asked!r}.")
            return int(size)
    limit, _ = _memory_limit(root)
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return there if limit is None else min(there, limit)


class Sampler:
    """Measures the node and the tasks that run on it.

    Parameters
    ----------
    root
        The root of the file system in which ``proc`` and the cgroup mounts are found.
    processes
        Reads what processes have used; None: the reader that this system supports.
    clock
        Returns seconds that never decrease.
    """

    def __init__(
        self,
        root: Path = Path("/"),
        processes: _Processes | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if processes is None:
            processes = Processes() if (root / "proc/self/stat").exists() else PsutilProcesses()
        self._processes = processes
        self._clock = clock
        self._node = _Node(root, clock)
        self._tasks: dict[int, _Watched] = {}
        self._orphans: dict[int, list[int]] = {}
        """Orphans that the last sample found: to search for them costs more than to read a worker."""

    def begun(self, pid: int, task: int, attempt: int) -> None:
        """Start to measure the task that this worker runs now."""
        # Earlier tasks of the same process have raised its peak: without a reset it would count for this task, too.
        self._processes.forget_peak(pid)
        used = self._used(pid)
        if used is not None:
            self._tasks[task] = _Watched(pid, task, attempt, self._clock(), used)

    def ended(self, task: int) -> TaskSample | None:
        """Return what an ended task has used; None if it was too short to be measured."""
        watched = self._tasks.pop(task, None)
        if watched is None or self._clock() - watched.since < SHORT:
            return None
        return watched.sample(self._used(watched.pid))

    def sample(self, running: Mapping[int, tuple[int, int]]) -> list[NodeSample | TaskSample]:
        """Return a sample of the node, and one of each task that is known to run.

        Parameters
        ----------
        running
            Maps the pid of each busy worker to its task and attempt.
        """
        samples: list[NodeSample | TaskSample] = []
        node = self._node.sample()
        if node is not None:
            samples.append(node)
        now = set(running.values())
        for watched in list(self._tasks.values()):
            if (watched.task, watched.attempt) not in now:  # its worker died
                del self._tasks[watched.task]
        self._orphans = self._processes.orphans() if running else {}
        for pid, (task, attempt) in running.items():
            there = self._tasks.get(task)
            if there is None or there.attempt != attempt:
                self.begun(pid, task, attempt)
            else:
                samples.append(there.sample(self._used(pid)))
        return samples

    def _used(self, pid: int) -> Usage | None:
        return self._processes.used(pid, self._orphans.get(pid, ()))


class _Watched:
    """A task that is measured."""

    __slots__ = ("_before", "_cpu", "_peak", "_read", "_written", "attempt", "pid", "since", "task")

    def __init__(self, pid: int, task: int, attempt: int, since: float, before: Usage) -> None:
        self.pid = pid
        self.task = task
        self.attempt = attempt
        self.since = since
        self._before = before
        self._cpu = 0.0
        self._peak = before.resident
        self._read = self._written = 0

    def sample(self, used: Usage | None) -> TaskSample:
        """Return what the task has used so far; ``used`` is None if its worker is gone."""
        if used is not None:
            before = self._before
            # The usage of an orphan vanishes when it ends, so totals may shrink; the usage of a task must not.
            self._cpu = max(self._cpu, used.cpu - before.cpu)
            self._read = max(self._read, used.read - before.read)
            self._written = max(self._written, used.written - before.written)
            self._peak = max(self._peak, used.resident)
            if used.peak != before.peak:  # an unchanged peak is of an earlier task: the reset failed
                self._peak = max(self._peak, used.peak)
        return TaskSample(self.task, self.attempt, self._cpu, self._peak, self._read, self._written)


class _Node:
    """Measures what this job uses of the node between two samples."""

    def __init__(self, root: Path, clock: Callable[[], float]) -> None:
        self._root = root
        self._clock = clock
        self._stat = root / "proc/stat"
        self._quota = quota(root)
        self._group = next((folder for folder, _ in cgroups("cpu", root) if _group_time(folder) is not None), None)
        self._memory = _memory_limit(root)[1]
        self._before = self._busy()

    def sample(self) -> NodeSample | None:
        """Return the CPU usage since the last sample, memory in use and load; None if the system shows none of it."""
        # Some containers hide the load; the sample is useful without it.
        try:
            load = os.getloadavg()[0]
        except OSError:
            load = 0.0
        if not self._stat.exists():
            return self._by_psutil(load)
        (busy, total), (busy_before, total_before) = self._busy(), self._before
        self._before = busy, total
        passed = total - total_before
        # The kernel does not update all counters at one moment, so the quotient may be a little outside of 0 to 100.
        cpu = 100.0 * (busy - busy_before) / passed if passed > 0 else 0.0
        return NodeSample(max(0.0, min(100.0, cpu)), self._memory_used(), load)

    def _busy(self) -> tuple[float, float]:
        """Return the seconds (or ticks) of work, and the possible ones."""
        # With a quota the cores' idle time is not ours to use: the share of the quota shows how busy this job is.
        if self._quota is not None and self._group is not None:
            return _group_time(self._group) or 0.0, self._clock() * self._quota
        busy = total = 0
        # Other cores of a shared node show the load of other jobs.
        ours = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set()
        with contextlib.suppress(OSError, ValueError):
            for line in self._stat.read_bytes().splitlines():
                name, _, rest = line.partition(b" ")
                if name.startswith(b"cpu") and name[3:].isdigit() and int(name[3:]) in ours:
                    ticks = [int(field) for field in rest.split()[:8]]
                    total += sum(ticks)
                    busy += sum(ticks) - sum(ticks[_IDLE])
        return busy, total

    def _memory_used(self) -> int:
        """Return the bytes in use, without file caches, which the kernel frees on demand."""
        if self._memory is not None:
            return _group_memory(self._memory)
        sizes = _table(self._root / "proc/meminfo")
        return max(0, sizes.get("MemTotal:", 0) - sizes.get("MemAvailable:", 0)) * 1024

    @staticmethod
    def _by_psutil(load: float) -> NodeSample | None:
        try:
            import psutil
        except ImportError:
            return None
        memory = psutil.virtual_memory()
        return NodeSample(psutil.cpu_percent(None), memory.total - memory.available, load)


# ----- the job's cgroup


def _group_time(folder: Path) -> float | None:
    """Return the CPU seconds that a cgroup has used; None if it does not count them."""
    used = _table(folder / "cpu.stat").get("usage_usec")
    if used is not None:
        return used / 1e6
    nanoseconds = _whole(folder / "cpuacct.usage")
    return nanoseconds / 1e9 if nanoseconds is not None else None


def _memory_limit(root: Path) -> tuple[int | None, Path | None]:
    """Return the smallest memory limit from our cgroup up to the root, and the cgroup that has it.

    Version 1 shows no limit as a number larger than any machine's memory.
    """
    there = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found: tuple[int | None, Path | None] = None, None
    for folder, version in cgroups("memory", root):
        limit = _whole(folder / ("memory.max" if version == 2 else "memory.limit_in_bytes"))
        if limit is not None and limit < (there if found[0] is None else found[0]):
            found = limit, folder
    return found


def _group_memory(folder: Path) -> int:
    """Return the bytes that a cgroup uses, without inactive file caches."""
    version_2 = _whole(folder / "memory.current")
    used = version_2 if version_2 is not None else _whole(folder / "memory.usage_in_bytes") or 0
    cached = _table(folder / "memory.stat").get("inactive_file" if version_2 is not None else "total_inactive_file", 0)
    return max(0, used - cached)


def _whole(path: Path) -> int | None:
    """Return the number in a file; None if the file is missing or holds another word, such as ``max``."""
    try:
        return int(path.read_bytes())
    except (OSError, ValueError):
        return None


def _table(path: Path) -> dict[str, int]:
    """Return the numbers of a file that has a name and a number on each line."""
    found = {}
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            words = line.split()
            if len(words) > 1 and words[1].isdigit():
                found[words[0]] = int(words[1])
    return found
