"""Counts connections to the port of peers that do not hold the run's key [core], from what ZeroMQ reports.

ZeroMQ names a connection (by its descriptor) when it accepts it and when it ends, but not when its handshake succeeds.
A connection surely belonged to a stranger if no handshake at all succeeded while it lasted.  Only such a connection is
counted, so that no peer of ours counts as a stranger.  The gate counts peers that show another key.
"""

from __future__ import annotations

import errno

__all__ = [
    "ACCEPTED",
    "DISCONNECTED",
    "FAILED",
    "FAILED_AUTH",
    "FAILED_PROTOCOL",
    "SUCCEEDED",
    "WATCHED",
    "HandshakeMonitor",
]

# ZeroMQ's numbers, written out so that this core need not import ZeroMQ.
ACCEPTED, DISCONNECTED = 0x20, 0x200
FAILED, SUCCEEDED, FAILED_PROTOCOL, FAILED_AUTH = 0x800, 0x1000, 0x2000, 0x4000
WATCHED = ACCEPTED | DISCONNECTED | FAILED | SUCCEEDED | FAILED_PROTOCOL | FAILED_AUTH

_CLOSED = -2
"""In place of a number of handshakes: this process itself closes the connection."""


class HandshakeMonitor:
    """The connections to one port.

    Attributes
    ----------
    strangers
        Connections that ended without having shown a key.
    """

    def __init__(self) -> None:
        self.strangers = 0
        self._began: dict[int, int] = {}
        """By descriptor: how many handshakes had succeeded when the connection was accepted."""
        self._succeeded = 0
        self._explained = False
        """Whether the connection that ends next is counted already."""

    def closed(self, descriptor: int) -> None:
        """Note that this process closes a connection, so its end is neither a stranger's nor that of a peer."""
        self._began[descriptor] = _CLOSED

    def note(self, event: int, value: int) -> bool:
        """Note an event of ZeroMQ; return True if a peer of ours may have lost its connection."""
        if event == ACCEPTED:
            # Descriptors are used again, so the newest connection replaces an older one.
            self._began[value] = self._succeeded
        # A wrong key is a complete handshake, too: the gate has counted this connection already.
        elif event in (SUCCEEDED, FAILED_AUTH):
            self._succeeded += 1
        elif event == FAILED_PROTOCOL:
            self.strangers += 1
            self._explained = True
        elif event == FAILED:
            # A peer that hangs up only looked whether this port is open, as managers do before they connect.
            self.strangers += value == errno.EAGAIN
            self._explained = True
        else:
            return self._ended(value)
        return False

    def _ended(self, descriptor: int) -> bool:
        began = self._began.pop(descriptor, -1)
        explained, self._explained = self._explained, False
        if explained or began == _CLOSED:
            return False
        if began == self._succeeded:
            self.strangers += 1
            return False
        return True
