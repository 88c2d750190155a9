"""The connection of a manager [shell]: a unix socket on the run's own host, CurveZMQ elsewhere; it never reconnects.

ZeroMQ would reconnect silently and lose the messages in transit, so its reconnection is off (D12).  When a connection
breaks, a new manager with another name replaces this one.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from typing import TYPE_CHECKING, Any, Protocol

import zmq

from parslab.errors import ProtocolError, UntrustedPathError
from parslab.remote.manager.kept_blocks import KeptBlocks
from parslab.wire.encoding import encode_messages
from parslab.wire.messages.manager import BlocksSent, ToManagerMessage
from parslab.wire.stream import Batch, Buffer, Stream, decoder
from parslab.wire.unix_sockets import check_peer
from parslab.wire.zmq_parts import PART, joined, parted, quickly_copied

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.remote.loop import Loop
    from parslab.wire.invitations import ManagerInvitation
    from parslab.wire.messages.base import WireMessage
    from parslab.wire.shared_memory import PlainBuffer

__all__ = ["DataFlowKernelLink", "LocalManagerLink", "ManagerLink", "connect_locally"]

log = logging.getLogger("parslab.manager")

# Plain numbers, because a look-up in an enumeration costs more than a call of ZeroMQ.
_EVENTS, _READABLE = int(zmq.EVENTS), int(zmq.POLLIN)
_CONNECTED = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
_SHUT = int(zmq.EVENT_DISCONNECTED | zmq.EVENT_CLOSED | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
_REFUSED = int(zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
_LOOK = 0.2
"""Seconds between two calls of ``cancelled`` during a handshake."""


def connect_locally(invitation: ManagerInvitation) -> socket.socket | None:
    """Return a connection to the DataFlowKernel's unix socket; None if it is on another host."""
    # The path alone proves nothing: on a shared file system a socket of another host has a path here, too.
    path = invitation.socket
    if not path or invitation.host != socket.gethostname():
        return None
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.connect(path)
        check_peer(sock, path)
    except OSError as error:
        sock.close()
        if isinstance(error, UntrustedPathError):
            log.warning("%s", error)
        return None
    return sock


class DataFlowKernelLink(Protocol):
    """What a manager needs of its connection to the DataFlowKernel, or to whoever stands for it."""

    over: str
    """Why the connection is over; empty while it is not."""
    sent: bool
    """Whether something was sent since the last call of :meth:`receive`, which may have hidden an arrival."""

    def attach(self, loop: Loop, readable: Callable[[], None], watched: Callable[[], None]) -> None:
        """Have the loop watch the connection."""

    def send(self, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        """Send a batch; never blocks."""

    def receive(self) -> list[Batch]:
        """Return every batch that has arrived."""

    def watch(self) -> None:
        """Set ``over`` if the connection is over."""

    def drop(self) -> None:
        """Close the connection at once: nobody is at the other end."""

    def let_go(self) -> None:
        """Close this process's copy of the connection, which belongs to its parent."""

    def close(self) -> None:
        """Send the remaining messages, for a second at most, and close the connection."""


class LocalManagerLink:
    """The connection to a DataFlowKernel of this host: a unix socket, with the interface of :class:`ManagerLink`."""

    sent = False
    """Never set: sending on this socket does not hide that messages arrived."""

    def __init__(self, sock: socket.socket) -> None:
        self.over = ""
        """Why the connection is over; empty while it is not."""
        self._stream = Stream(sock, decoder(ToManagerMessage))

    def attach(self, loop: Loop, readable: Callable[[], None], watched: Callable[[], None]) -> None:
        """Have the loop watch the socket."""
        self._loop, self._watched = loop, watched
        self._stream.sock.setblocking(False)
        loop.watch(self._stream, readable, self._writable)

    def send(self, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        """Send a batch; never blocks."""
        with contextlib.suppress(OSError):  # the reader notices the end of the connection
            self._stream.send(messages, frames)
            if self._stream.congested:
                self._loop.wants_write(self._stream, True)

    def _writable(self) -> None:
        with contextlib.suppress(OSError):
            if self._stream.flush():
                self._loop.wants_write(self._stream, False)

    def receive(self) -> list[Batch]:
        """Return every batch that has arrived."""
        try:
            return self._stream.receive()
        except (EOFError, ProtocolError) as error:
            self.over = str(error) or "the connection to the DataFlowKernel broke"
            self._loop.forget(self._stream)
            self._watched()
            return []

    def watch(self) -> None:
        """Do nothing: :meth:`receive` notices the end of the connection."""

    def drop(self) -> None:
        """Close an attached connection at once: nobody is at the other end."""
        self._loop.forget(self._stream)
        self._stream.close()

    def let_go(self) -> None:
        """Close the connection in a child process, which must not keep it open when this process dies."""
        # Another file takes its number: Python's object still has it, and would close a later file in its place.
        descriptor = self._stream.fileno()
        if descriptor >= 0:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, descriptor)
            os.close(nothing)

    def close(self) -> None:
        """Send the remaining messages, for a second at most, and close the connection."""
        # The last outcomes should arrive, but a DataFlowKernel that hangs must not keep this node occupied.
        with contextlib.suppress(OSError):
            self._stream.sock.settimeout(1.0)
            self._stream.flush()
        self._stream.close()


class ManagerLink:
    """The connection to a DataFlowKernel of another host: a ZeroMQ DEALER with the keys of the run.

    Parameters
    ----------
    settings
        ``server_key``, ``public_key``, ``secret_key``.
    address
        Address of the DataFlowKernel.
    identity
        Identity of this connection; no two connections may share one.
    """

    def __init__(self, invitation: ManagerInvitation, address: str, identity: bytes) -> None:
        self._decode: Callable[[PlainBuffer], list[WireMessage]] = decoder(ToManagerMessage)
        self.address = address
        self.over = ""
        """Why the connection is over; empty while it is not."""
        self._connected = False
        """Whether the handshake has succeeded."""
        # A context of its own: to terminate it waits until the last messages are sent, or one second has passed.
        self._context: zmq.Context[Any] = zmq.Context()
        sock: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        sock.setsockopt(zmq.IDENTITY, identity)
        sock.setsockopt(zmq.RECONNECT_IVL, -1)
        # No limit on waiting messages: beyond a limit ``send`` would block or fail, and outcomes would be lost.
        sock.setsockopt(zmq.SNDHWM, 0)
        sock.setsockopt(zmq.RCVHWM, 0)
        sock.setsockopt(zmq.LINGER, 1000)
        # ZeroMQ refuses IPv6 addresses unless this is set.
        sock.ipv6 = "[" in address
        sock.curve_serverkey = invitation.server_key.encode()
        sock.curve_publickey = invitation.public_key.encode()
        sock.curve_secretkey = invitation.secret_key.encode()
        # A broken connection and refused keys are reported through a monitor only.
        self._watcher: zmq.Socket[Any] = sock.get_monitor_socket(_CONNECTED | _SHUT | _REFUSED)
        sock.connect(address)
        self._sock = sock
        self._blocks = KeptBlocks()
        self.sent = False
        """Whether something was sent since the last call of :meth:`receive`."""

    def handshake(self, until: float, cancelled: Callable[[], bool]) -> str:
        """Wait for the handshake, and close the link if it fails.

        Parameters
        ----------
        until
            When to give it up (``time.monotonic``).
        cancelled
            Returns True when nobody needs this connection any more; called a few times a second.

        Returns
        -------
        str
            Why the handshake failed; empty if it succeeded.
        """
        while not self._connected and not self.over:
            left = until - time.monotonic()
            if left <= 0:
                self.over = "no handshake"
            elif cancelled():
                self.over = "another address replaced it"
            else:
                self._watcher.poll(int(1000 * min(left, _LOOK)) + 1)
                self.watch()
        if self.over:
            self.close()
        return self.over

    def attach(self, loop: Loop, readable: Callable[[], None], watched: Callable[[], None]) -> None:
        """Have the loop watch the descriptors, which are edge-triggered."""
        self._loop, self._watched = loop, watched
        loop.watch(int(self._sock.getsockopt(zmq.FD)), readable)
        loop.watch(int(self._watcher.getsockopt(zmq.FD)), watched)

    def send(self, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        """Send a batch; never blocks."""
        self.sent = True
        if frames:
            made = self._blocks.outgoing(frames)
            if made is not None:
                messages = [made, *messages]
        head = encode_messages(messages)
        with contextlib.suppress(zmq.Again):  # the connection is over, so no wait helps
            if frames or len(head) > PART:
                copy = quickly_copied(frames)
                self._sock.send_multipart(parted(head, frames), zmq.DONTWAIT, copy=copy)
            else:
                self._sock.send(head, zmq.DONTWAIT)

    def receive(self) -> list[Batch]:
        """Return every batch that has arrived; call it after each send, too, because a send may consume the edge."""
        self.sent = False
        batches: list[Batch] = []
        while self._sock.getsockopt(_EVENTS) & _READABLE:  # type: ignore[operator]
            try:
                batches.append(self._read(self._sock.recv_multipart(zmq.DONTWAIT)))
            except ProtocolError as error:
                self.over = str(error)
                self._watched()
                break
        return batches

    def _read(self, parts: list[bytes]) -> Batch:
        head, *frames = joined(parts)
        messages = self._decode(head)
        if messages and type(messages[0]) is BlocksSent:
            frames = self._blocks.incoming(messages.pop(0), frames)  # type: ignore[arg-type]
        return messages, frames

    def watch(self) -> None:
        """Note the handshake, and set ``over`` if the connection is over."""
        while int(self._watcher.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            event = int.from_bytes(self._watcher.recv_multipart(zmq.DONTWAIT)[0][:2], "little")
            if event == _CONNECTED:
                self._connected = True
            elif event & _SHUT:
                self.over = self.over or "the connection to the DataFlowKernel broke"
            else:
                self.over = f"{self.address} does not take the keys of this run"

    def let_go(self) -> None:
        """Do nothing: a child process cannot use the sockets of ZeroMQ, and ends with this one."""

    def drop(self) -> None:
        """Close an attached connection at once: nobody is at the other end."""
        # The numbers of closed descriptors come again, for example for the next connection.
        for sock in (self._sock, self._watcher):
            self._loop.forget(int(sock.getsockopt(zmq.FD)))
        self._sock.linger = 0
        self.close()

    def close(self) -> None:
        """Send the remaining messages, for a second at most, and close the connection."""
        self._sock.disable_monitor()
        self._watcher.close(0)
        self._sock.close()
        self._context.term()
