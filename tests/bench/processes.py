"""CPU time and memory of a group of processes, counted from outside by psutil.

Used by every case.  Linux counts CPU time in ticks of 10 ms per process, so what is measured must last for seconds.
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Cpu", "idle", "tree"]

TICK = 0.02
"""Seconds of CPU time that a quiet group may use while it counts as idle: two ticks of Linux' clock."""


class Cpu:
    """CPU seconds of a fixed group of processes since the group was made.

    Parameters
    ----------
    processes
        The group.  All of it must live until the last reading.
    """

    def __init__(self, processes: Iterable[psutil.Process]) -> None:
        self._processes = list(processes)
        self._start = self._now()

    def _now(self) -> dict[int, float]:
        times = {p.pid: p.cpu_times() for p in self._processes}
        return {pid: t.user + t.system for pid, t in times.items()}

    def spent(self) -> dict[int, float]:
        """CPU seconds by pid."""
        return {pid: now - self._start[pid] for pid, now in self._now().items()}


def tree(*roots: int) -> list[psutil.Process]:
    """This process, the processes of these pids, and all their descendants, each once."""
    found: dict[int, psutil.Process] = {}
    for pid in (os.getpid(), *roots):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            found[member.pid] = member
    return list(found.values())


IDLE = 0.05
"""The part of a core that an idle run may take."""
COSTLY, STEADY = 0.25, 5.0
"""The part of a core that it may take on a machine whose wake-ups cost much, once it has taken as much for so long."""


def idle(processes: Iterable[psutil.Process], quiet: float = 1.0, limit: float = 30.0) -> None:
    """Return when the group has used little CPU for ``quiet`` seconds, so that work put off is done and counted.

    An idle run wakes a few times in a second, and each time its pages and caches are cold: on some machines that takes
    3 % of a core, so a group that takes less than ``IDLE`` is idle.  On a virtual machine whose host is busy, a wake-up
    was seen to take 6 ms, and an idle run 13 % of a core.  Work that was put off ends; what stays the same is not it.

    Raises
    ------
    TimeoutError
        When the group is still at work after ``limit`` seconds.
    """
    cpu = Cpu(processes)
    pause = 0.1
    history = deque([0.0], maxlen=1 + round(quiet / pause))
    longer = deque([0.0], maxlen=1 + round(STEADY / pause))
    end = time.monotonic() + limit
    while time.monotonic() < end:
        time.sleep(pause)
        history.append(sum(cpu.spent().values()))
        longer.append(history[-1])
        if len(history) == history.maxlen and history[-1] - history[0] <= max(TICK, IDLE * quiet):
            return
        if len(longer) == longer.maxlen and _is_steady(longer):
            return
    message = f"processes {[p.pid for p in cpu._processes]} are still busy after {limit} s"
    raise TimeoutError(message)


def _is_steady(used: Sequence[float]) -> bool:
    """Return whether the CPU seconds of the last ``STEADY`` seconds are few, and did not become fewer meanwhile."""
    middle = used[len(used) // 2]
    before, after = middle - used[0], used[-1] - middle
    return before + after <= COSTLY * STEADY and after >= 0.7 * before
