"""Carries TCP connections as streams of frames, at both ends of a channel [shell].

The end at the login host accepts the connections of managers; the end at this host opens one to the run for each.  What
they say to each other is encrypted by the keys of the run, and stays as it is.

An end reads no more of a connection than the other end has room for (``WINDOW``), so one slow receiver fills no memory
and stops no other connection.

This text also runs on the login host, so it needs only Python 3.6 and its standard library.
"""

import selectors
import socket
from typing import TYPE_CHECKING

from parslab.providers.channel.frames import CREDIT, DATA, SHUT

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Streams", "dispatch"]

WINDOW = 4 << 20
"""Bytes of a stream that may be on their way."""
_CHUNK = 1 << 16


class _Stream:
    def __init__(self, number: int, sock: socket.socket) -> None:
        self.number = number
        self.sock = sock
        self.credit = WINDOW
        """Bytes that may still be sent before the other end has taken some."""
        self.waiting = bytearray()
        """What the socket has not taken yet."""
        self.over = False
        """The other end has shut the stream: the socket is closed as soon as it has taken what waits."""


class Streams:
    """The connections of one end.

    Parameters
    ----------
    selector
        Calls the function that is registered with a socket, with the events.
    send
        Sends a frame to the other end: kind, stream, payload.
    """

    def __init__(self, selector: selectors.BaseSelector, send: "Callable[[int, int, bytes], None]") -> None:
        self._selector = selector
        self._send = send
        self._streams: dict[int, _Stream] = {}

    def __len__(self) -> int:
        return len(self._streams)

    def add(self, number: int, sock: socket.socket) -> None:
        """Carry a connected socket as the stream of this number."""
        sock.setblocking(False)
        if sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream = self._streams[number] = _Stream(number, sock)
        self._selector.register(sock, selectors.EVENT_READ, lambda events: self._event(stream, events))

    def frame(self, kind: int, number: int, payload: bytes) -> None:
        """Handle a frame of the other end; frames of streams that are over are ignored."""
        stream = self._streams.get(number)
        if stream is None:
            return
        if kind == DATA:
            stream.waiting += payload
            self._write(stream)
        elif kind == CREDIT:
            stream.credit += int(payload)
            self._watch(stream)
        elif kind == SHUT:
            stream.over = True
            self._write(stream)

    def reset(self) -> None:
        """Close all connections, because the other end knows none of them."""
        for stream in list(self._streams.values()):
            self._close(stream)

    def _event(self, stream: _Stream, events: int) -> None:
        if events & selectors.EVENT_WRITE:
            self._write(stream)
        if events & selectors.EVENT_READ and stream.number in self._streams:
            self._read(stream)

    def _read(self, stream: _Stream) -> None:
        try:
            data = stream.sock.recv(min(_CHUNK, stream.credit))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            stream.credit -= len(data)
            self._send(DATA, stream.number, data)
            self._watch(stream)
        else:
            self._shut(stream)

    def _write(self, stream: _Stream) -> None:
        taken = 0
        try:
            while taken < len(stream.waiting):
                taken += stream.sock.send(stream.waiting[taken : taken + _CHUNK])
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:
            self._shut(stream)
            return
        del stream.waiting[:taken]
        if stream.over and not stream.waiting:
            self._close(stream)
            return
        if taken and not stream.over:
            self._send(CREDIT, stream.number, str(taken).encode())
        self._watch(stream)

    def _watch(self, stream: _Stream) -> None:
        events = selectors.EVENT_READ if stream.credit > 0 and not stream.over else 0
        events |= selectors.EVENT_WRITE if stream.waiting else 0
        known = self._selector.get_map().get(stream.sock)
        if known is None:
            if events:
                self._selector.register(stream.sock, events, lambda found: self._event(stream, found))
        elif not events:
            self._selector.unregister(stream.sock)
        elif known.events != events:
            self._selector.modify(stream.sock, events, known.data)

    def _shut(self, stream: _Stream) -> None:
        if not stream.over:
            self._send(SHUT, stream.number, b"")
        self._close(stream)

    def _close(self, stream: _Stream) -> None:
        if self._streams.pop(stream.number, None) is not None:
            if stream.sock in self._selector.get_map():
                self._selector.unregister(stream.sock)
            stream.sock.close()


def dispatch(selector: selectors.BaseSelector, patience: float) -> None:
    """Wait for events, and call the functions that are registered for them."""
    for key, events in selector.select(patience):
        try:
            selector.get_key(key.fileobj)
        except (KeyError, ValueError):
            continue  # an earlier one of these calls has closed it
        key.data(events)
