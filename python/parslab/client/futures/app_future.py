"""The futures of tasks, and by import those that stand for parts and files of them (``derived``).

A future is settled by the link's thread with bytes; the value is unpickled by whoever asks first.  How it waits, and
what it costs until then, is in ``lean``.
"""

from __future__ import annotations

import logging
import weakref
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from parslab.client.futures import base
from parslab.client.futures.base import BaseFuture, left
from parslab.client.futures.derived import DataFuture, ResultPart
from parslab.errors import RetryError
from parslab.records.states import TaskState
from parslab.serialize.failures import exception_of
from parslab.serialize.values import unpack

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.records.panel import Attempt, TaskDetail
    from parslab.serialize.references import Path
    from parslab.serialize.values import Inline
    from parslab.wire.messages.base import Failure
    from parslab.wire.stream import Buffer

__all__ = ["AppFuture", "BaseFuture", "DataFuture", "Home", "ResultPart"]

log = logging.getLogger(__name__)


class Home(Protocol):
    """What a future needs of the run that its task belongs to."""

    def _flush(self) -> None: ...
    def _fetch(self, future: AppFuture, timeout: float | None) -> tuple[Inline, list[Buffer]]: ...
    def _cannot_stop(self, task: int) -> bool: ...
    def _cancel(self, task: int) -> None: ...
    def _retry(self, task: int) -> None: ...
    def _release(self, task: int, size: int) -> None: ...
    def _state_of(self, task: int) -> TaskState: ...
    def _detail(self, task: int) -> TaskDetail: ...
    def explain(self, task: int) -> str: ...


class AppFuture(BaseFuture):
    """The future of a task (Parsl: ``AppFuture``).

    Attributes
    ----------
    task_id, tid
        Its number in the run.
    app_name
        The app that was called.
    stdout, stderr, outputs
        Where a bash app writes, as given in the call; ``outputs`` are :class:`DataFuture` s.
    """

    stdout: Any = None
    stderr: Any = None
    outputs: list[DataFuture] = []  # noqa: RUF012  # replaced, never changed: one empty list serves all
    _payload: Any = None
    """Bytes of the value until it is asked for; then None."""
    _size = 0
    _known = False
    _remembered = False
    """Whether its value is that of an equal call before it."""
    _object: Any = None
    _failure: Failure | None = None
    _again: Any = None
    """Of a task that has failed: what of it lies in this process and is needed to run it again."""
    _derived: weakref.WeakSet[BaseFuture] | None = None
    """Of a task that has failed: the futures that stand for its parts and files."""
    _hook: ClassVar[Callable[[AppFuture], Any] | None] = None
    """Set in notebooks: displays a future live."""

    def __init__(self, home: Home, task_id: int, app_name: str) -> None:
        self._dfk = home
        self.task_id = task_id
        self.app_name = app_name

    @property
    def tid(self) -> int:
        """The number of the task (Parsl's name)."""
        return self.task_id

    def _decorate(self, stdout: Any = None, stderr: Any = None, outputs: list[DataFuture] | None = None) -> None:
        if stdout is not None:
            self.stdout = stdout
        if stderr is not None:
            self.stderr = stderr
        if outputs:
            self.outputs = outputs

    def _part(self, path: tuple[Any, ...]) -> ResultPart:
        return ResultPart(self, path)

    # ----- settled by the link

    def _resolve(self, state: TaskState, inline: bytes, size: int, failure: Failure | None) -> None:
        if failure is not None:
            self._failure = failure
        if inline:
            self._payload = inline
        if size:
            self._size = size
        if state is TaskState.memo_done:
            self._remembered = True
        self._settle(CANCELLED_AND_NOTIFIED if state is TaskState.cancelled else FINISHED)

    def _take(self, value: Any) -> None:
        """Its value is this object (local tasks, and values that have been unpickled)."""
        self._object = value
        self._known = True
        self._payload = None

    def _value(self, until: float | None = None) -> Any:
        if not self._known:
            payload = self._payload
            if payload is not None:
                self._take(unpack(payload, ()))
            elif self._size:
                inline, frames = self._dfk._fetch(self, left(until))
                self._take(unpack(inline, frames))
            else:
                with base.birth:
                    settled = self._state is not PENDING
                    if settled:
                        self._take(None)
                if not settled:  # it is tried again, since a moment ago
                    return self.result(left(until))
        return self._object

    def _error(self, until: float | None = None) -> BaseException | None:
        failure = self._failure
        if failure is None:
            return None
        error: BaseException | None = self._object if self._known else exception_of(failure, self.task_id)
        if not self._known:
            with base.birth:
                if self._failure is failure:  # else it is tried again, since a moment ago
                    self._take(error)
        return error

    def _failed(self) -> bool:
        return self._failure is not None

    def _reopen(self) -> None:
        super()._reopen()
        derived, self._derived = self._derived, None
        for future in list(derived or ()):
            future._reopen()

    def _unsettle(self) -> None:
        self._failure, self._payload, self._size = None, None, 0
        self._known, self._object = False, None
        super()._unsettle()

    def _follow(self, future: BaseFuture) -> None:
        """One that stands for a part of it has ended as it has: without a result, and maybe not for ever."""
        if self._failure is not None or self.cancelled():
            if self._derived is None:
                derived: weakref.WeakSet[BaseFuture] = weakref.WeakSet()
                with base.birth:
                    self._derived = derived if self._derived is None else self._derived
            self._derived.add(future)

    def _identity(self) -> tuple[AppFuture, Path]:
        return self, None

    def _before_waiting(self) -> None:
        self._dfk._flush()

    # ----- questions

    @property
    def state(self) -> TaskState:
        """Where the task is in its life; unfinished tasks are asked for."""
        if self._state is CANCELLED_AND_NOTIFIED:
            return TaskState.cancelled
        if self._state is FINISHED:
            if self._failure is None:
                return TaskState.memo_done if self._remembered else TaskState.exec_done
            if self._failure.roots and not self._failure.error.startswith("JoinError"):
                return TaskState.dep_fail
            return TaskState.failed
        return self._dfk._state_of(self.task_id)

    def task_status(self) -> str:
        """The name of the state (Parsl: ``AppFuture.task_status``)."""
        return self.state.name

    def running(self) -> bool:
        """Whether its body is being executed."""
        return not self.done() and self.state is TaskState.running

    def cancel(self) -> bool:
        """Cancel the task, also while it runs, and with a join app what its body has called.

        Returns
        -------
        bool
            False when it is finished already, or runs in a thread of this process (``ThreadPoolExecutor``), where
            nobody can stop it.
        """
        if self._dfk._cannot_stop(self.task_id) or not self._settle(CANCELLED_AND_NOTIFIED):
            return self.cancelled()
        self._dfk._cancel(self.task_id)
        return True

    def retry(self) -> AppFuture:
        """Try a task that failed or was cancelled again, with all that failed because of it; nothing else runs.

        This future, and all others that are concerned, are unfinished when it returns, and hold what comes of it later.
        The task calls what its app is defined as now, with the arguments of the original call: mend the function in a
        cell, then retry.  Callbacks that have been called are not called again.  A task that has not ended goes on.

        Returns
        -------
        AppFuture
            Itself.

        Raises
        ------
        RetryError
            It has a result, or cannot run again; it says why.
        """
        if self.done():
            if self._failure is None and not self.cancelled():
                raise RetryError(f"Task {self.task_id} ({self.app_name}) has a result: there is nothing to try again.")
            self._dfk._retry(self.task_id)
        return self

    def explain(self) -> str:
        """Why the task ran, or whose result it has, in a sentence or two."""
        return self._dfk.explain(self.task_id)

    def logs(self, stream: str | None = None) -> str:
        """What the task has printed so far: both streams, or only ``"stdout"`` or ``"stderr"``."""
        detail = self._dfk._detail(self.task_id)
        if stream is not None:
            if stream not in ("stdout", "stderr"):
                raise ValueError(f"a task has a stdout and a stderr, not a {stream!r}")
            return str(getattr(detail, stream))
        return detail.stdout + detail.stderr

    def history(self) -> list[Attempt]:
        """The attempts to run the task so far, the present one last: when, where, and why each of them failed."""
        return self._dfk._detail(self.task_id).attempts

    def traceback(self) -> str | None:
        """The traceback as the worker saw it; None when the task has not failed."""
        if not self.done() or self._failure is None:
            return None
        return self._failure.traceback or self._failure.error

    def __repr__(self) -> str:
        state = "unfinished" if self._state is PENDING else self.state.name
        error = f": {self._failure.error[:80]}" if self._failure is not None and state != "cancelled" else ""
        return f"<AppFuture task {self.task_id} {self.app_name} {state}{error}>"

    def _ipython_display_(self) -> None:
        hook = AppFuture._hook
        if hook is None:
            raise NotImplementedError
        hook(self)

    def __del__(self) -> None:
        # Nobody can ask for the value any more: the DataFlowKernel may drop it.
        dfk = getattr(self, "_dfk", None)
        if dfk is not None:
            dfk._release(self.task_id, self._size)
