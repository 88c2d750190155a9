"""Have Linux end a child process with everything in its group when its parent dies.

The lifeline is a pipe on which nobody sends anything.  When the parent's end closes, the kernel sends SIGKILL to the
group of the child.  ``PR_SET_PDEATHSIG`` would kill the child alone, and leave what it started.
"""

from __future__ import annotations

import os
import signal
import sys

from parslab.remote.worker.control import end_group

__all__ = ["die_with_parent"]


def die_with_parent(lifeline: int, parent: int) -> None:
    """End with the parent, even while a C call holds the GIL; do nothing on other systems.

    Parameters
    ----------
    lifeline
        The reading end of the pipe, which this process inherited.
    parent
        The process that holds the other end.
    """
    if sys.platform == "linux":
        import fcntl

        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, os.O_ASYNC)
        # The parent may have died before the signal was set up: its end of the pipe does not close a second time.
        if os.getppid() != parent:
            end_group()
