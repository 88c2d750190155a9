"""Says which task this process runs; a worker sets it once when it starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["set_running", "task"]

_current: Callable[[], int] | None = None


def set_running(current: Callable[[], int]) -> None:
    """Have :func:`task` return what ``current`` returns: so a worker need not write down each task."""
    global _current
    _current = current


def task() -> int:
    """Return the number of the task that this process runs; -1: none, or this process is no worker."""
    return -1 if _current is None else _current()
