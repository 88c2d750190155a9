"""Interrupts of a cell: that a cell which awaits sees them, and what becomes of the tasks of a cell that they end.

An interrupt never touches the cluster: tasks go on, and the user is told how to end them.  With the setting
``ParslMagics.cancel_on_interrupt`` those that this cell has called are cancelled after it.  Called by ``magics`` when a
cell has ended, and by ``relay`` when a run is loaded, both in the kernel's main thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import threading
from typing import TYPE_CHECKING, Any

from parslab.app.origin import calling_cell
from parslab.client import session
from parslab.client.futures.app_future import BaseFuture
from parslab.errors import ParslabError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["interrupted_cell", "wake_on_signals"]

_waker: _Waker | None = None


class _Waker:
    """Has signals wake an event loop for as long as futures are awaited in it.

    Not always: other libraries, such as trio, want the one place that Python has for this when they run.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._ear, self._mouth = socket.socketpair()
        self._ear.setblocking(False)
        self._mouth.setblocking(False)
        self._awaiting = 0
        loop.add_reader(self._ear, self._hear)

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._ear.recv(4096)

    @contextlib.contextmanager
    def awaiting(self) -> Iterator[None]:
        """While a future is awaited."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._awaiting += 1
        if self._awaiting == 1:
            self._swap(-1, self._mouth.fileno())
        try:
            yield
        finally:
            self._awaiting -= 1
            if not self._awaiting:
                self._swap(self._mouth.fileno(), -1)

    @staticmethod
    def _swap(there: int, wanted: int) -> None:
        """Take the place, or give it back, unless it is somebody else's."""
        with contextlib.suppress(ValueError, OSError):  # theirs was closed meanwhile
            before = signal.set_wakeup_fd(wanted, warn_on_full_buffer=False)
            if before != there:
                signal.set_wakeup_fd(before)


def wake_on_signals(kernel: Any) -> None:
    """Have a signal wake the event loop of a kernel that awaits futures; made once.

    ipykernel ends a cell that awaits by a callback, which the loop finds when something else wakes it: an interrupt of
    ``await future`` would be seen when the future is done.
    """
    global _waker
    loop = getattr(getattr(kernel, "io_loop", None), "asyncio_loop", None)
    if _waker is None and loop is not None and threading.current_thread() is threading.main_thread():
        _waker = _Waker(loop)
        BaseFuture.await_context = _waker.awaiting


def interrupted_cell(result: Any, cancel: bool) -> str:
    """One line about the tasks that the cell has called and that are unfinished; empty when there are none.

    Parameters
    ----------
    result
        IPython's, of the cell that has just ended.
    cancel
        Whether they shall be cancelled.
    """
    # A cell that awaits is ended by the cancellation of what it awaits.  IPython compiles each statement when it is
    # due, and an interrupt that comes meanwhile counts as one before the cell ran.
    errors = getattr(result, "error_in_exec", None), getattr(result, "error_before_exec", None)
    if not any(isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)) for error in errors):
        return ""
    cell = calling_cell()
    try:
        dfk = session.dfk()
        if not cell or cell != dfk.last_cell:
            return ""
        count = dfk.unfinished_of_last_cell
        if not count:
            return ""
        if cancel:
            return f"{cell} was interrupted: {dfk.cancel(cell=cell)}."
    except (ParslabError, TimeoutError) as error:
        return f"{cell} was interrupted, and its tasks could not be cancelled: {error}" if cancel else ""
    if count == 1:
        return f"{cell} was interrupted; its unfinished task goes on (%parsl cancel --cell would end it)."
    return f"{cell} was interrupted; its {count} unfinished tasks go on (%parsl cancel --cell would end them)."
