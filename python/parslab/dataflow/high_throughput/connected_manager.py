"""Describes a connected manager: its place in the queue, its connection, its state and its workers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.dataflow.high_throughput.lifecycle import MANAGER, ManagerSignal
from parslab.dataflow.high_throughput.scheduler import ManagerSlot
from parslab.records.events import ManagerMoved
from parslab.records.state_machine import step
from parslab.records.states import ManagerState, WorkerState

if TYPE_CHECKING:
    from parslab.dataflow.network.hub import PeerConnection
    from parslab.wire.messages.manager import ManagerHello

__all__ = ["ConnectedManager"]


class ConnectedManager(ManagerSlot):
    """One manager that was accepted.

    Attributes
    ----------
    connection
        The connection to it.
    host, pid
        Where its process runs.
    state
        Its state; only :meth:`advance` changes it.
    worker_states
        The state and the process id of each of its workers.
    nodes, mpiexec
        The nodes of its block and whose ``mpiexec`` they have; empty without MPI mode.
    """

    __slots__ = ("connection", "host", "mpiexec", "nodes", "pid", "state", "worker_states")

    def __init__(self, hello: ManagerHello, connection: PeerConnection, now: float) -> None:
        super().__init__(
            hello.manager,
            hello.block,
            hello.workers,
            now,
            prefetch=hello.prefetch,
            cores=hello.cores,
            memory=hello.memory,
            accelerators=hello.accelerators,
        )
        self.connection = connection
        self.host = hello.host
        self.pid = hello.pid
        self.nodes = hello.nodes
        self.mpiexec = hello.mpiexec
        self.state = ManagerState.ready
        # Kept here, because a lost manager cannot report the end of its workers any more.
        self.worker_states: dict[str, tuple[WorkerState, int]] = {}

    def advance(self, signal: ManagerSignal) -> None:
        """Change the state as the table of managers says."""
        self.state = step(MANAGER, self.state, signal, f"manager {self.name} of block {self.block} on {self.host}")

    def moved(self, executor: str, reason: str, now: float) -> ManagerMoved:
        """Return the event that reports the present state."""
        return ManagerMoved(
            time=now,
            manager=self.name,
            executor=executor,
            block=self.block,
            state=self.state,
            host=self.host,
            pid=self.pid,
            workers=self.workers,
            cores=self.cores,
            memory=self.memory,
            reason=reason,
        )
