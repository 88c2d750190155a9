"""How busy the node is, and what its long tasks use [shell]: samples for monitoring, made by the manager.

Read from ``/proc`` and the cgroup of the job, because psutil takes longer to load than all samples of an hour; where
there is no ``/proc`` psutil is asked.  "The node" is what this job may use of it: the cores of its affinity, the quota
and the memory of its cgroup.

A task is measured from when the manager hears that it runs, which it does of no task that ends within a few hundredths
of a second; what its worker used before is taken off.  One that ends within ``SHORT`` seconds is not looked at again.
The peak of a task is that of the worker process since it began, as the kernel counts it, or of all its processes
together as seen by the samples, whichever is more.
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
"""Seconds that a task must have run for its end to be worth a look at its processes."""

_IDLE = slice(3, 5)
"""Places of idle and of waiting for I/O in a line of ``stat``."""


class _Processes(Protocol):
    def used(self, worker: int, orphans: Iterable[int] = ()) -> Usage | None: ...
    def orphans(self) -> dict[int, list[int]]: ...
    def forget_peak(self, pid: int) -> None: ...


def usable_memory(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> int:
    """Bytes of memory that this job may use: that of the machine, or less where its cgroup is limited.

    Raises
    ------
    ConfigurationError
        An override is no number above 0.
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
        Who knows what processes have used; None: whoever can on this system.
    clock
        Seconds.
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
        """As found by the last sample: to look for them costs more than to look at a worker."""

    def begun(self, pid: int, task: int, attempt: int) -> None:
        """The worker with this pid runs this task now: what it has used until now does not count."""
        self._processes.forget_peak(pid)
        used = self._used(pid)
        if used is not None:
            self._tasks[task] = _Watched(pid, task, attempt, self._clock(), used)

    def ended(self, task: int) -> TaskSample | None:
        """It has ended: what it used altogether; None when it was too short to be measured."""
        watched = self._tasks.pop(task, None)
        if watched is None or self._clock() - watched.since < SHORT:
            return None
        return watched.sample(self._used(watched.pid))

    def sample(self, running: Mapping[int, tuple[int, int]]) -> list[NodeSample | TaskSample]:
        """One sample of the node, and one of each task that is known to run.

        Parameters
        ----------
        running
            (task, attempt) by the pid of its worker.
        """
        samples: list[NodeSample | TaskSample] = []
        node = self._node.sample()
        if node is not None:
            samples.append(node)
        now = set(running.values())
        for watched in list(self._tasks.values()):
            if (watched.task, watched.attempt) not in now:  # it has gone with its worker
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
    """A task that is being measured."""

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
        """What it has used until now; None: as far as seen."""
        if used is not None:
            before = self._before
            # An orphan that ends takes what it has used along, so totals may shrink: a task never gives back.
            self._cpu = max(self._cpu, used.cpu - before.cpu)
            self._read = max(self._read, used.read - before.read)
            self._written = max(self._written, used.written - before.written)
            self._peak = max(self._peak, used.resident)
            if used.peak != before.peak:  # else it is older than the task: the kernel could not be told to forget it
                self._peak = max(self._peak, used.peak)
        return TaskSample(self.task, self.attempt, self._cpu, self._peak, self._read, self._written)


class _Node:
    """What this job uses of the node, from sample to sample."""

    def __init__(self, root: Path, clock: Callable[[], float]) -> None:
        self._root = root
        self._clock = clock
        self._stat = root / "proc/stat"
        self._quota = quota(root)
        self._group = next((folder for folder, _ in cgroups("cpu", root) if _group_time(folder) is not None), None)
        self._memory = _memory_limit(root)[1]
        self._before = self._busy()

    def sample(self) -> NodeSample | None:
        """Percent of CPU since the sample before, memory in use, load; None where nobody can tell."""
        try:
            load = os.getloadavg()[0]
        except OSError:
            load = 0.0
        if not self._stat.exists():
            return self._by_psutil(load)
        (busy, total), (busy_before, total_before) = self._busy(), self._before
        self._before = busy, total
        passed = total - total_before
        cpu = 100.0 * (busy - busy_before) / passed if passed > 0 else 0.0
        return NodeSample(max(0.0, min(100.0, cpu)), self._memory_used(), load)

    def _busy(self) -> tuple[float, float]:
        """Seconds (or ticks) of work, and how many there could have been."""
        if self._quota is not None and self._group is not None:
            return _group_time(self._group) or 0.0, self._clock() * self._quota
        busy = total = 0
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
        """Bytes that cannot be had by others at once: caches of files do not count."""
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
    """Seconds of CPU that a cgroup has used; None where it does not count them."""
    used = _table(folder / "cpu.stat").get("usage_usec")
    if used is not None:
        return used / 1e6
    nanoseconds = _whole(folder / "cpuacct.usage")
    return nanoseconds / 1e9 if nanoseconds is not None else None


def _memory_limit(root: Path) -> tuple[int | None, Path | None]:
    """The smallest memory limit on our way to the root of the hierarchy, and whose it is.

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
    """Bytes that a cgroup uses, without files that are only cached."""
    version_2 = _whole(folder / "memory.current")
    used = version_2 if version_2 is not None else _whole(folder / "memory.usage_in_bytes") or 0
    cached = _table(folder / "memory.stat").get("inactive_file" if version_2 is not None else "total_inactive_file", 0)
    return max(0, used - cached)


def _whole(path: Path) -> int | None:
    """The number in a file; None when there is no such file, or another word in it."""
    try:
        return int(path.read_bytes())
    except (OSError, ValueError):
        return None


def _table(path: Path) -> dict[str, int]:
    """The numbers of a file that has a name and a number on each line."""
    found = {}
    with contextlib.suppress(OSError):
        for line in path.read_text().splitlines():
            words = line.split()
            if len(words) > 1 and words[1].isdigit():
                found[words[0]] = int(words[1])
    return found
