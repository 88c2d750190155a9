"""Frames between this host and the agent on a login host, in an order that survives the loss of a connection [pure].

Both ends count the frames that they have received.  A sender keeps each frame until the other end has it.  After a
loss, each end says how many it has, and the other one sends the rest again.  So no frame is lost, and none comes twice.

This text also runs on the login host, so it needs only Python 3.6 and its standard library.
"""

import struct
from collections import deque

__all__ = ["ANSWER", "CALL", "CREDIT", "DATA", "OPEN", "PING", "SHUT", "Session", "Unresumable"]

CALL, ANSWER, OPEN, DATA, CREDIT, SHUT = 1, 2, 3, 4, 5, 6
"""Kinds of frames that are counted: a request to the agent and its answer; the begin, contents and end of a stream; and
how many bytes of a stream have arrived at its receiver."""
PING, _HAVE = 100, 101
"""Kinds that are not counted: a sign of life, and the number of frames that have arrived."""

_HEADER = struct.Struct("!BIQ")
_NUMBER = struct.Struct("!Q")


class Unresumable(Exception):
    """The other end misses frames that this end does not have any more."""


class Session:
    """One end of a conversation, whatever connection carries it.

    Attributes
    ----------
    received
        How many counted frames have arrived.
    """

    def __init__(self) -> None:
        self.received = 0
        self._said = 0
        self._dropped = 0
        """How many sent frames the other end has confirmed; they are forgotten."""
        self._unconfirmed: deque[bytes] = deque()
        self._unsent: deque[bytes] = deque()
        self._ping = False
        self._arrived = bytearray()

    def send(self, kind: int, stream: int, payload: bytes = b"") -> None:
        """Add a counted frame to what :meth:`take` returns."""
        self._unsent.append(_HEADER.pack(kind, stream, len(payload)) + payload)

    def ping(self) -> None:
        """Add a sign of life to what :meth:`take` returns."""
        self._ping = True

    @property
    def ready(self) -> bool:
        """Whether :meth:`take` would return anything."""
        return bool(self._unsent) or self._ping or self._said != self.received

    def take(self, limit: int = 1 << 18) -> bytes:
        """Return what the connection has to carry next: whole frames of ``limit`` bytes or a little more."""
        parts = []
        size = 0
        if self._said != self.received:
            self._said = self.received
            parts.append(_HEADER.pack(_HAVE, 0, _NUMBER.size) + _NUMBER.pack(self.received))
        if self._ping:
            self._ping = False
            parts.append(_HEADER.pack(PING, 0, 0))
        while self._unsent and size < limit:
            frame = self._unsent.popleft()
            self._unconfirmed.append(frame)
            parts.append(frame)
            size += len(frame)
        return b"".join(parts)

    def feed(self, data: bytes) -> "list[tuple[int, int, bytes]]":
        """Return the counted frames that are complete with this data: kind, stream and payload of each."""
        self._arrived += data
        found = []
        at = 0
        while len(self._arrived) - at >= _HEADER.size:
            kind, stream, size = _HEADER.unpack_from(self._arrived, at)
            begin = at + _HEADER.size
            if len(self._arrived) < begin + size:
                break
            payload = bytes(self._arrived[begin : begin + size])
            at = begin + size
            if kind == _HAVE:
                self._confirm(_NUMBER.unpack(payload)[0])
            elif kind != PING:
                self.received += 1
                found.append((kind, stream, payload))
        del self._arrived[:at]
        return found

    def resume(self, arrived: int) -> None:
        """Go on with a new connection, whose other end has this many frames.

        Raises
        ------
        Unresumable
            The other end says what cannot be: it belongs to another conversation.
        """
        del self._arrived[:]
        self._ping = False
        self._said = -1  # say it anew, because the last statement may be lost
        self._confirm(arrived)
        self._unsent.extendleft(reversed(self._unconfirmed))
        self._unconfirmed.clear()

    def _confirm(self, arrived: int) -> None:
        if not self._dropped <= arrived <= self._dropped + len(self._unconfirmed):
            raise Unresumable(f"{arrived} of {self._dropped + len(self._unconfirmed)}")
        while self._dropped < arrived:
            self._unconfirmed.popleft()
            self._dropped += 1
