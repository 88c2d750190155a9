"""Serves managers of this host through a unix socket of the run [shell] (decisions 2 and 14).

The messages and frames are those of the hub, without its port, its threads and its encryption.  These protect nothing
between two processes of one user on one host, and without them a round trip is a third shorter.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from typing import TYPE_CHECKING

from parslab.dataflow.acceptor import Acceptor
from parslab.errors import ProtocolError
from parslab.wire.messages.base import Refused
from parslab.wire.messages.manager import LinkHeartbeat, ManagerHello, ManagerMessage
from parslab.wire.stream import Stream, decoder
from parslab.wire.unix_sockets import listen, peer_uid

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from pathlib import Path

    from parslab.dataflow.host import Host
    from parslab.dataflow.network.hub import PeerListener
    from parslab.wire.messages.base import WireMessage
    from parslab.wire.stream import Buffer

__all__ = ["LocalManagers"]

log = logging.getLogger(__name__)

_decode = decoder(ManagerMessage)


class _LocalConnection:
    """The connection of one manager, with the interface of ``PeerConnection``."""

    def __init__(self, managers: LocalManagers, sock: socket.socket, identity: bytes) -> None:
        self.identity = identity
        self.listener: PeerListener[ManagerHello] | None = None
        self.stream = Stream(sock, _decode)
        self._managers = managers

    def send(self, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> bool:
        """Send a batch; return False if the manager has left, which the next read reports."""
        try:
            self.stream.send(messages, frames)
        except OSError:
            return False
        if self.stream.congested:
            self._managers.wants_write(self)
        return True

    def refuse(self, reason: str) -> None:
        """Refuse the manager, with a sentence that names the side to fix."""
        self.send([Refused(reason)])
        self.listener = None

    def forget(self) -> None:
        """Ignore what the manager may still send."""
        self._managers.close_connection(self)


class LocalManagers:
    """The listening end.

    Parameters
    ----------
    path
        Of the socket, in the run's own folder.
    host
        The process that it runs in.
    """

    def __init__(self, path: Path, host: Host) -> None:
        self.path = path
        self._host = host
        self._listeners: dict[int, PeerListener[ManagerHello]] = {}
        self._connections: dict[bytes, _LocalConnection] = {}
        self._numbers = itertools.count()
        self._acceptor = Acceptor(listen(path), host, self._accepted)

    def register(self, executor: int, listener: PeerListener[ManagerHello]) -> None:
        """Pass managers of this executor to ``listener``."""
        self._listeners[executor] = listener

    def _accepted(self, sock: socket.socket) -> None:
        uid = peer_uid(sock)
        # The folder's permissions are one guard; the system's word about the other end is the better one.
        if uid is not None and uid != os.getuid():
            log.warning("a process of user %d tried to connect as a manager and was turned away", uid)
            sock.close()
            return
        sock.setblocking(False)
        connection = _LocalConnection(self, sock, b"local-%d" % next(self._numbers))
        self._connections[connection.identity] = connection
        self._host.loop.watch(connection.stream, lambda: self._readable(connection), lambda: self._writable(connection))

    def _readable(self, connection: _LocalConnection) -> None:
        if connection.identity not in self._connections:
            return
        try:
            for messages, frames in connection.stream.receive():
                self._received(connection, messages, frames)
        except EOFError:
            self._lose(connection)
        except (ProtocolError, LookupError, TypeError) as error:
            log.warning("a manager of this host is dropped: %s", error)
            connection.refuse(f"You sent what cannot be read: {error}")
            self._lose(connection)

    def _received(self, connection: _LocalConnection, messages: list[WireMessage], frames: list[Buffer]) -> None:
        if connection.listener is not None:
            if messages:
                connection.listener.received(connection.identity, messages, list(frames))
            return
        first = messages[0] if messages else None
        if not isinstance(first, ManagerHello) or first.executor not in self._listeners:
            # A heartbeat may cross our refusal; everything else without a hello is an error.
            if type(first) is not LinkHeartbeat:
                connection.refuse("You said no hello.")
            return
        connection.listener = self._listeners[first.executor]
        connection.listener.hello(connection, first)
        # The hello may have been refused, and then nothing else of the batch counts.
        if len(messages) > 1 and connection.listener is not None:
            connection.listener.received(connection.identity, messages[1:], list(frames))

    def wants_write(self, connection: _LocalConnection) -> None:
        """Send the waiting bytes as soon as the manager reads again."""
        if connection.identity in self._connections:
            self._host.loop.wants_write(connection.stream, True)

    def _writable(self, connection: _LocalConnection) -> None:
        with contextlib.suppress(OSError):  # the next read reports the end
            if connection.stream.flush():
                self._host.loop.wants_write(connection.stream, False)

    def _lose(self, connection: _LocalConnection) -> None:
        # Taken first, so that the end is reported only once.
        listener, connection.listener = connection.listener, None
        self.close_connection(connection)
        if listener is not None:
            listener.unreachable(connection.identity)

    def close_connection(self, connection: _LocalConnection) -> None:
        """Close a connection; twice is safe."""
        if self._connections.pop(connection.identity, None) is not None:
            self._host.loop.forget(connection.stream)
            connection.stream.close()

    def close(self) -> None:
        """Close everything."""
        for connection in list(self._connections.values()):
            self.close_connection(connection)
        self._acceptor.close()
