"""Start processes that no signal of a terminal reaches, and that share the processor with their parent [shell].

Ctrl-C in a terminal goes to the foreground process group, so our processes have groups of their own.  They stay in the
session of their parent where possible.  Linux shares the processor between sessions ("autogroup", see sched(7)): the
processes of one session answer each other at once, but one of another session first waits for its turn.  On a busy
machine each hop of a task would wait for several milliseconds.

A session may have a terminal.  A process in the background that reads from it is stopped, so our processes leave it.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

__all__ = ["OWN_GROUP", "leave_terminal"]

# Python 3.10 cannot start a process in a group of its own without running Python code after the fork.
_STAYS_IN_SESSION = sys.platform == "linux" and sys.version_info >= (3, 11)

OWN_GROUP: dict[str, Any] = {"process_group": 0} if _STAYS_IN_SESSION else {"start_new_session": True}
"""The arguments of ``subprocess.Popen`` that start a process in a group of its own."""


def leave_terminal() -> None:
    """Have this process, and those that it will start, no terminal any more."""
    if sys.platform != "linux" or os.getsid(0) == os.getpid():
        return
    import fcntl
    import termios

    with contextlib.suppress(OSError):  # it has no terminal
        terminal = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY)
        try:
            fcntl.ioctl(terminal, termios.TIOCNOTTY)
        finally:
            os.close(terminal)
