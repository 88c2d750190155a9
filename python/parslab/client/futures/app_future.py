"""``AppFuture`` is the future of a task.

The link's thread settles a future with bytes.  The first thread that asks for the value unpickles it, because
unpickling takes time and may run code of the user.  ``base`` implements waiting.  Users import the futures for parts
and files (``derived``) from here, too.
"""

from __future__ import annotations

import logging
import weakref
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from typing import TYPE_CHECKING, Any, ClassVar

from parslab.client.futures import base
from parslab.client.futures.base import BaseFuture, seconds_until
from parslab.client.futures.derived import DataFuture, ResultPart
from parslab.client.futures.task_record import TaskRecord
from parslab.errors import DeserializationError, RetryError
from parslab.records.states import EXECUTING, TaskState
from parslab.records.text import printable
from parslab.serialize.failures import exception_of, one_line
from parslab.serialize.values import unpack

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.client.futures.base import TaskFuture
    from parslab.client.futures.home import FutureHome
    from parslab.client.futures.task_record import KeptCall
    from parslab.records.panel import Attempt
    from parslab.serialize.references import Path
    from parslab.serialize.values import Inline
    from parslab.wire.messages.base import Failure
    from parslab.wire.stream import Buffer

__all__ = ["AppFuture", "BaseFuture", "DataFuture", "ResultPart", "task_future_of"]

log = logging.getLogger(__name__)


class AppFuture(BaseFuture):
    """The future of a task (Parsl: ``AppFuture``).

    Attributes
    ----------
    task_id, tid
        The number of the task in its run.
    app_name
        The name of the app that was called.
    stdout, stderr, outputs
        The files of a bash app, as the call names them; ``outputs`` are :class:`DataFuture` s.
    home
        The run, as the future sees it.
    retry_state
        What this process needs to run a failed task again: its body, and the values that it uses.
    taken_over
        Whether an earlier kernel of the notebook called the task.
    """

    # Class attributes are the defaults, so that a new future holds three entries in its dictionary, not a dozen: a
    # notebook may hold a million futures.
    stdout: Any = None
    stderr: Any = None
    outputs: list[DataFuture] = []  # noqa: RUF012  # replaced, never changed: one empty list serves all
    retry_state: Any = None
    taken_over = False
    _size = 0
    """The size of a value that is still at the DataFlowKernel."""
    _loaded = False
    """Whether ``_object`` is the value, or the exception."""
    _object: Any = None
    _memoized = False
    """Whether the value is the memoized result of an equal call."""
    call: KeptCall | None = None
    """What the call was made with; None unless the run keeps that."""
    failure: Failure | None = None
    """The failure that the DataFlowKernel has sent; None unless the task failed."""
    _derived: weakref.WeakSet[BaseFuture] | None = None
    """The futures of parts and files of a failed task, which a retry makes unfinished too."""
    display_hook: ClassVar[Callable[[AppFuture], Any] | None] = None
    """A function that displays a future and updates the display; notebooks set it."""

    def __init__(self, home: FutureHome, task_id: int, app_name: str) -> None:
        # Not super().__init__(), because the call would take as long as all the rest.
        self._state = PENDING
        self._lock = self._waiter = self._gates = self._callbacks = None
        self.home = home
        self.task_id = task_id
        self.app_name = app_name
        # Not a default of the class: CPython shares the names of attributes between objects only while few come late.
        self._payload: Any = None
        """The bytes of the value until a thread unpickles it; then None."""

    @property
    def tid(self) -> int:
        """The number of the task (Parsl's name)."""
        return self.task_id

    def set_streams(self, stdout: Any = None, stderr: Any = None, outputs: list[DataFuture] | None = None) -> None:
        if stdout is not None:
            self.stdout = stdout
        if stderr is not None:
            self.stderr = stderr
        if outputs:
            self.outputs = outputs

    def part(self, path: tuple[Any, ...]) -> ResultPart:
        return ResultPart(self, path)

    # ----- settled by the link

    def resolve(self, state: TaskState, inline: bytes, size: int, failure: Failure | None) -> None:
        if failure is not None:
            self.failure = failure
        if inline:
            self._payload = inline
        if size:
            self._size = size
        if state is TaskState.memo_done:
            self._memoized = True
        self._settle(CANCELLED_AND_NOTIFIED if state is TaskState.cancelled else FINISHED)

    def take_value(self, value: Any) -> None:
        """Keep an object as the value: that of a local task, or an unpickled one."""
        self._object = value
        self._loaded = True
        self._payload = None

    def _unpacked(self, inline: Inline, frames: Sequence[Buffer]) -> Any:
        try:
            return unpack(inline, frames)
        except Exception as error:
            raise DeserializationError(f"the result of app {self.app_name}", one_line(error)) from error

    def value_by(self, deadline: float | None) -> Any:
        if not self._loaded:
            payload = self._payload
            if payload is not None:
                self.take_value(self._unpacked(payload, ()))
            elif self._size:
                inline, frames = self.home.fetch(self.task_id, seconds_until(deadline))
                self.take_value(self._unpacked(inline, frames))
            else:
                with base.settle_lock:
                    settled = self._state is not PENDING
                    if settled:
                        self.take_value(None)
                if not settled:  # a retry in another thread has made the future unfinished meanwhile
                    return self.result(seconds_until(deadline))
        return self._object

    def error_by(self, deadline: float | None) -> BaseException | None:
        failure = self.failure
        if failure is None:
            return None
        error: BaseException | None = self._object if self._loaded else exception_of(failure, self.task_id)
        if not self._loaded:
            with base.settle_lock:
                if self.failure is failure:  # else a retry in another thread has made the future unfinished meanwhile
                    self.take_value(error)
        return error

    def has_failed(self) -> bool:
        return self.failure is not None

    def reopen(self) -> None:
        super().reopen()
        derived, self._derived = self._derived, None
        for future in list(derived or ()):
            future.reopen()

    def _unsettle(self) -> None:
        self.failure, self._payload, self._size = None, None, 0
        self._loaded, self._object = False, None
        super()._unsettle()

    def attach_derived(self, future: BaseFuture) -> None:
        """Keep a reference to the future of a part or file, so that a retry makes both unfinished together."""
        if self.failure is not None or self.cancelled():
            if self._derived is None:
                # Made outside the lock: an allocation may start a garbage collection, which runs finalizers of users.
                derived: weakref.WeakSet[BaseFuture] = weakref.WeakSet()
                with base.settle_lock:
                    self._derived = derived if self._derived is None else self._derived
            self._derived.add(future)

    def reference(self) -> tuple[TaskFuture, Path]:
        return self, None

    def before_waiting(self) -> None:
        self.home.flush()

    # ----- questions

    @property
    def task_record(self) -> TaskRecord:
        """The task as Parsl's programs see it (Parsl's name)."""
        return TaskRecord(self)

    @property
    def state(self) -> TaskState:
        """The state of the task; reading it asks the DataFlowKernel while the task is unfinished."""
        if self._state is CANCELLED_AND_NOTIFIED:
            return TaskState.cancelled
        if self._state is FINISHED:
            if self.failure is None:
                return TaskState.memo_done if self._memoized else TaskState.exec_done
            # A failed join names roots, too: the tasks whose futures its body returned. But its own body has run.
            if self.failure.roots and not self.failure.error.startswith("JoinError"):
                return TaskState.dep_fail
            return TaskState.failed
        return self.home.state_of(self.task_id)

    def task_status(self) -> str:
        """Return the name of the state (Parsl: ``AppFuture.task_status``)."""
        return self.state.name

    def running(self) -> bool:
        """Return whether a worker or a thread executes the task now."""
        return not self.done() and self.state in EXECUTING

    def cancel(self) -> bool:
        """Cancel the task, also while it runs.

        The cancel of a join app includes the calls that its body has made.

        Returns
        -------
        bool
            False when the task has finished, or when it runs in a thread of this process (``ThreadPoolExecutor``).
            Python cannot stop a thread.
        """
        # The future is cancelled at once, without a reply of the DataFlowKernel. A result that is on its way then finds
        # a settled future.
        if self.home.cannot_stop(self.task_id) or not self._settle(CANCELLED_AND_NOTIFIED):
            return self.cancelled()
        self.home.cancel(self.task_id)
        return True

    def retry(self) -> AppFuture:
        """Run a failed or cancelled task again, with the tasks that failed because of it, and no others.

        When this returns, the futures of these tasks are unfinished; later they hold the new results.  The task calls
        its app as the notebook defines it now, with the arguments of the original call.  So you may correct the
        function in a cell, then retry.  Callbacks that have run do not run again.  This method does not affect a task
        that has not ended.

        Returns
        -------
        AppFuture
            This future.

        Raises
        ------
        RetryError
            The task has a result, or cannot run again; the message says why.
        """
        if self.done():
            if self.failure is None and not self.cancelled():
                raise RetryError(f"Task {self.task_id} ({self.app_name}) has a result: there is nothing to try again.")
            self.home.retry(self.task_id)
        return self

    def explain(self) -> str:
        """Return a sentence or two that say why the task ran, or which task gave its result."""
        return self.home.explain(self.task_id)

    def logs(self, stream: str | None = None) -> str:
        """Return what the task has printed so far.

        Parameters
        ----------
        stream
            ``"stdout"`` or ``"stderr"``; None: both, the standard output first.
        """
        detail = self.home.detail(self.task_id)
        if stream is not None:
            if stream not in ("stdout", "stderr"):
                raise ValueError(f"a task has a stdout and a stderr, not a {stream!r}")
            return str(getattr(detail, stream))
        return detail.stdout + detail.stderr

    def history(self) -> list[Attempt]:
        """Return the attempts to run the task, the latest one last: when, where, and why each of them failed."""
        return self.home.detail(self.task_id).attempts

    def traceback(self) -> str | None:
        """Return the traceback on the worker as text; None when the task has not failed."""
        if not self.done() or self.failure is None:
            return None
        return self.failure.traceback or self.failure.error

    def __repr__(self) -> str:
        state = "unfinished" if self._state is PENDING else self.state.name
        error = f": {self.failure.error[:80]}" if self.failure is not None and state != "cancelled" else ""
        return f"<AppFuture task {self.task_id} {printable(self.app_name)} {state}{error}>"

    def _ipython_display_(self) -> None:
        hook = AppFuture.display_hook
        if hook is None:
            # IPython takes this error as "no display of its own", and shows the repr.
            raise NotImplementedError
        hook(self)

    def __del__(self) -> None:
        # Nobody can ask for the value any more, so the DataFlowKernel may drop it. ``home`` is absent when an interrupt
        # ended the constructor.
        home = getattr(self, "home", None)
        if home is not None:
            home.release(self.task_id, self._size)


def task_future_of(future: BaseFuture) -> AppFuture:
    """Return the future of the task to which the future of a part or a file belongs."""
    parent, _ = future.reference()
    assert isinstance(parent, AppFuture)
    return parent
