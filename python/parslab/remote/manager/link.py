"""The manager's connection to the DataFlowKernel [shell]: one CurveZMQ DEALER that lives once.

ZeroMQ would connect again by itself and lose what was on its way; so it is told not to, and a connection that broke is
over: the manager begins anew, under another name.
"""

from __future__ import annotations

import select
import socket
import time
from typing import TYPE_CHECKING, Any

import msgspec
import zmq

from parslab.wire.messages import ToManagerMessage
from parslab.wire.stream import Buffer, decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Link", "Unreachable", "reachable"]

_SMALL = 1 << 16
"""A batch with frames of this size or less is copied when sent, which is quicker than to share its memory."""


class Unreachable(Exception):
    """The DataFlowKernel cannot be reached; the text says at which addresses, and why."""


def reachable(addresses: Sequence[str], patience: float) -> str:
    """The first of these addresses (``tcp://HOST:PORT``) that lets a plain TCP connection be made.

    All are tried at the same time: those that belong to other networks of the DataFlowKernel's host answer nothing.

    Raises
    ------
    Unreachable
        None did within ``patience`` seconds.
    """
    deadline = time.monotonic() + patience
    while True:
        said: dict[str, str] = {}
        waiting: dict[socket.socket, str] = {}
        try:
            for address in addresses:
                sock = _knock(address, said)
                if sock is not None:
                    waiting[sock] = address
            until = min(deadline, time.monotonic() + 2.0)
            while waiting and time.monotonic() < until:
                _, ready, _ = select.select([], list(waiting), [], max(0.0, until - time.monotonic()))
                for sock in ready:
                    address = waiting.pop(sock)
                    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                    sock.close()
                    if not error:
                        return address
                    said[address] = _words(error)
        finally:
            for sock, address in waiting.items():
                said[address] = "no answer"
                sock.close()
        if time.monotonic() >= deadline:
            tried = ", ".join(f"{address} ({why})" for address, why in said.items())
            raise Unreachable(
                f"{socket.gethostname()} cannot reach the DataFlowKernel of the run: {tried}. It has ended, or a "
                "firewall is between: name an address that nodes can reach with HighThroughputExecutor(address=...)."
            )
        time.sleep(0.2)


def _knock(address: str, said: dict[str, str]) -> socket.socket | None:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    host = host.strip("[]")
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    error = sock.connect_ex((host, int(port)))
    if error in _UNDER_WAY:
        return sock
    sock.close()
    said[address] = _words(error)
    return None


def _words(error: int) -> str:
    import os

    return os.strerror(error).lower()


def _codes() -> tuple[int, ...]:
    import errno

    return 0, errno.EINPROGRESS, errno.EWOULDBLOCK


_UNDER_WAY = _codes()


class Link:
    """The connection.

    Parameters
    ----------
    settings
        ``server_key``, ``public_key``, ``secret_key``.
    address
        Of the DataFlowKernel.
    identity
        Another one for each life of a manager.
    """

    def __init__(self, settings: dict[str, Any], address: str, identity: bytes) -> None:
        self._decode: Callable[[Buffer], list[Any]] = decoder(ToManagerMessage)
        self.address = address
        self.over = ""
        """Why the connection is over; empty while it is not."""
        self._context: zmq.Context[Any] = zmq.Context()
        sock: zmq.Socket[bytes] = self._context.socket(zmq.DEALER)
        sock.setsockopt(zmq.IDENTITY, identity)
        sock.setsockopt(zmq.RECONNECT_IVL, -1)
        sock.setsockopt(zmq.SNDHWM, 0)
        sock.setsockopt(zmq.RCVHWM, 0)
        sock.setsockopt(zmq.LINGER, 1000)
        sock.ipv6 = "[" in address
        sock.curve_serverkey = settings["server_key"].encode()
        sock.curve_publickey = settings["public_key"].encode()
        sock.curve_secretkey = settings["secret_key"].encode()
        self._watcher: zmq.Socket[Any] = sock.get_monitor_socket(
            zmq.EVENT_DISCONNECTED | zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
        )
        sock.connect(address)
        self._sock = sock
        self.sent = False
        """Whether something was sent since the last look; see ``receive``."""

    def descriptors(self) -> tuple[int, int]:
        """What to watch; both tell of changes only."""
        return int(self._sock.getsockopt(zmq.FD)), int(self._watcher.getsockopt(zmq.FD))

    def send(self, messages: Sequence[Any], frames: Sequence[Buffer] = ()) -> None:
        """Send a batch; never blocks."""
        self.sent = True
        head = msgspec.msgpack.encode(messages)
        if frames:
            copy = sum(memoryview(frame).nbytes for frame in frames) <= _SMALL
            self._sock.send_multipart([head, *frames], copy=copy)
        else:
            self._sock.send(head)

    def receive(self) -> list[tuple[list[Any], list[bytes]]]:
        """Every batch that has come.  To be called after sending, too, which swallows what descriptors would tell."""
        self.sent = False
        batches = []
        while int(self._sock.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            head, *frames = self._sock.recv_multipart(zmq.DONTWAIT)
            batches.append((self._decode(head), frames))
        while int(self._watcher.getsockopt(zmq.EVENTS)) & zmq.POLLIN:
            event = int.from_bytes(self._watcher.recv_multipart(zmq.DONTWAIT)[0][:2], "little")
            if event == zmq.EVENT_DISCONNECTED:
                self.over = self.over or "the connection to the DataFlowKernel broke"
            else:
                self.over = f"{self.address} does not take the keys of this run"
        return batches

    def close(self) -> None:
        """Send what is left, for a second at most."""
        self._sock.disable_monitor()
        self._watcher.close(0)
        self._sock.close()
        self._context.term()
