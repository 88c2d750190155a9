"""What a task asks the file service of its node, on a unix socket with one line of JSON in each direction [shell]."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from parslab.files.content import content_of
from parslab.wire.messages.files import ContentId

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FOLDER", "SOCKET", "FileReply", "GetFile", "NodeRequest", "PutFile", "ask_node", "get_file", "put_file"]

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


NodeRequest: TypeAlias = GetFile | PutFile


class FileReply(msgspec.Struct, frozen=True):
    """The answer to every request; ``error`` is empty if the file is where it was asked for."""

    error: str = ""
    host: str = ""
    """Where the error happened."""
    path: str = ""
    """The path that it concerns."""


def ask_node(request: NodeRequest, path: str = "") -> FileReply:
    """Send a request to the file service of this node, and wait for its answer.

    Parameters
    ----------
    request
        What to do.
    path
        The socket of the service; empty: the one that the environment of this worker names.

    Raises
    ------
    OSError
        There is no service, or it ends.
    """
    path = path or os.environ.get(SOCKET, "")
    if not path:
        raise OSError(0, "this worker has no file service: its executor has shared_filesystem=True")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.connect(path)
        sock.sendall(msgspec.json.encode(request) + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            received = sock.recv(65536)
            if not received:
                raise ConnectionError("the file service of this node has ended")
            answer += received
    return msgspec.json.decode(answer, type=FileReply)


def get_file(path: str, target: str, lifetime: str = "run") -> FileReply:
    """Put a file of the DataFlowKernel's host at a path of this node."""
    return ask_node(GetFile(path, target, lifetime))


def put_file(
    source: str, path: str, lifetime: str = "run", ask: Callable[[NodeRequest], FileReply] = ask_node
) -> FileReply:
    """Store a file of this node on the DataFlowKernel's host."""
    # The worker computes the hash: the service would serve nobody else meanwhile.
    content, status = content_of(source)
    return ask(
        PutFile(
            source=os.path.abspath(source),
            path=path,
            digest=content.digest.hex(),
            size=content.size,
            mode=status.st_mode & 0o777,
            lifetime=lifetime,
        )
    )


def content_id(request: PutFile) -> ContentId:
    """Return the content that a request names."""
    return ContentId(bytes.fromhex(request.digest), request.size)
