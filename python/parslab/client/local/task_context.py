"""The task whose body a thread of this process runs.

Bodies of join and thread-pool apps run here while the user's cells go on.  A call that a body makes belongs to the cell
that called the body's app, not to the cell that runs now.  The calls of a join are cancelled together with the join.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import CancelledError
from threading import get_ident
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.client.futures.app_future import AppFuture

__all__ = ["TaskContext", "calling_join", "on_behalf_of", "task_contexts"]


class TaskContext(NamedTuple):
    """The task of one thread."""

    future: AppFuture
    cell: str
    join: bool
    """Whether the calls of the body are part of the task."""


task_contexts: dict[int, TaskContext] = {}
"""By thread identifier.  Every call of an app looks here; it is empty while no body runs."""


def calling_join() -> int:
    """The task of the join app whose body this thread runs, or -1.

    Raises
    ------
    CancelledError
        The join was cancelled.  Nobody can stop its body, so the body ends at its next call.
    """
    task = task_contexts.get(get_ident())
    if task is None or not task.join:
        return -1
    if task.future.cancelled():
        raise CancelledError(f"join app {task.future.app_name} was cancelled, so its body can call nothing more")
    return task.future.task_id


@contextlib.contextmanager
def on_behalf_of(future: AppFuture, cell: str, join: bool) -> Iterator[None]:
    """A context in which this thread runs the body of a task."""
    thread = get_ident()
    before = task_contexts.get(thread)
    task_contexts[thread] = TaskContext(future, cell, join)
    try:
        yield
    finally:
        if before is None:
            del task_contexts[thread]
        else:
            task_contexts[thread] = before
