"""The unix socket at which the tasks of a node ask its file service for files [shell]."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from parslab.files.cache import SOCKET_PREFIX
from parslab.files.requests import FileReply, NodeRequest
from parslab.wire.unix_sockets import listen, peer_uid

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

__all__ = ["TaskConnection", "TasksSocket"]

_requests = msgspec.json.Decoder(NodeRequest)
_LONGEST = 1 << 20
"""Bytes of a request; paths are much shorter."""


class TaskConnection:
    """One task that asks for one file, and uses it until it closes the connection.

    Attributes
    ----------
    holder
        Its name among those who use contents of the cache.
    """

    _numbers = itertools.count(1)

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.holder = f"task-{next(self._numbers)}"
        self._buffer = b""

    def read(self) -> NodeRequest | None:
        """Return the request if all of it is here.

        Raises
        ------
        EOFError
            The task is gone, or sent something else.
        """
        try:
            received = self.socket.recv(65536)
        except BlockingIOError:
            return None
        except OSError as error:
            raise EOFError(str(error)) from error
        self._buffer += received
        if not received or len(self._buffer) > _LONGEST:
            raise EOFError("the task is gone")
        if not self._buffer.endswith(b"\n"):
            return None
        try:
            return _requests.decode(self._buffer)
        except msgspec.MsgspecError as error:
            raise EOFError(str(error)) from error

    def reply(self, reply: FileReply) -> None:
        """Answer; a task that is gone needs no answer."""
        with contextlib.suppress(OSError):
            self.socket.settimeout(1.0)  # an answer is short, and a task that does not read must not stop the service
            self.socket.sendall(msgspec.json.encode(reply) + b"\n")
            self.socket.setblocking(False)


class TasksSocket:
    """The listening socket, in a folder of its own.

    Attributes
    ----------
    path
        Where tasks connect.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix=SOCKET_PREFIX))
        self.path = self._folder / "socket"
        self.socket = listen(self.path)

    def accept(self, add: Callable[[TaskConnection], None]) -> None:
        """Accept every task that waits, if it belongs to our user."""
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            if peer_uid(sock) not in (None, os.geteuid(), 0):
                sock.close()
                continue
            sock.setblocking(False)
            add(TaskConnection(sock))

    def close(self) -> None:
        """Close the socket and remove it."""
        self.socket.close()
        shutil.rmtree(self._folder, ignore_errors=True)
