"""The description of an executor that runs tasks on any ``concurrent.futures.Executor`` (decision 73)."""

from __future__ import annotations

import base64
import sys
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from parslab.addresses import own_address
from parslab.description import Label, Nested, PathText, Text, Variables, Whole
from parslab.errors import ConfigurationError
from parslab.executors.base import Executor, StorageAccess
from parslab.executors.high_throughput import provider_settings
from parslab.options import Option
from parslab.providers.base import Provider
from parslab.providers.local import LocalProvider
from parslab.records.executor_settings import EngineSettings, HighThroughputSettings, ManagerSettings
from parslab.serialize.pickling import dumps

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EngineExecutor", "PoolExecutor"]


class _Factory(Option):
    """A function without arguments that makes an executor."""

    wants = "a function without arguments that returns an executor, such as lambda: ProcessPoolExecutor(4)"

    def accepted(self, value: Any) -> Callable[[], Any]:
        # An executor itself lives in this process, and its threads and sockets cannot move to another one.
        if not callable(value):
            self.refuse()
        return value  # type: ignore[no-any-return]


class EngineExecutor(Executor):
    """Base of the executors that run tasks on those of other libraries; a helper process keeps these."""

    label = Label("engine")
    workers = Whole(None, low=1)
    environment = Variables({})
    storage_access = StorageAccess(None)
    working_dir = PathText(None)

    def maker(self) -> Callable[[], Any]:
        """Return what the helper process calls to make the executor."""
        raise NotImplementedError

    def engine(self) -> EngineSettings:
        """Return how the helper process makes the executor.

        Raises
        ------
        ConfigurationError
            The function that makes it cannot be pickled.
        """
        try:
            pickled = dumps(self.maker())
        except ConfigurationError:
            raise
        except Exception as error:
            raise ConfigurationError(
                f"{type(self).__name__} {self.label}: its factory cannot be sent to the helper process "
                f"({type(error).__name__}: {error}): make everything that it needs inside the function."
            ) from error
        return EngineSettings(factory=base64.b64encode(pickled).decode(), workers=self.workers)

    def settings(self) -> HighThroughputSettings:
        # An idle executor stays: it may have taken long to start, and costs this host nothing.
        return HighThroughputSettings(
            label=self.label,
            provider=provider_settings(LocalProvider.bare({"min_blocks": 1})),
            manager=ManagerSettings(environment=dict(self.environment), engine=self.engine()),
            python=sys.executable,
        )


class PoolExecutor(EngineExecutor):
    """Tasks run on an executor of another library; futures, retries, memoization and the panel are those of parslab.

    Any ``concurrent.futures.Executor`` will do: a process pool of Python or loky, ``mpi4py.futures``, executorlib, or
    that of a Dask client.  A helper process makes it and gives it the tasks, so it can neither block nor crash the run.

    The workers of the executor need the Python and the parslab of the notebook.  A task on this host can be
    interrupted; on other hosts a cancelled task runs to its end, and its result is dropped.  A worker that is lost
    fails its task with :class:`~parslab.errors.WorkerLost`, which counts as a retry.  A broken executor is replaced.

    Parameters
    ----------
    factory
        A function without arguments that makes the executor.
    label
        The name with which apps choose it.
    workers
        The number of tasks that the executor runs at a time; None means as many as it says, or one for each core.
    provider
        Where the helper process runs; by default on this host.  Each block makes an executor of its own.
    environment
        Environment variables that the helper process gets before it calls the factory.
    address
        Where the helper process reaches the DataFlowKernel from another host; None means any address of this host.
    storage_access
        The staging providers that bring files to tasks and back; None means the default ones.
    working_dir
        The folder for local copies of remote files; None means a folder of the run.

    Examples
    --------
    >>> from concurrent.futures import ProcessPoolExecutor
    >>> PoolExecutor(ProcessPoolExecutor, workers=4)
    PoolExecutor(factory=<class 'concurrent.futures.process.ProcessPoolExecutor'>, workers=4)
    """

    factory = _Factory(None)
    label = Label("pool")
    provider = Nested(Provider, LocalProvider)
    address = Text(None)

    positional: ClassVar[tuple[str, ...]] = ("factory", "label", "workers")

    def check(self) -> None:
        if self.factory is None:
            raise ConfigurationError(f"{type(self).__name__}: factory must be {_Factory.wants}.")

    def maker(self) -> Callable[[], Any]:
        made: Callable[[], Any] = self.factory
        return made

    def settings(self) -> HighThroughputSettings:
        settings = super().settings()
        if self.provider != LocalProvider.bare():
            settings = msgspec.structs.replace(settings, provider=provider_settings(self.provider))
        if self.address is not None:
            settings = msgspec.structs.replace(settings, address=own_address(self.address, type(self).__name__))
        return settings
