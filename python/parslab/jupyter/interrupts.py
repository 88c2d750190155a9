"""Interrupts of a cell: that a cell which awaits sees them, and what becomes of the tasks of a cell that they end.

An interrupt never touches the cluster: tasks go on, and the user is told how to end them.  With the setting
``ParslMagics.cancel_on_interrupt`` those that this cell has called are cancelled after it.  Called by ``magics`` when a
cell has ended, and by ``relay`` when a run is loaded, both in the kernel's main thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import threading
from typing import Any

from parslab.app.origin import calling_cell
from parslab.client import session
from parslab.errors import ParslabError

__all__ = ["interrupted_cell", "wake_on_signals"]

_wakers: tuple[socket.socket, socket.socket] | None = None


def wake_on_signals(kernel: Any) -> None:
    """Have a signal wake the event loop of a kernel; made once.

    ipykernel ends a cell that awaits by a callback, which the loop finds when something else wakes it: an interrupt of
    ``await future`` would be seen when the future is done.
    """
    global _wakers
    loop = getattr(getattr(kernel, "io_loop", None), "asyncio_loop", None)
    if _wakers is not None or loop is None or threading.current_thread() is not threading.main_thread():
        return
    ear, mouth = _wakers = socket.socketpair()
    ear.setblocking(False)
    mouth.setblocking(False)
    before = signal.set_wakeup_fd(mouth.fileno(), warn_on_full_buffer=False)
    if before >= 0:  # somebody has taken care of it
        signal.set_wakeup_fd(before)
        return
    os.register_at_fork(after_in_child=_leave_to_parent)

    def hear() -> None:
        with contextlib.suppress(BlockingIOError):
            ear.recv(4096)

    loop.add_reader(ear, hear)


def _leave_to_parent() -> None:
    with contextlib.suppress(ValueError):  # forked by another thread than the main one
        signal.set_wakeup_fd(-1)


def interrupted_cell(result: Any, cancel: bool) -> str:
    """One line about the tasks that the cell has called and that are unfinished; empty when there are none.

    Parameters
    ----------
    result
        IPython's, of the cell that has just ended.
    cancel
        Whether they shall be cancelled.
    """
    # A cell that awaits is ended by the cancellation of what it awaits.
    if not isinstance(getattr(result, "error_in_exec", None), (KeyboardInterrupt, asyncio.CancelledError)):
        return ""
    cell = calling_cell()
    try:
        dfk = session.dfk()
        if not cell or cell != dfk.last_cell:
            return ""
        count = dfk._unfinished_of_last_cell()
        if not count:
            return ""
        if cancel:
            return f"{cell} was interrupted: {dfk.cancel(cell=cell)}."
    except (ParslabError, TimeoutError) as error:
        return f"{cell} was interrupted, and its tasks could not be cancelled: {error}" if cancel else ""
    if count == 1:
        return f"{cell} was interrupted; its unfinished task goes on (%parsl cancel --cell would end it)."
    return f"{cell} was interrupted; its {count} unfinished tasks go on (%parsl cancel --cell would end them)."
