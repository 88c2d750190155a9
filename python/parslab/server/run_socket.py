"""One connection of the Jupyter server to a run, for one panel [shell].

The server's event loop owns it, and no method waits.  The texts of the panel protocol pass through as bytes: nobody
here reads them.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from typing import TYPE_CHECKING, Protocol

from parslab.errors import ProtocolError
from parslab.trust import check_folder
from parslab.version import version
from parslab.wire.messages.base import PROTOCOL, Refused
from parslab.wire.messages.client import ClientHello, KernelMessage, PanelRequest, PanelUpdate, Welcome
from parslab.wire.stream import Stream, decoder
from parslab.wire.unix_sockets import check_peer

if TYPE_CHECKING:
    from parslab.wire.messages.base import WireMessage
    from parslab.wire.run_files import ConnectionInfo

__all__ = ["RunListener", "RunSocket", "connect"]

_CONNECT = 5.0
"""Seconds that a DataFlowKernel may take to accept a connection."""

_PAUSE = 0.05
"""Seconds between two tries to connect to a DataFlowKernel that is too busy to accept."""

_MOST_WAITING = 8 << 20
"""Bytes that wait at most for a DataFlowKernel that does not read, for example because it is stopped."""

_decode = decoder(KernelMessage)


class RunListener(Protocol):
    """Takes what arrives from a run."""

    def welcomed(self, run: str) -> None:
        """The run answers."""

    def received(self, text: bytes) -> None:
        """The run has sent a message for panels."""

    def left(self, reason: str | None) -> None:
        """The connection has ended: with the sentence of the run, or without one."""


async def connect(info: ConnectionInfo) -> socket.socket:
    """Connect to the listening socket of a run.

    Raises
    ------
    UntrustedPathError
        The folder of the socket, or the process behind it, belongs to another user.
    OSError
        Nobody listens there, or nobody accepts the connection in time.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _CONNECT
    while True:
        check_folder(os.path.dirname(info.socket))
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            # Not ``sock_connect`` of the loop, which takes a full queue of the listener for a connection.
            sock.connect(info.socket)
            check_peer(sock, info.socket)
            return sock
        except BlockingIOError:
            sock.close()
            if loop.time() > deadline:
                raise TimeoutError(f"run {info.run} accepts no connection") from None
        except BaseException:
            sock.close()
            raise
        await asyncio.sleep(_PAUSE)


class RunSocket:
    """A connected socket of a run.

    Parameters
    ----------
    sock
        The connected socket; it does not block.
    listener
        Takes what arrives.
    """

    def __init__(self, sock: socket.socket, listener: RunListener) -> None:
        self._stream = Stream(sock, _decode)
        self._listener = listener
        self._loop = asyncio.get_running_loop()
        self._open = True
        self._refusal: str | None = None
        self._loop.add_reader(sock, self._readable)
        python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        hello = ClientHello(
            protocol=PROTOCOL,
            package=version(),
            python=python,
            pid=os.getpid(),
            host=socket.gethostname(),
            panel=True,
        )
        self._send(hello)

    def request(self, text: bytes) -> None:
        """Pass a request of the panel on to the run."""
        self._send(PanelRequest(0, text))

    def close(self) -> None:
        """Close the connection without a word to the listener; twice is safe."""
        if self._open:
            self._open = False
            self._loop.remove_reader(self._stream.sock)
            self._loop.remove_writer(self._stream.sock)
            self._stream.close()

    def _send(self, message: WireMessage) -> None:
        if not self._open:
            return
        try:
            self._stream.send([message])
        except OSError:
            return  # the next read reports the end of the connection
        if self._stream.congested:
            if self._stream.backlog_size > _MOST_WAITING:
                self._end(None)
                return
            self._loop.add_writer(self._stream.sock, self._writable)

    def _writable(self) -> None:
        try:
            if not self._stream.flush():
                return
        except OSError:
            pass  # the next read reports the end of the connection
        self._loop.remove_writer(self._stream.sock)

    def _readable(self) -> None:
        try:
            batches = self._stream.receive()
        except (EOFError, ProtocolError, OSError):
            self._end(self._refusal)
            return
        for messages, _ in batches:
            for message in messages:
                self._take(message)

    def _take(self, message: WireMessage) -> None:
        # The listener may close the connection while a batch is taken.
        if not self._open:
            return
        if type(message) is PanelUpdate:
            self._listener.received(message.text)
        elif type(message) is Welcome:
            self._listener.welcomed(message.run)
        elif type(message) is Refused:
            # The run closes the connection behind this message.
            self._refusal = message.reason

    def _end(self, reason: str | None) -> None:
        if self._open:
            self.close()
            self._listener.left(reason)
