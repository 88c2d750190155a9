"""Managers of this host [shell]: they come by a unix socket of the run, as guests do (D2, D14).

The same messages and frames as through the hub, but without its port, its threads and its encryption, which protect
nothing between two processes of one user on one host: a round trip is a third shorter.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from typing import TYPE_CHECKING, Any

from parslab.errors import ProtocolError
from parslab.wire.messages.base import Refused
from parslab.wire.messages.manager import LinkHeartbeat, ManagerHello, ManagerMessage
from parslab.wire.stream import Stream, decoder
from parslab.wire.unix_sockets import listen, peer_uid

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from pathlib import Path

    from parslab.dataflow.network.hub import HubOwner, PeerListener
    from parslab.wire.stream import Buffer

__all__ = ["LocalManagers"]

log = logging.getLogger(__name__)

_decode = decoder(ManagerMessage)


class _LocalConnection:
    """The connection of one manager, with the part of the hub's line that its room uses."""

    def __init__(self, near: LocalManagers, sock: socket.socket, identity: bytes) -> None:
        self.identity = identity
        self.door: PeerListener | None = None
        self.stream = Stream(sock, _decode)
        self._near = near

    def send(self, messages: Sequence[Any], frames: Sequence[Buffer] = ()) -> bool:
        """Send a batch; that the manager is gone is found by whoever reads."""
        try:
            self.stream.send(messages, frames)
        except OSError:
            return False
        if self.stream.congested:
            self._near.wants_write(self)
        return True

    def refuse(self, reason: str) -> None:
        """Turn it away."""
        self.send([Refused(reason)])
        self.door = None

    def forget(self) -> None:
        """It has been given up: what it may still send is not wanted."""
        self._near.close_line(self)


class LocalManagers:
    """The listening end.

    Parameters
    ----------
    path
        Of the socket, in the run's own folder.
    owner
        The kernel.
    """

    def __init__(self, path: Path, owner: HubOwner) -> None:
        self.path = path
        self._owner = owner
        self._doors: dict[int, PeerListener] = {}
        self._lines: dict[bytes, _LocalConnection] = {}
        self._numbers = itertools.count()
        self._listener = listen(path)
        owner.loop.watch(self._listener, self._accept)

    def open(self, executor: int, door: PeerListener) -> None:
        """Managers of this executor go to ``door``."""
        self._doors[executor] = door

    def _accept(self) -> None:
        with contextlib.suppress(BlockingIOError):
            sock, _ = self._listener.accept()
            uid = peer_uid(sock)
            if uid is not None and uid != os.getuid():
                log.warning("a process of user %d tried to come in as a manager and was turned away", uid)
                sock.close()
                return
            sock.setblocking(False)
            line = _LocalConnection(self, sock, b"near-%d" % next(self._numbers))
            self._lines[line.identity] = line
            self._owner.loop.watch(line.stream, lambda: self._readable(line), lambda: self._writable(line))

    def _readable(self, line: _LocalConnection) -> None:
        if line.identity not in self._lines:
            return
        try:
            for messages, frames in line.stream.receive():
                self._received(line, messages, frames)
        except EOFError:
            self._over(line)
        except (ProtocolError, LookupError, TypeError) as error:
            log.warning("a manager of this host is dropped: %s", error)
            line.refuse(f"You sent what cannot be read: {error}")
            self._over(line)

    def _received(self, line: _LocalConnection, messages: list[Any], frames: list[bytearray]) -> None:
        if line.door is not None:
            if messages:
                line.door.received(line.identity, messages, list(frames))
            return
        first = messages[0] if messages else None
        if not isinstance(first, ManagerHello) or first.executor not in self._doors:
            if type(first) is not LinkHeartbeat:
                line.refuse("You said no hello.")
            return
        line.door = self._doors[first.executor]
        line.door.hello(line, first)
        if len(messages) > 1 and line.door is not None:
            line.door.received(line.identity, messages[1:], list(frames))

    def wants_write(self, line: _LocalConnection) -> None:
        """Bytes wait because a manager does not read fast enough."""
        if line.identity in self._lines:
            self._owner.loop.wants_write(line.stream, True)

    def _writable(self, line: _LocalConnection) -> None:
        with contextlib.suppress(OSError):  # the reader will see the end
            if line.stream.flush():
                self._owner.loop.wants_write(line.stream, False)

    def _over(self, line: _LocalConnection) -> None:
        door, line.door = line.door, None
        self.close_line(line)
        if door is not None:
            door.unreachable(line.identity)

    def close_line(self, line: _LocalConnection) -> None:
        """Close a connection; twice is safe."""
        if self._lines.pop(line.identity, None) is not None:
            self._owner.loop.forget(line.stream)
            line.stream.close()

    def close(self) -> None:
        """Close everything."""
        for line in list(self._lines.values()):
            self.close_line(line)
        self._owner.loop.forget(self._listener)
        self._listener.close()
