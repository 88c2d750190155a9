"""The file by which a manager finds the DataFlowKernel of its run, keys included [shell].

The hub writes the file.  Managers read it, some of them after days in the queue of a batch system.  A restarted
DataFlowKernel writes it again, and a manager that lost its connection reads it before each attempt.  The process that
ends a run, or removes a dead run, withdraws the file, so that no manager waits in vain.  Each write is atomic.
"""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

import msgspec

from parslab.atomic_files import write_atomically
from parslab.errors import ConfigurationError
from parslab.records.executor_settings import ManagerSettings
from parslab.trust import read_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = [
    "Invitation",
    "ManagerInvitation",
    "RunOver",
    "file_name",
    "file_version",
    "read",
    "read_invitation",
    "withdraw",
    "withdraw_file",
    "write",
]

_OVER = "over"


class Invitation(msgspec.Struct, kw_only=True):
    """How a worker of another host joins an executor of a run."""

    label: str
    executor: int
    """The number of the executor."""
    addresses: list[str]
    """Where the hub may be reached: ``tcp://HOST:PORT``."""
    server_key: str
    public_key: str
    secret_key: str
    run: str
    package: str
    """The version of parslab of the run."""
    path: list[str]
    """The ``sys.path`` of the client."""
    cwd: str


class ManagerInvitation(Invitation, kw_only=True):
    """How a manager joins an executor of a run, and how it serves it."""

    manager: ManagerSettings
    prefix: str
    """The Python environment of the DataFlowKernel (``sys.prefix``)."""
    host: str
    """The host of the DataFlowKernel."""
    socket: str = ""
    """The unix socket for managers of that host; empty if they use an address, too."""
    clock: float
    """The client's ``clock.anchor``."""
    reconnect_for: float
    """Seconds for which a manager looks for a restarted DataFlowKernel."""
    keep_tasks_for: float = 0.0
    """Seconds for which its tasks run on meanwhile; 0: they end at once."""
    relays: list[str] = []
    """Addresses that lead to the run by way of another host, for where none of its own can be reached."""


class RunOver(Exception):
    """The run has ended; the text of the exception says how."""


def file_name(label: str) -> str:
    """Return the name of an executor's file in the folder of the run."""
    return f"manager-{label}.json"


def write(path: Path, content: Invitation | Mapping[str, object]) -> None:
    """Write the file atomically, readable by its owner only."""
    # Paths may hold bytes that are not UTF-8. Python's JSON escapes them; msgspec's refuses to write or read them.
    write_atomically(path, json.dumps(msgspec.to_builtins(content)))


def read(path: str | Path) -> dict[str, Any]:
    """Return the content of the file.

    Raises
    ------
    RunOver
        The file was withdrawn.
    OSError
        The file cannot be read on this host, or its folder is gone.
    """
    content: dict[str, Any] = json.loads(read_text(path))
    if _OVER in content:
        raise RunOver(content[_OVER])
    return content


def read_invitation(path: str | Path) -> ManagerInvitation:
    """Return the invitation of a manager.

    Raises
    ------
    RunOver
        The run has ended.
    OSError
        The file cannot be read on this host, or its folder is gone.
    ConfigurationError
        The file holds something else.
    """
    try:
        return msgspec.convert(read(path), ManagerInvitation)
    except (ValueError, msgspec.ValidationError) as error:
        raise ConfigurationError(
            f"{path} is no invitation that this version of parslab can read ({error}): the nodes need the version of "
            "the notebook."
        ) from error


def file_version(path: str | Path) -> tuple[int, int, int]:
    """Return what changes with each write of the file; zeros where the file cannot be examined."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0, 0
    # Each write makes another file, and a coarse clock may give both the same time: so the inode counts, too.
    return status.st_ino, status.st_mtime_ns, status.st_size


def withdraw(run_dir: Path, why: str) -> None:
    """Replace the files of all executors by the statement that the run is over; ignore files that cannot be written."""
    # A manager takes a missing file for a run folder that is not shared with its node, and reports that as an error.
    for path in run_dir.glob(file_name("*")):
        withdraw_file(path, why)


def withdraw_file(path: Path, why: str) -> None:
    """Replace the file of one executor by the statement that the run is over; ignore one that cannot be written."""
    with contextlib.suppress(OSError):
        write(path, {_OVER: why})
