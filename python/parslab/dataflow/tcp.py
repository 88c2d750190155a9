"""Workers of other hosts [shell]: one CurveZMQ ROUTER per low-latency executor that has an address.

To the pool such a worker looks like one of this host, except that nobody here is its parent: it comes when it says
hello and is lost when its host has been silent for ten seconds. The settings file that lets a worker join holds the
keys.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

import msgspec
import zmq

from parslab.errors import ConfigurationError
from parslab.wire.curve import Gate, Keys
from parslab.wire.messages import WorkerControlMessage, WorkerHello
from parslab.wire.stream import Buffer, decoder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.dataflow.pool import Peer, Pool, PoolOwner

__all__ = ["Hub"]

log = logging.getLogger(__name__)

_SILENCE = 10_000
"""Milliseconds without a sign of life after which ZeroMQ closes a connection."""
_MAX_MESSAGE = 1 << 40
_decode = decoder(WorkerControlMessage)


class _Link:
    """One link of one worker, with the part of ``Stream``'s interface that the pool uses."""

    congested = False

    def __init__(self, hub: Hub, identity: bytes) -> None:
        self._hub = hub
        self._identity = identity

    def fileno(self) -> int:
        return -1

    def send(self, messages: Sequence[Any], frames: Sequence[Buffer] = ()) -> None:
        self._hub.send(self._identity, messages, frames)

    def receive(self) -> list[Any]:
        return []

    def flush(self) -> bool:
        return True


class Hub:
    """The listening end.

    Parameters
    ----------
    pool
        The executor whose workers come here.
    owner
        The kernel.
    """

    def __init__(self, pool: Pool, owner: PoolOwner) -> None:
        self._pool = pool
        self._owner = owner
        self._peers: dict[bytes, Peer] = {}
        self._half: dict[bytes, dict[bool, WorkerHello]] = {}
        """Workers of which only one link has said hello so far."""
        keys = Keys()
        self._context: zmq.Context[Any] = zmq.Context()
        self._gate = Gate(self._context, {keys.client_public})
        router: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        router.curve_server = True
        router.curve_secretkey = keys.server_secret.encode()
        router.curve_publickey = keys.server_public.encode()
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        router.setsockopt(zmq.HEARTBEAT_IVL, 2000)
        router.setsockopt(zmq.HEARTBEAT_TIMEOUT, _SILENCE)
        router.setsockopt(zmq.MAXMSGSIZE, _MAX_MESSAGE)
        router.setsockopt(zmq.SNDHWM, 0)
        router.setsockopt(zmq.RCVHWM, 0)
        router.linger = 500
        address = pool.settings["address"]
        host = f"[{address}]" if ":" in address else address
        router.ipv6 = ":" in address
        port = pool.settings["port"]
        try:
            if port:
                router.bind(f"tcp://{host}:{port}")
            else:
                port = router.bind_to_random_port(f"tcp://{host}")
        except zmq.ZMQError as error:
            self._context.destroy(0)
            place = f"{host}:{port}" if port else host
            raise ConfigurationError(
                f"executor {pool.label} cannot listen at {place} ({error.strerror}); give its LowLatencyExecutor "
                "another address or port."
            ) from error
        self._router = router
        self.address = f"tcp://{host}:{port}"
        self._file = self._write_settings(keys)
        self.invitation = (
            f"Workers of other hosts may join executor {pool.label} at {self.address}: run "
            f"`python -m parslab.remote.worker {self._file}` there (the file holds keys; keep it private)."
        )
        owner.loop.watch(self._gate.socket.getsockopt(zmq.FD), self._turn)
        owner.loop.watch(router.getsockopt(zmq.FD), self._turn)
        owner.at(time(), self._tick)

    def _write_settings(self, keys: Keys) -> Path:
        path = Path(self._owner.run["run_dir"]) / f"worker-{self._pool.label}.json"
        content = {
            "address": self.address,
            "label": self._pool.label,
            "executor": self._pool.number,
            "package": self._owner.run["package"],
            "path": self._owner.run["path"],
            "server_key": keys.server_public,
            "public_key": keys.client_public,
            "secret_key": keys.client_secret,
        }
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump(content, file)
        return path

    def send(self, identity: bytes, messages: Sequence[Any], frames: Sequence[Buffer]) -> None:
        """Send a batch to one link; a worker that is gone is found by its silence."""
        try:
            self._router.send_multipart([identity, msgspec.msgpack.encode(messages), *frames], copy=not frames)
        except zmq.ZMQError as error:
            log.info("worker link %r cannot be reached: %s", identity, error)
            self._owner.loop.post(lambda: self._gone(identity))

    def _tick(self) -> None:
        """ZeroMQ's descriptors are edge-triggered: look again now and then, and probe who is still there."""
        self._turn()
        if self._gate.refused:
            log.warning("%d connections without the run's key were refused", self._gate.refused)
            self._gate.refused = 0
        for name in list(self._peers):
            self.send(name + b"/control", [], ())
        self._owner.at(time() + 2.0, self._tick)

    def _turn(self) -> None:
        self._gate.answer()
        router = self._router
        while int(router.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            identity, *parts = router.recv_multipart(zmq.DONTWAIT, copy=False)
            self._received(identity.bytes, parts)
            self._gate.answer()

    def _received(self, identity: bytes, parts: list[Any]) -> None:
        try:
            messages = _decode(parts[0].buffer)
        except (msgspec.MsgspecError, IndexError) as error:
            log.warning("worker link %r sent what this version does not understand: %s", identity, error)
            return
        name = identity.rpartition(b"/")[0]
        if messages and type(messages[0]) is WorkerHello:
            self._greeted(name, messages[0])
            return
        peer = self._peers.get(name)
        if peer is not None:  # else it was given up: it will find that nobody answers
            self._pool.received(peer, [(messages, [bytearray(part.buffer) for part in parts[1:]])])

    def _greeted(self, name: bytes, hello: WorkerHello) -> None:
        """A worker is usable when both of its links have said hello."""
        from parslab.dataflow.pool import Peer

        hellos = self._half.setdefault(name, {})
        hellos[hello.control] = hello
        if len(hellos) < 2:
            return
        del self._half[name]
        data, control = _Link(self, name + b"/data"), _Link(self, name + b"/control")
        peer = Peer(name.decode(errors="replace"), time(), data, control, None)
        self._peers[name] = peer
        self._pool.add(peer)
        self._pool.received(peer, [([hellos[False]], [])])

    def _gone(self, identity: bytes) -> None:
        peer = self._peers.pop(identity.rpartition(b"/")[0], None)
        if peer is not None:
            self._pool.lost(peer)

    def close(self) -> None:
        """Say farewell to everybody and close."""
        for name in list(self._peers):
            for link in (b"/data", b"/control"):
                with contextlib.suppress(zmq.ZMQError):
                    self._router.send_multipart([name + link, b""], zmq.DONTWAIT)
        for fd in (self._gate.socket.getsockopt(zmq.FD), self._router.getsockopt(zmq.FD)):
            self._owner.loop.forget(fd)
        self._router.close()
        self._gate.socket.close(0)
        self._context.term()
