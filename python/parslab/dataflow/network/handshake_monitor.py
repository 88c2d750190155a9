"""Who came to the port and did not hold the run's key [core]: told from what ZeroMQ says of its connections.

ZeroMQ names the connection (by its descriptor) when it is accepted and when it ends, but not when its handshake
succeeds. So a connection that ended is surely a stranger's when no handshake at all succeeded while it lasted, and is
counted only then; peers of ours are never taken for strangers. Those that show another key are counted by the gate.
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

# ZeroMQ's numbers.
ACCEPTED, DISCONNECTED = 0x20, 0x200
FAILED, SUCCEEDED, FAILED_PROTOCOL, FAILED_AUTH = 0x800, 0x1000, 0x2000, 0x4000
WATCHED = ACCEPTED | DISCONNECTED | FAILED | SUCCEEDED | FAILED_PROTOCOL | FAILED_AUTH


class HandshakeMonitor:
    """The connections to one port."""

    def __init__(self) -> None:
        self.strangers = 0
        """Connections that ended without ever having shown a key."""
        self._began: dict[int, int] = {}
        """By descriptor: how many handshakes had gone well when it was accepted."""
        self._well = 0
        self._explained = False
        """The next connection to end has been dealt with."""

    def told(self, event: int, value: int) -> bool:
        """Take what ZeroMQ tells; True when a peer of ours may have lost its connection."""
        if event == ACCEPTED:
            self._began[value] = self._well
        elif event in (SUCCEEDED, FAILED_AUTH):
            self._well += 1
        elif event == FAILED_PROTOCOL:
            self.strangers += 1
            self._explained = True
        elif event == FAILED:
            # A peer that hangs up only looked whether somebody listens here, as managers do before they come.
            self.strangers += value == errno.EAGAIN
            self._explained = True
        else:
            return self._ended(value)
        return False

    def _ended(self, descriptor: int) -> bool:
        began = self._began.pop(descriptor, -1)
        explained, self._explained = self._explained, False
        if explained:
            return False
        if began == self._well:
            self.strangers += 1
            return False
        return True
