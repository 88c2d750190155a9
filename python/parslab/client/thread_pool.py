"""A few daemon threads for work that must not block the link's thread, and that the interpreter need not wait for."""

from __future__ import annotations

import queue
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ThreadPool"]


class ThreadPool:
    """Daemon threads that start when they are needed.

    They are daemons, unlike those of ``concurrent.futures``, so that a long task never keeps the interpreter alive.

    Parameters
    ----------
    name
        Threads are called ``parslab-<name>-<n>``.
    size
        The greatest number of threads.
    """

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._unfinished = 0
        # Submitters and threads both change the count; an inbox would need a thread of its own to read it.
        self._counting = threading.Lock()

    def submit(self, job: Callable[[], None]) -> None:
        """Run ``job`` in one of the threads; it must not raise."""
        with self._counting:
            self._unfinished += 1
            if self._unfinished > len(self._threads) < self._size:
                name = f"parslab-{self._name}-{len(self._threads)}"
                thread = threading.Thread(target=self._serve, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
        self._jobs.put(job)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job  # it may hold the arguments of a task, and the next job may not come for hours
            with self._counting:
                self._unfinished -= 1

    def close(self, timeout: float) -> None:
        """End idle threads; a thread that executes a job is left running."""
        for _ in self._threads:
            self._jobs.put(None)
        if not self._unfinished:
            for thread in self._threads:
                thread.join(timeout)
