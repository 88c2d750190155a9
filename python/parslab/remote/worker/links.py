"""The two links of a worker: unix sockets to an owner on the same host, CurveZMQ over TCP from another host.

The data link carries tasks to the main thread, and outcomes and output back. The control thread owns the control link.
Both threads may call ``send`` of the data link.
"""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from typing import TYPE_CHECKING, Any, Protocol

from parslab.wire.encoding import encode_messages
from parslab.wire.messages.worker import ControlMessage, WorkerMessage
from parslab.wire.shared_memory import PlainBuffer, shares_memory
from parslab.wire.spin_wait import SpinWait
from parslab.wire.stream import Batch, Buffer, Stream, decoder
from parslab.wire.zmq_parts import joined, parted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.wire.messages.base import WireMessage

__all__ = ["UnixWorkerLink", "WorkerLink", "tcp_links", "unix_links"]

_SILENCE = 15.0
"""Seconds without a probe on the control link after which the DataFlowKernel counts as gone (it probes every 2 s)."""


_PAUSE = 0.005
"""Seconds until a worker tries again to send descriptors."""


# A plain number, because ``|`` of two members of an enum takes longer than the system call.
_DONT_WAIT = int(socket.MSG_DONTWAIT)


class WorkerLink(Protocol):
    """A link between a worker and its owner, in both directions."""

    passes_descriptors: bool
    """Whether frames may be blocks of shared memory."""

    def send(self, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        """Send a batch; blocks until the system or ZeroMQ has taken it."""

    def receive(self, timeout: float | None) -> list[Batch]:
        """Return the batches that arrived; waits up to ``timeout`` seconds for the first (None: for ever)."""


class UnixWorkerLink:
    """One end of a socket pair that the owner of the worker made."""

    passes_descriptors = shares_memory

    def __init__(self, fd: int, decode: Callable[[PlainBuffer], list[WireMessage]]) -> None:
        sock = socket.socket(fileno=fd)
        sock.setblocking(True)
        self._stream = Stream(sock, decode)
        self._spin_wait = SpinWait()
        self._poller = select.poll()
        self._poller.register(sock, select.POLLIN)
        self._sending = threading.Lock()  # the main thread sends outcomes while the control thread sends live output

    def send(self, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        with self._sending:
            self._stream.send(messages, frames)
            while self._stream.congested and not self._stream.flush():
                time.sleep(_PAUSE)  # too many descriptors of this user are on their way

    def receive(self, timeout: float | None) -> list[Batch]:
        if timeout is None:
            return self._spin_wait.wait(self._look, self._sleep)
        # A socket timeout would apply to ``send``, too, which must block until the system has taken everything.
        if timeout > 0:
            _wait(self._stream.fileno(), timeout)
        return self._stream.receive(_DONT_WAIT)

    def _look(self) -> list[Batch]:
        # A read that finds nothing would raise an exception, which takes three times as long.
        if not self._poller.poll(0):
            return []
        return self._stream.receive(_DONT_WAIT)

    def _sleep(self) -> list[Batch]:
        # Not in ``recv``: Linux wakes a reader that sleeps there also when the owner has read what this side sent. That
        # costs both sides 20 us for each outcome.
        self._poller.poll()
        return self._stream.receive(_DONT_WAIT)


def _wait(descriptor: int, seconds: float) -> None:
    """Wait until there is something to read, for so many seconds at most."""
    # No ``select``, which fails for descriptors above 1,023: an owner of many workers hands such numbers down.
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll(1000 * seconds)


def unix_links(data: int, control: int) -> tuple[WorkerLink, WorkerLink]:
    """Return the links on two inherited descriptors."""
    return UnixWorkerLink(data, decoder(WorkerMessage)), UnixWorkerLink(control, decoder(ControlMessage))


class _TcpWorkerLink:
    """A link on a ZeroMQ DEALER; a lock protects it, because two threads must not use a ZeroMQ socket at once."""

    passes_descriptors = False

    def __init__(self, sock: Any, decode: Callable[[PlainBuffer], list[WireMessage]], silence: float | None) -> None:
        import zmq

        self._silence = silence
        self._heard = time.monotonic()

        self._zmq = zmq
        self._sock = sock
        self._decode = decode
        self._using = threading.Lock()
        self._fd = sock.getsockopt(zmq.FD)

    def send(self, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        head = encode_messages(messages)
        with self._using:
            self._sock.send_multipart(parted(head, frames), copy=not frames)

    def receive(self, timeout: float | None) -> list[Batch]:
        while True:
            with self._using:
                batches = self._drain()
            if batches or timeout == 0:
                self._heard = time.monotonic()
                return batches
            if self._silence is not None and time.monotonic() - self._heard > self._silence:
                raise EOFError
            # The descriptor is edge-triggered, and a send of the other thread may consume the edge: look every second.
            _wait(self._fd, 1.0 if timeout is None else min(timeout, 1.0))
            if timeout is not None:
                timeout = 0

    def _drain(self) -> list[Batch]:
        batches: list[Batch] = []
        with contextlib.suppress(self._zmq.Again):
            while True:
                parts = self._sock.recv_multipart(self._zmq.DONTWAIT, copy=False)
                if len(parts) == 1 and not parts[0].buffer.nbytes:
                    raise EOFError  # an empty message: the DataFlowKernel closes the link
                # Frames are copied out of ZeroMQ's memory, because tasks get writable buffers of their own.
                head, *frames = joined([part.buffer for part in parts])
                batches.append((self._decode(head), [f if type(f) is bytearray else bytearray(f) for f in frames]))
        return batches


def tcp_links(settings: dict[str, Any], name: str) -> tuple[WorkerLink, WorkerLink]:
    """Connect both links with the keys of the run.

    ZeroMQ reconnects silently, so only the silence of the control link shows that the DataFlowKernel is gone.
    """
    import zmq

    context: Any = zmq.Context.instance()
    links: list[WorkerLink] = []
    for kind, union, silence in (("data", WorkerMessage, None), ("control", ControlMessage, _SILENCE)):
        sock = context.socket(zmq.DEALER)
        sock.setsockopt(zmq.IDENTITY, f"{name}/{kind}".encode())
        sock.setsockopt(zmq.LINGER, 1000)  # the last outcomes get a second, and a lost network costs no more
        sock.setsockopt(zmq.HEARTBEAT_IVL, 2000)
        sock.setsockopt(zmq.HEARTBEAT_TIMEOUT, 10000)
        sock.setsockopt(zmq.HEARTBEAT_TTL, 10000)  # the other side, too, closes a connection on which we are silent
        sock.curve_serverkey = settings["server_key"].encode()
        sock.curve_publickey = settings["public_key"].encode()
        sock.curve_secretkey = settings["secret_key"].encode()
        sock.connect(settings["addresses"][0])
        links.append(_TcpWorkerLink(sock, decoder(union), silence))
    return links[0], links[1]
