"""Parsl's helpers for threads, names, processes and errors, which plug-ins of users call."""

from __future__ import annotations

import contextlib
import functools
import itertools
import logging
import multiprocessing
import re
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar

from parslab.serialize.failures import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.process import BaseProcess
    from types import TracebackType
    from typing import IO

__all__ = [
    "AtomicIDCounter",
    "AutoCancelTimer",
    "ForkContext",
    "ForkProcess",
    "RemoteExceptionWrapper",
    "SpawnContext",
    "SpawnEvent",
    "SpawnProcess",
    "SpawnQueue",
    "Timer",
    "execute_task",
    "join_terminate_close_proc",
    "make_rundir",
    "sanitize_dns_label_rfc1123",
    "sanitize_dns_subdomain_rfc1123",
    "setproctitle",
    "time_limited_open",
    "wait_for_file",
    "wrap_error",
    "wrap_with_logs",
]

log = logging.getLogger(__name__)
T = TypeVar("T")

SpawnContext = multiprocessing.get_context("spawn")
ForkContext = multiprocessing.get_context("fork")
SpawnProcess, SpawnEvent, SpawnQueue = SpawnContext.Process, SpawnContext.Event, SpawnContext.Queue
ForkProcess = ForkContext.Process

_LABEL = 63
"""The largest length of a part of a DNS name [RFC 1123]."""
_DOMAIN = 253
"""The largest length of a DNS name."""


class Timer:
    """Calls a function at once and then periodically, in a thread of its own.

    Parameters
    ----------
    callback
        The function.  An error is logged, and the next call follows all the same.
    args
        Its arguments.
    interval
        Seconds between two calls.
    name
        The beginning of the thread's name.
    """

    def __init__(self, callback: Callable[..., Any], *args: Any, interval: float = 5, name: str | None = None) -> None:
        self.interval = max(0, interval)
        self.callback, self.cb_args = callback, args
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"{name or 'parslab'}-timer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.make_callback()
        while not self._ended.wait(self.interval):
            self.make_callback()

    def make_callback(self) -> None:
        """Call the function now."""
        try:
            self.callback(*self.cb_args)
        except Exception:
            log.exception("the callback of a timer failed")

    def close(self, timeout: float | None = None) -> None:
        """End the calls, and wait for the last one."""
        self._ended.set()
        self._thread.join(timeout)


class AutoCancelTimer(threading.Timer):
    """A timer of the standard library that is cancelled at the end of a ``with`` block."""

    def __enter__(self) -> AutoCancelTimer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()


class AtomicIDCounter:
    """Gives each caller another number, from 0, also to several threads at once."""

    def __init__(self) -> None:
        self.count = 0
        self._numbers = itertools.count()

    def get_id(self) -> int:
        """Return the next number."""
        number = next(self._numbers)
        self.count = number + 1
        return number


def _dns_label(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:_LABEL].strip("-")


def sanitize_dns_label_rfc1123(raw_string: str) -> str:
    """Return a text as one part of a DNS name.

    Raises
    ------
    ValueError
        Nothing of the text may be in such a name.

    Examples
    --------
    >>> sanitize_dns_label_rfc1123("My_Pod.1")
    'my-pod-1'
    """
    label = _dns_label(raw_string)
    if not label:
        raise ValueError(f"{raw_string!r} has no letter or digit for a DNS label")
    return label


def sanitize_dns_subdomain_rfc1123(raw_string: str) -> str:
    """Return a text as a DNS name, part by part.

    Raises
    ------
    ValueError
        Nothing of the text may be in such a name.

    Examples
    --------
    >>> sanitize_dns_subdomain_rfc1123("My_Pod..example")
    'my-pod.example'
    """
    name = ".".join(filter(None, map(_dns_label, raw_string.split("."))))[:_DOMAIN].rstrip("-.")
    if not name:
        raise ValueError(f"{raw_string!r} has no letter or digit for a DNS name")
    return name


def setproctitle(title: str) -> None:
    """Do nothing: processes of parslab have their module and run on their command line."""


@contextlib.contextmanager
def wait_for_file(path: str, seconds: int = 10) -> Iterator[None]:
    """Wait until a file exists, for ``seconds`` at most, before the block runs."""
    from pathlib import Path

    for _ in range(seconds * 100):
        if Path(path).exists():
            break
        time.sleep(0.01)
    yield


@contextlib.contextmanager
def time_limited_open(path: str, mode: str, seconds: int = 1) -> Iterator[IO[Any]]:
    """Open a file as soon as it exists, for which this waits ``seconds`` at most."""
    with wait_for_file(path, seconds), open(path, mode) as file:
        yield file


def wrap_with_logs(fn: Callable[..., T] | None = None, target: str = __name__) -> Any:
    """Decorate a function, usually that of a thread: log its error before raising it.

    Parameters
    ----------
    fn
        The function; None if the decorator is called with a target.
    target
        The name of the logger.
    """

    def decorate(function: Callable[..., T]) -> Callable[..., T]:
        @functools.wraps(function)
        def logged(*args: Any, **kwargs: Any) -> T:
            logger = logging.getLogger(target)
            logger.debug("%s begins", function.__name__)
            try:
                return function(*args, **kwargs)
            except Exception:
                logger.exception("%s failed", function.__name__)
                raise
            finally:
                logger.debug("%s ends", function.__name__)

        return logged

    return decorate if fn is None else decorate(fn)


class RemoteExceptionWrapper:
    """An exception with its traceback, as a value that an executor of a user may return.

    Parameters
    ----------
    e_type, e_value, traceback
        What ``sys.exc_info()`` returns.
    """

    def __init__(self, e_type: type, e_value: BaseException, traceback: TracebackType | None) -> None:
        self.e_type = e_type
        self.e_value = e_value.with_traceback(traceback)

    def get_exception(self) -> BaseException:
        """Return the exception."""
        return self.e_value

    def reraise(self) -> None:
        """Raise the exception."""
        raise self.e_value

    def __repr__(self) -> str:
        return f"<RemoteExceptionWrapper {one_line(self.e_value)}>"


def wrap_error(func: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a function: it returns a :class:`RemoteExceptionWrapper` instead of raising its error."""

    @functools.wraps(func)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return func(*args, **kwargs)
        except Exception as error:
            return RemoteExceptionWrapper(type(error), error, error.__traceback__)

    return wrapped


def execute_task(bufs: bytes) -> Any:
    """Call the function of :func:`parslab.parsl.api.serialization.pack_apply_message` with its arguments."""
    from parslab.parsl.api.serialization import unpack_apply_message

    function, args, kwargs = unpack_apply_message(bufs)
    return function(*args, **kwargs)


def join_terminate_close_proc(process: BaseProcess, *, timeout: int = 30) -> None:
    """Wait for a process, end it if it has not ended by then, and release what it holds here."""
    process.join(timeout)
    if process.is_alive():
        process.terminate()
        process.join(timeout)
    if process.is_alive():
        process.kill()
        process.join()
    process.close()


def make_rundir(path: str) -> str:
    """Return the folder of the loaded run; parslab itself makes it."""
    from parslab.client.session import dfk

    return str(dfk().run_dir)
