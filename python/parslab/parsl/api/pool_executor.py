"""``ParslPoolExecutor``: a ``concurrent.futures.Executor`` whose calls are tasks of a run."""

from __future__ import annotations

import itertools
import threading
import types
import weakref
from collections import deque
from concurrent.futures import Executor, wait
from time import monotonic
from typing import TYPE_CHECKING, Any

from parslab.app.python import PythonApp
from parslab.client.futures.base import seconds_until
from parslab.client.session import load
from parslab.errors import NoDataFlowKernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from parslab.client.futures.app_future import AppFuture
    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.config import Config

__all__ = ["ParslPoolExecutor"]

_FUNCTIONS = (types.FunctionType, types.BuiltinFunctionType, type)
"""What gets an app of its own.  Libraries make callable objects by the thousand, one for each batch of calls."""


class _ShutDown(NoDataFlowKernelError, RuntimeError):
    """A call after the shutdown; code that takes any executor expects a RuntimeError."""


def _called(fn: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return fn(*args, **kwargs)


def _called_for_each(fn: Callable[..., Any], chunk: Sequence[tuple[Any, ...]]) -> list[Any]:
    return [fn(*items) for items in chunk]


class ParslPoolExecutor(Executor):
    """Runs calls as tasks of a run, for code that takes an executor of the standard library.

    Parameters
    ----------
    config
        The configuration of a run that this executor loads, and ends at its shutdown.
    dfk
        A loaded run, which goes on after the shutdown.  Give either ``config`` or ``dfk``.
    executors
        ``"all"``, or labels of the run's executors.
    """

    def __init__(
        self,
        config: Config | None = None,
        dfk: DataFlowKernel | None = None,
        executors: str | Sequence[str] = "all",
    ) -> None:
        if (config is None) == (dfk is None):
            raise ValueError("ParslPoolExecutor takes either config or dfk.")
        self.executors = executors
        self._owns = config is not None
        self._dfk = load(config) if dfk is None else dfk
        self._apps: dict[Callable[..., Any], PythonApp] = {}
        self._call_any = self._app_of(_called)
        self._call_chunk = self._app_of(_called_for_each)
        self._futures: weakref.WeakSet[AppFuture] = weakref.WeakSet()
        """The futures that somebody still has; the run knows its other tasks."""
        self._closed = False
        self._ending: threading.Thread | None = None
        """Ends the run after a shutdown that did not wait."""
        # Libraries submit from several threads, while another one may shut this executor down.  Reentrant: the pickling
        # of an argument may run code of the user, which may submit, too.
        self._lock = threading.RLock()

    @property
    def app_count(self) -> int:
        """The number of different functions that have been called."""
        return len(self._apps)

    def get_app(self, fn: Callable[..., Any]) -> PythonApp:
        """Return the app of a function; each function has one."""
        if isinstance(fn, PythonApp):
            return fn
        app = self._apps.get(fn)
        if app is None:
            app = self._apps[fn] = self._app_of(fn)
        return app

    def _app_of(self, fn: Callable[..., Any]) -> PythonApp:
        return PythonApp(fn, data_flow_kernel=self._dfk, executors=self.executors)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> AppFuture:
        """Call a function as a task; futures anywhere in the arguments are dependencies.

        Raises
        ------
        RuntimeError
            The executor has been shut down.
        """
        if isinstance(fn, (*_FUNCTIONS, PythonApp)):
            return self._submit(self.get_app(fn), *args, **kwargs)
        return self._submit(self._call_any, fn, *args, **kwargs)

    def _submit(self, app: PythonApp, *args: Any, **kwargs: Any) -> AppFuture:
        with self._lock:
            if self._closed:
                raise _ShutDown("This ParslPoolExecutor has been shut down: cannot schedule new futures.")
            future: AppFuture = app(*args, **kwargs)
            self._futures.add(future)
        return future

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Call a function for each item of the iterables, and return an iterator over the results, in their order.

        An iterator that is closed, or that raises, cancels the calls that it has not returned.

        Parameters
        ----------
        fn
            The function.
        iterables
            One for each parameter; the shortest ends the calls.
        timeout
            Seconds from now after which the iterator raises TimeoutError.
        chunksize
            The number of calls that one task makes.
        buffersize
            The most tasks whose results have not been taken; the iterables are read only so far.  None means all.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if buffersize is not None and (isinstance(buffersize, bool) or not isinstance(buffersize, int)):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        deadline = None if timeout is None else monotonic() + timeout
        calls: Iterator[tuple[Any, ...]] = zip(*iterables, strict=False)
        if chunksize == 1:
            submitted = (self.submit(fn, *items) for items in calls)
        else:
            submitted = (self._submit(self._call_chunk, fn, chunk) for chunk in _chunks(calls, chunksize))
        # Now, and not when somebody asks for the first result.
        waiting = deque(itertools.islice(submitted, buffersize))
        results = _results(waiting, submitted, deadline)
        return results if chunksize == 1 else _items(results)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and end the run if this executor has loaded it.

        Tasks of others in the same run go on.

        Parameters
        ----------
        wait
            Whether to wait for the tasks of this executor, and for the end of its run.  If not, its run ends when they
            have ended.
        cancel_futures
            Whether to cancel tasks that do not run yet.
        """
        with self._lock:
            self._closed = True
            futures = list(self._futures)
            if cancel_futures:
                _cancel_waiting(futures)
            if self._owns and not wait and self._ending is None:
                self._ending = threading.Thread(
                    target=self._end, args=(futures,), name="parslab-pool-shutdown", daemon=True
                )
                self._ending.start()
        if wait and self._ending is not None:
            self._ending.join()
        elif wait:
            self._end(futures)

    def _end(self, futures: Sequence[AppFuture]) -> None:
        """Wait for the tasks, then end a run of this executor."""
        if self._owns and self._dfk.cleanup_called:
            return
        if self._owns:
            # Of this run alone, so also those whose futures nobody has any more.
            self._dfk.wait_for_current_tasks()
            self._dfk.cleanup()
        else:
            wait(futures)


def _cancel_waiting(futures: Sequence[AppFuture]) -> None:
    for future in futures:
        if not future.running():
            future.cancel()


def _chunks(calls: Iterator[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    while chunk := list(itertools.islice(calls, size)):
        yield chunk


def _results(waiting: deque[AppFuture], more: Iterator[AppFuture], deadline: float | None) -> Iterator[Any]:
    """Yield results in order; submit another task for each one that is taken."""
    try:
        while waiting:
            # Only this frame has the future, so that its value is freed as soon as the caller drops it.
            result = waiting[0].result(seconds_until(deadline))
            waiting.popleft()
            waiting.extend(itertools.islice(more, 1))
            yield result
            del result
    finally:
        # The last one first: the end of a running call lets the next one begin.
        for future in reversed(waiting):
            future.cancel()


def _items(results: Iterator[list[Any]]) -> Iterator[Any]:
    for chunk in results:
        yield from chunk
