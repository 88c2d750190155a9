"""The futures of unfinished tasks, from the call to the end of the task.

A finished future belongs to the user alone.  This module forgets it, or keeps a weak reference while its task may run
again.  Any thread adds futures; the link's thread settles them.
"""

from __future__ import annotations

import contextlib
import itertools
import weakref
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

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
        Forgets a call whose submission was interrupted.

    Attributes
    ----------
    numbers
        Gives the number of the next task; the DataFlowKernel says in its welcome where the numbers begin.
    unfinished
        The futures of unfinished tasks, by task.
    failed
        The futures of tasks that ended without a result, while somebody has them: these tasks may run again.
    followers
        By task: the function that gets what the task prints.
    in_threads
        Thread-pool tasks whose bodies run now, which nobody can stop; ``LocalTasks`` keeps this set.
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
        except BaseException:  # an interrupt: nobody will have the future
            self.withdraw(future.task_id)
            raise
        if self._state.ended is not None:
            self.fail_all()

    def withdraw(self, task: int) -> None:
        """Undo a call whose submission was interrupted, and cancel the task in case the call was sent."""
        self.unfinished.pop(task, None)
        self.followers.pop(task, None)
        self._retry_handler.ended(task)
        self._link.later(CancelTasks([task]))

    def cancelled(self, task: int) -> None:
        """The user has cancelled the future of this task."""
        future = self.unfinished.pop(task, None)
        if future is not None:
            self.failed[task] = future

    # ----- what the DataFlowKernel reports (link's thread)

    def ended_without_result(self, task: int, future: AppFuture | None) -> AppFuture | None:
        """A task has ended without a result; returns its future if somebody has it."""
        if future is None:
            return self.failed.get(task)  # the user cancelled it, so it is not among the unfinished ones
        self.failed[task] = future
        return future

    def reopened(self, tasks: Iterable[int]) -> list[AppFuture]:
        """Tasks run again: their futures are held again, and returned."""
        futures = [future for task in tasks if (future := self.failed.pop(task, None)) is not None]
        self.unfinished.update((future.task_id, future) for future in futures)
        return futures

    def renumbered(self, new: int, old: int) -> None:
        """A call is one that an earlier kernel of the notebook has made: its future gets the number of that task."""
        future = self.unfinished.pop(new, None)
        if future is not None:
            self.unfinished[old] = future
            future.task_id = old
            future.taken_over = True
        if new in self.followers:
            self.followers[old] = self.followers.pop(new)

    def fail_all(self) -> None:
        """The run is over: settle all futures with the reason."""
        error = self._state.ended
        assert error is not None
        failure = failure_from(error)
        while self.unfinished:
            with contextlib.suppress(KeyError):  # another thread may take the last one
                _, future = self.unfinished.popitem()
                future.resolve(TaskState.failed, b"", 0, failure)

    def _unsendable(self, message: Any, error: Exception) -> None:
        """A message could not be encoded: the call that it stands for fails, and no other (any thread)."""
        task = getattr(message, "task", -1)
        future = self.unfinished.pop(task, None)
        if future is not None:
            self._retry_handler.ended(task)
            reason = SerializationError(f"the call of app {future.app_name} (task {task})", one_line(error))
            future.resolve(TaskState.failed, b"", 0, failure_from(reason))

    # ----- what users ask

    def wait_for_all(self) -> None:
        """Wait until every task called so far is finished, however it ends."""
        for future in list(self.unfinished.values()):
            with contextlib.suppress(CancelledError):
                future.wait(None)

    def retryable(self) -> list[int]:
        """The tasks that failed and whose future somebody has; cancelled ones are not among them."""
        ended = [future for ref in self.failed.valuerefs() if (future := ref()) is not None]
        return sorted(future.task_id for future in ended if future.done() and not future.cancelled())
