"""Run jobs in a few daemon threads, so that they block neither the link's thread nor the end of the interpreter.

A job may wait for another job of its pool.  With a fixed number of threads, waiting jobs could occupy all of them, and
the pool would deadlock.  A pool can therefore start one more thread for each job that waits.  The thread of a link
does the same for the callbacks that it runs (``transport.link``).  Futures call :func:`waits_in` before they block.

Threads that all run Python share one interpreter lock, and a burst of short jobs then takes several times as long as in
one thread.  A pool with ``patience`` therefore starts a further thread only when queued jobs make no progress.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from threading import get_ident
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["MOST_WAITING", "Lender", "ThreadPool", "lend", "waits_in"]

log = logging.getLogger(__name__)

MOST_WAITING = 2000
"""The most waiting jobs for which a pool starts another thread; each thread costs some 100 kB of memory."""


class Lender(Protocol):
    """The owner of a thread, who starts another one when that thread waits."""

    def waiting(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which the current thread waits, and another thread does its work."""

    def before_blocking(self) -> None:
        """Prepare for a wait of the current thread whose end nobody reports."""


_lending: dict[int, Lender] = {}
"""The owners that lend threads, by the identifiers of their threads."""


def waits_in() -> Lender | None:
    """Return the owner that starts another thread while the current thread waits; None for all other threads."""
    return _lending.get(get_ident())


def lend(owner: Lender | None) -> None:
    """Set the owner of the current thread; None: it has none any more."""
    if owner is not None:
        _lending[get_ident()] = owner
    else:
        # The system reuses the identifiers of ended threads: a stranger must not pass for a thread of this owner.
        _lending.pop(get_ident(), None)


class ThreadPool:
    """Daemon threads that start when they are needed.

    They are daemons, unlike those of ``concurrent.futures``, so that a long task never keeps the interpreter alive.

    Parameters
    ----------
    name
        Threads are called ``parslab-<name>-<n>``.
    size
        The greatest number of threads that run jobs.
    lends
        Whether the pool starts another thread in place of a job that waits.
    patience
        The seconds without the end of a job after which queued jobs get a further thread; 0: they get it at once.
    """

    def __init__(self, name: str, size: int, lends: bool = False, patience: float = 0.0) -> None:
        self._name = name
        self._size = size
        self._lends = lends
        self._patience = patience
        self._ended_jobs = 0
        self._watcher: threading.Thread | None = None
        """The thread that looks whether queued jobs make progress; started when a job is queued behind another one."""
        self._jobs_queued = threading.Event()
        self._closed = threading.Event()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: dict[int, threading.Thread] = {}
        self._unfinished = 0
        self._waiting = 0
        # Submitters and threads both change the counts; an inbox would need a thread of its own to read it.
        self._counting = threading.Lock()

    def submit(self, job: Callable[[], None]) -> None:
        """Run ``job`` in one of the threads; it must not raise."""
        with self._counting:
            self._unfinished += 1
            watched = False
            if self._patience and len(self._threads) > self._waiting:
                watched = self._unfinished > len(self._threads)
                if watched and self._watcher is None:
                    self._start_watcher()
            else:
                self._start_thread()
            # Under the lock, because a thread that finds no job ends under it.
            self._jobs.put(job)
            # After the job is queued: a watcher that finds no job sleeps again.
            if watched and not self._jobs_queued.is_set():
                self._jobs_queued.set()

    @property
    def has_queued_jobs(self) -> bool:
        """Whether a job waits for a thread."""
        return not self._jobs.empty()

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Return a context in which the current job waits, and another job may run in its place."""
        with self._counting:
            self._waiting += 1
            self._start_thread()
            # Equality, not >=: one warning each time the limit is reached, not one for each further job.
            too_many = self._waiting == MOST_WAITING
        if too_many:
            log.warning(
                "%d bodies of join apps wait for results, and no further body runs before one of them has its result. "
                "Return the futures, or pass them to apps, instead of waiting for them.",
                MOST_WAITING,
            )
        try:
            yield
        finally:
            with self._counting:
                self._waiting -= 1

    def before_blocking(self) -> None:
        """Do nothing: a place is lent only while the pool can see that the job waits."""

    def _start_thread(self) -> None:
        """Start a thread if there is a job for it and the pool may have one more; the caller holds the lock."""
        if self._unfinished > len(self._threads) < self._most():
            # The lowest free number: threads end and start again, and their names should stay few in logs.
            number = next(n for n in range(len(self._threads) + 1) if n not in self._threads)
            thread = threading.Thread(
                target=self._serve, args=(number,), name=f"parslab-{self._name}-{number}", daemon=True
            )
            self._threads[number] = thread
            thread.start()

    def _start_watcher(self) -> None:
        """Start the thread that looks after the queued jobs; the caller holds the lock."""
        thread = threading.Thread(target=self._keep_going, name=f"parslab-{self._name}-watcher", daemon=True)
        thread.start()  # first, because it may fail
        self._watcher = thread

    def _keep_going(self) -> None:
        """Double the number of threads whenever jobs are queued and none has ended for a while."""
        while True:
            self._jobs_queued.wait()
            self._jobs_queued.clear()
            ended = -1
            while not self._jobs.empty() or self._closed.is_set():
                if self._closed.wait(self._patience):
                    return
                with self._counting:
                    if self._ended_jobs == ended:
                        for _ in range(len(self._threads)):
                            self._start_thread()
                    ended = self._ended_jobs

    def _most(self) -> int:
        return self._size + min(self._waiting, MOST_WAITING)

    def _serve(self, number: int) -> None:
        if self._lends:
            lend(self)
        try:
            while (job := self._jobs.get()) is not None:
                job()
                del job  # it may hold the arguments of a task, and the next job may not come for hours
                with self._counting:
                    self._unfinished -= 1
                    self._ended_jobs += 1
                    # Either the job in whose place this thread ran waits no more, or one thread is enough.
                    few = self._patience and self._jobs.empty()
                    if len(self._threads) > (1 + self._waiting if few else self._most()):
                        del self._threads[number]
                        return
        finally:
            lend(None)

    def close(self, timeout: float) -> None:
        """End idle threads; a thread that executes a job continues, because Python cannot stop it."""
        with self._counting:
            threads = list(self._threads.values())
            watcher = self._watcher
        for _ in threads:
            self._jobs.put(None)
        self._closed.set()
        self._jobs_queued.set()
        if watcher is not None:
            watcher.join(timeout)
        if not self._unfinished:
            for thread in threads:
                thread.join(timeout)
