"""Child processes for which a thread of this process waits.

The loop collects the exit status of every other child, because orphans of tasks become children of this process.
"""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator

__all__ = ["awaited", "is_awaited"]


class _OtherChildren:
    """Children for which another thread waits.

    The lock protects ``starting``: several threads count in it, and an inbox of the loop would be too late for a child
    that ends at once.
    """

    def __init__(self) -> None:
        self.pids: set[int] = set()
        self.starting = 0
        self.lock = threading.Lock()


_awaited = _OtherChildren()


@contextlib.contextmanager
def awaited(start: Callable[[], subprocess.Popen[bytes]]) -> Iterator[subprocess.Popen[bytes]]:
    """Start a child that this thread waits for; :func:`collect_orphans` leaves its exit status to this thread."""
    with _awaited.lock:
        _awaited.starting += 1
    try:
        process = start()
        _awaited.pids.add(process.pid)
    finally:
        with _awaited.lock:
            _awaited.starting -= 1
    try:
        yield process
    finally:
        _awaited.pids.discard(process.pid)


def is_awaited(pid: int) -> bool:
    """Return whether a thread waits for this child, or for one that it is just starting."""
    # In this order: a child is in ``pids`` before it is no longer counted in ``starting``.
    return bool(_awaited.starting) or pid in _awaited.pids
