"""``task_contexts`` holds the task whose body each thread of this process runs.

Bodies of join and thread-pool apps run here while the user's next cells run.  A call that a body makes belongs to the
cell that called the body's app, not to the cell that runs now.  The cancel of a join includes the calls of its body.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from threading import get_ident
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from parslab.client.futures.app_future import AppFuture

__all__ = ["TaskContext", "calling_join", "on_behalf_of", "task_contexts"]


class TaskContext(NamedTuple):
    """The task of one thread."""

    future: AppFuture
    cell: str
    join: bool
    """Whether the calls of the body are part of the task."""


task_contexts: dict[int, TaskContext] = {}
"""The context of each thread, by thread identifier.

A dictionary, not ``threading.local``: every call of an app looks here, and a test for an empty dictionary costs least.
"""


def calling_join() -> int:
    """Return the task of the join app whose body this thread runs, or -1.

    Raises
    ------
    CancelledError
        The join was cancelled.  Python cannot stop the thread of its body, so this error ends it at its next call.
    """
    task = task_contexts.get(get_ident())
    if task is None or not task.join:
        return -1
    if task.future.cancelled():
        raise CancelledError(f"join app {task.future.app_name} was cancelled, so its body can call nothing more")
    return task.future.task_id


class on_behalf_of:
    """A context in which this thread runs the body of a task.

    Not a generator, because bodies of join apps are as short as the generator's own calls.
    """

    __slots__ = ("_before", "_context", "_thread")

    def __init__(self, future: AppFuture, cell: str, join: bool) -> None:
        self._context = TaskContext(future, cell, join)

    def __enter__(self) -> None:
        self._thread = thread = get_ident()
        self._before = task_contexts.get(thread)
        task_contexts[thread] = self._context

    def __exit__(self, *_: object) -> None:
        if self._before is None:
            del task_contexts[self._thread]
        else:
            task_contexts[self._thread] = self._before
