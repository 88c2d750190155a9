"""End the child processes that a stopped task, or an MPI task, leaves behind.

The worker's main thread calls this module between two tasks.  Processes of earlier tasks, such as a pool that a module
keeps, continue to run.  The start time of a process, compared with the start of the task, distinguishes them.
"""

from __future__ import annotations

import contextlib
import glob
import os
import time
from typing import TYPE_CHECKING

from parslab.clock import steady_time

if TYPE_CHECKING:
    import psutil

__all__ = ["end_children"]

_GRACE = 0.3
"""Seconds between TERM and KILL."""
_TICK = 0.02
"""Linux counts the start times of processes in hundredths of a second; two of them allow for rounding."""


def end_children(since: float) -> None:
    """End the descendants of this process that started after ``since``: first by TERM, then by KILL.

    Their orphans end, too: where a launcher was killed, the ranks that it started have another parent.

    Parameters
    ----------
    since
        When the task began, by ``steady_time``.
    """
    if not _any() and not _any_orphans():
        return
    # Loading psutil costs more than most tasks, so a worker without children never loads it.
    import psutil

    from parslab.bodies.processes import adopted, descendants, end_processes

    def kin() -> list[psutil.Process]:
        found = []
        for child in [*descendants(os.getpid()), *adopted()]:
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [child] if _age(child) <= steady_time() - since + _TICK else []
        return found

    # Without this wait the killed children stay zombies, and ``_any`` finds them after each later stop.
    psutil.wait_procs(end_processes(kin, _GRACE), _GRACE)


def _any() -> bool:
    """Return whether this process may have children; True where ``/proc`` does not list them."""
    # Linux keeps one list for each thread: the task may have started its children in any of its threads.
    paths = glob.glob("/proc/self/task/*/children")
    for path in paths:
        with contextlib.suppress(OSError), open(path) as file:
            if file.read(1):
                return True
    return not paths


def _any_orphans() -> bool:
    """Return whether the pool has adopted processes of this worker."""
    mark = os.fsencode(f"PARSLAB_WORKER_OF={os.environ.get('PARSLAB_WORKER_OF')}")
    for path in glob.glob(f"/proc/{os.getppid()}/task/*/children"):
        with contextlib.suppress(OSError), open(path) as file:
            for pid in set(file.read().split()) - {str(os.getpid())}:
                with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as variables:
                    if mark in variables.read().split(b"\0"):
                        return True
    return False


def _age(child: psutil.Process) -> float:
    """Return the seconds since a process started."""
    # psutil adds the boot time, which Linux gives in whole seconds: too coarse to tell two tasks apart.
    # The name of the program may hold spaces and brackets, so the fields are counted from the last bracket.
    with contextlib.suppress(OSError, AttributeError, ValueError, IndexError), open(f"/proc/{child.pid}/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    # Without /proc the start time is known by the wall clock only.
    return time.time() - float(child.create_time())
