"""Going on when the DataFlowKernel process was lost: it is started again on the run's record, and we come back to it.

Everything here happens in the link's thread, between two connections; what the user calls meanwhile waits in the link.
Of several notebooks that share a run the first one starts it, the others find it there.  A run whose DataFlowKernel is
lost three times within a minute is given up.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import socket
import sys
import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from parslab.client.process.launch import FoundRun, connection_path, launch, new_socket_folder, read_connection
from parslab.clock import anchor, steady_time
from parslab.errors import ConfigurationError, UntrustedPathError
from parslab.trust import check_folder, read_text, remove_socket_folder
from parslab.wire.messages.base import PROTOCOL
from parslab.wire.messages.client import ClientHello
from parslab.wire.run_files import EVENT_LOG
from parslab.wire.stream import encode_batch
from parslab.wire.unix_sockets import check_peer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.client.process.launch import KernelProcess, StartedRun

__all__ = ["KernelRestart", "alone", "revive"]

log = logging.getLogger(__name__)

_TIMES = 3
"""Losses within ``_SPAN`` after which a run is given up."""
_SPAN = 60.0
"""Seconds."""
_PATIENCE = 10.0
"""Seconds that a guest waits for somebody to start the run again."""


class KernelRestart:
    """What one client does about the losses of its run.

    Parameters
    ----------
    run, run_dir
        Of the run.
    notebook
        Path of ours.
    """

    def __init__(self, run: str, run_dir: Path, notebook: str) -> None:
        self.run = run
        self.run_dir = run_dir
        self.notebook = notebook
        self._losses: deque[float] = deque()

    def again(self, now: float) -> bool:
        """Count a loss; whether another life is worth trying."""
        self._losses.append(now)
        while self._losses[0] < now - _SPAN:
            self._losses.popleft()
        return len(self._losses) < _TIMES

    def possible(self) -> bool:
        """Whether the run has a record that can be gone on from."""
        folder = self.run_dir / EVENT_LOG
        return folder.is_dir() and not (folder / "incomplete").exists() and any(folder.glob("*.log"))

    def come_back(
        self, client: int, how: str, lost: float, starts: bool
    ) -> tuple[socket.socket, KernelProcess | None] | None:
        """A connection to the run's next life, and its process where we have started it.

        Parameters
        ----------
        client
            Our number.
        how
            How it was lost, for the sentence that tells the user.
        lost
            When.
        starts
            Whether to start it, where nobody else has.
        """
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            with alone(self.run_dir):
                found = self._there(client)
                if found is not None:
                    return found
                if starts:
                    try:
                        started = revive(self.run_dir, client=client, how=how, lost=lost)
                    except ConfigurationError as error:
                        log.warning("run %s cannot be started again: %s", self.run, error)
                        return None
                    _listens(started)
                    return started.sock, started
            time.sleep(0.1)
        return None

    def _there(self, client: int) -> tuple[socket.socket, KernelProcess | None] | None:
        """A connection to the run, when somebody has started it."""
        from parslab.cleanup.dead_runs import process_runs
        from parslab.version import version

        try:
            info = read_connection(connection_path(self.run))
            if not process_runs(info["pid"], info["since"]):
                return None
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            sock.connect(info["socket"])
            check_peer(sock, info["socket"])
        except UntrustedPathError as error:
            log.warning("%s", error)
            return None
        except (OSError, ConfigurationError):
            return None
        python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        hello = ClientHello(PROTOCOL, version(), python, os.getpid(), socket.gethostname(), self.notebook, client)
        batch = bytearray()
        encode_batch(msgspec.msgpack.Encoder(), [hello], (), batch)
        try:
            sock.sendall(batch)
        except OSError:
            sock.close()
            return None
        return sock, FoundRun(info)


def revive(run_dir: Path, *, client: int = -1, how: str = "", lost: float = 0.0) -> Any:
    """Start the DataFlowKernel of a run again whose process is gone, on the record that it has left.

    The new process has the same name, folder and connection file, keeps every result that was recorded, and
    goes on with the rest.  Whoever calls this has made sure that the old process is gone and that nobody else starts
    the run at the same time (``<run_dir>/revive.lock``), and owns the run from now on.

    Parameters
    ----------
    run_dir
        Folder of the run.
    client
        The number that the caller had in the run; -1: it is another process, which gets a number of its own and, when
        it is of the same notebook, finds what that had called.
    how
        How the process was lost (``was killed by SIGKILL``).
    lost
        When, in seconds since the epoch.

    Returns
    -------
    Started
        The process, and our socket to it.

    Raises
    ------
    ConfigurationError
        The run has no record that could be gone on from, it ended in order, or no process can be started.
    """
    from parslab.client.process.launch import StartedRun

    run_dir = Path(run_dir)
    try:
        settings: dict[str, Any] = json.loads(read_text(run_dir / "settings.json"))
        run = settings["run"]
        for folder in (run_dir, run_dir / EVENT_LOG, run_dir / EVENT_LOG / "values"):
            if folder.exists():
                check_folder(folder)
    except UntrustedPathError as error:
        raise ConfigurationError(f"The run in {run_dir} cannot be started again: {error}") from error
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ConfigurationError(f"The run in {run_dir} cannot be started again: {error}.") from error
    if not settings.get("resume") or not KernelRestart(run, run_dir, "").possible():
        raise ConfigurationError(f"Run {run} has no record in {run_dir / EVENT_LOG}, so it cannot be started again.")
    settings |= {
        "owner_pid": os.getpid(),
        "revived": settings.get("revived", 0) + 1,
        "client": client,
        "lost": how,
        "lost_at": lost or steady_time(),
        "clock": anchor(),
        "notices": [],
    }
    # Somebody else may have made a folder of that name since the run was lost: only a new one is surely ours.
    remove_socket_folder(settings["sockets"])
    try:
        os.mkdir(settings["sockets"], 0o700)
    except OSError:
        settings["sockets"] = new_socket_folder([])
    ours, theirs = socket.socketpair()
    try:
        popen = launch(settings, theirs.fileno())
    except OSError as error:
        ours.close()
        raise ConfigurationError(
            f"The DataFlowKernel process of run {run} cannot be started again: {error}."
        ) from error
    finally:
        theirs.close()
    return StartedRun(settings, popen, ours)


def _listens(started: StartedRun) -> None:
    """Wait until the process has said where it is: only then nobody else starts it a second time."""
    deadline = time.monotonic() + _PATIENCE
    while started.popen.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(ConfigurationError):
            if read_connection(connection_path(started.run))["pid"] == started.popen.pid:
                return
        time.sleep(0.01)


@contextlib.contextmanager
def alone(run_dir: Path) -> Iterator[None]:
    """Of several processes one at a time."""
    with open(os.open(run_dir / "revive.lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
