"""Interrupt a task on a worker of an engine when its host asks for that on the page.

The task may run in the main thread, which gets a signal, or in another one, which gets an exception between two lines
of Python.  One thread of each worker process looks at the pages; it costs a task nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from parslab.remote.engines.page import WorkerPage

__all__ = ["InterruptibleBatch"]

_PERIOD = 0.05
"""Seconds between two looks at the pages."""
_IDLE = 10
"""Looks without a batch after which the thread ends."""


class InterruptibleBatch:
    """A batch that runs in this thread, for as long as the ``with`` block.

    Attributes
    ----------
    place
        The place of the task that runs; -1: none.
    interrupted
        Whether the task that ran last was interrupted.
    """

    def __init__(self, page: WorkerPage | None) -> None:
        self.page = page
        self.place = -1
        self.interrupted = False
        self._thread = threading.get_ident()
        self._main = threading.current_thread() is threading.main_thread()
        self._before: Any = None

    def __enter__(self) -> InterruptibleBatch:
        if self.page is not None:
            if self._main:
                self._before = signal.signal(signal.SIGINT, self._on_signal)
            _watch.add(self)
        return self

    def __exit__(self, *error: object) -> None:
        if self.page is not None:
            _watch.remove(self)
            if self._main:
                signal.signal(signal.SIGINT, self._before if self._before is not None else signal.SIG_DFL)

    def begin(self, place: int) -> None:
        """Note that the task at this place begins."""
        self.interrupted = False
        self.place = place

    def end(self) -> None:
        """Note that the task has ended: from here on no interrupt may arrive."""
        if self.page is None or self._main:
            self.place = -1
            return
        # The exception may arrive at any line until it is taken back below.
        while True:
            try:
                with _watch.lock:
                    self.place = -1
                    _raise_in(self._thread, None)
                return
            except KeyboardInterrupt:
                continue

    def look(self) -> None:
        """Interrupt the task if the host asks for it; the watching thread calls this, and holds the lock."""
        assert self.page is not None
        place = self.place
        if place < 0 or self.interrupted or self.page.interrupted != place:
            return
        self.interrupted = True
        if self._main:
            # The thread gets the signal itself, so that a system call which blocks there is interrupted, too.
            signal.pthread_kill(self._thread, signal.SIGINT)
        else:
            _raise_in(self._thread, KeyboardInterrupt)

    def _on_signal(self, number: int, frame: Any) -> None:
        # The signal may be late: it must hit neither the next task nor the loop of the engine.
        if self.place >= 0 and self.page is not None and self.page.interrupted == self.place:
            raise KeyboardInterrupt


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error) if error else None)


class _Watch:
    """The watching thread; it ends when no batch has run for a while."""

    def __init__(self) -> None:
        self._start_anew()

    def _start_anew(self) -> None:
        # A lock, because a thread that ends its task must know that no exception is on its way.
        self.lock = threading.Lock()
        self._batches: set[InterruptibleBatch] = set()
        self._watching = False

    def add(self, batch: InterruptibleBatch) -> None:
        """Look after a batch."""
        with self.lock:
            self._batches.add(batch)
            if not self._watching:
                self._watching = True
                threading.Thread(target=self._run, name="parslab-interrupts", daemon=True).start()

    def remove(self, batch: InterruptibleBatch) -> None:
        """Forget a batch."""
        with self.lock:
            self._batches.discard(batch)

    def _run(self) -> None:
        pause, idle = threading.Event(), 0
        while True:
            pause.wait(_PERIOD)
            with self.lock:
                for batch in self._batches:
                    with contextlib.suppress(Exception):  # the thread of the batch has just ended
                        batch.look()
                idle = 0 if self._batches else idle + 1
                if idle > _IDLE:
                    self._watching = False
                    return


_watch = _Watch()
if hasattr(os, "register_at_fork"):
    # A child has no such thread, and the lock may be held by a thread that the child does not have.
    os.register_at_fork(after_in_child=_watch._start_anew)
