"""Start a lost DataFlowKernel again from the event log of its run, and connect to it.

``KernelRestart`` works in the link's thread between two connections; calls that the user makes meanwhile wait in the
link.  If a run has several owners, the one that gets the lock of the run starts it.  The others find its connection
file.  After three losses within a minute the client gives up the run.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections import deque
from typing import TYPE_CHECKING

import msgspec

from parslab.cleanup.run_lock import RunLock, RunLockedError
from parslab.client.process.connection_file import connection_path
from parslab.client.process.launch import FoundRun, launch, was_handed_over
from parslab.client.process.run_folder import new_socket_folder
from parslab.clock import anchor, steady_time
from parslab.errors import ConfigurationError, UntrustedPathError
from parslab.trust import check_folder, remove_socket_folder
from parslab.wire.messages.base import PROTOCOL
from parslab.wire.messages.client import ClientHello
from parslab.wire.run_files import EVENT_LOG, read_connection_info, read_settings, settings_path
from parslab.wire.stream import encode_batch
from parslab.wire.unix_sockets import check_peer

if TYPE_CHECKING:
    from pathlib import Path

    from parslab.client.process.launch import KernelProcess, StartedRun
    from parslab.wire.run_files import RunSettings

__all__ = ["KernelRestart", "has_event_log", "restart_kernel"]

log = logging.getLogger(__name__)

_LOSSES = 3
"""Losses within ``_SPAN`` after which the client gives up: the cause, such as a lack of memory, seems to persist."""
_SPAN = 60.0
"""Seconds in which losses are counted."""
_RESTART = 30.0
"""Seconds to wait until some client has started the run again."""
_PAUSE = 0.05
"""Seconds between two attempts to find the next DataFlowKernel."""
_CONNECT = 5.0
"""Seconds that the new DataFlowKernel may take to accept a connection."""


class KernelRestart:
    """Counts the losses of a client's run, and connects to the next DataFlowKernel.

    Parameters
    ----------
    run, run_dir
        The name and the folder of the run.
    notebook
        The path of the notebook of this client.
    pid
        The DataFlowKernel process to which the client is connected.
    """

    def __init__(self, run: str, run_dir: Path, notebook: str, pid: int) -> None:
        self.run = run
        self.run_dir = run_dir
        self.notebook = notebook
        self._pid = pid
        self._lost_pid = 0
        """The process that was lost last."""
        self._lost_since: float | None = None
        """Since when the client has had no DataFlowKernel (``time.monotonic``); None while it has one."""
        self._losses: deque[float] = deque()

    def again(self, now: float) -> bool:
        """Count the loss of a process, once; return whether the client tries to connect to the next one."""
        # A killed process closes its sockets one by one.  A client that connects again meanwhile is connected to it
        # for a moment, and loses that connection, too.
        if self._lost_since is None:
            self._lost_since = time.monotonic()
        if self._pid != self._lost_pid:
            self._lost_pid = self._pid
            self._losses.append(now)
        while self._losses and self._losses[0] < now - _SPAN:
            self._losses.popleft()
        return len(self._losses) < _LOSSES

    def connected(self) -> None:
        """Note that the DataFlowKernel to which :meth:`come_back` has connected serves this client."""
        self._lost_since = None

    def possible(self) -> bool:
        """Return whether the run can continue here: it has an event log, and no other host goes on with it."""
        return has_event_log(self.run_dir) and not was_handed_over(connection_path(self.run))

    def come_back(self, client: int, how: str, lost: float, starts: bool) -> tuple[socket.socket, KernelProcess] | None:
        """Connect to the next DataFlowKernel of the run, and start it unless another owner does so.

        Parameters
        ----------
        client
            The number of this client.
        how
            How the last DataFlowKernel was lost, for the sentence that the user reads.
        lost
            When it was lost, in seconds since the epoch.
        starts
            Whether this client may start the next one, because it is an owner of the run.

        Returns
        -------
        tuple of (socket, KernelProcess) or None
            None when no other DataFlowKernel starts within half a minute after the loss.
        """
        # First look for a running one: several owners may try at the same time, and only one of them gets the lock.
        deadline = (time.monotonic() if self._lost_since is None else self._lost_since) + _RESTART
        while time.monotonic() < deadline:
            found = self._find(client)
            if found is not None:
                self._pid = found[1].pid
                return found
            if starts:
                try:
                    started = restart_kernel(self.run_dir, client=client, how=how, lost=lost)
                except RunLockedError:
                    pass  # another owner starts it now, and will soon write the connection file
                except ConfigurationError as error:
                    log.warning("run %s cannot be started again: %s", self.run, error)
                    return None
                else:
                    self._pid = started.pid
                    return started.sock, started
            time.sleep(_PAUSE)
        log.warning("run %s: no other process has started its DataFlowKernel within %g s", self.run, _RESTART)
        return None

    def _find(self, client: int) -> tuple[socket.socket, KernelProcess] | None:
        """Connect to the DataFlowKernel that another owner has started."""
        from parslab.cleanup.dead_runs import process_runs
        from parslab.version import version

        python = f"{sys.version_info[0]}.{sys.version_info[1]}"
        hello = ClientHello(PROTOCOL, version(), python, os.getpid(), socket.gethostname(), self.notebook, client)
        batch = bytearray()
        encode_batch(msgspec.msgpack.Encoder(), [hello], (), batch)
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            info = read_connection_info(connection_path(self.run))
            if info.pid == self._lost_pid:
                time.sleep(_PAUSE)  # it ends just now, or it has closed this client's connection only
            if process_runs(info.pid, info.written_at):
                sock.settimeout(_CONNECT)
                sock.connect(info.socket)
                check_peer(sock, info.socket)
                sock.sendall(batch)
                return sock, FoundRun(info)
        except UntrustedPathError as error:
            log.warning("%s", error)
        except (OSError, ValueError):
            pass  # the file does not exist yet, or the client has lost that DataFlowKernel, too
        sock.close()
        return None


def has_event_log(run_dir: Path) -> bool:
    """Return whether a run has a complete event log from which it can continue."""
    folder = run_dir / EVENT_LOG
    return folder.is_dir() and not (folder / "incomplete").exists() and any(folder.glob("*.log"))


def restart_kernel(run_dir: Path, *, client: int = -1, how: str = "", lost: float = 0.0) -> StartedRun:
    """Start the DataFlowKernel of a run again from its event log.

    The new process has the same run name, folder and connection file.  It takes all results from the event log, and
    continues the other tasks.  The caller owns the run from now on.

    Parameters
    ----------
    run_dir
        The folder of the run.
    client
        The number that the caller had in the run; -1 for a process that was no client of it.  Such a process gets a new
        number.  If it belongs to the same notebook, it finds the tasks of the earlier kernel.
    how
        How the last process was lost (``was killed by SIGKILL``).
    lost
        When it was lost, in seconds since the epoch.

    Raises
    ------
    RunLockedError
        The run has a DataFlowKernel, or another process starts or removes it.
    ConfigurationError
        The run has no event log, or no process can be started.
    """
    try:
        for folder in (run_dir, run_dir / EVENT_LOG, run_dir / EVENT_LOG / "values"):
            if folder.exists():
                check_folder(folder)
        with RunLock.acquire(run_dir) as lock:
            settings = _settings_of(run_dir)
            settings.owner_pid = os.getpid()
            settings.restarts += 1
            settings.owner_client = client
            settings.loss = how
            settings.lost_at = lost or steady_time()
            settings.clock = anchor()
            settings.notices = []
            settings.connection = str(connection_path(settings.run))  # another host may have another folder for it
            # Another user may have made a folder of that name since the loss. Only a folder that is made now is safe.
            remove_socket_folder(settings.sockets)
            try:
                os.mkdir(settings.sockets, 0o700)
            except OSError:
                settings.sockets = new_socket_folder([])
            return launch(settings, lock)
    except UntrustedPathError as error:
        raise ConfigurationError(f"The run in {run_dir} cannot be started again: {error}") from error
    except OSError as error:
        raise ConfigurationError(f"The run in {run_dir} cannot be started again: {error}.") from error


def _settings_of(run_dir: Path) -> RunSettings:
    try:
        settings = read_settings(settings_path(run_dir))
    except ValueError as error:
        raise ConfigurationError(f"The run in {run_dir} cannot be started again: {error}.") from error
    if not settings.resume or not has_event_log(run_dir):
        raise ConfigurationError(
            f"Run {settings.run} has no complete event log in {run_dir / EVENT_LOG}, so it cannot be started again."
        )
    return settings
