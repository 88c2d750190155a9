"""Workers of other hosts that join a low-latency executor [shell], each by two links through the hub.

To the pool such a worker looks like one of this host, except that nobody here is its parent: it comes when both links
have said hello, and is lost when a connection breaks or its host has been silent.
"""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, Any

from parslab.remote.pool.pool import PoolWorker
from parslab.wire.messages.worker import WorkerHello

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.dataflow.network.hub import Hub, HubOwner, PeerConnection
    from parslab.remote.pool.pool import WorkerPool
    from parslab.wire.stream import Buffer

__all__ = ["RemoteWorkers"]

_PROBES = 2.0
"""Seconds between signs of life that a far worker is sent."""


class _RemoteLink:
    """One link of one worker, with the part of ``Stream``'s interface that the pool uses."""

    congested = False

    def __init__(self, hub: Hub, identity: bytes) -> None:
        self._hub = hub
        self.identity = identity

    def fileno(self) -> int:
        return -1

    def send(self, messages: Sequence[Any], frames: Sequence[Buffer] = ()) -> None:
        self._hub.send(self.identity, messages, frames)

    def receive(self) -> list[Any]:
        return []

    def flush(self) -> bool:
        return True


class RemoteWorkers:
    """The hub's door to one low-latency executor.

    Parameters
    ----------
    pool
        The executor whose workers come here.
    hub, owner
        The listening end, and the kernel.
    address
        At which they reach us.
    """

    def __init__(self, pool: WorkerPool, hub: Hub, owner: HubOwner, address: str) -> None:
        self._pool = pool
        self._hub = hub
        self._owner = owner
        self._peers: dict[bytes, PoolWorker] = {}
        self._half: dict[bytes, dict[bool, WorkerHello]] = {}
        """Workers of which only one link has said hello so far."""
        hub.open(WorkerHello, pool.number, self)
        file = hub.write_settings(f"worker-{pool.label}.json", pool.number, pool.label, [address])
        self.invitation = (
            f"Workers of other hosts may join executor {pool.label} at tcp://{address}:{hub.port}: run "
            f"`python -m parslab.remote.worker {file}` there (the file holds keys; keep it private)."
        )
        owner.at(time(), self._probe)

    def _probe(self) -> None:
        for name in list(self._peers):
            self._hub.send(name + b"/control", [])
        self._owner.at(time() + _PROBES, self._probe)

    def hello(self, line: PeerConnection, message: WorkerHello) -> None:
        """A worker is usable when both of its links have said hello."""
        name = line.identity.rpartition(b"/")[0]
        hellos = self._half.setdefault(name, {})
        hellos[message.control] = message
        if len(hellos) < 2:
            return
        del self._half[name]
        data, control = _RemoteLink(self._hub, name + b"/data"), _RemoteLink(self._hub, name + b"/control")
        peer = PoolWorker(name.decode(errors="replace"), time(), data, control, None)
        self._peers[name] = peer
        self._pool.add(peer)
        self._pool.received(peer, [([hellos[False]], [])])

    def received(self, identity: bytes, messages: list[Any], frames: list[Buffer]) -> bool:
        """What a worker tells."""
        peer = self._peers.get(identity.rpartition(b"/")[0])
        if peer is None:
            return False
        self._pool.received(peer, [(messages, [bytearray(frame) for frame in frames])])
        return True

    def unreachable(self, identity: bytes) -> None:
        """A link is over, and so is the worker."""
        name = identity.rpartition(b"/")[0]
        peer = self._peers.pop(name, None)
        self._half.pop(name, None)
        if peer is not None:
            for link in (b"/data", b"/control"):
                self._hub.forget(name + link)
            self._pool.lost(peer)

    def close(self) -> None:
        """Say farewell to everybody."""
        for name in self._peers:
            for link in (b"/data", b"/control"):
                self._hub.farewell(name + link)
