"""Finds the runs of this host whose DataFlowKernel was killed, and removes their jobs, processes and files [shell].

A DataFlowKernel that ends in order leaves nothing behind.  One that was killed leaves batch jobs, a socket folder, a
connection file, and processes that tasks started.  Its client restarts or removes the run.  When the client was killed
too, the run's reaper removes the run, or the next process that starts or lists runs does.

A notebook may return to a dead run: until the run's ``linger`` has passed, only the notebook's next kernel may touch
the run.  Meanwhile its managers look for a new DataFlowKernel for a limited time, and then end.  A job that starts
later reads in its invitation that the run is over, and ends.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.bodies.resource_trackers import is_resource_tracker
from parslab.cleanup.run_lock import RunLock, RunLockedError
from parslab.paths import pid_namespace
from parslab.remote.pool.control_group import groups_of, parent_of, remove_empty_groups
from parslab.scaling.block_journal import cancel_unfinished_jobs
from parslab.trust import remove_socket_folder
from parslab.wire.invitations import withdraw
from parslab.wire.run_files import read_connection_info

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.wire.run_files import ConnectionInfo

__all__ = [
    "cancel_jobs_of_dead_run",
    "end_processes",
    "find_dead_runs",
    "folder_is_gone",
    "process_runs",
    "removable_at",
    "remove_dead_run",
    "remove_dead_runs",
]

log = logging.getLogger(__name__)


def find_dead_runs(folder: Path) -> Iterator[tuple[Path, ConnectionInfo]]:
    """Connection files in ``folder`` whose run was started on this host and whose DataFlowKernel is gone.

    Yields
    ------
    tuple of (Path, ConnectionInfo)
        The connection file and its content.
    """
    for path in folder.glob("parslab-*.json"):
        try:
            info = read_connection_info(path)
            # A process number has no meaning on another host or in another container.
            here = info.host == socket.gethostname() and info.pid_namespace in ("", pid_namespace())
            if here and not process_runs(info.pid, info.written_at):
                yield path, info
        except (OSError, ValueError):
            continue  # another process writes or removes this file now, or the file is not ours


def cancel_jobs_of_dead_run(run_dir: Path) -> list[str]:
    """Cancel the batch jobs of a dead run.

    Returns
    -------
    list of str
        Sentences for the user: what was cancelled, and what the user has to do.  The log gets them too.
    """
    # The invitations come first, so that a job that starts during the cancellation ends at once.
    withdraw(run_dir, "it was killed")
    try:
        sentences = cancel_unfinished_jobs(run_dir)
    except OSError as error:
        sentences = [
            f"The jobs of the killed run {run_dir} cannot be known ({error}): look into the scheduler's queue."
        ]
    for sentence in sentences:
        log.warning("%s", sentence)
    return sentences


def removable_at(info: ConnectionInfo, attended: bool, folder_gone: bool = False) -> float:
    """Return when this process may remove a dead run, in seconds since the epoch [core]; infinite means never.

    Parameters
    ----------
    info
        The content of its connection file.
    attended
        An owner of the run lives. The owner restarts the run or removes it.
    folder_gone
        The folder of the run was deleted, so no notebook can continue the run.
    """
    if attended:
        return float("inf")
    if folder_gone:
        return 0.0
    if info.handed_over:
        return float("inf") if info.ends is None else info.ends
    if not info.notebook or info.linger <= 0:
        return 0.0
    # The DataFlowKernel touches the file once in each period, so it died within one period after the last time.
    return info.written_at + info.heartbeat_period + info.linger if info.ends is None else info.ends


def remove_dead_runs(folder: Path, now: float | None = None) -> list[str]:
    """Remove every dead run of this host to which no notebook may return.

    Returns
    -------
    list of str
        Sentences for the user about jobs, as :func:`cancel_jobs_of_dead_run` returns them.
    """
    remove_empty_groups()
    sentences = []
    for path, info in find_dead_runs(folder):
        attended = any(process_runs(pid, info.written_at) for pid in info.owners)
        if removable_at(info, attended, folder_is_gone(info.run_dir)) <= (time.time() if now is None else now):
            sentences += remove_dead_run(path, info)
    return sentences


def folder_is_gone(run_dir: str) -> bool:
    """Return whether the folder of a run was deleted; False when a file system does not answer."""
    try:
        os.stat(run_dir)
    except FileNotFoundError:
        return True
    except OSError:
        pass
    return False


def remove_dead_run(path: Path, info: ConnectionInfo) -> list[str]:
    """Cancel the jobs of a dead run, kill its processes, and delete its connection file ``path`` and its sockets.

    Nothing happens when another process serves, starts or removes the run.

    Returns
    -------
    list of str
        Sentences for the user, as :func:`cancel_jobs_of_dead_run` returns them.
    """
    try:
        lock = RunLock.acquire(info.run_dir)
    except RunLockedError:
        return []
    except OSError:  # the folder of the run was deleted, so no process can start the run again
        return _remove(path, info)
    with lock:
        # Another process may have started the run since its file was read.
        with contextlib.suppress(OSError, ValueError):
            if read_connection_info(path).pid == info.pid:
                return _remove(path, info)
        return []


def _remove(path: Path, info: ConnectionInfo) -> list[str]:
    with contextlib.suppress(OSError):
        # The file is deleted first: of two processes that do this at the same time, only one gets past this line.
        path.unlink()
        sentences = cancel_jobs_of_dead_run(Path(info.run_dir))
        end_processes(info.run)
        # Here, because most processes that import this module remove no run.
        from parslab.files.cache import remove_run_of_killed

        remove_run_of_killed(info.run)
        remove_socket_folder(os.path.dirname(info.socket))
        return sentences
    return []


def end_processes(run: str, lost: bool = False) -> None:
    """Kill the processes of this host that belong to a run: its workers, and what tasks started.

    Parameters
    ----------
    run
        The name of the run, which all its processes have in their environment.
    lost
        Kill only processes whose DataFlowKernel or manager is gone. Those of a manager in another container of this
        host are spared: only that container knows whether the manager lives.
    """
    import psutil

    # A process may clear its environment, but it stays in its control group, where there is one.
    for group in groups_of(run):
        with contextlib.suppress(OSError, ValueError):
            if not (lost and _attended(group.parent, group.made_at)):
                group.kill()
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError, ValueError):
            environment = process.environ()
            # A task of the run may have started this process, which then has the name of the run too.
            if environment.get("PARSLAB_RUN") == run and process.pid != os.getpid():
                mark = environment.get("PARSLAB_WORKER_OF")
                if lost and mark is not None and _attended(parent_of(mark), process.create_time()):
                    continue
                # It ends by itself when the last process that uses it is gone.
                if not is_resource_tracker(process.cmdline()):
                    process.kill()


def _attended(parent: int | None, since: float) -> bool:
    return parent is None or process_runs(parent, since)


def process_runs(pid: int, since: float) -> bool:
    """Return whether a process runs that has this number and started before ``since``; a zombie does not run.

    The start time is compared because the system gives the number of an ended process to a new one.
    """
    import psutil

    try:
        process = psutil.Process(pid)
        # One second more, because psutil computes the start from the boot time, which the system rounds.
        return process.status() != psutil.STATUS_ZOMBIE and process.create_time() <= since + 1
    except psutil.NoSuchProcess:
        return False
    except psutil.Error:
        return True  # the process exists, but may not be examined
