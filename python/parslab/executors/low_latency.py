"""The description of the low-latency executor, whose workers are connected directly to the DataFlowKernel process."""

from __future__ import annotations

from typing import ClassVar

from parslab.addresses import own_address
from parslab.cores import usable_cores
from parslab.description import Label, PathText, Text, Texts, Variables, Whole
from parslab.errors import ConfigurationError
from parslab.executors.base import Executor, StorageAccess
from parslab.executors.containers import ContainerOption
from parslab.records.executor_settings import LowLatencySettings

__all__ = ["LowLatencyExecutor"]


class LowLatencyExecutor(Executor):
    """Worker processes on this host that are connected directly to the DataFlowKernel.

    Parameters
    ----------
    label
        The name with which apps choose it.
    workers
        The number of worker processes; None means one for each usable core (affinity, cgroup quota,
        ``PARSLAB_CORES``).
    environment
        Environment variables that the workers get in addition to those of the notebook.
    threads_per_worker
        Threads that numerical libraries (BLAS, OpenMP) may use in each worker; None divides the usable cores by the
        workers.
    address
        An IP address of this host, or the name of a network interface.  Workers of other hosts may connect there,
        encrypted and authenticated by a key.  None allows only workers of this host, over unix sockets.
    port
        The port of ``address``; 0 means any free port.
    requirements
        What the workers' Python environment has to hold, as pip takes it, such as ``["numpy<2"]``; an app may ask for
        another one with ``environment``.  ``()`` means that workers use the environment of the notebook.
    storage_access
        The staging providers that bring files to tasks and back; None means the default ones.
    working_dir
        The folder for local copies of remote files; None means a folder of the run.
    container
        The :class:`~parslab.Container` in which the workers run, or the name of its image.

    Examples
    --------
    >>> LowLatencyExecutor(workers=4, environment={"MODEL_CACHE": "/tmp/models"})
    LowLatencyExecutor(workers=4, environment={'MODEL_CACHE': '/tmp/models'})
    """

    label = Label("llex")
    workers = Whole(None, low=1)
    environment = Variables({})
    threads_per_worker = Whole(None, low=1)
    address = Text(None)
    port = Whole(0, low=0, high=65535)
    requirements = Texts(())
    storage_access = StorageAccess(None)
    working_dir = PathText(None)
    container = ContainerOption(None)

    positional: ClassVar[tuple[str, ...]] = ("label", "workers")

    def check(self) -> None:
        if self.port and self.address is None:
            raise ConfigurationError(
                f"LowLatencyExecutor: port {self.port} means nothing without address, because workers of this host "
                "are joined by unix sockets."
            )

    def settings(self) -> LowLatencySettings:
        workers = self.workers or usable_cores()
        return LowLatencySettings(
            label=self.label,
            workers=workers,
            environment=dict(self.environment),
            threads_per_worker=self.threads_per_worker or max(1, usable_cores() // workers),
            address=None if self.address is None else own_address(self.address, "LowLatencyExecutor"),
            port=self.port,
            requirements=list(self.requirements),
            container=None if self.container is None else self.container.spec(),
        )
