"""What a task that was stopped has started and not waited for: it ends with the task.

Called by the worker's main thread between two tasks.  Processes of earlier tasks, such as a pool that a module keeps,
stay: the day on which each was born is compared with the one on which the task began.
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
"""Times of birth are counted in hundredths of a second."""


def end_children(since: float) -> None:
    """End the descendants of this process that were born after then (``steady_time``): first by TERM, then by KILL."""
    if not _any():
        return
    import psutil

    kin = [child for child in psutil.Process().children(recursive=True) if _age(child) <= steady_time() - since + _TICK]
    if not kin:
        return
    for child in kin:
        with contextlib.suppress(psutil.Error):
            child.terminate()
    _, left = psutil.wait_procs(kin, _GRACE)
    for child in left:
        with contextlib.suppress(psutil.Error):
            child.kill()
    psutil.wait_procs(left, _GRACE)


def _any() -> bool:
    """Whether we have children at all, where that can be told without loading anything."""
    paths = glob.glob("/proc/self/task/*/children")
    for path in paths:
        with contextlib.suppress(OSError), open(path) as file:
            if file.read(1):
                return True
    return not paths


def _age(child: psutil.Process) -> float:
    """Seconds since it was born."""
    # psutil counts from the time at which the system was started, which Linux tells in whole seconds.
    with contextlib.suppress(OSError, AttributeError, ValueError, IndexError), open(f"/proc/{child.pid}/stat") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
        return time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
    # Without /proc only the wall clock tells when a process was born.
    return time.time() - float(child.create_time())
