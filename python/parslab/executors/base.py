"""The base of executors: a label, and the settings with which the DataFlowKernel process runs it.

The DataFlowKernel knows four kinds of executors: threads, low_latency, high_throughput and those that a package builds
on them.  An executor of your own is a subclass of one of ours that sets options.  Name it by an entry point of the
group ``parslab.executors`` (see :mod:`parslab.plugins`)::

    class GpuExecutor(LowLatencyExecutor):
        \"\"\"Workers that number the GPUs of this host as nvidia-smi does.\"\"\"

        label = Label("gpus")
        environment = Variables({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"})

Test it with :class:`parslab.testing.conformance.ExecutorSuite`.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from parslab.description import Description, Label

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

__all__ = ["Executor", "ParslExecutor"]


class Executor(Description):
    """Base of the descriptions of where tasks run."""

    label = Label("executor")

    def settings(self) -> dict[str, Any]:
        """Return plain JSON data for the DataFlowKernel process, with the defaults that depend on this host.

        The data of every executor has its ``kind`` and its ``label``.
        """
        raise NotImplementedError


class ParslExecutor(ABC):
    """Base of executors that users have written for Parsl; ``Config(executors=[...])`` takes them.

    Such an executor runs tasks itself: the client calls its methods, in this process.  It calls ``start`` when the run
    is loaded, ``submit`` for each task when its inputs are there, and ``shutdown`` at the end of the run.

    Attributes
    ----------
    label
        The name with which apps choose it.
    run_dir, run_id
        Folder and name of the run; the client sets both before ``start``.
    """

    label: str = "undefined"
    run_dir: str = "."
    run_id: str | None = None
    storage_access: Any = None
    working_dir: str | None = None
    monitoring_messages: Any = None
    remote_monitoring_radio: Any = None
    log_config: Any = None

    def __init__(self, *, monitoring_messages: Any = None, run_dir: str = ".", run_id: str | None = None) -> None:
        self.monitoring_messages = monitoring_messages
        self.run_dir = os.path.abspath(run_dir)
        self.run_id = run_id

    def start(self) -> Any:
        """Start what runs the tasks; by default nothing."""
        return None

    @abstractmethod
    def submit(
        self, func: Callable[..., Any], resource_specification: dict[str, Any], *args: Any, **kwargs: Any
    ) -> Future[Any]:
        """Run a task; the client passes the values of its inputs."""

    @abstractmethod
    def shutdown(self) -> Any:
        """Stop what runs the tasks."""

    def monitor_resources(self) -> bool:
        """Return whether Parsl may measure the tasks; parslab never asks."""
        return False

    def settings(self) -> dict[str, Any]:
        """Return what the DataFlowKernel process knows of it: tasks of this label run in the client."""
        return {"kind": "threads", "label": self.label, "max_threads": 1}

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
