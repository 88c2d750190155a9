"""A few daemon threads for work that must not block the link's thread, and that the interpreter need not wait for.

A job that waits for another job of its pool would hold a thread that the other one needs.  A pool can therefore lend
a further thread for each job that waits: futures call :func:`waits_in` before they block.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
from threading import get_ident
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["MOST_WAITING", "ThreadPool", "waits_in"]

log = logging.getLogger(__name__)

MOST_WAITING = 2000
"""How many waiting jobs of a pool get another thread in their place; each costs some 100 kB of memory."""

_lending: dict[int, ThreadPool] = {}
"""The pools that lend threads, by the identifiers of their threads."""


def waits_in() -> ThreadPool | None:
    """The pool that lends a thread while the present thread waits; None: the present thread is none of such a pool."""
    return _lending.get(get_ident())


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
        Whether jobs that wait do not count.
    """

    def __init__(self, name: str, size: int, lends: bool = False) -> None:
        self._name = name
        self._size = size
        self._lends = lends
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
            self._start_thread()
        self._jobs.put(job)

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """A context in which the present job waits, so that another one may run in its place."""
        with self._counting:
            self._waiting += 1
            self._start_thread()
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

    def _start_thread(self) -> None:
        """Start a thread if there is a job for it and the pool may have one more."""
        if self._unfinished > len(self._threads) < self._most():
            number = next(n for n in range(len(self._threads) + 1) if n not in self._threads)
            thread = threading.Thread(
                target=self._serve, args=(number,), name=f"parslab-{self._name}-{number}", daemon=True
            )
            self._threads[number] = thread
            thread.start()

    def _most(self) -> int:
        return self._size + min(self._waiting, MOST_WAITING)

    def _serve(self, number: int) -> None:
        if self._lends:
            _lending[get_ident()] = self
        try:
            while (job := self._jobs.get()) is not None:
                job()
                del job  # it may hold the arguments of a task, and the next job may not come for hours
                with self._counting:
                    self._unfinished -= 1
                    if len(self._threads) > self._most():  # the job in whose place this thread ran waits no more
                        del self._threads[number]
                        return
        finally:
            _lending.pop(get_ident(), None)

    def close(self, timeout: float) -> None:
        """End idle threads; a thread that executes a job is left running."""
        with self._counting:
            threads = list(self._threads.values())
        for _ in threads:
            self._jobs.put(None)
        if not self._unfinished:
            for thread in threads:
                thread.join(timeout)
