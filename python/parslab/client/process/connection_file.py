"""Find the live runs of this user by their connection files, and connect to them."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

from parslab.client.waiting import BoundedWait
from parslab.errors import ConfigurationError, UntrustedPathError
from parslab.paths import runtime_dir
from parslab.wire.run_files import read_connection_info
from parslab.wire.unix_sockets import check_peer

if TYPE_CHECKING:
    from pathlib import Path

    from parslab.wire.run_files import ConnectionInfo

__all__ = ["connect", "connection_path", "find_runs", "read_connection"]

log = logging.getLogger(__name__)

_CONNECT = 5.0
"""Seconds that a DataFlowKernel may take to accept a connection."""


def connection_path(run: str) -> Path:
    """Return the path of the connection file of a run."""
    return runtime_dir() / f"parslab-{run}.json"


def find_runs() -> list[ConnectionInfo]:
    """Return the content of the connection files of this user's live runs, newest last.

    The function removes dead runs of this host, except those that the next kernel of their notebook may continue.
    """
    from parslab.cleanup.dead_runs import find_dead_runs, remove_dead_runs

    folder = runtime_dir()
    remove_dead_runs(folder)
    dead = {path for path, _ in find_dead_runs(folder)}
    runs = []
    for path in set(folder.glob("parslab-*.json")) - dead:
        try:
            runs.append(read_connection_info(path))
        except UntrustedPathError as error:
            log.warning("%s", error)
        except (OSError, ValueError):
            continue  # the run removes its file just now, or the file has other content
    return sorted(runs, key=lambda info: info.started)


def read_connection(path: Path) -> ConnectionInfo:
    """Read the connection file of a run.

    Raises
    ------
    UntrustedPathError
        The file belongs to another user, or others can write to it.
    ConfigurationError
        The file cannot be read, or is no connection file.
    """
    fix = "give attach() the name of a run, or the file parslab-RUN.json that the run made."
    try:
        return read_connection_info(path)
    except UntrustedPathError:
        raise
    except OSError as error:
        why = error.strerror or error
        raise ConfigurationError(f"The connection file {path} cannot be read ({why}): {fix}") from None
    except ValueError as error:
        raise ConfigurationError(f"{error}: {fix}") from None


def connect(info: ConnectionInfo) -> socket.socket:
    """Connect to the listening socket of a live run.

    Raises
    ------
    UntrustedPathError
        The process at the other end belongs to another user.
    ConfigurationError
        The DataFlowKernel does not accept the connection within a few seconds.
    """
    wait = BoundedWait(f"process {info.pid}, the DataFlowKernel of run {info.run}, to accept a connection", _CONNECT)
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        # A stopped DataFlowKernel accepts no connection: connect() would block for ever once its backlog is full.
        left = wait.step(1.0)
        sock.settimeout(left or 0.001)
        try:
            sock.connect(info.socket)
            check_peer(sock, info.socket)
        except UntrustedPathError:
            sock.close()
            raise
        except OSError as error:
            sock.close()
            if not left or isinstance(error, (FileNotFoundError, PermissionError)):
                raise ConfigurationError(f"Run {info.run} cannot be reached at {info.socket}: {error}") from error
            wait.pause()
        else:
            sock.settimeout(None)
            return sock
