"""On whose behalf a thread of ours acts: the task whose body it runs.

Bodies of join and thread-pool apps run in this process while the user's cells go on, so what they call belongs to the
cell that called them, not to the one that happens to run; and what a join has called is cancelled with it.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import CancelledError
from threading import get_ident
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.client.futures.app_future import AppFuture

__all__ = ["TaskContext", "acting", "calling_join", "on_behalf_of"]


class TaskContext(NamedTuple):
    """What a thread is at."""

    future: AppFuture
    cell: str
    join: bool
    """Whether what it calls is part of the task."""


acting: dict[int, TaskContext] = {}
"""By thread.  Looked at in every call, and empty as a rule."""


def calling_join() -> int:
    """The join app on whose behalf this thread calls, or -1.

    Raises
    ------
    CancelledError
        It was cancelled: its body, which nobody can stop, ends here.
    """
    task = acting.get(get_ident())
    if task is None or not task.join:
        return -1
    if task.future.cancelled():
        raise CancelledError(f"join app {task.future.app_name} was cancelled, so its body can call nothing more")
    return task.future.task_id


@contextlib.contextmanager
def on_behalf_of(future: AppFuture, cell: str, join: bool) -> Iterator[None]:
    """While this thread runs the body of a task."""
    thread = get_ident()
    before = acting.get(thread)
    acting[thread] = TaskContext(future, cell, join)
    try:
        yield
    finally:
        if before is None:
            del acting[thread]
        else:
            acting[thread] = before
