"""``RunLinkStaging`` brings local files to nodes that do not see them, over the encrypted connections of the run.

Executors with ``shared_filesystem=False`` use it for each File with a path.  The file service of the node
(``parslab.remote.files``) does the work; this module runs in the client, which makes paths absolute, and in workers,
which ask that service.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
from typing import TYPE_CHECKING, Any, ClassVar

from parslab.data_provider.staging import TransferStaging, WithTransfers
from parslab.errors import FileLostError, StagingError
from parslab.files.requests import FOLDER, GetFile, NodeConnection, put_file
from parslab.records import running

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.data_provider.files import File
    from parslab.data_provider.staging import DataMover
    from parslab.files.requests import FileReply

__all__ = ["RunLinkStaging"]

_connections: dict[str, NodeConnection] = {}
"""By path: the connections to the file service of the inputs of the task that runs in this worker."""


class RunLinkStaging(TransferStaging):
    """Files of this host, for nodes that share no disk with it.

    A task gets each input and output under its own name in a folder of its own on the node.  What it writes is stored
    at its path on this host before the task counts as done.
    """

    schemes_in: ClassVar[frozenset[str]] = frozenset({"file"})
    schemes_out: ClassVar[frozenset[str]] = frozenset({"file"})
    in_task: ClassVar[bool] = True

    def replace_task(
        self, dm: DataMover, executor: str, file: File, f: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        _make_absolute(file)
        return WithTransfers.around(f).fetching(self, file)

    def replace_task_stage_out(
        self, dm: DataMover, executor: str, file: File, f: Callable[..., Any]
    ) -> Callable[..., Any] | None:
        _make_absolute(file)
        return WithTransfers.around(f).storing(self, file)

    def prepare(self, file: File) -> None:
        """Give a File its path on this node."""
        base = os.environ.get(FOLDER)
        folder = tempfile.mkdtemp(prefix="task-", dir=base if base and os.path.isdir(base) else None)
        file.local_path = os.path.join(folder, os.path.basename(file.path))

    def fetch(self, file: File) -> None:
        """Get the file from the run's host, or from a node that has it."""
        try:
            # Open until the task has ended: so long the content stays in the cache of the node.
            connection = _connections[file.filepath] = NodeConnection()
            reply = connection.ask(GetFile(file.path, file.filepath, file.cache, running.task()))
        except OSError as error:
            raise StagingError(file.url, "fetched to", file.filepath, _host(), error.strerror or str(error)) from None
        if reply.recovers:
            raise FileLostError(file.url, "fetched to", file.filepath, reply.host, reply.error)
        _check(reply, file, "fetched to")

    def store(self, file: File) -> None:
        """Send the file to the run's host, and wait until it is there; a temporary file stays on this node."""
        # The content of a temporary file must not go with the task: this node has the only copy.
        lifetime = "run" if file.temporary and file.cache == "task" else file.cache
        try:
            reply = put_file(file.filepath, file.path, lifetime, keeps=file.temporary, task=running.task())
        except FileNotFoundError:
            raise StagingError(
                file.url, "stored from", file.filepath, _host(), "the task has not written this file"
            ) from None
        except OSError as error:
            raise StagingError(file.url, "stored from", file.filepath, _host(), error.strerror or str(error)) from None
        _check(reply, file, "stored from")

    def finish(self, file: File) -> None:
        """Remove the folder of the task; the cache of the node keeps the content."""
        if file.local_path is not None:
            connection = _connections.pop(file.local_path, None)
            if connection is not None:
                connection.close()
            shutil.rmtree(os.path.dirname(file.local_path), ignore_errors=True)


def _make_absolute(file: File) -> None:
    """Make the path of a File one that is right in every process of this host."""
    file.path = os.path.abspath(file.path)


def _check(reply: FileReply, file: File, action: str) -> None:
    if reply.error:
        raise StagingError(file.url, action, file.filepath, reply.host or _host(), reply.error)


def _host() -> str:
    return socket.gethostname()
