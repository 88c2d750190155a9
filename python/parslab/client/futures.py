"""Futures of tasks: real ``concurrent.futures.Future`` s that cost little while nobody looks.

A future is settled by the link's thread with bytes; the value is unpickled by whoever asks first. The condition
variable that every standard future carries is made only when somebody waits, so that a notebook can hold a million of
them. Threads: settled by the link's thread, read by any.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import weakref
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol

from parslab.errors import RetryError
from parslab.records.states import TaskState
from parslab.serialize.failures import exception_of
from parslab.serialize.references import Constant, Path, follow_path
from parslab.serialize.values import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from parslab.records.panel import Attempt, TaskDetail
    from parslab.serialize.values import Inline
    from parslab.wire.messages import Failure
    from parslab.wire.stream import Buffer

__all__ = ["AppFuture", "DataFuture", "Home", "LeanFuture", "ResultPart"]

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


_DONE = (FINISHED, CANCELLED_AND_NOTIFIED)

# One lock for the birth of conditions and the settling of futures nobody waits for: an inbox would cost a thread
# switch per future, a lock per future 200 bytes.
_birth = threading.Lock()


def _in_child() -> None:
    """Whoever held the lock while we were forked is not here to release it."""
    global _birth
    _birth = threading.Lock()


os.register_at_fork(after_in_child=_in_child)


def _left(until: float | None) -> float | None:
    """Seconds until then."""
    return None if until is None else max(0.0, until - monotonic())


class LeanFuture(Future[Any]):
    """A future whose condition, waiters and callbacks come into being when they are needed.

    Subclasses say what the value is (``_value``) and what the exception (``_error``) once it is settled.
    """

    _state = PENDING
    _lazy_condition: threading.Condition | None = None
    _lazy_waiters: list[Any] | None = None
    _lazy_callbacks: list[Callable[[Any], object]] | None = None
    _awaiting: ClassVar[Callable[[], contextlib.AbstractContextManager[None]] | None] = None
    """Set in notebooks: has interrupts seen while a future is awaited."""

    def __init__(self) -> None:
        """Not the standard constructor: everything it would make is made lazily."""

    # The standard library reaches for these names (wait, as_completed, asyncio.wrap_future).

    @property
    def _condition(self) -> threading.Condition:
        if self._lazy_condition is None:
            with _birth:
                if self._lazy_condition is None:
                    self._lazy_condition = threading.Condition()
        return self._lazy_condition

    @_condition.setter
    def _condition(self, value: threading.Condition) -> None:
        self._lazy_condition = value

    @property
    def _waiters(self) -> list[Any]:  # type: ignore[override]
        if self._lazy_waiters is None:
            self._lazy_waiters = []
        return self._lazy_waiters

    @property
    def _done_callbacks(self) -> list[Callable[[Any], object]]:
        if self._lazy_callbacks is None:
            self._lazy_callbacks = []
        return self._lazy_callbacks

    # ----- settling

    def _settle(self, state: str) -> bool:
        """Enter a final state and wake everybody; False when it was final already."""
        with _birth:
            condition = self._lazy_condition
            if condition is None:
                if self._state in _DONE:
                    return False
                self._state = state
        if condition is not None:
            with condition:
                if self._state in _DONE:
                    return False
                self._state = state
                for waiter in self._lazy_waiters or ():
                    if state is not FINISHED:
                        waiter.add_cancelled(self)
                    elif self._failed():
                        waiter.add_exception(self)
                    else:
                        waiter.add_result(self)
                condition.notify_all()
        callbacks, self._lazy_callbacks = self._lazy_callbacks, None
        for call in callbacks or ():
            self._call(call)
        return True

    def _reopen(self) -> None:
        """Its task is tried again: it is unfinished as if it had just been made."""
        with _birth:
            condition = self._lazy_condition
            if condition is None:
                self._unsettle()
        if condition is not None:
            with condition:
                self._unsettle()

    def _unsettle(self) -> None:
        self._state = PENDING

    def _call(self, call: Callable[[Any], object]) -> None:
        try:
            call(self)
        except Exception:
            log.exception("a done callback of %r failed", self)

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Call ``fn(future)`` when it is done, in the link's thread; at once when it is done already."""
        with self._condition:
            if self._state not in _DONE:
                self._done_callbacks.append(fn)
                return
        self._call(fn)

    # ----- reading

    def done(self) -> bool:
        """Whether it is finished or cancelled."""
        return self._state in _DONE

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._state is CANCELLED_AND_NOTIFIED

    def _wait(self, timeout: float | None) -> None:
        if self._state not in _DONE:
            self._before_waiting()
            with self._condition:
                if not self._condition.wait_for(self.done, timeout):
                    raise FutureTimeout
        if self._state is CANCELLED_AND_NOTIFIED:
            raise CancelledError

    def _before_waiting(self) -> None:
        """Somebody is about to block on this future."""

    def result(self, timeout: float | None = None) -> Any:
        """The value; raises what the task raised, ``CancelledError``, or ``TimeoutError``.

        The time limit holds for all of it: until the task has ended, and until a large value is here.
        """
        until = None if timeout is None else monotonic() + timeout
        self._wait(timeout)
        error = self._error(until)
        if error is not None:
            try:
                raise error.with_traceback(None)  # it is kept: each result() would add its frames to the last one's
            finally:
                # The traceback now holds this frame, and this frame the error: break the cycle. (Not by deleting self:
                # IPython would show that the arguments of this frame cannot be found.)
                self = error = None  # type: ignore[assignment]
        return self._value(until)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """What the task raised, or None."""
        until = None if timeout is None else monotonic() + timeout
        self._wait(timeout)
        return self._error(until)

    def _value(self, until: float | None = None) -> Any:
        """The value; raises TimeoutError when it is not here ``until`` then (None: however long it takes)."""
        raise NotImplementedError

    def _error(self, until: float | None = None) -> BaseException | None:
        raise NotImplementedError

    def _failed(self) -> bool:
        """Whether the task failed, as far as can be told without unpickling anything."""
        raise NotImplementedError

    def _get_snapshot(self) -> tuple[bool, bool, Any, BaseException | None]:
        """Done, cancelled, result, exception: how asyncio of Python 3.14 reads a future that it wraps."""
        if self._state is not FINISHED:
            return self._state in _DONE, self.cancelled(), None, None
        error = self._error()
        return True, False, None if error is not None else self._value(), error

    def __await__(self) -> Generator[Any, None, Any]:
        """Await the value in any asyncio loop.  Interrupting the awaiting cell does not cancel the task."""
        import asyncio

        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def wake(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody awaits any more
                loop.call_soon_threadsafe(finish)

        def finish() -> None:
            if not woken.done():
                woken.set_result(None)

        self.add_done_callback(wake)
        self._before_waiting()
        with LeanFuture._awaiting() if LeanFuture._awaiting is not None else contextlib.nullcontext():
            yield from woken
        return self.result()

    def __iter__(self) -> NoReturn:
        raise TypeError("a future cannot be iterated over: ask for its result() first")

    def _identity(self) -> tuple[AppFuture, Path]:
        """The task whose value this stands for, and which part of it."""
        raise NotImplementedError

    def __getitem__(self, key: Any) -> ResultPart:
        """The part of the value at ``key``, as a future; no task is made for it."""
        parent, path = self._identity()
        if isinstance(path, Constant):
            raise TypeError("a DataFuture has no parts")
        return ResultPart(parent, (*(path or ()), key))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a future cannot be pickled: pass it as an argument of an app, or pass its result()")


class AppFuture(LeanFuture):
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
    _derived: weakref.WeakSet[LeanFuture] | None = None
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
                inline, frames = self._dfk._fetch(self, _left(until))
                self._take(unpack(inline, frames))
            else:
                with _birth:
                    settled = self._state is not PENDING
                    if settled:
                        self._take(None)
                if not settled:  # it is tried again, since a moment ago
                    return self.result(_left(until))
        return self._object

    def _error(self, until: float | None = None) -> BaseException | None:
        failure = self._failure
        if failure is None:
            return None
        error: BaseException | None = self._object if self._known else exception_of(failure, self.task_id)
        if not self._known:
            with _birth:
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

    def _follow(self, future: LeanFuture) -> None:
        """One that stands for a part of it has ended as it has: without a result, and maybe not for ever."""
        if self._failure is not None or self.cancelled():
            if self._derived is None:
                derived: weakref.WeakSet[LeanFuture] = weakref.WeakSet()
                with _birth:
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


class ResultPart(LeanFuture):
    """A part of a task's value: ``fut["a"][0]``.  It is a path, not a task."""

    def __init__(self, parent: AppFuture, path: tuple[Any, ...]) -> None:
        self._parent = parent
        self._path = path
        parent.add_done_callback(self._parent_done)

    def _parent_done(self, parent: AppFuture) -> None:
        parent._follow(self)
        self._settle(CANCELLED_AND_NOTIFIED if parent.cancelled() else FINISHED)

    def _reopen(self) -> None:
        super()._reopen()
        self._parent.add_done_callback(self._parent_done)

    def _value(self, until: float | None = None) -> Any:
        return follow_path(self._parent._value(until), self._path)

    def _error(self, until: float | None = None) -> BaseException | None:
        error = self._parent._error(until)
        if error is None:
            try:
                self._value(until)
            except FutureTimeout:
                raise
            except Exception as missing:
                return missing
        return error

    def _failed(self) -> bool:
        return self._parent._failed()

    def _identity(self) -> tuple[AppFuture, Path]:
        return self._parent, self._path

    def _before_waiting(self) -> None:
        self._parent._before_waiting()

    def running(self) -> bool:
        """Whether the task behind it runs."""
        return self._parent.running()

    def cancel(self) -> bool:
        """Cancel the task behind it."""
        return self._parent.cancel()

    def retry(self) -> ResultPart:
        """Try the task behind it again; see :meth:`AppFuture.retry`."""
        self._parent.retry()
        return self

    @property
    def task_id(self) -> int:
        """The number of the task behind it."""
        return self._parent.task_id

    def __repr__(self) -> str:
        path = "".join(f"[{key!r}]" for key in self._path)
        return f"<ResultPart {path} of {self._parent!r}>"


class DataFuture(LeanFuture):
    """A file that a task will have written (Parsl: ``DataFuture``); its result is the ``File``.

    Parameters
    ----------
    parent
        The task that writes it.
    file
        What ``result()`` returns, and what an app gets that is given this future.
    """

    def __init__(self, parent: AppFuture, file: Any) -> None:
        self.parent = parent
        self.file_obj = file
        parent.add_done_callback(self._parent_done)

    def _parent_done(self, parent: AppFuture) -> None:
        parent._follow(self)
        self._settle(CANCELLED_AND_NOTIFIED if parent.cancelled() else FINISHED)

    def _reopen(self) -> None:
        super()._reopen()
        self.parent.add_done_callback(self._parent_done)

    def _value(self, until: float | None = None) -> Any:
        return self.file_obj

    def _error(self, until: float | None = None) -> BaseException | None:
        return self.parent._error(until)

    def _failed(self) -> bool:
        return self.parent._failed()

    def _identity(self) -> tuple[AppFuture, Path]:
        return self.parent, Constant(self.file_obj)

    def _before_waiting(self) -> None:
        self.parent._before_waiting()

    def running(self) -> bool:
        """Whether the task that writes the file runs."""
        return self.parent.running()

    def cancel(self) -> bool:
        """Cancel the task that writes the file."""
        return self.parent.cancel()

    def retry(self) -> DataFuture:
        """Try the task that writes the file again; see :meth:`AppFuture.retry`."""
        self.parent.retry()
        return self

    @property
    def task_id(self) -> int:
        """The number of the task that writes the file."""
        return self.parent.task_id

    @property
    def tid(self) -> int:
        """The number of the task that writes the file (Parsl's name)."""
        return self.parent.task_id

    @property
    def filepath(self) -> str:
        """The path of the file."""
        return str(getattr(self.file_obj, "filepath", self.file_obj))

    @property
    def filename(self) -> str:
        """The path of the file (Parsl's name)."""
        return self.filepath

    def __repr__(self) -> str:
        return f"<DataFuture {self.filepath} of {self.parent!r}>"
