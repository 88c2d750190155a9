"""The futures that a process holds of its run, while they are unfinished, and what these ask of the run.

A finished future belongs to whoever kept it: here it is forgotten, or known weakly if its task may be tried again.
Futures come with calls from any thread and are settled in the link's thread.
"""

from __future__ import annotations

import contextlib
import weakref
from collections import deque
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any

from parslab.client.futures.app_future import BaseFuture
from parslab.client.handle.commands import RunCommands
from parslab.client.handle.lifecycle import Lifecycle
from parslab.errors import ParslabError
from parslab.records import panel
from parslab.records.states import TaskState
from parslab.serialize.failures import failure_from
from parslab.wire.messages.client import CancelTasks, ReleaseTasks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future
    from pathlib import Path as FilePath

    from parslab.client.calls.retry_handler import RetryHandlerService
    from parslab.client.futures.app_future import AppFuture
    from parslab.client.local.tasks import LocalTasks
    from parslab.client.process.launch import KernelProcess
    from parslab.client.transport.questions import Questions
    from parslab.config import Config
    from parslab.serialize.references import Path
    from parslab.serialize.values import Inline
    from parslab.wire.messages.client import CallsMatched, SubmitTask, TasksReopened
    from parslab.wire.stream import Buffer

__all__ = ["PendingTasks"]

_LARGE = 1 << 20


class PendingTasks(Lifecycle, RunCommands):
    """What a :class:`~parslab.client.handle.dfk.DataFlowKernel` is for its futures (``futures.Home``)."""

    _questions: Questions
    _local: LocalTasks
    _judging: RetryHandlerService

    def __init__(
        self, config: Config | None, run: str, run_dir: FilePath, pid: int, started: KernelProcess | None
    ) -> None:
        super().__init__(config, run, run_dir, pid, started)
        self._pending: dict[int, AppFuture] = {}
        self._followers: dict[int, Callable[[str, str], None]] = {}
        self._released: deque[int] = deque()
        self._failed: weakref.WeakValueDictionary[int, AppFuture] = weakref.WeakValueDictionary()
        """Futures of tasks that have ended without a result: they may become unfinished again."""

    def _identify(self, future: Future[Any]) -> tuple[int, Path]:
        if isinstance(future, BaseFuture):
            parent, path = future._identity()
            if parent._dfk is self:
                return parent.task_id, path
        return self._local.external(future).task_id, None

    # ----- held from the call to the end

    def _expect(self, future: AppFuture, message: SubmitTask) -> None:
        """Hold a future until it is settled, and send its call."""
        try:
            self._pending[future.task_id] = future
            self._link.call(message)
        except BaseException:
            self._unmake(future.task_id)
            raise
        if self._ended is not None:
            self._fail_pending()

    def _unmake(self, task: int) -> None:
        """Its call was interrupted: whether it was sent or not, it shall not be."""
        self._pending.pop(task, None)
        self._followers.pop(task, None)
        self._judging.ended(task)
        self._link.later(CancelTasks([task]))

    def _ended_badly(self, task: int, future: AppFuture | None) -> None:
        """A task has ended without a result: it may be tried again as long as somebody has its future."""
        if future is None:
            future = self._failed.get(task)  # it was cancelled here
        else:
            self._failed[task] = future
        self._local.ended(task, future)

    def _reopened(self, message: TasksReopened) -> None:
        """Tasks that had ended are tried again."""
        for task in message.tasks:
            future = self._failed.pop(task, None)
            if future is not None:
                self._pending[task] = future
                self._local.reopened(future)
                future._reopen()

    def _adopted(self, message: CallsMatched) -> None:
        """Calls turn out to be those of an earlier kernel: their futures go by the numbers of these."""
        for new, old in message.tasks:
            future = self._pending.pop(new, None)
            if future is not None:
                self._pending[old] = future
                future.task_id = old
            if new in self._followers:
                self._followers[old] = self._followers.pop(new)
            self._local.renamed(new, old)
            self._judging.renamed(new, old)

    def _fail_pending(self) -> None:
        error = self._ended
        assert error is not None
        failure = failure_from(error)
        while self._pending:
            with contextlib.suppress(KeyError):
                _, future = self._pending.popitem()
                future._resolve(TaskState.failed, b"", 0, failure)
        self._local.let_go()

    def wait_for_current_tasks(self) -> None:
        """Wait until every task called so far is finished, however it ends (Parsl: same name).

        An interrupt ends the waiting alone: tasks go on, and it may be called again.

        Raises
        ------
        NoDataFlowKernelError
            This process was forked from the one that loaded the run.
        """
        self._flush()
        for future in list(self._pending.values()):
            with contextlib.suppress(CancelledError):
                future._wait(None)

    @property
    def unfinished(self) -> int:
        """How many tasks of this process are not finished."""
        return len(self._pending)

    def _to_retry(self, tasks: Iterable[Future[Any] | int] | None) -> list[int]:
        if self._ended is not None:
            raise self._over()
        if tasks is not None:
            return [task if isinstance(task, int) else self._identify(task)[0] for task in tasks]
        ended = [future for ref in self._failed.valuerefs() if (future := ref()) is not None]
        return sorted(future.task_id for future in ended if future.done() and not future.cancelled())

    # ----- what futures ask

    def _flush(self) -> None:
        if self._process_left:
            raise self._over()
        self._link.flush()

    def _cannot_stop(self, task: int) -> bool:
        return self._local.runs_in_thread(task)

    def _cancel(self, task: int) -> None:
        future = self._pending.pop(task, None)
        if future is not None:
            self._failed[task] = future
        self._link.send(CancelTasks([task]))

    def _retry(self, task: int) -> None:
        self.retry([task])

    def _release(self, task: int, size: int) -> None:
        """Called when a future is garbage: no locks here."""
        if self._ended is None:
            self._released.append(task)
            if size:
                self._questions.give_up(task)
            if len(self._released) >= 256 or size > _LARGE:
                self._send_released()
                if size > _LARGE:
                    self._link.wake()

    def _send_released(self) -> None:
        tasks: list[int] = []
        with contextlib.suppress(IndexError):
            while True:  # two threads may be here at once: each number must go with one of them
                tasks.append(self._released.popleft())
        if tasks:
            self._link.later(ReleaseTasks(tasks))

    def _state_of(self, task: int) -> TaskState:
        if self._ended is not None:
            return TaskState.failed
        return TaskState[self._detail(task).row.state]

    def _detail(self, task: int) -> panel.TaskDetail:
        answer = self.ask(panel.TaskDetailRequest("", task))
        if not isinstance(answer, panel.TaskDetail):
            raise ParslabError(getattr(answer, "text", f"task {task} is not known"))
        return answer

    def _fetch(self, future: AppFuture, timeout: float | None) -> tuple[Inline, list[Buffer]]:
        """Get a value that was too large to come by itself."""
        if self._ended is not None:
            raise self._lost_error()
        value = self._questions.fetch(future.task_id, timeout)
        if value is None:
            raise self._lost_error()
        return value
