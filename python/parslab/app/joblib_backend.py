"""``joblib_backend`` lets joblib, and libraries that use it such as scikit-learn, run their calls on a run."""

from __future__ import annotations

import contextlib
import weakref
from importlib import import_module
from typing import TYPE_CHECKING, Any

from parslab.cores import usable_cores
from parslab.errors import OptionalModuleMissing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor, Future

__all__ = ["joblib_backend"]

_NAME = "parslab"


@contextlib.contextmanager
def joblib_backend(executor: Executor, workers: int | None = None) -> Iterator[None]:
    """Have joblib run its calls on an executor, such as ``ParslPoolExecutor``, inside a ``with`` block.

    Parameters
    ----------
    executor
        The executor.
    workers
        How many calls ``n_jobs=-1`` runs at a time; None means the cores of this host.

    Raises
    ------
    OptionalModuleMissing
        Joblib is not installed.

    Examples
    --------
    >>> with joblib_backend(pool):  # doctest: +SKIP
    ...     GridSearchCV(model, grid, n_jobs=-1).fit(x, y)
    """
    try:
        joblib: Any = import_module("joblib")
    except ImportError as error:
        raise OptionalModuleMissing("joblib", "tutorial") from error
    joblib.register_parallel_backend(_NAME, _backend_class(joblib))
    with joblib.parallel_config(backend=_NAME, executor=executor, workers=workers or usable_cores()):
        yield


def _calls_at_a_time(n_jobs: int | None, workers: int) -> int:
    """Return how many calls run at a time; joblib counts a negative ``n_jobs`` from the number of all workers."""
    if n_jobs == 0:
        raise ValueError("n_jobs == 0 in Parallel has no meaning")
    if n_jobs is None:
        return 1
    return n_jobs if n_jobs > 0 else max(1, workers + 1 + n_jobs)


def _backend_class(joblib: Any) -> type:
    """Return the class that joblib makes for each of its calls; its bases are there only where joblib is."""
    bases: Any = import_module("joblib._parallel_backends")

    class ExecutorBackend(bases.AutoBatchingMixin, bases.ParallelBackendBase):  # type: ignore[misc]
        supports_retrieve_callback = True
        supports_timeout = True
        default_n_jobs = -1

        def __init__(self, executor: Executor, workers: int, **options: Any) -> None:
            super().__init__(**options)
            self._executor = executor
            self._workers = workers
            self._futures: weakref.WeakSet[Future[Any]] = weakref.WeakSet()

        def effective_n_jobs(self, n_jobs: int | None) -> int:
            return _calls_at_a_time(n_jobs, self._workers)

        def configure(self, n_jobs: int = 1, parallel: Any = None, **options: Any) -> int:
            self.parallel = parallel
            return self.effective_n_jobs(n_jobs)

        def submit(self, func: Callable[[], Any], callback: Callable[[Future[Any]], None] | None = None) -> Any:
            future = self._executor.submit(func)
            self._futures.add(future)
            if callback is not None:
                future.add_done_callback(callback)
            return future

        apply_async = submit  # the name before joblib 1.5

        def retrieve_result_callback(self, out: Future[Any]) -> Any:
            return out.result()

        def abort_everything(self, ensure_ready: bool = True) -> None:
            for future in list(self._futures):
                future.cancel()

    return ExecutorBackend
