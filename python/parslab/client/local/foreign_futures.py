"""Convert futures of other libraries to futures of the standard library.

``LocalTasks`` makes a task for each of them. A conversion never raises: its error becomes that of the future, because a
call of an app has other arguments, too, and the error then names the task that it fails.
"""

from __future__ import annotations

import _thread
import contextlib
import inspect
import weakref
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

from parslab.serialize.future_types import converter_of

if TYPE_CHECKING:
    import asyncio

    from parslab.client.futures.app_future import AppFuture

__all__ = ["FutureTasks", "as_future"]

_LOOP_CLOSED = "the event loop of the asyncio future is closed, so the future never gets a result"
_FAR = 1e9
"""Seconds of a timer that never rings: the loop drops it when it closes."""


def as_future(value: Any) -> Future[Any]:
    """Return a future of the standard library with the result of a future of another library."""
    if isinstance(value, Future):
        return value
    made: Future[Any] = Future()
    try:
        convert = converter_of(type(value))
        if convert is not None:
            converted = convert(value)
            if not isinstance(converted, Future):
                raise TypeError(f"the function that was registered for {type(value).__name__} returned {converted!r}")
            return converted
        if hasattr(value, "get_loop"):
            _follow_asyncio(value, made)
        else:
            value.add_done_callback(lambda done: _settle(made, done))
    except Exception as error:
        made.set_exception(error)
    return made


def _settle(made: Future[Any], source: Any) -> None:
    """Give a future the result of a done one."""
    import asyncio

    if made.done():
        return
    try:
        value = source.result()
        if inspect.iscoroutine(value):  # of a client of Dask that belongs to a loop
            value.close()
            raise TypeError(f"the result of {type(source).__name__} must be awaited: pass the awaited value instead")
    except (CancelledError, asyncio.CancelledError):
        made.cancel()
    except BaseException as error:
        made.set_exception(error)
    else:
        made.set_result(value)


class _Lifeline:
    """An object that only the loop refers to, so that its end tells that the loop has closed."""

    def ring(self) -> None:
        """Do nothing: the timer that refers to this method never rings."""


def _follow_asyncio(source: asyncio.Future[Any], made: Future[Any]) -> None:
    """Settle ``made`` when the loop of an asyncio future settles that future, or closes before."""
    if source.done():  # its loop may be closed by now
        _settle(made, source)
        return
    loop = source.get_loop()
    if loop.is_closed():
        raise RuntimeError(_LOOP_CLOSED)
    lifeline = _Lifeline()
    # A thread of its own: the garbage collector may close a loop while the current thread holds a lock of the client.
    # The low-level function takes no lock of the threading module, which this thread may hold, too.
    weakref.finalize(lifeline, _loop_ended, made).atexit = False

    def watch(lifeline: _Lifeline = lifeline) -> None:  # in the loop's thread, because only that may add callbacks
        timer = weakref.ref(loop.call_later(_FAR, lifeline.ring))  # weak: see _Lifeline

        def settle(done: Any) -> None:
            _settle(made, done)
            handle = timer()
            if handle is not None:
                handle.cancel()

        source.add_done_callback(settle)

    loop.call_soon_threadsafe(watch)


def _loop_ended(made: Future[Any]) -> None:
    if not made.done():
        with contextlib.suppress(RuntimeError):  # the interpreter ends
            _thread.start_new_thread(_fail, (made,))


def _fail(made: Future[Any]) -> None:
    if not made.done():
        made.set_exception(RuntimeError(_LOOP_CLOSED))


class FutureTasks:
    """The tasks that represent futures of other libraries, by the identity of these futures.

    It keeps no future alive. A future that Python cannot refer to weakly is not kept, and gets a task for each call.
    """

    def __init__(self) -> None:
        self._tasks: dict[int, tuple[weakref.ref[Any], AppFuture]] = {}

    def get(self, future: Any) -> AppFuture | None:
        """Return the task of a future; None when there is none yet."""
        entry = self._tasks.get(id(future))
        return entry[1] if entry is not None and entry[0]() is future else None

    def set(self, future: Any, task: AppFuture) -> None:
        """Keep the task of a future as long as the future exists."""
        key, tasks = id(future), self._tasks
        with contextlib.suppress(TypeError):
            tasks[key] = weakref.ref(future, lambda _: tasks.pop(key, None)), task

    def __len__(self) -> int:
        return len(self._tasks)
