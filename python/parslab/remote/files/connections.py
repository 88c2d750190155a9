"""The encrypted connections of a node's file service [shell]: to the hub, to other nodes, and from them.

They are apart from the connection of the manager, so that chunks never wait in front of tasks.  The service's thread
uses all of them.  None reconnects by itself: the service must know that messages were lost.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import msgspec
import zmq

from parslab.errors import ProtocolError
from parslab.wire.curve import CurveGate
from parslab.wire.encoding import encode_messages
from parslab.wire.messages.files import ChunkMessage, ToNodeFileMessage
from parslab.wire.stream import decoder
from parslab.wire.zmq_parts import WIRE_PART, joined, parted, quickly_copied

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.wire.invitations import Invitation
    from parslab.wire.messages.base import WireMessage
    from parslab.wire.stream import Buffer

__all__ = ["OutgoingConnection", "PeerPort"]

_SHUT = int(
    zmq.EVENT_DISCONNECTED
    | zmq.EVENT_CLOSED
    | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL
    | zmq.EVENT_HANDSHAKE_FAILED_AUTH
    | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
)
_HEARTBEAT, _SILENCE = 2000, 10_000
"""Milliseconds between two heartbeats of ZeroMQ, and without one until a connection counts as broken."""

Received = tuple[list["WireMessage"], list[bytes]]

_decode_hub = decoder(ToNodeFileMessage)
_decode_peer = decoder(ChunkMessage)


class OutgoingConnection:
    """A connection to the hub or to the port of another node.

    Parameters
    ----------
    context
        The ZeroMQ context of the service.
    address
        ``tcp://HOST:PORT``.
    server_key
        The public key of the other side.
    keys
        The invitation, whose client keys open every port of the run.
    identity
        The name of the connection at the hub; empty for connections to nodes.

    Attributes
    ----------
    over
        Whether the connection has ended.
    """

    _numbers = itertools.count()

    def __init__(
        self, context: zmq.Context[Any], address: str, server_key: str, keys: Invitation, identity: bytes = b""
    ) -> None:
        sock: zmq.Socket[bytes] = context.socket(zmq.DEALER)
        if identity:
            sock.setsockopt(zmq.IDENTITY, identity)
        sock.setsockopt(zmq.RECONNECT_IVL, -1)
        # Windows of chunks bound what waits here, so a limit would only lose messages.
        sock.setsockopt(zmq.SNDHWM, 0)
        sock.setsockopt(zmq.RCVHWM, 0)
        sock.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT)
        sock.setsockopt(zmq.HEARTBEAT_TIMEOUT, _SILENCE)
        sock.linger = 500
        sock.ipv6 = "[" in address
        sock.curve_serverkey = server_key.encode()
        sock.curve_publickey = keys.public_key.encode()
        sock.curve_secretkey = keys.secret_key.encode()
        self.over = False
        self.socket = sock
        self.monitor: zmq.Socket[Any] = sock.get_monitor_socket(_SHUT, f"inproc://files-{next(self._numbers)}")
        self._decode = _decode_hub if identity else _decode_peer
        sock.connect(address)

    def send(self, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        """Send a batch; never blocks."""
        try:
            self.socket.send_multipart(
                parted(encode_messages(messages), frames), zmq.DONTWAIT, copy=quickly_copied(frames)
            )
        except zmq.Again:
            self.over = True

    def receive(self) -> list[Received]:
        """Return every batch that has arrived."""
        return [(self._decode(parts[0]), list(parts[1:])) for parts in _waiting(self.socket)]

    def watch(self) -> None:
        """Note the end of the connection."""
        with contextlib.suppress(zmq.Again):
            while True:
                self.monitor.recv_multipart(zmq.DONTWAIT)
                self.over = True

    def close(self) -> None:
        """Send what waits, for half a second at most, and close."""
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close()


def _waiting(sock: zmq.Socket[bytes]) -> list[list[bytes]]:
    found = []
    with contextlib.suppress(zmq.Again):
        while True:
            parts = sock.recv_multipart(zmq.DONTWAIT)
            with contextlib.suppress(ProtocolError, ValueError):  # no node sends that
                found.append(joined(parts))
    return found


class PeerPort:
    """The port at which other nodes fetch contents from this one.

    Parameters
    ----------
    context
        The ZeroMQ context of the service.
    keys
        The invitation: only holders of its client key may connect.
    ipv6
        Whether the hosts of the run have IPv6 addresses.

    Attributes
    ----------
    number
        The port.
    server_key
        The public key of this port; each node has its own.
    """

    def __init__(self, context: zmq.Context[Any], keys: Invitation, ipv6: bool) -> None:
        self.gate = CurveGate(context, {keys.public_key})
        public, secret = zmq.curve_keypair()
        self.server_key = public.decode()
        self.socket: zmq.Socket[bytes] = context.socket(zmq.ROUTER)
        self.socket.curve_server = True
        self.socket.curve_secretkey = secret
        self.socket.curve_publickey = public
        self.socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.socket.setsockopt(zmq.MAXMSGSIZE, WIRE_PART)
        self.socket.setsockopt(zmq.HANDSHAKE_IVL, 10_000)
        self.socket.setsockopt(zmq.SNDHWM, 0)
        self.socket.setsockopt(zmq.RCVHWM, 0)
        self.socket.setsockopt(zmq.HEARTBEAT_IVL, _HEARTBEAT)
        self.socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, _SILENCE)
        self.socket.linger = 0
        self.socket.ipv6 = ipv6
        self.number = self.socket.bind_to_random_port("tcp://[::]" if ipv6 else "tcp://0.0.0.0")

    def send(self, identity: bytes, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> bool:
        """Send a batch to a node that has connected; return False if it is gone."""
        parts = [identity, *parted(encode_messages(messages), frames)]
        try:
            self.socket.send_multipart(parts, zmq.DONTWAIT, copy=quickly_copied(frames))
        except zmq.ZMQError:
            return False
        return True

    def receive(self) -> list[tuple[bytes, Received]]:
        """Return every batch that has arrived, with the identity of its sender."""
        batches = []
        for identity, *parts in _waiting_from(self.socket):
            with contextlib.suppress(msgspec.MsgspecError, ProtocolError, ValueError):
                head, *frames = joined(parts)
                batches.append((identity, (_decode_peer(head), list(frames))))
        return batches

    def close(self) -> None:
        """Close the port."""
        self.socket.close()
        self.gate.socket.close(0)


def _waiting_from(sock: zmq.Socket[bytes]) -> list[list[bytes]]:
    found = []
    with contextlib.suppress(zmq.Again):
        while True:
            found.append(sock.recv_multipart(zmq.DONTWAIT))
    return found
