"""``PendingTasks`` holds the futures of unfinished tasks, from the call to the end of the task.

A finished future belongs to the user alone.  This module drops it, or keeps a weak reference while a retry of its task
is possible.  Any thread adds futures; the link's thread settles them.  Each change is one operation of a dictionary,
which is atomic in CPython, so there is no lock.
"""

from __future__ import annotations

import contextlib
import itertools
import weakref
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

from parslab.errors import SerializationError
from parslab.records.states import TaskState
from parslab.serialize.failures import failure_from, one_line
from parslab.wire.messages.client import CancelTasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from parslab.client.calls.retry_handler import RetryHandlerService
    from parslab.client.futures.app_future import AppFuture
    from parslab.client.run_state import RunState
    from parslab.client.transport.link import KernelLink
    from parslab.wire.messages.base import WireMessage
    from parslab.wire.messages.client import SubmitTask

__all__ = ["PendingTasks"]


class PendingTasks:
    """The futures of one process in one run.

    Parameters
    ----------
    state
        The state of the run.
    link
        The connection to the DataFlowKernel.
    retry_handler
        Drops a call whose submission was interrupted.

    Attributes
    ----------
    numbers
        The iterator of task numbers; the welcome of the DataFlowKernel contains the first one.
    unfinished
        The futures of unfinished tasks, by task.
    failed
        The futures of tasks that ended without a result, while the user holds them: these tasks may run again.
    followers
        The function that gets the output of a task, by task.
    in_threads
        Thread-pool tasks whose bodies run now, which nobody can stop; ``LocalTasks`` changes this set.
    """

    def __init__(self, state: RunState, link: KernelLink, retry_handler: RetryHandlerService) -> None:
        self._state = state
        self._link = link
        link.on_unsendable = self._unsendable
        self._retry_handler = retry_handler
        self.numbers: Iterator[int] = itertools.count()
        self.unfinished: dict[int, AppFuture] = {}
        self.failed: weakref.WeakValueDictionary[int, AppFuture] = weakref.WeakValueDictionary()
        self.followers: dict[int, Callable[[str, str], None]] = {}
        self.in_threads: set[int] = set()

    # ----- calls (any thread)

    def expect(self, future: AppFuture, message: SubmitTask) -> None:
        """Hold a future until its task ends, and send its call."""
        try:
            self.unfinished[future.task_id] = future
            self._link.call(message)
        except BaseException:  # an interrupt: the caller will get no future
            self.withdraw(future.task_id)
            raise
        # The link's thread may have ended the run and failed all futures before this call added its own.
        if self._state.ended is not None:
            self.fail_all()

    def withdraw(self, task: int) -> None:
        """Remove a call whose submission was interrupted, and cancel its task in case the call was sent."""
        self.unfinished.pop(task, None)
        self.followers.pop(task, None)
        self._retry_handler.ended(task)
        self._link.later(CancelTasks([task]))

    def cancelled(self, task: int) -> None:
        """Move a future that the user has cancelled to ``failed``, because the user may retry its task."""
        future = self.unfinished.pop(task, None)
        if future is not None:
            self.failed[task] = future

    # ----- what the DataFlowKernel reports (link's thread)

    def ended_without_result(self, task: int, future: AppFuture | None) -> AppFuture | None:
        """Move the future of a task without a result to ``failed``; return the future if the user still holds it."""
        if future is None:
            return self.failed.get(task)  # cancelled() has moved it before
        self.failed[task] = future
        return future

    def reopened(self, tasks: Iterable[int]) -> list[AppFuture]:
        """Move the futures of tasks that run again back to ``unfinished``, and return them."""
        futures = [future for task in tasks if (future := self.failed.pop(task, None)) is not None]
        self.unfinished.update((future.task_id, future) for future in futures)
        return futures

    def renumbered(self, new: int, old: int) -> None:
        """Give the future of a call the number of the equal task that an earlier kernel of the notebook has called."""
        future = self.unfinished.pop(new, None)
        if future is not None:
            self.unfinished[old] = future
            future.task_id = old
            future.taken_over = True
        if new in self.followers:
            self.followers[old] = self.followers.pop(new)

    def fail_all(self) -> None:
        """Settle all futures with the reason why the run is over."""
        error = self._state.ended
        assert error is not None
        failure = failure_from(error)
        while self.unfinished:
            with contextlib.suppress(KeyError):  # another thread may remove the last one at the same time
                _, future = self.unfinished.popitem()
                future.resolve(TaskState.failed, b"", 0, failure)

    def _unsendable(self, message: WireMessage, error: Exception) -> None:
        """Fail the call of a message that could not be encoded (any thread)."""
        task = getattr(message, "task", -1)
        future = self.unfinished.pop(task, None)
        if future is not None:
            self._retry_handler.ended(task)
            reason = SerializationError(f"the call of app {future.app_name} (task {task})", one_line(error))
            future.resolve(TaskState.failed, b"", 0, failure_from(reason))

    # ----- what users ask

    def wait_for_all(self) -> None:
        """Wait until all tasks that this process has called are finished, also failed ones."""
        # A copy, because the link's thread removes futures during the wait.
        for future in list(self.unfinished.values()):
            with contextlib.suppress(CancelledError):
                future.wait(None)

    def retryable(self) -> list[int]:
        """Return the failed tasks whose future the user still holds, without cancelled ones."""
        ended = [future for ref in self.failed.valuerefs() if (future := ref()) is not None]
        return sorted(future.task_id for future in ended if future.done() and not future.cancelled())
