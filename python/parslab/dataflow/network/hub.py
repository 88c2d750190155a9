"""The one TCP port of a run [shell]: a CurveZMQ ROUTER through which workers and managers of other hosts come.

All executors share it. Whoever has the run's key may say hello; what then comes from this peer goes to the room that
took it in. A peer that sends something else is dropped and counted, and nothing that it sent is ever unpickled; what a
stranger can make us hold before it is known for one is bounded (``wire.parts``). Peers do not come back under the same
identity: a connection that broke is over, and its peer is lost.
"""

from __future__ import annotations

import contextlib
import logging
import os
import struct
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, Protocol

import msgspec
import zmq

from parslab.dataflow.network import port_state
from parslab.dataflow.network.handshake_monitor import WATCHED, HandshakeMonitor
from parslab.errors import ConfigurationError, ProtocolError
from parslab.records.events import NoticeRaised
from parslab.wire import invitations
from parslab.wire.curve import CurveGate, CurveKeys
from parslab.wire.messages.base import OutputPrinted, Refused
from parslab.wire.messages.manager import (
    LinkHeartbeat,
    ManagerBroken,
    ManagerDraining,
    ManagerHello,
    ManagerLeft,
    NodeSample,
    TaskSample,
    WorkerStateChanged,
)
from parslab.wire.messages.worker import Outcome, WorkerHello, WorkerReport
from parslab.wire.stream import Buffer, decoder
from parslab.wire.zmq_parts import PART, WIRE_PART, joined, parted, quickly_copied

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.records.events import Event
    from parslab.remote.loop import Loop

__all__ = ["Hub", "HubOwner", "PeerConnection", "PeerListener"]

log = logging.getLogger(__name__)

_decode = decoder(
    LinkHeartbeat
    | ManagerBroken
    | ManagerDraining
    | ManagerLeft
    | ManagerHello
    | NodeSample
    | Outcome
    | OutputPrinted
    | WorkerReport
    | TaskSample
    | WorkerHello
    | WorkerStateChanged
)
# As plain numbers: to take them out of their enumerations costs more than a call of ZeroMQ.
_EVENTS, _READABLE, _MORE = int(zmq.EVENTS), int(zmq.POLLIN), int(zmq.SNDMORE)
_PROBE = 0.1
"""Seconds from a broken connection to asking who is still there; many that break together are asked once."""
_SWEEP = 2.0
_HANDSHAKE = 10_000
"""Milliseconds that a newcomer has to show the run's key."""


class PeerConnection(Protocol):
    """The connection of one peer, as its room has it."""

    identity: bytes

    def send(self, messages: Sequence[Any], frames: Sequence[Buffer] = ()) -> bool:
        """Send a batch; False when the connection is over, of which the room is told soon."""

    def refuse(self, reason: str) -> None:
        """Turn the peer away."""

    def forget(self) -> None:
        """The peer has been given up: what it may still send is not wanted."""


class _HubConnection:
    def __init__(self, hub: Hub, identity: bytes) -> None:
        self.identity = identity
        self._hub = hub

    def send(self, messages: Sequence[Any], frames: Sequence[Buffer] = ()) -> bool:
        return self._hub.send(self.identity, messages, frames)

    def refuse(self, reason: str) -> None:
        self._hub.refuse(self.identity, reason)

    def forget(self) -> None:
        self._hub.forget(self.identity)


class PeerListener(Protocol):
    """A room that takes peers in."""

    def hello(self, line: PeerConnection, message: Any) -> None:
        """A peer says who it is."""

    def received(self, identity: bytes, messages: list[Any], frames: list[Buffer]) -> bool:
        """A batch of a peer; False when this room does not know it."""

    def unreachable(self, identity: bytes) -> None:
        """The connection of a peer is over."""


class HubOwner(Protocol):
    """What the hub needs of the kernel."""

    loop: Loop
    run: dict[str, Any]

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call at this time, in the loop."""

    def event(self, event: Event) -> None:
        """Tell monitoring."""


class Hub:
    """The listening end.

    Parameters
    ----------
    addresses
        IP addresses of this host to listen at; one that stands for all addresses makes the others superfluous.
    port
        0: any free one.
    owner
        The kernel.
    keys
        Those of an earlier life of the run; None: new ones.

    Raises
    ------
    ConfigurationError
        It cannot listen there.
    """

    def __init__(self, addresses: Sequence[str], port: int, owner: HubOwner, keys: CurveKeys | None = None) -> None:
        self._owner = owner
        self.keys = keys or CurveKeys()
        self.strangers = 0
        """Messages from peers that said no hello, or that nobody could decode."""
        self._told = 0
        """Those of them that a notice has told of."""
        self._knocks = HandshakeMonitor()
        self._doors: dict[tuple[type[Any], int], PeerListener] = {}
        self._homes: dict[bytes, PeerListener] = {}
        self._sent = False
        self._probing = False
        self._context: zmq.Context[Any] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 65535)
        self._gate = CurveGate(self._context, {self.keys.client_public})
        self._router = self._make_router(addresses)
        self.port = self._bind(addresses, port)
        self._watcher: zmq.Socket[Any] = self._router.get_monitor_socket(WATCHED)
        for sock, call in ((self._gate.socket, self.turn), (self._router, self.turn), (self._watcher, self._watched)):
            owner.loop.watch(sock.getsockopt(zmq.FD), call)
        owner.at(time(), self._sweep)

    def _make_router(self, addresses: Sequence[str]) -> zmq.Socket[bytes]:
        router: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        router.curve_server = True
        router.curve_secretkey = self.keys.server_secret.encode()
        router.curve_publickey = self.keys.server_public.encode()
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        router.setsockopt(zmq.MAXMSGSIZE, WIRE_PART)
        router.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE)
        router.setsockopt(zmq.SNDHWM, 0)
        router.setsockopt(zmq.RCVHWM, 0)
        router.setsockopt(zmq.BACKLOG, 4096)
        # Of a peer whose network was cut nothing more is heard: give its connection back, some minutes later.
        for option, value in ((zmq.TCP_KEEPALIVE, 1), (zmq.TCP_KEEPALIVE_IDLE, 120), (zmq.TCP_KEEPALIVE_INTVL, 30)):
            router.setsockopt(option, value)
        router.linger = 500
        router.ipv6 = any(":" in address for address in addresses)
        return router

    def _bind(self, addresses: Sequence[str], port: int) -> int:
        for address in addresses:
            host = f"[{address}]" if ":" in address else address
            try:
                if port:
                    self._router.bind(f"tcp://{host}:{port}")
                else:
                    port = self._router.bind_to_random_port(f"tcp://{host}")
            except zmq.ZMQError as error:
                self._context.destroy(0)
                place = f"{host}:{port}" if port else host
                raise ConfigurationError(
                    f"the run cannot listen at {place} ({os.strerror(error.errno or 0)}); give its executors another "
                    "address or port."
                ) from error
        return port

    def open(self, hello: type[Any], executor: int, door: PeerListener) -> None:
        """Peers that say this hello for this executor go to ``door``."""
        self._doors[hello, executor] = door

    def write_settings(self, name: str, executor: int, label: str, addresses: Sequence[str], **more: Any) -> Path:
        """Write the file, readable by us alone, that lets a peer join an executor."""
        run = self._owner.run
        path = Path(run["run_dir"]) / name
        content: dict[str, Any] = {
            "addresses": [f"tcp://{f'[{a}]' if ':' in a else a}:{self.port}" for a in addresses],
            "label": label,
            "executor": executor,
            "run": run["run"],
            "package": run["package"],
            "path": run["path"],
            "cwd": run["cwd"],
            "server_key": self.keys.server_public,
            "public_key": self.keys.client_public,
            "secret_key": self.keys.client_secret,
            **more,
        }
        invitations.write(path, content)
        return path

    # ----- out

    def send(self, identity: bytes, messages: Sequence[Any], frames: Sequence[Buffer] = ()) -> bool:
        """Send a batch to a peer; False, and its room is told soon, when its connection is over."""
        self._sent = True
        head = msgspec.msgpack.encode(messages)
        try:
            if frames or len(head) > PART:
                copy = quickly_copied(frames)
                self._router.send_multipart([identity, *parted(head, frames)], copy=copy)
            else:
                self._router.send(identity, _MORE)
                self._router.send(head)
        except zmq.ZMQError as error:
            log.info("peer %r cannot be reached: %s", identity, error)
            self._owner.loop.post(lambda: self._over(identity))
            return False
        return True

    def refuse(self, identity: bytes, reason: str) -> None:
        """Turn a peer away."""
        self._homes.pop(identity, None)
        self.send(identity, [Refused(reason)])

    def farewell(self, identity: bytes) -> None:
        """Tell a worker's link that the run is over."""
        with contextlib.suppress(zmq.ZMQError):
            self._router.send_multipart([identity, b""], zmq.DONTWAIT)

    def _over(self, identity: bytes) -> None:
        home = self._homes.pop(identity, None)
        if home is not None:
            home.unreachable(identity)

    def forget(self, identity: bytes) -> None:
        """Its room has given a peer up: what it may still send is not wanted."""
        self._homes.pop(identity, None)

    # ----- in

    def after_round(self) -> None:
        """ZeroMQ's descriptors tell of changes only, and sending swallows that: look again after rounds that sent."""
        if self._sent:
            self._sent = False
            self.turn()

    def turn(self) -> None:
        """Take everything that has come."""
        router = self._router
        while router.getsockopt(_EVENTS) & _READABLE:  # type: ignore[operator]
            identity, *parts = router.recv_multipart(zmq.DONTWAIT)
            try:
                head, *frames = joined(parts)
            except (ProtocolError, ValueError) as error:
                self._stranger(identity, str(error))
                continue
            self._received(identity, head, frames)
        self._gate.answer()

    def _watched(self) -> None:
        """Connections were made, or are over."""
        while int(self._watcher.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            event, value = struct.unpack("=HI", self._watcher.recv_multipart(zmq.DONTWAIT)[0][:6])
            if self._knocks.told(event, value) and not self._probing:
                self._probing = True
                self._owner.at(time() + _PROBE, self._probe)

    def _received(self, identity: bytes, head: bytes, frames: Sequence[Buffer]) -> None:
        try:
            messages = _decode(head)
        except msgspec.MsgspecError as error:
            self._stranger(identity, f"something that this version does not understand ({error})")
            return
        home = self._homes.get(identity)
        try:
            if home is not None and home.received(identity, messages, list(frames)):
                return
        except (LookupError, TypeError, ValueError) as error:
            self._over(identity)
            self._stranger(identity, f"a batch that cannot be read ({type(error).__name__}: {error})")
            return
        first = messages[0] if messages else None
        door = self._doors.get((type(first), getattr(first, "executor", -1)))
        if first is None or door is None:
            self._stranger(identity, "no hello")
            return
        self._homes[identity] = door
        door.hello(_HubConnection(self, identity), first)

    def _stranger(self, identity: bytes, what: str) -> None:
        self.strangers += 1
        log.warning("peer %r sent %s and is turned away", identity, what)
        self._over(identity)
        self.refuse(identity, f"You sent {what}.")

    def _probe(self) -> None:
        """A connection broke: find out whose, by sending to everybody."""
        self._probing = False
        for identity in list(self._homes):
            self.send(identity, [])

    def _sweep(self) -> None:
        self.turn()
        self._watched()
        count = self._gate.refused + self._knocks.strangers
        if count:
            self._gate.refused = self._knocks.strangers = 0
            many = f"{count} connections that do" if count > 1 else "A connection that does"
            text = f"{many} not hold the run's key tried to come in at port {self.port} and got no further."
            log.warning("%s", text)
            self._owner.event(NoticeRaised(time(), "warning", text))
        if self.strangers > self._told:
            count, self._told = self.strangers - self._told, self.strangers
            many = f"{count} batches" if count > 1 else "A batch"
            text = f"{many} that nobody of this version sends came in at port {self.port}; who sent it was turned away."
            log.warning("%s", text)
            self._owner.event(NoticeRaised(time(), "warning", text))
        self._owner.at(time() + _SWEEP, self._sweep)

    def close(self) -> None:
        """Say what is left to say, and close."""
        port_state.forget(Path(self._owner.run["run_dir"]))
        for sock in (self._gate.socket, self._router, self._watcher):
            self._owner.loop.forget(sock.getsockopt(zmq.FD))
        with contextlib.suppress(zmq.ZMQError):
            self._router.disable_monitor()
        self._watcher.close(0)
        self._router.close()
        self._gate.socket.close(0)
        self._context.term()
