"""Holds the attached clients of a run by number, and sends messages to them [shell].

The DataFlowKernel's loop owns it.  ``sessions`` decides which clients are added and removed.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from parslab.dataflow.clients.connection import ClientConnection

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from parslab.remote.loop import Loop
    from parslab.wire.messages.base import WireMessage
    from parslab.wire.messages.client import KernelMessage
    from parslab.wire.stream import Buffer

__all__ = ["ClientRegistry"]


class ClientRegistry:
    """Holds the connections of the attached clients, and sends to them.

    Parameters
    ----------
    loop
        Calls back when the socket of a slow client takes bytes again.

    Attributes
    ----------
    connected
        The attached clients, by number.
    """

    def __init__(self, loop: Loop) -> None:
        self.connected: dict[int, ClientConnection] = {}
        self._loop = loop
        self._next_number = 0

    def add(self, sock: socket.socket, owner: bool, number: int = -1) -> ClientConnection:
        """Add a client; it gets a new number unless it had one before the DataFlowKernel was restarted."""
        sock.setblocking(False)
        if number < 0:
            number = self._next_number
            self._next_number += 1
        client = self.connected[number] = ClientConnection(number, sock, owner)
        return client

    def remove(self, client: ClientConnection) -> bool:
        """Remove a client and close its connection; False if it was removed before."""
        if self.connected.pop(client.number, None) is None:
            return False
        self._loop.forget(client.stream)
        client.stream.close()
        return True

    def renumber(self, client: ClientConnection, number: int) -> None:
        """Give a client the number that it had before the DataFlowKernel was restarted."""
        del self.connected[client.number]
        client.number = number
        self.connected[number] = client
        # A number is part of task ids, so two clients of a run must never have the same.
        self.reserve_numbers(number + 1)

    def reserve_numbers(self, below: int) -> None:
        """Never use a number below this one for a new client."""
        self._next_number = max(self._next_number, below)

    # ----- sending

    def send(
        self, client: ClientConnection, messages: Sequence[WireMessage], frames: Sequence[Buffer] | None = None
    ) -> None:
        """Send a batch to a client now."""
        try:
            client.stream.send(messages, frames or ())
        except OSError:
            return  # the next read of the socket reports the end of the connection
        # A slow client must not stop the loop: the rest is sent when its socket takes bytes again.
        if client.stream.congested and client.number in self.connected:
            self._loop.wants_write(client.stream, True)

    def flush(self, client: ClientConnection) -> None:
        """Send what waits because the client was slow."""
        with contextlib.suppress(OSError):
            if client.stream.flush():
                self._loop.wants_write(client.stream, False)

    def send_all(self, message: KernelMessage) -> None:
        """Send a message to every client that has introduced itself; panels are no clients."""
        for client in self.connected.values():
            if client.greeted and not client.panel:
                self.send(client, [message])
