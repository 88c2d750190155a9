"""Bodies that run in the notebook process: thread-pool apps, join apps, and packing values that workers want.

Arguments are passed by reference; futures in them are replaced by their values when the DataFlowKernel says that all
are there. Threads are daemons, so that a long task never keeps the interpreter from ending.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ThreadPool", "futures_in", "with_values"]


class ThreadPool:
    """A few daemon threads that start when they are needed.

    Parameters
    ----------
    name
        Threads are called ``parslab-<name>-<n>``.
    size
        The most threads there will be.
    """

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._idle = 0
        self._growing = threading.Lock()  # two callers must not both start the last thread

    def submit(self, job: Callable[[], None]) -> None:
        """Run ``job`` in one of the threads; it must not raise."""
        self._jobs.put(job)
        with self._growing:
            if self._jobs.qsize() > self._idle and len(self._threads) < self._size:
                name = f"parslab-{self._name}-{len(self._threads)}"
                thread = threading.Thread(target=self._serve, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()

    def _serve(self) -> None:
        while True:
            self._idle += 1
            job = self._jobs.get()
            self._idle -= 1
            if job is None:
                return
            job()
            del job

    def close(self, timeout: float) -> None:
        """Let idle threads end; a thread in a task is left to its own devices."""
        for _ in self._threads:
            self._jobs.put(None)
        if self._idle == len(self._threads):
            for thread in self._threads:
                thread.join(timeout)


def with_values(value: Any) -> Any:
    """``value`` with every future in it replaced by its result; containers are copied only where one was found."""
    if isinstance(value, Future):
        return value.result()
    kind = type(value)
    if kind is list or kind is tuple or kind is set or kind is frozenset:
        new = [with_values(item) for item in value]
        return kind(new) if any(a is not b for a, b in zip(new, value, strict=True)) else value
    if kind is dict:
        pairs = [(with_values(k), with_values(v)) for k, v in value.items()]
        same = all(k is a and v is b for (k, v), (a, b) in zip(pairs, value.items(), strict=True))
        return value if same else dict(pairs)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        new = [with_values(item) for item in value]
        return kind(*new) if any(a is not b for a, b in zip(new, value, strict=True)) else value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {}
        for field in dataclasses.fields(value):
            if field.init and hasattr(value, field.name):
                old = getattr(value, field.name)
                new = with_values(old)
                if new is not old:
                    changed[field.name] = new
        return dataclasses.replace(value, **changed) if changed else value
    return value


def futures_in(value: Any, found: list[Future[Any]]) -> None:
    """Append every future that :func:`with_values` would replace to ``found``."""
    if isinstance(value, Future):
        found.append(value)
    elif isinstance(value, (list, tuple, set, frozenset)):
        for item in value:
            futures_in(item, found)
    elif type(value) is dict:
        for key, item in value.items():
            futures_in(key, found)
            futures_in(item, found)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            if field.init and hasattr(value, field.name):
                futures_in(getattr(value, field.name), found)
