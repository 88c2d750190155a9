"""Undo between two tasks what a task has changed in the worker's process, so that the next task does not inherit it.

:class:`ProcessState` covers the working folder, umask, environment, signal handlers and mask, timers, recursion limit,
locale, resource limits and niceness. A look at all of them costs more than a short task. So thin wrappers around the
functions of Python that change them mark the state as changed, and a task that calls none pays for one comparison. C
code calls no wrapper, so the worker looks at everything after a task when ``PERIOD`` has passed since the last look.

A change that a module makes while it is imported stays: Python imports it once, so no later task would make the change
again. Python objects, such as modules, their globals and caches, stay as well. The processor affinity stays, too: the
threads of OpenMP set it once and for all.

The main thread calls ``begin`` and ``restore``; the wrappers run in any thread.
"""

from __future__ import annotations

import _locale
import _signal  # type: ignore[import-not-found]
import contextlib
import faulthandler
import functools
import os
import posix  # noqa: F401  # its functions are wrapped, too
import resource
import signal
import sys

# These names stay the functions of Python when the modules get wrappers, so that the calls here report no change.
from _locale import setlocale
from _signal import pthread_sigmask, set_wakeup_fd, setitimer, siginterrupt
from os import chdir, setpriority, umask
from resource import setrlimit
from sys import setrecursionlimit
from typing import TYPE_CHECKING, Any, NamedTuple

from parslab.wire.messages.worker import NOT_RESTORED

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType

__all__ = ["PERIOD", "ProcessState", "StateNotRestored"]

PERIOD = 0.01
"""Seconds between two looks at the whole state; one look takes about a thousandth of this."""
_SIGNALS = tuple(int(number) for number in signal.Signals if number not in (signal.SIGKILL, signal.SIGSTOP))
_FATAL = (signal.SIGSEGV, signal.SIGFPE, signal.SIGABRT, signal.SIGBUS, signal.SIGILL)
"""The signals that ``faulthandler`` handles in C. Python's table of handlers does not show its handlers."""
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_LIMITS = tuple(
    getattr(resource, f"RLIMIT_{name}")
    for name in ("AS", "CORE", "CPU", "DATA", "FSIZE", "NOFILE", "NPROC", "STACK")
    if hasattr(resource, f"RLIMIT_{name}")
)
_IMPORTER = "<frozen importlib._bootstrap>"
"""The file name of the frames in which Python runs the code of a module."""
_ERRORS = (OSError, ValueError, TypeError, _locale.Error)  # type: ignore[attr-defined]

_SETTERS: tuple[tuple[str, tuple[str, ...], tuple[str, ...]], ...] = (
    ("timers", ("_signal", "signal"), ("setitimer", "alarm")),
    ("timers", ("faulthandler",), ("dump_traceback_later",)),
    ("signal handlers", ("_signal", "signal"), ("signal", "siginterrupt", "set_wakeup_fd")),
    ("signal mask", ("_signal",), ("pthread_sigmask",)),
    ("working folder", ("posix", "os"), ("chdir", "fchdir")),
    ("umask", ("posix", "os"), ("umask",)),
    ("environment", ("posix", "os"), ("putenv", "unsetenv")),
    ("recursion limit", ("sys",), ("setrecursionlimit",)),
    ("locale", ("_locale",), ("setlocale",)),
    ("locale", ("locale",), ("_setlocale",)),
    ("resource limits", ("resource",), ("setrlimit",)),
    ("niceness", ("posix", "os"), ("nice", "setpriority")),
)
"""Part of the state, modules, and those functions in them that change this part."""


class StateNotRestored(Exception):
    """A task has changed the process in a way that cannot be undone; the text says what it changed."""


class _Part(NamedTuple):
    """One part of the state: how to read it, and how to set it again."""

    name: str
    read: Callable[[], Any]
    """Returns the value; None when it cannot be read."""
    write: Callable[[Any], object]


class ProcessState:
    """The state of this process, as it must be at the start of every task.

    Attributes
    ----------
    changed
        Whether something has called a function that changes the state.
    next_look
        When the whole state must be compared again, by ``steady_time``.
    """

    def __init__(self) -> None:
        self.changed = False
        self.next_look = 0.0
        self._saved: dict[str, Any] = {}
        self._folder = ""
        self._watchdog = False
        """Whether ``faulthandler.dump_traceback_later`` was called."""
        self._not_interrupting: set[int] = set()
        """The signals that ``siginterrupt`` has changed."""
        self._wakes = False
        """Whether ``set_wakeup_fd`` was called."""
        self._environ = os.environ
        self._variables: dict[bytes, bytes | None] = {}
        """The values that variables had before a task changed them; None: there was no such variable."""
        self._parts = (
            # First, because a timer that a task has left behind may fire while the rest is restored.
            _Part("timers", self._timers, self._set_timers),
            _Part("signal handlers", self._handlers, self._set_handlers),
            _Part("signal mask", _mask, _set_mask),
            _Part("working folder", self._working_folder, lambda _: chdir(self._folder)),
            # One call reads and restores it. Between two calls, a thread of the user would create files with neither.
            _Part("umask", lambda: umask(self._saved["umask"]), umask),
            _Part("environment", self._is_environment_unchanged, self._set_environment),
            _Part("recursion limit", sys.getrecursionlimit, setrecursionlimit),
            _Part("locale", lambda: _set_locale(None), _set_locale),
            _Part("resource limits", _limits, _set_limits),
            _Part("niceness", lambda: os.getpriority(os.PRIO_PROCESS, 0), _set_niceness),
        )

    def begin(self) -> None:
        """Take the present state as the one with which every task starts."""
        self._saved["umask"] = umask(0o077)
        umask(self._saved["umask"])
        for part in self._parts:
            self._saved[part.name] = part.read()
        self._note_folder()
        self.changed = False

    # ----- after a task (main thread)

    def restore(self, now: float) -> None:
        """Compare the whole state, and set again what is different.

        Parameters
        ----------
        now
            The time, by ``steady_time``.

        Raises
        ------
        StateNotRestored
            Something cannot be set again: this process must not run another task.
        """
        self.next_look = now + PERIOD
        lasting: list[str] = []
        for part in self._parts:
            saved, found = self._saved[part.name], part.read()
            if found == saved or found is None:
                continue
            try:
                part.write(saved)
            except _ERRORS as error:
                lasting.append(f"{part.name} ({error})")
        # At the end, because ``write`` calls the wrappers, and because the handler of a timer may raise above.
        self.changed = False
        if lasting:
            raise StateNotRestored(f"{NOT_RESTORED}: {', '.join(lasting)}")

    def _timers(self) -> tuple[bool, ...]:
        # Whether they run, not the seconds that are left. No function reads the timer of faulthandler.
        return (*(_signal.getitimer(timer)[0] > 0 for timer in _TIMERS), self._watchdog)

    def _set_timers(self, saved: tuple[bool, ...]) -> None:
        for timer, ran in zip(_TIMERS, saved, strict=False):
            if not ran:
                setitimer(timer, 0)
        if not saved[-1]:
            faulthandler.cancel_dump_traceback_later()
            self._watchdog = False

    def _handlers(self) -> tuple[Any, ...]:
        # No function reads the last two.
        return (*map(_signal.getsignal, _SIGNALS), frozenset(self._not_interrupting), self._wakes)

    def _set_handlers(self, saved: tuple[Any, ...]) -> None:
        if self._wakes:
            set_wakeup_fd(-1)
            self._wakes = False
        changed = set(self._not_interrupting)
        for number, now, before in zip(_SIGNALS, self._handlers(), saved, strict=False):
            if now is not before:
                changed.add(number)
                signal.signal(number, before)
        for number in self._not_interrupting:
            siginterrupt(number, True)
        self._not_interrupting.clear()
        if faulthandler.is_enabled() and not changed.isdisjoint(_FATAL):
            # The calls above have replaced its handlers, and ``enable`` alone does nothing where it is enabled.
            faulthandler.disable()
            faulthandler.enable(2)

    def _working_folder(self) -> tuple[int, int] | None:
        with contextlib.suppress(OSError):
            # In the usual case no file system is asked: one on the network may take long to answer.
            if os.getcwd() == self._folder:
                return self._saved["working folder"]  # type: ignore[no-any-return]
        with contextlib.suppress(OSError):
            status = os.stat(".")  # not the path, which changes when somebody renames or removes the folder
            return status.st_dev, status.st_ino
        return None

    def _is_environment_unchanged(self) -> bool:
        return not self._variables and os.environ is self._environ

    def _set_environment(self, _: bool) -> None:
        os.environ = self._environ  # noqa: B003  # a task may have assigned another mapping, which sets no variable
        variables, self._variables = self._variables, {}
        for name, value in variables.items():
            os.environb[name] = value or b""
            if value is None:  # this order, because a variable that ``os.putenv`` has set is not in the mapping
                del os.environb[name]
        self._variables.clear()

    # ----- during a task (any thread)

    def watch(self) -> None:
        """Wrap the functions of Python that change the state."""
        for part, modules, names in _SETTERS:
            # ``locale`` takes a while to load. If it is loaded later, it finds the wrapper in ``_locale``.
            loaded = [sys.modules[module] for module in modules if module in sys.modules]
            for name in names:
                function = next((found for module in loaded if (found := getattr(module, name, None))), None)
                if function is not None:
                    wrapper = _Setter(function, part, self)
                    for module in loaded:
                        if getattr(module, name, None) is function:
                            setattr(module, name, wrapper)

    def call(self, part: str, function: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Any:
        """Call a function that changes one part of the state."""
        importing = _is_importing(sys._getframe(2))
        try:
            value = function(*args, **kwargs)
        finally:
            # Not earlier: another task may end while this thread is in the function.
            self.changed = self.changed or not importing
        name = function.__name__
        if name == "siginterrupt":
            self._not_interrupting.add(args[0])
        elif name == "set_wakeup_fd":
            self._wakes = True
        elif name == "dump_traceback_later":
            self._watchdog = True
        elif part == "environment":
            # The mapping still has the old value, because ``os.environ`` changes it after this call.
            self._note_variable(importing, *args)
        if importing:
            self._keep(part, args)
        return value

    def _keep(self, part: str, args: tuple[Any, ...]) -> None:
        """Make what a module has changed a part of the state with which every task starts."""
        if part == "umask":
            self._saved[part] = args[0]
        elif part != "environment":
            self._saved[part] = next(each.read() for each in self._parts if each.name == part)
            self._note_folder()

    def _note_variable(self, importing: bool, name: str | bytes, value: str | bytes | None = None) -> None:
        key = os.fsencode(name)
        if not importing:
            self._variables.setdefault(key, os.environb.get(key))
        elif key in self._variables:  # the task has changed it before the module did
            self._variables[key] = None if value is None else os.fsencode(value)

    def _note_folder(self) -> None:
        with contextlib.suppress(OSError):  # somebody has removed it
            self._folder = os.getcwd()


class _Setter:
    """A function of Python that changes the state; it also reports each call.

    It compares equal to the function, has the function's attributes, and its pickle is the function's name. It is no
    Python function, because that would become a method as an attribute of a class.
    """

    def __init__(self, function: Callable[..., Any], part: str, state: ProcessState) -> None:
        functools.update_wrapper(self, function)
        self._function, self._part, self._state = function, part, state

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._state.call(self._part, self._function, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._function, name)

    def __eq__(self, other: object) -> bool:
        return self is other or self._function is other

    def __hash__(self) -> int:
        return hash(self._function)  # ``os.supports_fd`` is a set of functions

    def __repr__(self) -> str:
        return repr(self._function)

    def __reduce__(self) -> str:
        return self._function.__name__


def _is_importing(frame: FrameType | None) -> bool:
    """Return whether a frame belongs to a module that is being imported in this thread."""
    while frame is not None:
        if frame.f_code.co_filename == _IMPORTER:
            return True
        frame = frame.f_back
    return False


def _mask() -> set[int]:
    mask: set[int] = pthread_sigmask(signal.SIG_BLOCK, ())
    return mask


def _set_mask(saved: set[int]) -> None:
    # A signal that waits behind the mask would hit this process now. Only SIGTERM is from the owner of this worker.
    for number in signal.sigpending() - saved - {signal.SIGTERM}:
        handler = signal.getsignal(number)
        signal.signal(number, signal.SIG_IGN)
        signal.signal(number, handler)
    pthread_sigmask(signal.SIG_SETMASK, saved)


def _set_locale(value: str | None) -> str:
    return setlocale(_locale.LC_ALL, value)


def _set_niceness(value: int) -> None:
    setpriority(os.PRIO_PROCESS, 0, value)


def _limits() -> tuple[tuple[int, int], ...]:
    return tuple(map(resource.getrlimit, _LIMITS))


def _set_limits(saved: tuple[tuple[int, int], ...]) -> None:
    for limit, now, before in zip(_LIMITS, _limits(), saved, strict=True):
        if now != before:
            setrlimit(limit, before)
