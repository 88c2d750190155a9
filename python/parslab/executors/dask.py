"""The description of an executor that runs tasks on a Dask cluster (decision 73)."""

from __future__ import annotations

import functools
import importlib.util
from typing import TYPE_CHECKING, Any, ClassVar

from parslab.description import Label
from parslab.errors import OptionalModuleMissing
from parslab.executors.pool import EngineExecutor
from parslab.options import Option
from parslab.remote.engines.dask import dask_calls

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DaskExecutor"]


class _Scheduler(Option):
    """The address of a scheduler, or an object that has one, such as a cluster or a client of Dask; kept as text."""

    wants = "the address of a Dask scheduler, such as 'tcp://node1:8786', or a cluster that other processes can reach"

    def accepted(self, value: Any) -> str:
        if not isinstance(value, str):
            scheduler = getattr(value, "scheduler", None)
            value = getattr(value, "scheduler_address", None) or getattr(scheduler, "address", None)
        # A cluster of threads has an address that means nothing in another process.
        if not isinstance(value, str) or "://" not in value or value.startswith("inproc:"):
            self.refuse()
        return value


class _Security(Option):
    """The keys of a scheduler that encrypts."""

    wants = "a distributed.Security"

    def accepted(self, value: Any) -> Any:
        if type(value).__name__ != "Security":
            self.refuse()
        return value


class DaskExecutor(EngineExecutor):
    """Tasks run on a Dask cluster; dependencies, retries, memoization and the panel are those of parslab.

    A helper process connects to the scheduler, and gives it short tasks together.  The workers of the cluster need the
    Python and the parslab of the notebook.

    ``parsl_resource_specification`` of a call: ``priority`` is passed on to Dask.  ``cores``, ``memory`` and ``gpus``
    take as much of the resources ``CPU``, ``MEMORY`` (bytes) and ``GPU``, where workers declare these.

    Dask itself runs a call again when it has lost its worker, as often as its ``allowed-failures`` says.  A call that
    it gives up fails with :class:`~parslab.errors.WorkerLost`, which counts as a retry.

    Parameters
    ----------
    address
        The address of the scheduler, or a cluster object of Dask whose scheduler is a process of its own or can be
        reached by TCP.  None starts a cluster on this host, which ends with the run.
    label
        The name with which apps choose it.
    workers
        The number of tasks that run at a time; None means as many as the cluster has threads when the run begins.  For
        a cluster that adapts to its load, give the number that it may grow to.
    security
        The ``distributed.Security`` of a scheduler that encrypts.
    environment
        Environment variables that the helper process gets before it connects.
    storage_access
        The staging providers that bring files to tasks and back; None means the default ones.
    working_dir
        The folder for local copies of remote files; None means a folder of the run.

    Examples
    --------
    >>> DaskExecutor("tcp://node1:8786")
    DaskExecutor(address='tcp://node1:8786')
    """

    label = Label("dask")
    address = _Scheduler(None)
    security = _Security(None)

    positional: ClassVar[tuple[str, ...]] = ("address", "label", "workers")

    def maker(self) -> Callable[[], Any]:
        if importlib.util.find_spec("distributed") is None:
            raise OptionalModuleMissing("distributed", "dask")
        return functools.partial(dask_calls, self.address, self.workers, self.security)
