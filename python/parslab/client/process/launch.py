"""Start DataFlowKernel processes, and report how they end.

The client writes the settings into a file with mode 0600 in the folder of the run.  The process inherits a connected
socket, so that no other user can connect in place of this client.  It also inherits the lock of its run
(``cleanup.run_lock``), so that a run never has two DataFlowKernels.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from parslab.cleanup.run_lock import RunLock, RunLockedError
from parslab.client.process.connection_file import connection_path
from parslab.client.process.run_folder import new_socket_folder
from parslab.errors import ConfigurationError
from parslab.trust import remove_socket_folder
from parslab.wire.run_files import read_connection_info, write_settings

if TYPE_CHECKING:
    from parslab.wire.run_files import ConnectionInfo, RunSettings

__all__ = ["FoundRun", "KernelProcess", "StartedRun", "launch", "start", "was_handed_over"]

_START = (
    "import json, os, sys; s = json.load(open(sys.argv[1])); sys.path[:] = s['path']; "
    "from parslab.dataflow.main import main; main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))"
)
"""The program of the child.  It takes over ``sys.path``, because the notebook may import parslab from a path of its
own, and ``-m`` would look in the default places only."""
_REPORTED = 2.0
"""Seconds to wait for the end of the process after the end of the connection; the system closes the socket first."""
_ENDING = 3.0
"""Seconds to wait for the end of the process, before and after SIGKILL."""


class KernelProcess(Protocol):
    """The DataFlowKernel process of a run that this process owns."""

    log: Path
    pid: int

    def log_tail(self) -> str:
        """Return the last lines of the process's log."""

    def wait(self, seconds: float) -> bool:
        """Wait at most so many seconds for the end of the process; return whether it has ended."""

    def how_it_ended(self) -> str:
        """Return how the process ended; the caller calls this after the end of the connection."""

    def clean_up(self, kill: bool = True) -> None:
        """Wait for the end of the process, kill it if ``kill`` allows that, and remove its files and children."""


class StartedRun:
    """A DataFlowKernel process that is a child of this process, and the socket to it."""

    def __init__(self, settings: RunSettings, popen: subprocess.Popen[bytes], sock: socket.socket) -> None:
        self.settings = settings
        self.popen = popen
        self.pid = popen.pid
        self.sock = sock
        self.run = settings.run
        self.run_dir = Path(settings.run_dir)
        self.log = self.run_dir / "dfk.log"

    def log_tail(self) -> str:
        """Return the last lines of its log, for the sentence that explains its end."""
        return _tail(self.log)

    def wait(self, seconds: float) -> bool:
        """Wait at most so many seconds for the end of the process; return whether it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.popen.wait(seconds)
        return self.popen.returncode is not None

    def how_it_ended(self) -> str:
        """Return how the process ended, such as ``was killed by SIGKILL`` or ``exited with status 1``."""
        if not self.wait(_REPORTED):
            return "closed the connection but still runs"
        status = self.popen.returncode
        if status < 0:
            return f"was killed by {signal.Signals(-status).name}"
        return f"exited with status {status}"

    def clean_up(self, kill: bool = True) -> None:
        """Wait for the end of the process, kill it if ``kill`` allows that, and remove its files and children.

        A DataFlowKernel that ends in order removes them itself.  A killed one leaves processes that have the name of
        the run in their environment.  If another DataFlowKernel has taken over the run, this method removes nothing.
        """
        if not self.wait(_ENDING) and kill:
            self.popen.kill()
            self.wait(_ENDING)
        try:
            lock = RunLock.acquire(self.run_dir)
        except RunLockedError:
            return
        except OSError:  # the folder of the run was deleted, so no process can start the run again
            self._remove()
        else:
            with lock:
                self._remove()

    def _remove(self) -> None:
        from parslab.cleanup.dead_runs import cancel_jobs_of_dead_run, end_processes

        if was_handed_over(Path(self.settings.connection)):  # the blocks, also those on this host, go on
            remove_socket_folder(self.settings.sockets)
            return
        if self.popen.returncode:
            cancel_jobs_of_dead_run(self.run_dir)
        # Only Linux lets the DataFlowKernel adopt its orphans, so elsewhere some may outlive an end in order.
        if self.popen.returncode or sys.platform != "linux" or self.settings.restarts:
            end_processes(self.run)
        remove_socket_folder(self.settings.sockets)
        with contextlib.suppress(OSError):
            os.unlink(self.settings.connection)


class FoundRun:
    """The DataFlowKernel of a run of this notebook that another process has started; it is no child of this process."""

    def __init__(self, info: ConnectionInfo) -> None:
        self.info = info
        self.pid = info.pid
        self.log = Path(info.run_dir) / "dfk.log"

    def log_tail(self) -> str:
        """Return the last lines of its log."""
        return _tail(self.log)

    def wait(self, seconds: float) -> bool:
        """Wait at most so many seconds for the end of the process; return whether it has ended."""
        # A loop, because the system reports the end of a process to its parent only.
        from parslab.cleanup.dead_runs import process_runs

        deadline = time.monotonic() + seconds
        while process_runs(self.pid, self.info.written_at):
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def how_it_ended(self) -> str:
        """Return how the process ended.

        The system reports the exit status to the parent only.  But a DataFlowKernel that ends in order removes its
        connection file.
        """
        if not self.wait(_REPORTED):
            return "closed the connection but still runs"
        return "was killed" if connection_path(self.info.run).exists() else "has ended"

    def clean_up(self, kill: bool = True) -> None:
        """Wait for the end of the process, kill it if ``kill`` allows that, and remove its files and children.

        If another DataFlowKernel has taken over the run, this method removes nothing.
        """
        if not self.wait(_ENDING) and kill:
            with contextlib.suppress(OSError):
                os.kill(self.pid, signal.SIGKILL)
        path = connection_path(self.info.run)
        if self.wait(_ENDING) and path.exists() and not was_handed_over(path):
            from parslab.cleanup.dead_runs import remove_dead_run

            remove_dead_run(path, self.info)


def was_handed_over(connection: Path) -> bool:
    """Return whether another host goes on with the run of a connection file, or may do so."""
    try:
        info = read_connection_info(connection)
    except (OSError, ValueError):
        return False
    return info.handed_over or info.host != socket.gethostname()


def _tail(log: Path) -> str:
    with contextlib.suppress(OSError):
        return "".join(log.read_text(errors="replace").splitlines(keepends=True)[-5:]).strip()
    return ""


def start(settings: RunSettings) -> StartedRun:
    """Start the DataFlowKernel of a new run with the settings that ``run_settings.new_settings`` made.

    Raises
    ------
    ConfigurationError
        The process cannot be started.
    """
    # clean_up() needs this module when the interpreter ends. An import at that time would be too late: one that makes
    # a dataclass lets Python forget that KeyboardInterrupt ends it, and with which status.
    import parslab.cleanup.dead_runs  # noqa: F401

    folders: list[str] = []
    try:
        settings.sockets = new_socket_folder(folders)
        with RunLock.acquire(settings.run_dir) as lock:
            return launch(settings, lock)
    except BaseException as error:
        for folder in folders:
            remove_socket_folder(folder)
        if not isinstance(error, OSError):
            raise  # for example an interrupt; a process that has started ends when its socket closes
        raise ConfigurationError(
            f"The DataFlowKernel process of run {settings.run} cannot be started: {error}. "
            f"Its folder is {settings.run_dir}."
        ) from error


def launch(settings: RunSettings, lock: RunLock) -> StartedRun:
    """Write the settings of a run and start its DataFlowKernel, which inherits the lock.

    Raises
    ------
    OSError
        The settings cannot be written, or the process cannot be started.
    """
    ours, theirs = socket.socketpair()
    try:
        # In a file, not in an argument: a process that restarts the run later needs the settings, too.
        path = write_settings(settings)
        descriptors = (theirs.fileno(), lock.fd)
        with open(path.with_name("dfk.log"), "ab") as log:
            # A session of its own: Ctrl-C in a terminal sends SIGINT to the whole process group, and an interrupted
            # cell must not end its run.
            popen = subprocess.Popen(
                [sys.executable, "-c", _START, str(path), *map(str, descriptors)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=descriptors,
                start_new_session=True,
            )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()  # while a copy is open here, the end of the child would not end the connection
    return StartedRun(settings, popen, ours)
