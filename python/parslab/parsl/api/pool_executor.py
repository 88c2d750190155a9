"""``ParslPoolExecutor``: a ``concurrent.futures.Executor`` whose calls are tasks of a run."""

from __future__ import annotations

import itertools
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any

from parslab.app.python import PythonApp
from parslab.client.futures.base import seconds_until
from parslab.client.session import load
from parslab.clock import steady_time
from parslab.errors import NoDataFlowKernelError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from parslab.client.futures.app_future import AppFuture
    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.config import Config

__all__ = ["ParslPoolExecutor"]


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
        self._closed = False

    @property
    def app_count(self) -> int:
        """The number of different functions that have been called."""
        return len(self._apps)

    def get_app(self, fn: Callable[..., Any]) -> PythonApp:
        """Return the app of a function; each function has one."""
        app = fn if isinstance(fn, PythonApp) else self._apps.get(fn)
        if app is None:
            app = self._apps[fn] = PythonApp(fn, data_flow_kernel=self._dfk, executors=self.executors)
        return app

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> AppFuture:
        """Call a function as a task; futures anywhere in the arguments are dependencies."""
        if self._closed:
            raise NoDataFlowKernelError("This ParslPoolExecutor has been shut down.")
        return self.get_app(fn)(*args, **kwargs)

    def map(
        self,
        fn: Callable[..., Any],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        buffersize: int | None = None,
    ) -> Iterator[Any]:
        """Call a function for each item of the iterables, and return an iterator over the results.

        Parameters
        ----------
        fn
            The function.
        iterables
            One for each parameter; the shortest ends the calls.
        timeout
            Seconds from now after which the iterator raises TimeoutError.
        chunksize, buffersize
            Ignored: tasks are sent in batches anyway.
        """
        deadline = None if timeout is None else steady_time() + timeout
        futures = [self.submit(fn, *items) for items in zip(*iterables, strict=False)]
        return (future.result(seconds_until(deadline)) for future in itertools.chain(futures))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and end the run if this executor has loaded it.

        Parameters
        ----------
        wait
            Whether to wait for the tasks first.
        cancel_futures
            Whether to cancel tasks that have not finished.
        """
        if self._closed:
            return
        self._closed = True
        if cancel_futures:
            self._dfk.cancel()
        elif wait:
            self._dfk.wait_for_current_tasks()
        if self._owns and (wait or cancel_futures):
            self._dfk.cleanup()
