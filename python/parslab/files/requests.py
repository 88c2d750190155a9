"""What a task asks the file service of its node: one line of JSON in each direction of a unix socket [shell]."""

from __future__ import annotations

import os
import socket
from typing import TypeAlias

import msgspec

from parslab.files.content import content_of
from parslab.wire.messages.files import ContentId

__all__ = [
    "FOLDER",
    "SOCKET",
    "FileReply",
    "GetFile",
    "NodeConnection",
    "NodeRequest",
    "PutFile",
    "content_id",
    "put_file",
]

SOCKET = "PARSLAB_FILES"
"""Environment variable of workers: the path of the socket."""

FOLDER = "PARSLAB_FILES_FOLDER"
"""Environment variable of workers: where tasks put their files, on the file system of the cache."""


class GetFile(msgspec.Struct, tag="get", frozen=True):
    """Put a file of the DataFlowKernel's host at a path of this node."""

    path: str
    """On the DataFlowKernel's host."""
    target: str
    """On this node."""
    lifetime: str
    """Name of a ``Lifetime``."""
    task: int = -1
    """The task that asks."""


class PutFile(msgspec.Struct, tag="put", frozen=True):
    """Store a file of this node on the DataFlowKernel's host."""

    source: str
    """On this node."""
    path: str
    """On the DataFlowKernel's host."""
    digest: str
    """The hash of its content, in hexadecimal."""
    size: int
    mode: int
    lifetime: str
    keeps: bool = False
    """Whether the file stays on this node, for other tasks."""
    task: int = -1
    """The task that has written it."""


NodeRequest: TypeAlias = GetFile | PutFile


class FileReply(msgspec.Struct, frozen=True):
    """The answer to every request; ``error`` is empty if the file is where it was asked for."""

    error: str = ""
    host: str = ""
    """Where the error happened."""
    path: str = ""
    """The path that it concerns."""
    recovers: bool = False
    """Whether the file was lost and another task makes it again."""


class NodeConnection:
    """A connection of a task to the file service of its node.

    The service keeps what it has given to the task in its cache until the connection ends.

    Parameters
    ----------
    path
        The socket of the service; empty: the one that the environment of this worker names.

    Raises
    ------
    OSError
        There is no service.
    """

    def __init__(self, path: str = "") -> None:
        path = path or os.environ.get(SOCKET, "")
        if not path:
            raise OSError(0, "this worker has no file service: its executor has shared_filesystem=True")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise

    def ask(self, request: NodeRequest) -> FileReply:
        """Send the one request of this connection, and wait for its answer.

        Raises
        ------
        OSError
            The service has ended.
        """
        self._socket.sendall(msgspec.json.encode(request) + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            received = self._socket.recv(65536)
            if not received:
                raise ConnectionError("the file service of this node has ended")
            answer += received
        return msgspec.json.decode(answer, type=FileReply)

    def close(self) -> None:
        """End the use of what the service has given."""
        self._socket.close()


def put_file(
    source: str, path: str, lifetime: str = "run", service: str = "", *, keeps: bool = False, task: int = -1
) -> FileReply:
    """Store a file of this node on the DataFlowKernel's host, or keep it on this node for other tasks.

    ``service`` is as for :class:`NodeConnection`, ``keeps`` and ``task`` as for :class:`PutFile`.
    """
    # The worker computes the hash: the service would serve nobody else meanwhile.
    content, status = content_of(source)
    request = PutFile(
        source=os.path.abspath(source),
        path=path,
        digest=content.digest.hex(),
        size=content.size,
        mode=status.st_mode & 0o777,
        lifetime=lifetime,
        keeps=keeps,
        task=task,
    )
    connection = NodeConnection(service)
    try:
        return connection.ask(request)
    finally:
        connection.close()


def content_id(request: PutFile) -> ContentId:
    """Return the content that a request names."""
    return ContentId(bytes.fromhex(request.digest), request.size)
