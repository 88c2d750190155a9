"""Handle interrupts of cells: wake a cell that awaits a future, and report the tasks of an interrupted cell.

An interrupt ends a cell and not its tasks. The tasks continue, and one line says how to cancel them. With the setting
``ParslMagics.cancel_on_interrupt`` the tasks of the cell are cancelled too. ``magics`` calls this when a cell has
ended, ``relay`` when a run is loaded, both in the kernel's main thread.
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
    """Lets signals wake an event loop while futures are awaited in it.

    A process has one such file descriptor (``signal.set_wakeup_fd``), which other libraries, such as trio, need at
    other times. So this object sets it only while a future is awaited.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._read_end, self._write_end = socket.socketpair()
        self._read_end.setblocking(False)
        self._write_end.setblocking(False)
        self._awaiting = 0
        loop.add_reader(self._read_end, self._drain)

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._read_end.recv(4096)

    @contextlib.contextmanager
    def awaiting(self) -> Iterator[None]:
        """Let signals wake the loop while a future is awaited."""
        # Python allows only the main thread to set the descriptor.
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        self._awaiting += 1
        if self._awaiting == 1:
            self._swap(-1, self._write_end.fileno())
        try:
            yield
        finally:
            self._awaiting -= 1
            if not self._awaiting:
                self._swap(self._write_end.fileno(), -1)

    @staticmethod
    def _swap(there: int, wanted: int) -> None:
        """Set the descriptor, or restore it, unless another library has set its own."""
        with contextlib.suppress(ValueError, OSError):  # the descriptor of the other library is closed
            # Python can only exchange the descriptor, not read it, so that of another library is put back.
            before = signal.set_wakeup_fd(wanted, warn_on_full_buffer=False)
            if before != there:
                signal.set_wakeup_fd(before)


def wake_on_signals(kernel: Any) -> None:
    """Let a signal wake the event loop of a kernel that awaits futures; later calls do nothing.

    To interrupt a cell that awaits, ipykernel adds a callback to the loop, which runs only when something wakes the
    loop. Without this function, an interrupt of ``await future`` takes effect when the future is done.
    """
    global _waker
    loop = getattr(getattr(kernel, "io_loop", None), "asyncio_loop", None)
    if _waker is None and loop is not None and threading.current_thread() is threading.main_thread():
        _waker = _Waker(loop)
        BaseFuture.await_context = _waker.awaiting


def interrupted_cell(result: Any, cancel: bool) -> str:
    """Return one line about the unfinished tasks of the cell; empty when there are none.

    Parameters
    ----------
    result
        IPython's result of the cell that has just ended.
    cancel
        Whether to cancel the tasks.
    """
    # An interrupt cancels the awaitable of a cell that awaits, hence CancelledError.  IPython compiles each statement
    # just before it runs, and reports an interrupt at that moment as an error before the execution.
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
