"""Lets workers of other hosts join a low-latency executor, each by two links through the hub [shell].

The pool treats such a worker like one of this host, except that it has no process here.  A worker joins when both of
its links have sent a hello.  It is lost when a connection breaks or its host was silent for too long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.remote.pool.pool import PoolWorker
from parslab.wire.messages.worker import WorkerHello
from parslab.wire.shared_memory import in_memory

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.host import Host
    from parslab.dataflow.network.hub import Hub, PeerConnection
    from parslab.remote.pool.pool import WorkerPool
    from parslab.wire.messages.base import WireMessage
    from parslab.wire.stream import Batch, Buffer

__all__ = ["RemoteWorkers"]

_HEARTBEAT = 2.0
"""Seconds between heartbeats to a remote worker."""


class _RemoteLink:
    """One link of one worker, with the part of ``Stream``'s interface that the pool uses."""

    congested = False

    def __init__(self, hub: Hub, identity: bytes) -> None:
        self._hub = hub
        self.identity = identity

    # No descriptor of its own: the hub reads for all links, so the pool must not watch this one.
    def fileno(self) -> int:
        return -1

    def send(self, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        self._hub.send(self.identity, messages, frames)

    def receive(self) -> list[Batch]:
        return []

    def flush(self) -> bool:
        return True


class RemoteWorkers:
    """Listens for the remote workers of one low-latency executor.

    Parameters
    ----------
    pool
        The executor that they join.
    hub, host
        The listening end, and the process that it runs in.
    address
        The address at which they reach this host.

    Attributes
    ----------
    invitation
        A sentence that says how to start such a worker.
    """

    def __init__(self, pool: WorkerPool[Task], hub: Hub, host: Host, address: str) -> None:
        self._pool = pool
        self._hub = hub
        self._host = host
        self._workers: dict[bytes, PoolWorker[Task]] = {}
        self._half: dict[bytes, dict[bool, WorkerHello]] = {}
        """The hellos of workers of which only one link has sent a hello so far."""
        hub.register(WorkerHello, pool.number, self)
        # One file for all workers of the executor: it holds the keys, which are those of the run.
        invitation = hub.invitation(pool.number, pool.label, [address])
        file = hub.write_invitation(f"worker-{pool.label}.json", invitation)
        self.invitation = (
            f"Workers of other hosts may join executor {pool.label} at tcp://{address}:{hub.port}: run "
            f"`python -m parslab.remote.worker {file}` there (the file holds keys; keep it private)."
        )
        self._beat()

    def _beat(self) -> None:
        for name in list(self._workers):
            # The control link only: its thread answers while the worker's main thread runs a task.
            self._hub.send(name + b"/control", [])
        self._host.call_at(self._host.now() + _HEARTBEAT, self._beat)

    def hello(self, connection: PeerConnection, hello: WorkerHello) -> None:
        """Add a worker when both of its links have sent a hello."""
        name = connection.identity.rpartition(b"/")[0]
        hellos = self._half.setdefault(name, {})
        hellos[hello.control] = hello
        # A worker with one link could run tasks, but nobody could probe or stop it.
        if len(hellos) < 2:
            return
        del self._half[name]
        data, control = _RemoteLink(self._hub, name + b"/data"), _RemoteLink(self._hub, name + b"/control")
        # Another process has made the name, which need not be text.
        worker: PoolWorker[Task]
        worker = PoolWorker(name.decode(errors="replace"), self._host.now(), data=data, control=control)
        self._workers[name] = worker
        self._pool.add(worker)
        self._pool.received(worker, [([hellos[False]], [])])

    def received(self, identity: bytes, messages: list[WireMessage], frames: list[Buffer]) -> bool:
        """Pass messages of a worker on to the pool; returns False when no worker has this identity."""
        worker = self._workers.get(identity.rpartition(b"/")[0])
        if worker is None:
            return False
        self._pool.received(worker, [(messages, [bytearray(in_memory(frame)) for frame in frames])])
        return True

    def unreachable(self, identity: bytes) -> None:
        """Remove a worker of which one link broke."""
        name = identity.rpartition(b"/")[0]
        worker = self._workers.pop(name, None)
        self._half.pop(name, None)
        if worker is not None:
            for link in (b"/data", b"/control"):
                # The other link may still be open: what it sends belongs to no worker now.
                self._hub.forget(name + link)
            self._pool.lost(worker)

    def close(self) -> None:
        """Tell every worker that the run is over."""
        for name in self._workers:
            for link in (b"/data", b"/control"):
                self._hub.announce_end(name + link)
