"""``BaseFuture`` is a subclass of ``concurrent.futures.Future`` that costs little until a thread waits for it.

A standard future makes a condition variable in its constructor, which takes more than a kilobyte.  This one makes only
what a waiting thread needs, so that a notebook can hold a million futures and wait for all of them.  The link's thread
settles futures; any thread reads them.

A thread that waits for one future sleeps on a lock of its own, the gate, which ``_settle`` releases.  The functions
``concurrent.futures.wait`` and ``as_completed`` lock many futures at once, in the order of their addresses.  So each
future needs a lock of its own for them: a shared lock would break that order, and two such calls could block each
other for ever.
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
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn, Protocol

from parslab.client.thread_pool import waits_in
from parslab.serialize.references import Constant, Path

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from parslab.client.futures.home import FutureHome

__all__ = ["DONE", "BaseFuture", "TaskFuture", "seconds_until"]

log = logging.getLogger(__name__)

DONE = (FINISHED, CANCELLED_AND_NOTIFIED)

# One lock guards the final state of all futures, and what is called or woken then. An inbox would cost a thread switch
# for each future, a lock of its own 100 bytes. No thread takes another lock or runs code of users while it holds this
# one. Other modules read it as ``base.settle_lock`` at the time of use, because a forked child replaces it.
settle_lock = threading.Lock()


def _in_child() -> None:
    """Replace the lock in a forked child: the thread that held it during the fork does not exist there."""
    global settle_lock
    settle_lock = threading.Lock()


os.register_at_fork(after_in_child=_in_child)


def seconds_until(deadline: float | None) -> float | None:
    """Return the seconds until a time of the monotonic clock; None when there is no deadline."""
    return None if deadline is None else max(0.0, deadline - monotonic())


def _lock_timeout(deadline: float | None) -> float:
    """Return the timeout with which a lock is taken before this time of the monotonic clock; -1: no limit."""
    return -1 if deadline is None else min(max(0.0, deadline - monotonic()), threading.TIMEOUT_MAX)


class TaskFuture(Protocol):
    """The methods of a task's future that the futures of its parts and files call."""

    home: FutureHome
    task_id: int

    def add_done_callback(self, fn: Callable[[Any], object], /) -> None: ...
    def attach_derived(self, future: BaseFuture) -> None: ...
    def before_waiting(self) -> None: ...
    def cancel(self) -> bool: ...
    def cancelled(self) -> bool: ...
    def error_by(self, deadline: float | None) -> BaseException | None: ...
    def has_failed(self) -> bool: ...
    def part(self, path: tuple[Any, ...]) -> BaseFuture: ...
    def retry(self) -> object: ...
    def running(self) -> bool: ...
    def value_by(self, deadline: float | None) -> Any: ...


class _WaiterList(list[Any]):
    """Two or more waiters of one future."""


class _Waiters:
    """The waiters of one future, as the standard library uses them.

    A list for each future would cost 100 bytes, and nearly all futures have one waiter at most.  The library holds the
    future's lock when it calls these methods.
    """

    __slots__ = ("_future",)

    def __init__(self, future: BaseFuture) -> None:
        self._future = future

    def append(self, waiter: Any) -> None:
        """Add a waiter."""
        owner = waits_in()
        if owner is not None:
            owner.before_blocking()
        self._future._waiter = _joined([*self, waiter])

    def remove(self, waiter: Any) -> None:
        """Remove a waiter; raise ValueError if it is not there."""
        waiters = list(self)
        waiters.remove(waiter)
        self._future._waiter = _joined(waiters)

    def __iter__(self) -> Iterator[Any]:
        found = self._future._waiter
        if found is None:
            return iter(())
        return iter(found if type(found) is _WaiterList else (found,))

    def __bool__(self) -> bool:
        return self._future._waiter is not None


def _joined(waiters: list[Any]) -> Any:
    """Return what a future stores for these waiters."""
    if len(waiters) < 2:
        return waiters[0] if waiters else None
    return _WaiterList(waiters)


class BaseFuture(Future[Any]):
    """A future that makes its lock, waiters, gates and callbacks at their first use.

    Subclasses return the value (``value_by``) and the exception (``error_by``) of a settled future.  Only the client
    calls the methods that ``concurrent.futures.Future`` does not have.
    """

    # Slots, because an attribute that many futures get late would give each of them a dictionary of its own.
    __slots__ = ("_callbacks", "_gates", "_lock", "_waiter")

    await_context: ClassVar[Callable[[], contextlib.AbstractContextManager[None]] | None] = None
    """Returns a context in which an interrupt reaches a cell that awaits; notebooks set it."""

    def __init__(self) -> None:
        """Skip the standard constructor, because everything that it would make is made later."""
        self._state = PENDING
        self._lock: threading.RLock | None = None
        """The lock that the standard library takes; None before its first use."""
        self._waiter: Any = None
        """What ``wait`` or ``as_completed`` has installed: None, one waiter, or a ``_WaiterList``."""
        self._gates: list[threading.Lock] | None = None
        """The locks on which threads sleep until this future is done."""
        self._callbacks: list[Callable[[Any], object]] | None = None

    # The standard library reads these private names (wait, as_completed, asyncio.wrap_future).

    @property
    def _condition(self) -> threading.RLock:  # type: ignore[override]
        # The library only locks it: a condition would cost 1,300 bytes more.
        if self._lock is None:
            lock = threading.RLock()  # made outside the lock, as the list of callbacks is
            with settle_lock:
                if self._lock is None:
                    self._lock = lock
        return self._lock

    @property
    def _waiters(self) -> _Waiters:  # type: ignore[override]
        return _Waiters(self)

    @property
    def _done_callbacks(self) -> list[Callable[[Any], object]]:
        if self._callbacks is None:
            self._callbacks = []
        return self._callbacks

    # ----- settling

    def _settle(self, state: str) -> bool:
        """Enter a final state and wake all threads that wait; return False when the state was final already."""
        gates: list[threading.Lock] | None = None
        # The standard library looks at the state and installs waiters while it holds the future's lock. It makes that
        # lock under the settle lock. So either the lock exists here, or the library will read the final state.
        with settle_lock:
            lock = self._lock
            if lock is None:
                if self._state in DONE:
                    return False
                self._state = state
                gates, self._gates = self._gates, None
        if lock is not None:
            with lock:
                with settle_lock:
                    if self._state in DONE:
                        return False
                    self._state = state
                    gates, self._gates = self._gates, None
                for waiter in self._waiters:
                    if state is not FINISHED:
                        waiter.add_cancelled(self)
                    elif self.has_failed():
                        waiter.add_exception(self)
                    else:
                        waiter.add_result(self)
        # Threads add gates and callbacks under the settle lock while the state is not final. So none is lost. The calls
        # hold no lock, because they run code of users, which may use this future.
        for gate in gates or ():
            gate.release()
        callbacks, self._callbacks = self._callbacks, None
        for call in callbacks or ():
            self._call(call)
        return True

    def reopen(self) -> None:
        """Make the future unfinished again, because its task runs again."""
        with settle_lock:
            lock = self._lock
            if lock is None:
                self._unsettle()
        if lock is not None:
            with lock:
                self._unsettle()

    def _unsettle(self) -> None:
        self._state = PENDING

    def _call(self, call: Callable[[Any], object]) -> None:
        try:
            call(self)
        except Exception:
            # As in the standard library. A callback's error must not end the link's thread.
            log.exception("a done callback of %r failed", self)

    def add_done_callback(self, fn: Callable[[Any], object]) -> None:
        """Call ``fn(future)`` in the link's thread when the future is done, or now if it is done already.

        The callback may wait for other futures.  One that blocks in another way keeps all futures from becoming done.
        """
        # Made outside the lock: an allocation may start a garbage collection, which runs finalizers of users.
        callbacks = [fn]
        with settle_lock:
            if self._state not in DONE:
                if self._callbacks is None:
                    self._callbacks = callbacks
                else:
                    self._callbacks.append(fn)
                return
        self._call(fn)

    # ----- reading

    def done(self) -> bool:
        """Return whether the future is finished or cancelled."""
        return self._state in DONE

    def cancelled(self) -> bool:
        """Return whether the future was cancelled."""
        return self._state is CANCELLED_AND_NOTIFIED

    def wait(self, timeout: float | None) -> None:
        """Wait until the future is done; raise ``CancelledError`` if it was cancelled."""
        if self._state not in DONE:
            self.before_waiting()
            owner = waits_in()
            if owner is None:
                self._block(timeout)
            else:
                with owner.waiting():
                    self._block(timeout)
        if self._state is CANCELLED_AND_NOTIFIED:
            raise CancelledError

    def _block(self, timeout: float | None) -> None:
        deadline = None if timeout is None else monotonic() + timeout
        while True:  # a retry may make the future unfinished again before this thread wakes
            gate = threading.Lock()
            gate.acquire()
            gates = [gate]
            with settle_lock:
                if self._state in DONE:
                    return
                if self._gates is None:
                    self._gates = gates
                else:
                    self._gates.append(gate)
            opened = False
            try:
                opened = gate.acquire(timeout=_lock_timeout(deadline))
            finally:
                if not opened:  # the time is over, or an interrupt ends the wait
                    self._withdraw(gate)
            if not opened:
                raise FutureTimeout

    def _withdraw(self, gate: threading.Lock) -> None:
        """Remove a gate on which no thread sleeps any more."""
        with settle_lock:
            if self._gates is not None:
                with contextlib.suppress(ValueError):  # ``_settle`` has taken it meanwhile
                    self._gates.remove(gate)

    def before_waiting(self) -> None:
        """Prepare for a thread that is about to block on this future."""

    def result(self, timeout: float | None = None) -> Any:
        """Return the value; raise what the task raised, ``CancelledError``, or ``TimeoutError``.

        The time limit covers two waits: for the end of the task, and for the transfer of a large value.
        """
        deadline = None if timeout is None else monotonic() + timeout
        self.wait(timeout)
        error = self.error_by(deadline)
        if error is not None:
            try:
                # The future keeps the error object. Without with_traceback(None), each result() would add its frames
                # to the traceback of the call before.
                raise error.with_traceback(None)
            finally:
                # The traceback refers to this frame, and this frame to the error: break the cycle. ``del self`` would
                # do so too, but then IPython cannot show the arguments of this frame in its traceback.
                self = error = None  # type: ignore[assignment]
        return self.value_by(deadline)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Return what the task raised, or None."""
        deadline = None if timeout is None else monotonic() + timeout
        self.wait(timeout)
        return self.error_by(deadline)

    def value_by(self, deadline: float | None) -> Any:
        """Return the value of a done future; raise TimeoutError if it arrives after the deadline (None: no limit)."""
        raise NotImplementedError

    def error_by(self, deadline: float | None) -> BaseException | None:
        """Return the exception of a done future, or None; the deadline is as in ``value_by``."""
        raise NotImplementedError

    def has_failed(self) -> bool:
        """Return whether the task failed, without unpickling anything."""
        raise NotImplementedError

    def _get_snapshot(self) -> tuple[bool, bool, Any, BaseException | None]:
        """Return (done, cancelled, result, exception).

        The asyncio of Python 3.14 calls this private method of each future that it wraps.
        """
        if self._state is not FINISHED:
            return self._state in DONE, self.cancelled(), None, None
        error = self.error_by(None)
        return True, False, None if error is not None else self.value_by(None), error

    def __await__(self) -> Generator[Any, None, Any]:
        """Await the value in any asyncio loop; an interrupt of the awaiting cell does not cancel the task."""
        import asyncio

        # Not asyncio.wrap_future, which passes a cancel of the awaiting coroutine on to the wrapped future.
        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def wake(_: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, so no coroutine awaits any more
                loop.call_soon_threadsafe(finish)

        def finish() -> None:
            if not woken.done():  # else the awaiting coroutine was cancelled
                woken.set_result(None)

        self.add_done_callback(wake)
        self.before_waiting()
        owner = waits_in()
        if owner is not None:  # a callback or a body runs a loop of its own
            owner.before_blocking()
        with BaseFuture.await_context() if BaseFuture.await_context is not None else contextlib.nullcontext():
            yield from woken
        return self.result()

    def __iter__(self) -> NoReturn:
        # Without this, Python would iterate by __getitem__ with 0, 1, 2 and so on, which never ends.
        raise TypeError("a future cannot be iterated over: ask for its result() first")

    def reference(self) -> tuple[TaskFuture, Path]:
        """Return the future of the task, and the path to the part of its value that this future represents."""
        raise NotImplementedError

    def retry(self) -> BaseFuture:
        """Run the task behind this future again; see :meth:`AppFuture.retry`."""
        raise NotImplementedError

    def __getitem__(self, key: Any) -> BaseFuture:
        """Return a future (``ResultPart``) of the part of the value at ``key``; it is no task of its own."""
        parent, path = self.reference()
        if isinstance(path, Constant):
            raise TypeError("a DataFuture has no parts")
        return parent.part((*(path or ()), key))

    def __reduce__(self) -> NoReturn:
        raise TypeError("a future cannot be pickled: pass it as an argument of an app, or pass its result()")
