"""``SendBuffer`` sends a client's messages without loss or duplicates, even if KeyboardInterrupt stops it [shell].

The thread that makes a call sends it.  In a notebook that thread may get KeyboardInterrupt between any two bytecodes,
also when the system has just taken half of a batch.  So each change of state here is one call of a C function, which
CPython completes or does not begin.  The next sender (the link's thread, or the next call) continues from that state.

If the run has an event log (``keep``), the buffer keeps sent batches until they are in it (``safe``).  After a loss,
:meth:`resume` sends them again to the next DataFlowKernel.  Until then ``broken`` is true, and no byte leaves.

Invariants:

- Bytes are numbered from the beginning of the connection; ``sum(_sent)`` of them have left.
- ``_pieces`` are in order, and each ends at the number that it names.
- Messages leave ``outbox`` only after the pieces that hold them are there.
- Batches are numbered from 1.  The last number is that of the last piece, or of the last kept one, or ``_base``.
- A piece that moves from ``_pieces`` to ``_kept`` is in both for a moment, so that an interrupt cannot lose it.
- The holder of the link's lock owns everything but ``outbox``.
"""

from __future__ import annotations

import errno
from collections import deque
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from parslab.wire.stream import IOV, DescriptorPiece, PlainBuffer, descriptors_of, encode_batch, pieces_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from parslab.wire.messages.base import WireMessage
    from parslab.wire.stream import Buffer

__all__ = ["SendBuffer"]

_KEPT = 64 << 20
"""The most bytes of sent batches in memory.  The buffer drops older batches beyond that, and cannot send them again."""


_Piece: TypeAlias = "tuple[int, PlainBuffer, list[WireMessage], int, DescriptorPiece | None]"
"""(number of its last byte, its bytes, the messages of the outbox that it holds, the number of its batch, the blocks of
shared memory whose descriptors leave with its first byte)"""


class SendBuffer:
    """The outgoing side of a connection.

    Parameters
    ----------
    sock
        A connected socket that does not block.
    keep
        Whether sent batches are kept until they are in the event log.

    Attributes
    ----------
    outbox
        Messages that are not yet encoded; any thread may append one.
    safe
        How many batches are in the event log; the link's thread sets it.
    rejected
        (message, error) of messages that could not be encoded, for the link to report.
    """

    def __init__(self, sock: socket.socket, keep: bool = False) -> None:
        self.outbox: list[WireMessage] = []
        self.rejected: deque[tuple[WireMessage, Exception]] = deque()
        self.safe = 0
        self.keep = keep
        self.broken = False
        """Whether the connection is lost and no other one exists yet."""
        self._kept: deque[_Piece] = deque()
        self._base = 0
        self._volume = 0
        """About how many bytes ``_kept`` has; an interrupt may make it wrong, and :meth:`_trim` corrects it."""
        self._sock = sock
        self._encoder = msgspec.msgpack.Encoder()
        self._pieces: deque[_Piece] = deque()
        self._sent: list[int] = [0]

    @property
    def congested(self) -> bool:
        """Whether unsent bytes remain because the peer does not read fast enough."""
        return bool(self._pieces) and not self.broken

    def push(self) -> bool:
        """Send the outbox; return False when bytes or messages are left for the next call."""
        self._settle()
        # While the peer does not read, messages gather in the outbox and leave as one batch.  A batch for each would
        # cost each sender a system call with all batches that wait.
        if self.congested and not self.flush():
            return False
        self._commit_outbox()
        return self.flush()

    def _commit_outbox(self) -> None:
        """Make a batch of the outbox."""
        # A slice, not a swap: another thread may have fetched the list and append to it only after a swap.
        messages = self.outbox[: len(self.outbox)]
        if messages:
            try:
                self._commit(messages, ())
            except (OverflowError, TypeError, ValueError):
                # A message that cannot be encoded must not block the other messages, nor the next sender.
                self._reject(messages)
                self._commit_outbox()
                return
            del self.outbox[: len(messages)]

    def _reject(self, messages: list[WireMessage]) -> None:
        """Remove the messages that cannot be encoded from the beginning of the outbox."""
        # Backwards, so that a removal does not change the index of the messages that are still to be tried.
        for at in reversed(range(len(messages))):
            try:
                encode_batch(self._encoder, [messages[at]], (), bytearray())
            except (OverflowError, TypeError, ValueError) as error:
                del self.outbox[at]
                self.rejected.append((messages[at], error))

    def add(self, message: WireMessage, frames: Sequence[Buffer]) -> None:
        """Append a message with its frames; :meth:`flush` sends it."""
        self._settle()
        self._commit_outbox()  # earlier messages first, because the DataFlowKernel relies on the order of calls
        self._commit([message], frames)
        if self.broken:
            self.own()

    def flush(self) -> bool:
        """Send the pieces; return True when none is left, or the connection is over."""
        self._settle()
        pieces = self._pieces
        while not self.broken:
            sent = sum(self._sent)
            self._sent = [sent]
            while pieces and pieces[0][0] <= sent:
                if self.keep:
                    self._keep(pieces[0])
                pieces.popleft()
            if not pieces:
                return True
            end, first, *_ = pieces[0]
            try:
                # map() sends and extend() stores the count in one C call. With ``n = send(...)`` an interrupt between
                # the two would lose the count, and the next sender would send these bytes twice.
                piece = pieces[0][4]
                if piece is not None and end - len(first) == sent:
                    self._sent.extend(map(self._sock.sendmsg, ([first],), (descriptors_of(piece),)))
                elif len(pieces) == 1 and end - len(first) == sent:
                    self._sent.extend(map(self._sock.send, (first,)))
                else:
                    parts = [memoryview(first)[len(first) - (end - sent) :]]
                    for i in range(1, min(len(pieces), IOV)):
                        if pieces[i][4] is not None:
                            break
                        parts.append(memoryview(pieces[i][1]))
                    self._sent.extend(map(self._sock.sendmsg, (parts,)))
            except BlockingIOError:
                return False
            except OSError as error:
                if error.errno == errno.ETOOMANYREFS:  # too many descriptors of this user are on their way
                    return False
                if not self.keep:
                    pieces.clear()  # the link's thread will read the end of the connection and report it
                    return True
                self.broken = True
                self.own()
        return True

    def own(self) -> None:
        """Copy the bytes of the caller's arrays, because the caller does not wait until they have left."""
        self._settle()
        self._pieces = deque([(end, _owned(data), *rest) for end, data, *rest in self._pieces])  # type: ignore[misc]

    def _commit(self, messages: list[WireMessage], frames: Sequence[Buffer]) -> None:
        head = bytearray()
        encode_batch(self._encoder, messages, frames, head)
        end = self._pieces[-1][0] if self._pieces else sum(self._sent)
        number = self.last + 1
        if not frames:
            self._pieces.append((end + len(head), head, messages, number, None))
            return
        made: list[_Piece] = []
        for piece in pieces_of(bytes(head), frames):
            blocks = piece if isinstance(piece, DescriptorPiece) else None
            data = blocks.data if blocks is not None else memoryview(piece).cast("B")  # type: ignore[arg-type]
            end += len(data)
            made.append((end, data, messages, number, blocks))
        self._pieces.extend(made)  # one C call, so that an interrupt leaves all pieces of the batch or none

    # ----- what is kept

    @property
    def last(self) -> int:
        """The number of the last batch."""
        pieces = self._pieces or self._kept
        return max(pieces[-1][3], self._base) if pieces else self._base

    def _keep(self, piece: _Piece) -> None:
        """Keep a piece that has left until its batch is in the event log."""
        kept = self._kept
        if kept and kept[-1][0] == piece[0]:
            return  # an interrupt stopped the last sender before it removed the piece from _pieces
        if piece[3] > self.safe:
            end, data, taken, number, blocks = piece
            kept.append((end, _owned(data), taken, number, blocks))
            self._volume += len(data)
        elif piece[3] > self._base:
            self._base = piece[3]
        if (kept and kept[0][3] <= self.safe) or self._volume > _KEPT:
            self._trim()

    @property
    def keeps_blocks(self) -> bool:
        """Whether a batch with shared memory is kept."""
        # The thread of the link asks, while another thread may send: a copy is one call of C, which nothing interrupts.
        return any(piece[4] is not None for piece in self._kept.copy())

    def drop_safe(self) -> None:
        """Drop the batches that are in the event log."""
        self._settle()
        self._trim()

    def drop_all(self) -> None:
        """Drop all bytes, because nothing will be sent any more."""
        self._pieces.clear()
        self._kept.clear()

    def _trim(self) -> None:
        kept = self._kept
        self._volume = sum(len(piece[1]) for piece in kept)
        while kept and (kept[0][3] <= self.safe or self._volume > _KEPT):
            self._base = max(self._base, kept[0][3])
            while kept and kept[0][3] <= self._base:
                self._volume -= len(kept.popleft()[1])

    def stop_keeping(self) -> None:
        """Drop all kept batches, because the run has no event log any more."""
        self._base = self.last
        self.keep = False
        self._kept.clear()

    def resume(self, sock: socket.socket, there: int) -> None:
        """Prepare to send all batches after the first ``there`` again, to another DataFlowKernel.

        Empty batches replace those that the buffer has dropped, so that the numbers of the batches stay the same.  The
        DataFlowKernel reports tasks that it does not know.
        """
        self._settle()
        left = {piece[0]: piece for piece in (*self._kept, *self._pieces) if piece[3] > there}
        by_batch: dict[int, list[_Piece]] = {}
        for piece in left.values():
            by_batch.setdefault(piece[3], []).append(piece)
        lined: list[_Piece] = []
        at = 0
        for number in range(there + 1, self.last + 1):
            pieces = by_batch.get(number, []) if number > self._base else []
            if not pieces:
                head = bytearray()
                encode_batch(self._encoder, [], (), head)
                pieces = [(0, head, [], number, None)]
            for _, data, taken, _, blocks in pieces:
                at += len(data)
                lined.append((at, data, taken, number, blocks))
        self._sock, self._sent = sock, [0]
        self._base = there
        self._pieces = deque(lined)
        self._kept.clear()
        self._volume = 0
        self.safe = there
        self.broken = False

    def _settle(self) -> None:
        """Finish a :meth:`push` that an interrupt stopped after it had made its pieces."""
        # The messages are in the pieces, and still in the outbox: without this they would be sent twice.
        if self._pieces and self.outbox:
            taken = self._pieces[-1][2]
            if self.outbox[0] is taken[0]:
                del self.outbox[: len(taken)]


def _owned(data: PlainBuffer) -> PlainBuffer:
    """Return the same bytes in memory that no other code changes."""
    return data if isinstance(data, (bytes, bytearray)) else bytes(data)
