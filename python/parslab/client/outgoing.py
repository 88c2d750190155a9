"""What a client sends [shell]: never lost, doubled or torn, though the user's thread may be interrupted anywhere.

A call is sent by the thread that makes it, and in a notebook that thread gets KeyboardInterrupt: between any two steps,
also when the system has just taken half of a batch.  So each change of state here is one call of a C function that
either has happened or has not, and whoever comes next (the link's thread, the next call) finds out how far it went.

Invariants: bytes are numbered from the beginning of the connection; ``sum(_sent)`` of them have left; ``_pieces`` are
in order and end at the number they name; messages leave ``outbox`` only after the pieces that hold them are there.
Everything but ``outbox`` belongs to whoever holds the link's lock.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

import msgspec

from parslab.wire.stream import IOV, Buffer, encode_batch

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

__all__ = ["Outgoing"]


class Outgoing:
    """The outgoing side of a connection.

    Parameters
    ----------
    sock
        Connected, not blocking.

    Attributes
    ----------
    outbox
        Messages that wait; any thread may append.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.outbox: list[Any] = []
        self._sock = sock
        self._encoder = msgspec.msgpack.Encoder()
        self._pieces: deque[tuple[int, Buffer, list[Any]]] = deque()
        """(number of its last byte, bytes on their way, the messages that were taken from the outbox for it)"""
        self._sent: list[int] = [0]

    @property
    def congested(self) -> bool:
        """Whether bytes wait because the peer does not read fast enough."""
        return bool(self._pieces)

    def push(self) -> bool:
        """Send the outbox; False when something is left for :meth:`flush`."""
        self._settle()
        # A slice, not a swap: a thread that has fetched the list but not appended yet must not lose its message.
        messages = self.outbox[: len(self.outbox)]
        if messages:
            self._commit(messages, ())
            del self.outbox[: len(messages)]
        return self.flush()

    def add(self, message: Any, frames: Sequence[Buffer]) -> None:
        """Line up a message with its frames behind everything else; send with :meth:`flush`."""
        self.push()
        self._commit([message], frames)

    def flush(self) -> bool:
        """Send what waits; True when nothing is left, or nobody listens any more."""
        self._settle()
        pieces = self._pieces
        while True:
            sent = sum(self._sent)
            self._sent = [sent]
            while pieces and pieces[0][0] <= sent:
                pieces.popleft()
            if not pieces:
                return True
            end, first, _ = pieces[0]
            try:
                # One step from the system's answer to its place in our books.
                if len(pieces) == 1 and end - len(first) == sent:
                    self._sent.extend(map(self._sock.send, (first,)))
                else:
                    parts = [memoryview(first)[len(first) - (end - sent) :]]
                    parts += [memoryview(pieces[i][1]) for i in range(1, min(len(pieces), IOV))]
                    self._sent.extend(map(self._sock.sendmsg, (parts,)))
            except BlockingIOError:
                return False
            except OSError:
                pieces.clear()  # whoever reads will find the end and say so

    def own(self) -> None:
        """Replace what belongs to the caller's arrays by copies: it will not wait for the rest to leave."""
        self._settle()
        self._pieces = deque([(end, bytes(data), taken) for end, data, taken in self._pieces])

    def _commit(self, messages: list[Any], frames: Sequence[Buffer]) -> None:
        head = bytearray()
        encode_batch(self._encoder, messages, frames, head)
        end = (self._pieces[-1][0] if self._pieces else sum(self._sent)) + len(head)
        made: list[tuple[int, Buffer, list[Any]]] = [(end, head, messages)]
        for frame in frames:
            data = memoryview(frame).cast("B")
            end += len(data)
            made.append((end, data, messages))
        self._pieces.extend(made)

    def _settle(self) -> None:
        """Finish a :meth:`push` that was interrupted after its commit."""
        if self._pieces and self.outbox:
            taken = self._pieces[-1][2]
            if self.outbox[0] is taken[0]:
                del self.outbox[: len(taken)]
