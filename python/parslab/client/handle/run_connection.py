"""``RunConnection`` holds what a handle needs to open a started or found run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from pathlib import Path

    from parslab.client.process.launch import KernelProcess
    from parslab.client.process.restart import KernelRestart
    from parslab.executors.base import ParslExecutor
    from parslab.wire.messages.client import ClientHello

__all__ = ["RunConnection"]


@dataclass(frozen=True, kw_only=True)
class RunConnection:
    """A run, and a socket that is connected to its DataFlowKernel."""

    run: str
    run_dir: Path
    pid: int
    """The process number of the DataFlowKernel."""
    sock: socket.socket
    process: KernelProcess | None = None
    """The DataFlowKernel process, for an owner of the run; None for a guest."""
    threads: Mapping[str, int] = field(default_factory=dict)
    """The number of threads of each thread-pool executor, by label."""
    user_executors: Mapping[str, ParslExecutor] = field(default_factory=dict)
    """The executors that the user has written for Parsl, by label."""
    restart: KernelRestart | None = None
    """Starts the DataFlowKernel again after a loss; None when the run has no event log."""
    hello: ClientHello | None = None
    """The message that introduces a client of the listening socket; None for the process that has started the run."""
