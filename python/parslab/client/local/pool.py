"""Bodies that run in the notebook process: thread-pool apps, join apps, and packing values that workers want.

Arguments are passed by reference; futures in them are replaced by their values when the DataFlowKernel says that all
are there. Threads are daemons, so that a long task never keeps the interpreter from ending.
"""

from __future__ import annotations

import copy
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
        self._jobs_left = 0
        self._counting = threading.Lock()  # who starts the next thread must know of every job, at that moment

    def submit(self, job: Callable[[], None]) -> None:
        """Run ``job`` in one of the threads; it must not raise."""
        with self._counting:
            self._jobs_left += 1
            if self._jobs_left > len(self._threads) < self._size:
                name = f"parslab-{self._name}-{len(self._threads)}"
                thread = threading.Thread(target=self._serve, name=name, daemon=True)
                self._threads.append(thread)
                thread.start()
        self._jobs.put(job)

    def _serve(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job
            with self._counting:
                self._jobs_left -= 1

    def close(self, timeout: float) -> None:
        """Let idle threads end; a thread in a task is left to its own devices."""
        for _ in self._threads:
            self._jobs.put(None)
        if not self._jobs_left:
            for thread in self._threads:
                thread.join(timeout)


def with_values(value: Any) -> Any:
    """``value`` with every future in it replaced by its result; containers are copied only where one was found.

    Lists, tuples (named ones too), sets, dictionaries and dataclasses are looked into. A container that is found twice
    stays the same object; one that contains itself is left as it is there.
    """
    return _replaced(value, {})


def _replaced(value: Any, known: dict[int, Any]) -> Any:
    if isinstance(value, Future):
        return value.result()
    if not _is_container(value):
        return value
    if id(value) not in known:
        known[id(value)] = value  # what it contains may be itself
        known[id(value)] = _rebuilt(value, known)
    return known[id(value)]


def _rebuilt(value: Any, known: dict[int, Any]) -> Any:
    kind = type(value)
    if kind is dict:
        pairs = [(_replaced(k, known), _replaced(v, known)) for k, v in value.items()]
        same = all(k is a and v is b for (k, v), (a, b) in zip(pairs, value.items(), strict=True))
        return value if same else dict(pairs)
    if dataclasses.is_dataclass(value):
        changed = {field.name: new for field, old in _fields(value) if (new := _replaced(old, known)) is not old}
        if not changed:
            return value
        twin = copy.copy(value)  # not made anew: its __init__ has run, and may want what is not kept
        for name, new in changed.items():
            object.__setattr__(twin, name, new)
        return twin
    items = [_replaced(item, known) for item in value]
    if all(a is b for a, b in zip(items, value, strict=True)):
        return value
    return kind(*items) if hasattr(value, "_fields") else kind(items)


def _is_container(value: Any) -> bool:
    kind = type(value)
    if kind in (list, tuple, dict, set, frozenset):
        return True
    return (isinstance(value, tuple) and hasattr(value, "_fields")) or (
        dataclasses.is_dataclass(value) and not isinstance(value, type)
    )


def _fields(value: Any) -> list[tuple[dataclasses.Field[Any], Any]]:
    return [(field, getattr(value, field.name)) for field in dataclasses.fields(value) if hasattr(value, field.name)]


def futures_in(value: Any, found: list[Future[Any]]) -> None:
    """Append every future that :func:`with_values` would replace to ``found``."""
    seen: set[int] = set()
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, Future):
            found.append(item)
        elif _is_container(item) and id(item) not in seen:
            seen.add(id(item))
            left += reversed(_contents(item))


def _contents(container: Any) -> list[Any]:
    if type(container) is dict:
        return [part for pair in container.items() for part in pair]
    if dataclasses.is_dataclass(container):
        return [part for _, part in _fields(container)]
    return list(container)
