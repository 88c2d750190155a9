"""``TimeLimit`` ends a call in a thread of this process when it takes too long, as far as Python can do that.

A timer raises AppTimeout in the thread of the call.  Python code sees it at its next step.  A C function that blocks
goes on, so the timer also reports the limit at once, and ends the command of a bash app.  The exception never arrives
after the end of the call, where it would hit other code.
"""

from __future__ import annotations

import functools
import threading
from threading import get_ident
from typing import TYPE_CHECKING, Any

from parslab.errors import AppTimeout

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["TimeLimit", "ends_with_limit", "limited", "with_limit"]

_innermost: dict[int, TimeLimit] = {}
"""The limit of the call that each thread makes, by the identifier of the thread."""


def _nothing() -> None:
    """Report to nobody."""


class TimeLimit:
    """The limit of one call.

    Parameters
    ----------
    seconds
        The time that the call may take.
    on_late
        What the thread of the timer calls when the time is over.

    Attributes
    ----------
    late
        Whether the time was over before the call ended.
    """

    def __init__(self, seconds: float, on_late: Callable[[], None] = _nothing) -> None:
        self.late = False
        self._over = False
        self._thread = 0
        self._on_late = on_late
        self._stops: list[Callable[[], None]] = []
        # The end of the call and the end of the time may come at once, and one of them must win; a call that runs on
        # cannot read an inbox.
        self._deciding = threading.Lock()
        self._timer = threading.Timer(seconds, self._time_is_over)
        self._timer.daemon = True
        self._timer.name = "parslab-time-limit"

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call a function in this thread; AppTimeout is raised in it when the time is over."""
        self._thread = get_ident()
        outer = _innermost.get(self._thread)
        _innermost[self._thread] = self
        self._timer.start()
        try:
            return function(*args, **kwargs)
        finally:
            self._leave(outer)

    def ends(self, stop: Callable[[], None]) -> None:
        """Call ``stop`` when the time is over, because an exception would come too late."""
        self._stops.append(stop)

    def _time_is_over(self) -> None:
        with self._deciding:
            if self._over:
                return
            self.late = True
            _raise_in(self._thread, AppTimeout)
        self._on_late()
        for stop in self._stops:
            stop()

    def _leave(self, outer: TimeLimit | None) -> None:
        while True:
            try:
                self._timer.cancel()
                with self._deciding:
                    self._over = True
                if self.late:
                    _raise_in(self._thread, None)  # takes an exception back that has not arrived
                self._timer.join()  # a call leaves no thread behind
                if outer is None:
                    _innermost.pop(self._thread, None)
                else:
                    _innermost[self._thread] = outer
                return
            except AppTimeout:  # the one exception of the timer arrived here: begin again
                continue


def _raise_in(thread: int, kind: type[BaseException] | None) -> None:
    """Raise an exception in a thread at its next step; None takes back one that has not arrived."""
    import ctypes  # takes some milliseconds, and hardly any call has a limit

    raised = None if kind is None else ctypes.py_object(kind)
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), raised)


def ends_with_limit(stop: Callable[[], None]) -> None:
    """Call ``stop`` if the call of this thread has a limit and takes longer."""
    limit = _innermost.get(get_ident())
    if limit is not None:
        limit.ends(stop)


def limited(seconds: float, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function, and raise AppTimeout if it takes longer than some seconds."""
    limit = TimeLimit(seconds)
    name = getattr(function, "__name__", None)
    name = name or getattr(getattr(function, "func", None), "__name__", repr(function))
    late = AppTimeout(f"{name} ran longer than its limit of {seconds:g} s and was stopped")
    try:
        value = limit.call(function, *args, **kwargs)
    except BaseException:
        if limit.late:
            raise late from None
        raise
    if limit.late:  # the function has caught the exception
        raise late
    return value


def with_limit(function: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    """Return the function with a limit of time."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        return limited(seconds, function, *args, **kwargs)

    return call
