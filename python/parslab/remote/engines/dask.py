"""The executor that a manager makes of a Dask cluster; ``executors.dask.DaskExecutor`` names it as its factory.

Dask runs a call again on another worker when it has lost one, up to ``allowed-failures`` times.  So a lost worker is no
lost task: only a call that Dask gives up is one, and its error is ``KilledWorker``.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING, Any

from parslab.errors import ConfigurationError, OptionalModuleMissing

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.wire.messages.worker import Demand

__all__ = ["DaskCalls", "dask_calls"]

log = logging.getLogger("parslab.engine")

_PATIENCE = 15.0
"""Seconds that a scheduler may take to answer."""
_FIRST_WORKER = 5.0
"""Seconds to wait for the first worker; a cluster that adapts to its load has none before there are tasks."""


def dask_calls(address: str | None, workers: int | None, security: Any = None) -> DaskCalls:
    """Connect to a scheduler, or start a cluster on this host.

    Parameters
    ----------
    address
        The address of the scheduler; None starts a cluster.
    workers
        The workers of a cluster that is started; None means one for each core.
    security
        The ``distributed.Security`` of the scheduler, if it has one.

    Raises
    ------
    ConfigurationError
        Dask is not installed, or nobody answers at the address.
    """
    try:
        import distributed
    except ModuleNotFoundError as error:
        if error.name != "distributed":
            raise
        raise OptionalModuleMissing("distributed", "dask") from error
    library: Any = distributed  # most of it has no types
    cluster = None
    if address is None:
        from parslab.cores import usable_cores

        # Port 0: another cluster of this host may have the usual port of the dashboard.
        cluster = library.LocalCluster(
            n_workers=workers or usable_cores(), threads_per_worker=1, dashboard_address=":0"
        )
    try:
        client = library.Client(cluster if cluster is not None else address, timeout=_PATIENCE, security=security)
    except OSError as error:
        raise ConfigurationError(f"no Dask scheduler answers at {address}: {error}") from error
    return DaskCalls(client, cluster)


class DaskCalls:
    """A Dask client with the methods of an executor.

    Parameters
    ----------
    client
        The client.
    cluster
        The cluster that ends with it; None: somebody else keeps it.

    Attributes
    ----------
    num_workers
        The threads of all workers.
    memory, gpus
        What all workers have for tasks together; 0 where they do not say.
    dashboard
        The address of the dashboard; empty if there is none.
    """

    takes_demands = True
    shown_name = "Dask"

    def __init__(self, client: Any, cluster: Any) -> None:
        self._client = client
        self._cluster = cluster
        self._numbers = itertools.count()
        self._name = f"parslab-{os.getpid()}-{client.id}"
        with contextlib.suppress(Exception):  # a cluster that adapts to its load may have none yet
            client.wait_for_workers(1, timeout=_FIRST_WORKER)
        workers = self._workers()
        self.num_workers = max(1, sum(worker["nthreads"] for worker in workers))
        self.memory = sum(worker.get("memory_limit") or 0 for worker in workers)
        self.gpus = int(sum(worker.get("resources", {}).get("GPU", 0) for worker in workers))
        self.dashboard = client.dashboard_link or ""

    def submit(self, function: Callable[..., Any], /, *args: Any, demand: Demand | None = None) -> Future[Any]:
        """Have a worker call a function."""
        options: dict[str, Any] = {}
        if demand is not None:
            # Dask runs the largest priority first, parslab the smallest.
            options["priority"] = -demand.priority
            options["resources"] = self._resources(demand)
        # A key of its own: Dask takes two calls with one key for the same one.
        made = self._client.submit(function, *args, key=f"{self._name}-{next(self._numbers)}", pure=False, **options)
        return _Call(made)

    def _workers(self) -> list[dict[str, Any]]:
        return list(self._client.scheduler_info(n_workers=-1)["workers"].values())

    def _resources(self, demand: Demand) -> dict[str, float] | None:
        """Return what a call takes of the resources that workers of the cluster have declared."""
        declared = {name for worker in self._workers() for name in worker.get("resources", {})}
        asked = {"CPU": demand.cores, "MEMORY": float(demand.memory), "GPU": float(demand.gpus)}
        return {name: amount for name, amount in asked.items() if amount and name in declared} or None

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Close the client, and the cluster if it was started here."""
        self._client.close(timeout=1)
        if self._cluster is not None:
            self._cluster.close(timeout=1)


class _Call(Future[Any]):
    """A call of Dask as a future of Python."""

    def __init__(self, made: Any) -> None:
        super().__init__()
        self._made = made  # Dask forgets a call when its last future is gone
        made.add_done_callback(self._ended)

    def _ended(self, made: Any) -> None:
        self._made = None
        if made.cancelled():
            error: BaseException | None = CancelledError()
        else:
            try:
                error = made.exception()
            except BaseException as failure:
                error = failure
        result = None
        if error is None:
            try:
                result = made.result()
            except BaseException as failure:  # the worker that has the result is gone
                error = failure
        if error is None:
            self.set_result(result)
        else:
            self.set_exception(error)

    def cancel(self) -> bool:
        """Cancel the call if Dask has not ended it."""
        made = self._made
        if made is None:
            return False
        made.cancel(reason="the task was cancelled")
        return True
