"""A real ``concurrent.futures.Future`` that costs little while nobody looks.

The condition variable that every standard future carries is made only when somebody waits, so that a notebook can hold
a million of them. Threads: settled by the link's thread, read by any.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as FutureTimeout
from concurrent.futures._base import CANCELLED_AND_NOTIFIED, FINISHED, PENDING
from time import monotonic
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from parslab.serialize.references import Constant, Path

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from parslab.client.futures.app_future import AppFuture
    from parslab.client.futures.derived import ResultPart

__all__ = ["DONE", "BaseFuture", "left"]

log = logging.getLogger(__name__)

DONE = (FINISHED, CANCELLED_AND_NOTIFIED)

# One lock for the birth of conditions and the settling of futures nobody waits for: an inbox would cost a thread
# switch per future, a lock per future 200 bytes. Others read it as lean.birth, because a forked child gets another one.
birth = threading.Lock()


def _in_child() -> None:
    """Whoever held the lock while we were forked is not here to release it."""
    global birth
    birth = threading.Lock()


os.register_at_fork(after_in_child=_in_child)


def left(until: float | None) -> float | None:
    """Seconds until then."""
    return None if until is None else max(0.0, until - monotonic())


class BaseFuture(Future[Any]):
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
            with birth:
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
        with birth:
            condition = self._lazy_condition
            if condition is None:
                if self._state in DONE:
                    return False
                self._state = state
        if condition is not None:
            with condition:
                if self._state in DONE:
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
        with birth:
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
            if self._state not in DONE:
                self._done_callbacks.append(fn)
                return
        self._call(fn)

    # ----- reading

    def done(self) -> bool:
        """Whether it is finished or cancelled."""
        return self._state in DONE

    def cancelled(self) -> bool:
        """Whether it was cancelled."""
        return self._state is CANCELLED_AND_NOTIFIED

    def _wait(self, timeout: float | None) -> None:
        if self._state not in DONE:
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
            return self._state in DONE, self.cancelled(), None, None
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
        with BaseFuture._awaiting() if BaseFuture._awaiting is not None else contextlib.nullcontext():
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
        return parent._part((*(path or ()), key))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a future cannot be pickled: pass it as an argument of an app, or pass its result()")
