"""Closes connections to the port whose peers do not show the run's key, when there are too many [shell].

ZeroMQ accepts every connection, and waits ten seconds for the key.  Without a limit, strangers use up the descriptors
of the process, and a peer with the key waits until theirs expire.  The loop's thread calls the guard.

ZeroMQ owns the descriptors, and its thread may close one at any time; the system then gives the number to another file.
So the guard first duplicates a descriptor onto one of its own, and looks at the duplicate: that can only be the
connection that it examined.  The duplicate always replaces another descriptor, so it needs no free one.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
from collections import Counter

from parslab.dataflow.network.pending_connections import PendingConnections

__all__ = ["ConnectionGuard"]

_REPORT = 60.0
"""Seconds between two reports."""
_MOST_ADDRESSES = 1000
"""Addresses of which the guard counts connections; those of further ones are counted together."""
_NAMED = 3
"""Addresses that a report names."""
_OTHERS = "other addresses"
_GREETING, _HELLO = 64, 202
"""Bytes that a peer sends before, and in, the first message of its handshake (CurveZMQ, RFC 26)."""
_BYTES_RECEIVED = 128
"""Offset of ``tcpi_bytes_received`` in Linux's ``struct tcp_info``."""

_NO_LINGER = struct.pack("ii", 1, 0)


class ConnectionGuard:
    """The guard of one port.

    Parameters
    ----------
    port
        The port.
    limit
        How many connections may be without the key.
    """

    def __init__(self, port: int, limit: int) -> None:
        self._port = port
        self._limit = limit
        self.pending = PendingConnections(limit)
        self._early: set[int] = set()
        """Connections that showed the key before ZeroMQ's report of their acceptance was read."""
        self._closed: Counter[str] = Counter()
        """Connections that were closed since the last report, by their addresses."""
        self._next_report = 0.0
        self._nothing = socket.socket()
        # Of this family only for Python, which then reads addresses of both families.
        self._pinned = socket.socket(socket.AF_INET6, socket.SOCK_STREAM, fileno=socket.socket().detach())

    def accepted(self, descriptor: int) -> None:
        """Note a connection that ZeroMQ has accepted."""
        if descriptor in self._early:
            self._early.remove(descriptor)
            return
        try:
            os.dup2(descriptor, self._pinned.fileno(), False)
            peer = self._pinned.getpeername()
            # It has ended, and a unix socket of this process has its number: such a peer has no address but a path.
            address = str(peer[0]) if isinstance(peer, tuple) else ""
        except OSError:  # it has ended already, and ZeroMQ reports that next
            address = ""
        self._release()
        self.pending.add(descriptor, address)

    def authenticated(self, descriptor: int) -> None:
        """Note that a message came through a connection, so its peer has shown the key; more than once is safe."""
        if not self.pending.remove(descriptor):
            self._early.add(descriptor)

    def ended(self, descriptor: int) -> None:
        """Note that a connection has ended."""
        self._early.discard(descriptor)
        self.pending.remove(descriptor)

    def close_surplus(self) -> list[int]:
        """Close connections until there are no more than the limit allows; return their descriptors."""
        closed = []
        for descriptor, address in self.pending.close_surplus(self._close):
            closed.append(descriptor)
            if address not in self._closed and len(self._closed) >= _MOST_ADDRESSES:
                address = _OTHERS
            self._closed[address] += 1
        return closed

    def _close(self, descriptor: int, only_new: bool) -> bool:
        """Shut a connection down, so that ZeroMQ closes its descriptor.

        Parameters
        ----------
        only_new
            Whether to spare the connection if its peer has sent the first message of the handshake.

        Returns
        -------
        bool
            Whether the connection is shut down or was already.
        """
        pinned = self._pinned
        try:
            os.dup2(descriptor, pinned.fileno(), False)
            if only_new and _bytes_received(pinned) >= _GREETING + _HELLO:
                return False
            # Nothing else of this process has this port.
            if pinned.getsockname()[1] == self._port:
                # Without a time of lingering the system forgets the connection at once, so a storm leaves nothing.
                pinned.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                pinned.shutdown(socket.SHUT_RDWR)
        except (OSError, IndexError):
            pass  # the connection has ended meanwhile
        finally:
            self._release()
        return True

    def _release(self) -> None:
        """Give the duplicate up, because an open duplicate keeps a connection from closing."""
        os.dup2(self._nothing.fileno(), self._pinned.fileno(), False)

    def report(self, now: float) -> str:
        """Return a sentence about the connections that were closed, once a minute at most; empty if there is none."""
        if not self._closed or now < self._next_report:
            return ""
        self._next_report = now + _REPORT
        closed, self._closed = self._closed, Counter()
        count = closed.total()
        named = [f"{number} from {address or 'unknown addresses'}" for address, number in closed.most_common(_NAMED)]
        rest = count - sum(number for _, number in closed.most_common(_NAMED))
        if rest:
            named.append(f"{rest} from others")
        many = f"{count} connections that had" if count > 1 else "A connection that had"
        return (
            f"{many} not shown the run's key came to port {self._port} and got closed, because there is room for "
            f"{self._limit} of them at a time: {', '.join(named)}."
        )

    def close(self) -> None:
        """Close the guard's own descriptors."""
        self._pinned.close()
        self._nothing.close()


def _bytes_received(sock: socket.socket) -> int:
    """Return how many bytes a peer has sent so far; 0 where the system does not say."""
    if sys.platform != "linux":
        return 0
    info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_RECEIVED + 8)
    count: int = struct.unpack_from("=Q", info, _BYTES_RECEIVED)[0] if len(info) >= _BYTES_RECEIVED + 8 else 0
    return count
