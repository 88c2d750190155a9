"""Finds the processes of runs from outside, and counts the DataFlowKernels that are alive at the same time."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import TYPE_CHECKING

import psutil

from tests.process.sandbox import sandbox_processes

if TYPE_CHECKING:
    from tests.process.sandbox import Sandbox

__all__ = ["DataFlowKernelWatch", "found", "kernels"]

_PARTS = {
    "worker": "parslab.remote.worker",
    "manager": "parslab.remote.manager",
    "block": "/blocks/",
    "DataFlowKernel": "parslab.dataflow.main",
}


def found(sandbox: Sandbox, kind: str) -> list[int]:
    """Return the processes of a kind, wherever they are in the process tree."""
    pids = []
    for process in sandbox_processes(sandbox.token):
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            words = " ".join(process.cmdline())
            leads = kind != "block" or os.getpgid(process.pid) == process.pid
            if _PARTS[kind] in words and "parslab-reaper" not in words and leads:
                pids.append(process.pid)
    return pids


def kernels(sandbox: Sandbox) -> list[int]:
    """Return the DataFlowKernel processes that are alive."""
    parents = {}
    for process in sandbox_processes(sandbox.token):
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if len(words) > 2 and "parslab.dataflow.main" in words[2]:
                parents[process.pid] = process.ppid()
    # A child looks like its DataFlowKernel until it executes another program.
    return [pid for pid, parent in parents.items() if parent not in parents]


class DataFlowKernelWatch(threading.Thread):
    """Counts the DataFlowKernel processes of a sandbox that are alive at the same time.

    Parameters
    ----------
    sandbox
        Where the run is.
    period
        Seconds between two counts.

    Attributes
    ----------
    most
        The largest group of processes that one count found.
    """

    def __init__(self, sandbox: Sandbox, period: float = 0.01) -> None:
        super().__init__()
        self._sandbox = sandbox
        self._period = period
        self._over = threading.Event()
        self.most: list[int] = []

    def run(self) -> None:
        """Count until the end of the block."""
        while not self._over.is_set():
            pids = self.kernels()
            if len(pids) > len(self.most):
                self.most = pids
            self._over.wait(self._period)

    def kernels(self) -> list[int]:
        """Return the DataFlowKernel processes that are alive now."""
        return kernels(self._sandbox)

    def __enter__(self) -> DataFlowKernelWatch:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self.join()
