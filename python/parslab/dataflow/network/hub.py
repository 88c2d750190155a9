"""Serves the TCP port of a run [shell], a CurveZMQ ROUTER for workers and managers of other hosts.

All executors share it.  A peer that holds the run's key may say hello; the listener for that kind of hello then
receives all its messages.  The hub drops and counts a peer that sends something else, and never unpickles its messages.
``wire.zmq_parts`` limits the memory that a stranger can make this process hold before that.  A peer never returns under
the same identity: when its connection broke, the peer is lost.
"""

from __future__ import annotations

import contextlib
import logging
import os
import resource
import struct
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec
import zmq

from parslab.dataflow.network import port_state
from parslab.dataflow.network.connection_guard import ConnectionGuard
from parslab.dataflow.network.handshake_monitor import ACCEPTED, DISCONNECTED, WATCHED, HandshakeMonitor
from parslab.dataflow.network.node_blocks import NodeBlocks
from parslab.dataflow.network.pending_connections import pending_limit
from parslab.errors import ConfigurationError, ProtocolError
from parslab.wire import invitations
from parslab.wire.curve import CurveGate, CurveKeys
from parslab.wire.encoding import encode_messages
from parslab.wire.invitations import Invitation
from parslab.wire.messages.base import OutputPrinted, Refused, WireMessage
from parslab.wire.messages.files import NodeFileMessage
from parslab.wire.messages.manager import (
    BlocksMade,
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
    from collections.abc import Sequence

    from parslab.dataflow.host import Host
    from parslab.wire.run_files import RunSettings

__all__ = ["Hub", "PeerConnection", "PeerListener"]

log = logging.getLogger(__name__)

_decode = decoder(
    LinkHeartbeat
    | BlocksMade
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
    | NodeFileMessage
)
# Plain numbers, because a look-up in an enumeration costs more than a call of ZeroMQ.
_EVENTS, _READABLE, _MORE = int(zmq.EVENTS), int(zmq.POLLIN), int(zmq.SNDMORE)
_HAS_MORE, _NOT_BLOCKING = int(zmq.RCVMORE), int(zmq.DONTWAIT)
_DESCRIPTOR = 2
"""The property of a message that names the descriptor it came through (``ZMQ_SRCFD``)."""
_report = struct.Struct("=HI")
_MOST_REPORTS = 64
"""Reports of connections that are read in one round of the loop."""
_PROBE = 0.1
"""Seconds from a broken connection until the hub looks for its peer; one look serves many that break together."""
_SWEEP = 2.0
"""Seconds between two reports of strangers."""
_HANDSHAKE = 10_000
"""Milliseconds within which a new connection must have shown the run's key."""


HelloT = TypeVar("HelloT", bound=WireMessage)
HelloT_contra = TypeVar("HelloT_contra", bound=WireMessage, contravariant=True)


class PeerConnection(Protocol):
    """The connection of one peer, as its listener sees it."""

    identity: bytes

    def send(self, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> bool:
        """Send a batch; returns False when the connection is over, which ``unreachable`` reports soon."""

    def refuse(self, reason: str) -> None:
        """Refuse the peer, with a sentence that names the side to fix."""

    def forget(self) -> None:
        """Ignore what the peer may still send."""


class _HubConnection:
    def __init__(self, hub: Hub, identity: bytes) -> None:
        self.identity = identity
        self._hub = hub
        self.blocks = NodeBlocks()

    def send(self, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> bool:
        # Also without frames, because the node keeps blocks until a message says that they are not needed.
        if frames or self.blocks:
            blocks, frames = self.blocks.outgoing(frames)
            if blocks is not None:
                messages = [blocks, *messages]
        return self._hub.send(self.identity, messages, frames)

    def refuse(self, reason: str) -> None:
        self._hub.refuse(self.identity, reason)

    def forget(self) -> None:
        self._hub.forget(self.identity)


class PeerListener(Protocol[HelloT_contra]):
    """Receives the messages of peers that introduced themselves with one kind of hello."""

    def hello(self, connection: PeerConnection, hello: HelloT_contra) -> None:
        """Accept or refuse a new peer."""

    def received(self, identity: bytes, messages: list[WireMessage], frames: list[Buffer]) -> bool:
        """Carry out a batch of a peer; returns False when no peer of this listener has this identity."""

    def unreachable(self, identity: bytes) -> None:
        """Remove a peer whose connection broke."""


class Hub:
    """The listening end.

    Parameters
    ----------
    addresses
        IP addresses of this host to listen at.
    port
        The port; 0: any free one.
    run
        The settings of the run.
    host
        The process that it runs in.
    keys
        The keys of an earlier DataFlowKernel of this run; None: new ones.

    Attributes
    ----------
    strangers
        How many batches came that no peer of this version sends.

    Raises
    ------
    ConfigurationError
        This host cannot listen there.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        port: int,
        *,
        run: RunSettings,
        host: Host,
        keys: CurveKeys | None = None,
    ) -> None:
        self._run = run
        self._host = host
        self.keys = keys or CurveKeys()
        self.strangers = 0
        self._reported = 0
        """How many of the strangers a notice has reported."""
        self._handshakes = HandshakeMonitor()
        self._listeners: dict[tuple[type[WireMessage], int], PeerListener[Any]] = {}
        """By the type of the hello and the number of the executor."""
        self._peers: dict[bytes, PeerListener[Any]] = {}
        """Who receives the messages of a peer, by its identity."""
        self._connections: weakref.WeakValueDictionary[bytes, _HubConnection] = weakref.WeakValueDictionary()
        """The connections that their listeners hold."""
        self._sent = False
        self._probing = False
        self._context: zmq.Context[Any] = zmq.Context()
        self._context.set(zmq.MAX_SOCKETS, 65535)
        self._gate = CurveGate(self._context, {self.keys.client_public})
        self._router = self._make_router(addresses)
        self.port = self._bind(addresses, port)
        self._guard = ConnectionGuard(self.port, pending_limit(resource.getrlimit(resource.RLIMIT_NOFILE)[0]))
        self._watcher = self._make_watcher()
        watched = ((self._gate.socket, self.receive), (self._router, self.receive), (self._watcher, self._watch))
        for sock, call in watched:
            host.loop.watch(int(sock.getsockopt(zmq.FD)), call)
        host.call_at(host.now(), self._sweep)

    def _make_router(self, addresses: Sequence[str]) -> zmq.Socket[bytes]:
        router: zmq.Socket[bytes] = self._context.socket(zmq.ROUTER)
        router.curve_server = True
        router.curve_secretkey = self.keys.server_secret.encode()
        router.curve_publickey = self.keys.server_public.encode()
        # Without this ZeroMQ drops messages to a peer that is gone, and nobody would fail its tasks.
        router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        router.setsockopt(zmq.MAXMSGSIZE, WIRE_PART)
        # A stranger that connects and stays silent would hold a descriptor for ever.
        router.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE)
        # No limits: at a limit ZeroMQ would block the loop. ``prefetch`` bounds what a manager is sent.
        router.setsockopt(zmq.SNDHWM, 0)
        router.setsockopt(zmq.RCVHWM, 0)
        # The managers of a large batch job connect in the same second.
        router.setsockopt(zmq.BACKLOG, 4096)
        # A peer whose network was cut sends nothing more: close its connection some minutes later.
        for option, value in ((zmq.TCP_KEEPALIVE, 1), (zmq.TCP_KEEPALIVE_IDLE, 120), (zmq.TCP_KEEPALIVE_INTVL, 30)):
            router.setsockopt(option, value)
        # Long enough for the goodbyes, and no host that is down can keep the run from ending.
        router.linger = 500
        router.ipv6 = any(":" in address for address in addresses)
        return router

    def _make_watcher(self) -> zmq.Socket[bytes]:
        """Return the socket at which ZeroMQ reports connections."""
        address = "inproc://connections"
        self._router.monitor(address, WATCHED)
        watcher: zmq.Socket[bytes] = self._context.socket(zmq.PAIR)
        watcher.linger = 0
        # No limit: at a limit ZeroMQ's thread would block, with a lock that ``close`` needs.
        watcher.setsockopt(zmq.RCVHWM, 0)
        watcher.connect(address)
        return watcher

    def _bind(self, addresses: Sequence[str], port: int) -> int:
        for address in addresses:
            host = f"[{address}]" if ":" in address else address
            try:
                if port:
                    self._router.bind(f"tcp://{host}:{port}")
                else:
                    port = self._router.bind_to_random_port(f"tcp://{host}")
            except zmq.ZMQError as error:
                # The process still has to report the error, and must not wait for sockets of this context.
                self._context.destroy(0)
                place = f"{host}:{port}" if port else host
                raise ConfigurationError(
                    f"the run cannot listen at {place} ({os.strerror(error.errno or 0)}); give its executors another "
                    "address or port."
                ) from error
        return port

    def register(self, hello: type[HelloT], executor: int, listener: PeerListener[HelloT]) -> None:
        """Pass peers that say this hello for this executor to ``listener``."""
        self._listeners[hello, executor] = listener

    def invitation(self, executor: int, label: str, addresses: Sequence[str]) -> Invitation:
        """Return what lets a worker of another host join an executor."""
        run = self._run
        return Invitation(
            label=label,
            executor=executor,
            addresses=[f"tcp://{f'[{a}]' if ':' in a else a}:{self.port}" for a in addresses],
            server_key=self.keys.server_public,
            public_key=self.keys.client_public,
            secret_key=self.keys.client_secret,
            run=run.run,
            package=run.package,
            path=run.path,
            cwd=run.cwd,
        )

    def write_invitation(self, name: str, invitation: Invitation) -> Path:
        """Write an invitation into the folder of the run; only its owner can read it."""
        path = Path(self._run.run_dir) / name
        invitations.write(path, invitation)
        return path

    # ----- outgoing

    def send(self, identity: bytes, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> bool:
        """Send a batch to a peer; return False if its connection is over, which ``unreachable`` reports soon."""
        self._sent = True
        head = encode_messages(messages)
        try:
            if frames or len(head) > PART:
                # Small frames are copied, because to share memory with ZeroMQ's thread costs more than a small copy.
                copy = quickly_copied(frames)
                self._router.send_multipart([identity, *parted(head, frames)], copy=copy)
            else:
                # Two plain calls cost less than ``send_multipart``, and nearly all batches are of this kind.
                self._router.send(identity, _MORE)
                self._router.send(head)
        except zmq.ZMQError as error:
            log.info("peer %r cannot be reached: %s", identity, error)
            # Not at once: the caller is in the middle of a change, and a lost peer changes the same queue.
            self._host.call_soon(lambda: self._lose(identity))
            return False
        return True

    def refuse(self, identity: bytes, reason: str) -> None:
        """Refuse a peer, with a sentence that names the side to fix."""
        self._peers.pop(identity, None)
        self.send(identity, [Refused(reason)])

    def announce_end(self, identity: bytes) -> None:
        """Send a link of a worker the empty message that says that the run is over."""
        with contextlib.suppress(zmq.ZMQError):
            # The run ends: a worker that is gone already needs no goodbye.
            self._router.send_multipart([identity, b""], zmq.DONTWAIT)

    def _lose(self, identity: bytes) -> None:
        listener = self._peers.pop(identity, None)
        if listener is not None:
            listener.unreachable(identity)

    def forget(self, identity: bytes) -> None:
        """Ignore what a peer may still send: its listener has removed it."""
        self._peers.pop(identity, None)

    # ----- incoming

    def after_round(self) -> None:
        """Receive after a round that sent something.

        ZeroMQ's descriptor is edge-triggered: it reports a change once, and a send may consume that report.
        """
        if self._sent:
            self._sent = False
            self.receive()

    def receive(self) -> None:
        """Receive all messages that have arrived."""
        router = self._router
        recv, option = router.recv, router.getsockopt
        while option(_EVENTS) & _READABLE:  # type: ignore[operator]
            # A frame, because it names the connection through which the message came.
            source = recv(_NOT_BLOCKING, False)
            # Plain calls, because ``recv_multipart`` takes longer.
            parts = [recv(_NOT_BLOCKING)]
            while option(_HAS_MORE):
                parts.append(recv(_NOT_BLOCKING))
            try:
                head, *frames = joined(parts)
            except (ProtocolError, ValueError) as error:
                self._stranger(source.bytes, str(error))
                continue
            self._received(source, head, frames)
        # In each call, because the gate's descriptor is edge-triggered as well.
        self._gate.answer()

    def _watch(self) -> None:
        """Read what ZeroMQ reports of its connections, and close some if too many are without the key."""
        guard, recv, option = self._guard, self._watcher.recv, self._watcher.getsockopt
        for _ in range(_MOST_REPORTS):
            if not option(_EVENTS) & _READABLE:  # type: ignore[operator]
                break
            event, value = _report.unpack(recv(_NOT_BLOCKING))
            recv(_NOT_BLOCKING)  # the address of this port
            if event == ACCEPTED:
                guard.accepted(value)
            elif event == DISCONNECTED:
                guard.ended(value)
            if self._handshakes.note(event, value) and not self._probing:
                self._probing = True
                self._host.call_at(self._host.now() + _PROBE, self._probe)
        else:
            # A storm of connections must not keep the loop from its other work.
            self._host.call_soon(self._watch)
        if guard.pending.crowded:
            # First the messages that have arrived: who sent one is no stranger.
            self.receive()
            for descriptor in guard.close_surplus():
                self._handshakes.closed(descriptor)

    def _received(self, source: zmq.Frame, head: bytes, frames: Sequence[Buffer]) -> None:
        identity = source.bytes
        try:
            messages = _decode(head)
        except msgspec.MsgspecError as error:
            self._stranger(identity, f"something that this version does not understand ({error})")
            return
        if self._passed_on(identity, messages, frames):
            return
        # No peer yet, or one that its listener has removed: only a hello may begin a session.
        self._guard.authenticated(int(source.get(_DESCRIPTOR)))
        first = messages[0] if messages else None
        listener = None if first is None else self._listeners.get((type(first), getattr(first, "executor", -1)))
        if first is None or listener is None:
            self._stranger(identity, "no hello")
            return
        # Before the listener is asked: if it refuses the peer, ``refuse`` removes this entry again.
        self._peers[identity] = listener
        connection = self._connections[identity] = _HubConnection(self, identity)
        listener.hello(connection, first)
        if len(messages) > 1:
            self._passed_on(identity, messages[1:], frames)

    def _passed_on(self, identity: bytes, messages: list[WireMessage], frames: Sequence[Buffer]) -> bool:
        """Pass messages on to the listener of a peer; return whether they need no other answer."""
        listener = self._peers.get(identity)
        try:
            if messages and type(messages[0]) is BlocksMade:
                frames = self._with_blocks(identity, messages.pop(0), frames)  # type: ignore[arg-type]
            return listener is not None and listener.received(identity, messages, list(frames))
        except (LookupError, ProtocolError, TypeError, ValueError) as error:
            self._lose(identity)
            self._stranger(identity, f"a batch that cannot be read ({type(error).__name__}: {error})")
            return True

    def _with_blocks(self, identity: bytes, made: BlocksMade, frames: Sequence[Buffer]) -> Sequence[Buffer]:
        """Note what a manager keeps of the frames that it sends."""
        connection = self._connections.get(identity)
        # Nobody holds the connection of a manager that was removed: what it keeps ends with it.
        return frames if connection is None else connection.blocks.incoming(made, frames)

    def _stranger(self, identity: bytes, what: str) -> None:
        self.strangers += 1
        log.warning("peer %r sent %s and is turned away", identity, what)
        self._lose(identity)
        self.refuse(identity, f"You sent {what}.")

    def _probe(self) -> None:
        """Find out whose connection broke, by sending an empty batch to every peer."""
        self._probing = False
        for identity in list(self._peers):
            # ZeroMQ does not say which peer left; a send to that one fails, and ``send`` removes it.
            self.send(identity, [])

    def _sweep(self) -> None:
        """Report all strangers since the last sweep together, because a scan of ports makes thousands."""
        # Edge-triggered descriptors report a change only once: a lost report must not silence the port for ever.
        self.receive()
        self._watch()
        closed = self._guard.report(self._host.now())
        if closed:
            self._warn(closed)
        count = self._gate.refused + self._handshakes.strangers
        if count:
            self._gate.refused = self._handshakes.strangers = 0
            many = f"{count} connections that do" if count > 1 else "A connection that does"
            self._warn(f"{many} not hold the run's key tried to come in at port {self.port} and got no further.")
        if self.strangers > self._reported:
            count, self._reported = self.strangers - self._reported, self.strangers
            many = f"{count} batches" if count > 1 else "A batch"
            self._warn(
                f"{many} that nobody of this version sends came in at port {self.port}; who sent it was turned away."
            )
        self._host.call_at(self._host.now() + _SWEEP, self._sweep)

    def _warn(self, text: str) -> None:
        log.warning("%s", text)
        self._host.notify("warning", text)

    def close(self, run_goes_on: bool = False) -> None:
        """Send what is left, and close; another DataFlowKernel may go on with the port and the keys."""
        if not run_goes_on:  # a later run of this folder must not use the old keys
            port_state.remove(Path(self._run.run_dir))
        for sock in (self._gate.socket, self._router, self._watcher):
            self._host.loop.forget(int(sock.getsockopt(zmq.FD)))
        with contextlib.suppress(zmq.ZMQError):
            self._router.disable_monitor()
        self._watcher.close(0)
        self._router.close()
        self._guard.close()
        self._gate.socket.close(0)
        self._context.term()
