"""Batches over one unix stream socket (D2): prefix, frame lengths, header, frames.

One thread reads a :class:`Stream`; several threads that write need a lock of the caller.  It works on blocking and
non-blocking sockets: the DataFlowKernel never blocks, a worker always does.  A small batch needs one system call in
each direction and is parsed in place.  A large frame is received directly into its own memory.  A block of shared
memory is one byte in the stream, and its descriptor travels with that byte or with bytes before it (D58).

Invariants: bytes ``start:end`` of the input buffer are not parsed yet; the buffer is empty while a frame is filled.
"""

from __future__ import annotations

import errno
import itertools
import os
import socket
import struct
from array import array
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from parslab.errors import ProtocolError
from parslab.wire.descriptors import are_scarce, spare
from parslab.wire.encoding import encode_into
from parslab.wire.messages.base import WireMessage
from parslab.wire.shared_memory import Buffer, PlainBuffer, SharedFrame, received, shares_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "IOV",
    "Batch",
    "Buffer",
    "DescriptorPiece",
    "PlainBuffer",
    "Stream",
    "decoder",
    "descriptors_of",
    "encode_batch",
    "pieces_of",
    "send_piece",
]

Batch: TypeAlias = tuple[list[WireMessage], list[Buffer]]

_PREFIX = struct.Struct("<II")
_CHUNK = 1 << 18
_MAX_HEADER = 1 << 30
_MAX_FRAMES = 1 << 20
"""Limits of a prefix: a peer that sends garbage must not make this process allocate memory without end."""
_FILL_SLICE = 1 << 23
"""Bytes of large frames read in one go, so that one huge value does not starve the other peers."""
_FIRST_PART = 1 << 26
"""Bytes of a large frame that get memory before any of them has come; the memory then grows with what comes."""
_MOST_MEMORY = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
"""Bytes of this machine's memory.  A larger frame is refused: many systems promise more memory than there is, and kill
the process that uses it."""
IOV = 512
"""Buffers in one system call; systems refuse more than 1024 (IOV_MAX)."""
_SHARED = 1 << 63
"""Marks the length of a frame that is a block of shared memory."""
_MOST_DESCRIPTORS = 16
"""Descriptors in one system call: few, so that the receiver always has room for them."""
_ANCILLARY = socket.CMSG_SPACE(_MOST_DESCRIPTORS * array("i").itemsize)


def _no_memory(length: int) -> ProtocolError:
    return ProtocolError(f"a peer announced {length} bytes, for which there is no memory")


def decoder(union: Any) -> Callable[[PlainBuffer], list[WireMessage]]:
    """Return the typed decoder of batch headers whose messages belong to ``union``."""
    return msgspec.msgpack.Decoder(list[union]).decode


def encode_batch(
    encoder: msgspec.msgpack.Encoder, messages: Sequence[WireMessage], frames: Sequence[Buffer], out: bytearray
) -> None:
    """Write a batch without its frames into ``out``, which is resized to fit."""
    # The messages are encoded behind a gap, because the prefix needs their length: no second buffer, no copy.
    count = len(frames)
    head = 8 + 8 * count
    if len(out) < head:
        out.extend(bytes(head - len(out)))
    encode_into(encoder, messages, out, head)
    _PREFIX.pack_into(out, 0, len(out) - head, count)
    if count:
        lengths = [f.nbytes | _SHARED if isinstance(f, SharedFrame) else memoryview(f).nbytes for f in frames]
        struct.pack_into(f"<{count}Q", out, 8, *lengths)


# A plain number, because ``|`` of two members of an enum takes longer than the system call.
_CLOSE_ON_EXEC = int(getattr(socket, "MSG_CMSG_CLOEXEC", 0))


class DescriptorPiece(NamedTuple):
    """Bytes of a batch, and the blocks of shared memory whose descriptors leave with the first of them."""

    data: PlainBuffer
    blocks: tuple[SharedFrame, ...]


def pieces_of(head: bytes, frames: Sequence[Buffer]) -> list[PlainBuffer | DescriptorPiece]:
    """Return what to send for a batch, in order: a block of shared memory becomes one byte with its descriptor."""
    pieces: list[PlainBuffer | DescriptorPiece] = []
    data = head
    blocks: list[SharedFrame] = []
    for frame in frames:
        if isinstance(frame, SharedFrame):
            if len(blocks) == _MOST_DESCRIPTORS:
                pieces.append(DescriptorPiece(data, tuple(blocks)))
                data, blocks = b"", []
            data += b"\0"
            blocks.append(frame)
            continue
        if data:
            pieces.append(DescriptorPiece(data, tuple(blocks)) if blocks else data)
            data, blocks = b"", []
        pieces.append(frame)
    if data:
        pieces.append(DescriptorPiece(data, tuple(blocks)) if blocks else data)
    return pieces


def _plain_parts(backlog: deque[PlainBuffer | DescriptorPiece]) -> list[memoryview]:
    """Return the first buffers of a backlog that one system call can send: no descriptor leaves with a later byte."""
    parts: list[memoryview] = []
    for piece in itertools.islice(backlog, IOV):
        if type(piece) is DescriptorPiece:
            break
        parts.append(memoryview(piece).cast("B"))  # type: ignore[arg-type]
    return parts


def descriptors_of(piece: DescriptorPiece) -> list[tuple[int, int, array[int]]]:
    """Return the descriptors of a piece as ``sendmsg`` takes them."""
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [block.descriptor for block in piece.blocks]))]


def send_piece(sock: socket.socket, piece: DescriptorPiece) -> int:
    """Send a piece with its descriptors; return how many of its bytes have left.

    Raises
    ------
    BlockingIOError
        The socket takes nothing now, or too many descriptors of this user are on their way.
    """
    try:
        return sock.sendmsg([piece.data], descriptors_of(piece))
    except OSError as error:
        if error.errno == errno.ETOOMANYREFS:
            raise BlockingIOError(errno.EAGAIN, error.strerror) from error
        raise


class Stream:
    """Both directions of one connected unix socket.

    Parameters
    ----------
    sock
        The connected socket; its blocking mode is the caller's choice.
    decode
        Made by :func:`decoder` for the messages this side receives.
    """

    def __init__(self, sock: socket.socket, decode: Callable[[PlainBuffer], list[WireMessage]]) -> None:
        self.sock = sock
        self._decode = decode
        self._encoder = msgspec.msgpack.Encoder()
        self._out = bytearray()
        self._backlog: deque[PlainBuffer | DescriptorPiece] = deque()
        self._input = bytearray(_CHUNK)
        self._view = memoryview(self._input)
        self._start = self._end = 0
        self._header: list[Any] | None = None
        self._lengths: list[int] = []
        self._frames: list[Buffer] = []
        self._fill: memoryview | None = None
        self._missing = 0
        """Bytes of the frame that is filled for which there is no memory yet."""
        self._descriptors: deque[int] = deque()
        """Descriptors that arrived, in order, and whose frames are not parsed yet."""
        self._scarce = are_scarce()
        self.raw: deque[bytes] | None = None
        """Receives the encoded headers of batches, so that the event log can store them unchanged; None: keep none."""
        # With the small default buffers a batch would need several system calls and wake-ups; macOS has 8 KiB.
        for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
            sock.setsockopt(socket.SOL_SOCKET, option, 1 << 20)

    def fileno(self) -> int:
        """Return the descriptor, for selectors."""
        return self.sock.fileno()

    def close(self) -> None:
        """Close the socket; twice is safe."""
        self.sock.close()
        while self._descriptors:
            os.close(self._descriptors.popleft())

    # ----- outgoing

    @property
    def congested(self) -> bool:
        """Whether bytes wait because the peer does not read fast enough."""
        return bool(self._backlog)

    @property
    def backlog_size(self) -> int:
        """How many bytes wait because the peer does not read fast enough."""
        pieces = [piece.data if isinstance(piece, DescriptorPiece) else piece for piece in self._backlog]
        return sum([memoryview(piece).nbytes for piece in pieces])

    def send(self, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        """Send one batch.  On a non-blocking socket, :meth:`flush` sends later what does not fit now."""
        count = len(frames)
        out = self._out
        encode_batch(self._encoder, messages, frames, out)
        if self._backlog:
            # Bytes of an earlier batch wait: to send now would put this batch into the middle of that one.
            # The header is copied, because the next batch is encoded into the same buffer.
            self._backlog.extend(pieces_of(bytes(out), frames))
            return
        if not count:
            try:
                sent = self.sock.send(out)
            except BlockingIOError:
                sent = 0
            if sent < len(out):
                self._backlog.append(bytes(memoryview(out)[sent:]))
                self.flush()
        else:
            self._backlog.extend(pieces_of(bytes(out), frames))
            self.flush()
        # One huge header must not occupy its memory for the rest of the run.
        if len(out) > _CHUNK:
            self._out = bytearray()

    def flush(self) -> bool:
        """Send the bytes that wait; return whether nothing is left."""
        backlog = self._backlog
        while backlog:
            first = backlog[0]
            try:
                if type(first) is DescriptorPiece:
                    sent = send_piece(self.sock, first)
                    parts = [memoryview(first.data)]
                else:
                    parts = _plain_parts(backlog)
                    sent = self.sock.sendmsg(parts)
            except BlockingIOError:
                return False
            for part in parts:
                if sent < part.nbytes:
                    backlog[0] = part[sent:]
                    break
                sent -= part.nbytes
                backlog.popleft()
        return True

    # ----- incoming

    def receive(self, flags: int = 0) -> list[Batch]:
        """Read once and return the batches that are complete now (maybe none).

        Raises
        ------
        EOFError
            The peer has closed the connection.
        ProtocolError
            The received bytes are not a batch of this union.
        """
        # One read a call: the loop serves other peers before a busy one has its next turn.
        try:
            if self._fill is not None:
                self._fill_frame(flags)
            else:
                self._fill_input(flags)
        except BlockingIOError:
            return []
        except (ConnectionResetError, BrokenPipeError) as reset:
            raise EOFError from reset
        return self._parse()

    def _fill_input(self, flags: int) -> None:
        if shares_memory:
            views = (self._view[self._end :],)
            if self._scarce:
                # The system drops descriptors for which there is no room, and nothing brings them back.
                with spare():
                    got, ancillary, returned, _ = self.sock.recvmsg_into(views, _ANCILLARY, flags | _CLOSE_ON_EXEC)
            else:
                got, ancillary, returned, _ = self.sock.recvmsg_into(views, _ANCILLARY, flags | _CLOSE_ON_EXEC)
            if ancillary:
                self._take_descriptors(ancillary, returned)
        else:
            got = self.sock.recv_into(self._view[self._end :], 0, flags)
        if not got:
            raise EOFError
        self._end += got

    def _take_descriptors(self, ancillary: list[tuple[int, int, bytes]], flags: int) -> None:
        for level, kind, data in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                arrived = array("i")
                arrived.frombytes(data[: len(data) - len(data) % arrived.itemsize])
                self._descriptors.extend(arrived)
        if flags & socket.MSG_CTRUNC:
            raise ProtocolError("descriptors of a peer were lost, because this process has no room for them")

    def _fill_frame(self, flags: int) -> None:
        read = 0
        while self._fill is not None and read < _FILL_SLICE:
            got = self.sock.recv_into(self._fill[: _FILL_SLICE - read], 0, flags)
            if not got:
                raise EOFError
            read += got
            self._fill = self._fill[got:] if got < self._fill.nbytes else self._grow_frame()

    def _grow_frame(self) -> memoryview | None:
        """Return memory for the next bytes of the frame that is filled; None if all have come."""
        if not self._missing:
            return None
        frame = self._frames[-1]
        assert type(frame) is bytearray
        self._fill = None  # a bytearray that somebody views cannot grow
        have = len(frame)
        more = min(have, self._missing)
        try:
            frame += bytes(more)
        except MemoryError as error:
            raise _no_memory(have + self._missing) from error
        self._missing -= more
        return memoryview(frame)[have:]

    def _parse(self) -> list[Batch]:
        batches: list[Batch] = []
        while self._fill is None:
            if self._header is None and not self._parse_header(batches):
                break
            if self._header is not None and not self._take_frames(batches):
                break
        return batches

    def _parse_header(self, batches: list[Batch]) -> bool:
        """Take whole headers from the input; return whether the last one has frames."""
        while True:
            start, have = self._start, self._end - self._start
            if have < 8:
                self._make_room(8)
                return False
            length, count = _PREFIX.unpack_from(self._input, start)
            if length > _MAX_HEADER or count > _MAX_FRAMES:
                raise ProtocolError(f"a peer announced a header of {length} bytes and {count} frames")
            body = start + 8 + 8 * count
            need = 8 + 8 * count + length
            if have < need:
                self._make_room(need)
                return False
            # The slice shares the buffer: msgspec copies the strings and bytes that messages keep.
            try:
                header = self._decode(self._view[body : body + length])
            except msgspec.MsgspecError as error:
                raise ProtocolError(f"a peer sent what this version does not understand: {error}") from error
            if self.raw is not None:
                self.raw.append(bytes(self._view[body : body + length]))
            self._start = start + need
            if count:
                self._header = header
                self._lengths = list(struct.unpack_from(f"<{count}Q", self._input, start + 8))
                self._frames = []
                return True
            batches.append((header, []))
            # Nearly always the batch was all that had arrived: the next one begins at the front again.
            if self._start == self._end and len(self._input) <= 16 * _CHUNK:
                self._start = self._end = 0
                return False

    def _take_frames(self, batches: list[Batch]) -> bool:
        """Move frames out of the input; return whether the batch is complete."""
        while len(self._frames) < len(self._lengths):
            length = self._lengths[len(self._frames)]
            if length & _SHARED:
                if not self._take_block(length & ~_SHARED):
                    return False
                continue
            # Checked for each frame just before it is read, so that a false length fails before anything is allocated.
            if length > _MOST_MEMORY:
                raise _no_memory(length)
            ready = min(length, self._end - self._start)
            first = max(ready, min(length, _FIRST_PART))
            try:
                frame = bytearray(first)
            except MemoryError as error:
                raise _no_memory(length) from error
            self._frames.append(frame)
            self._missing = length - first
            frame[:ready] = self._view[self._start : self._start + ready]
            self._start += ready
            if ready < length:
                self._start = self._end = 0
                self._fill = memoryview(frame)[ready:] if ready < first else self._grow_frame()
                return False
        assert self._header is not None
        batches.append((self._header, self._frames))
        self._header, self._frames = None, []  # a new list: the receiver owns the old one
        return True

    def _take_block(self, length: int) -> bool:
        """Take a block of shared memory out of the input; return False if its byte has not arrived."""
        if self._start == self._end:
            self._make_room(1)
            return False
        self._start += 1
        try:
            self._frames.append(received(self._descriptors.popleft(), length))
        except (IndexError, OSError, MemoryError) as error:
            raise ProtocolError(f"a peer sent a block of shared memory that cannot be used ({error})") from error
        return True

    def _make_room(self, need: int) -> None:
        """Move unparsed bytes to the front, and grow the buffer if it is full and one header is larger than it."""
        rest = self._end - self._start
        if rest == len(self._input):
            grown = bytearray(max(min(need, rest + _FIRST_PART), 2 * rest))
            grown[:rest] = self._view[self._start : self._end]
            self._input, self._view = grown, memoryview(grown)
        elif self._start:
            self._view[:rest] = bytes(self._view[self._start : self._end])
            # After a huge header the buffer shrinks again, but only by a wide margin, so that it does not swing.
            if not rest and len(self._input) > 16 * _CHUNK:
                self._input = bytearray(_CHUNK)
                self._view = memoryview(self._input)
        self._start, self._end = 0, rest
