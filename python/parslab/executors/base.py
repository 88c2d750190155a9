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

from typing import Any

from parslab.description import Description, Label

__all__ = ["Executor"]


class Executor(Description):
    """Base of the descriptions of where tasks run."""

    label = Label("executor")

    def settings(self) -> dict[str, Any]:
        """Return plain JSON data for the DataFlowKernel process, with the defaults that depend on this host.

        The data of every executor has its ``kind`` and its ``label``.
        """
        raise NotImplementedError
