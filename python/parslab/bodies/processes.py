"""Start, watch and end the processes of a command, on the worker or in a thread of the notebook.

A command stays in the worker's process group, so it ends when the manager kills that group. An interrupt of the task
ends the command here, with all processes that it has started.
"""

from __future__ import annotations

import contextlib
import glob
import os
import select
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

from parslab.errors import AppTimeout

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psutil

__all__ = [
    "CommandProcess",
    "adopted",
    "children_of",
    "descendants",
    "end_processes",
    "end_tree",
    "until_exit",
    "wait",
]

_LEFT_CHUNKS = 32
"""The most reads that empty the pipe after bash has ended. A background process may write on without end."""
_WORKER_OF = "PARSLAB_WORKER_OF"
"""The variable by which the pool marks all processes of a worker."""
_PATIENCE = 0.2
"""Seconds after which a thread that waits for a command comes back to Python code."""
_GRACE = 0.5
"""Seconds between SIGTERM and SIGKILL for the processes of an interrupted command."""

_STUCK = 2.0
"""Seconds that SIGKILL may take: a process that waits for a dead network file system does not die even by that."""


class CommandProcess(subprocess.Popen[bytes]):
    """A command that ends when an interrupt or a limit arrives while it is being started.

    Its caller never gets this object then.
    """

    def __init__(self, arguments: list[str], **options: Any) -> None:
        try:
            super().__init__(arguments, **options)
            # Only a process that has threads with limits has loaded the module; a worker does not need it.
            limits = sys.modules.get("parslab.bodies.time_limit")
            if limits is not None:
                limits.ends_with_limit(self._end_if_running)
        except (KeyboardInterrupt, AppTimeout):
            if getattr(self, "pid", None):
                end_tree(self)
            raise

    def _end_if_running(self) -> None:
        if self.poll() is None:
            end_tree(self)


def until_exit(process: subprocess.Popen[bytes], reader: int) -> Iterator[bytes]:
    """Yield the output in the pipe until it is closed, or until bash has ended and the pipe is empty.

    A background process may keep the pipe open for ever, so the end of the pipe alone does not suffice.
    """
    os.set_blocking(reader, False)
    with _exit_descriptor(process) as exit_fd:
        # Without such a descriptor, the loop looks ten times a second.
        watched, patience = [reader], 0.1
        if exit_fd is not None:
            watched, patience = [reader, exit_fd], 3600.0 if _in_main_thread() else _PATIENCE
        poll = select.poll()
        for fd in watched:
            poll.register(fd, select.POLLIN)
        after = 0
        while after < _LEFT_CHUNKS:
            # Before the read: a read after the end sees all output of bash. In the other order, output between the two
            # would be lost.
            ended = process.poll() is not None
            after += ended
            try:
                chunk = os.read(reader, 65536)
            except BlockingIOError:
                if ended:
                    return
                poll.poll(patience * 1000)
                continue
            if not chunk:
                return
            yield chunk


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def wait(process: subprocess.Popen[bytes]) -> int:
    """Wait for the end of a process, and return its exit status."""
    if _in_main_thread():
        return process.wait()
    # No signal interrupts another thread. An error that a time limit raises in it arrives between two calls.
    with _exit_descriptor(process) as exit_fd:
        if exit_fd is None:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return process.wait(_PATIENCE)
        poll = select.poll()
        poll.register(exit_fd, select.POLLIN)
        while process.poll() is None:
            poll.poll(_PATIENCE * 1000)
    return process.wait()


@contextlib.contextmanager
def _exit_descriptor(process: subprocess.Popen[bytes]) -> Iterator[int | None]:
    """Give a descriptor that is readable when the process has ended; None where the system has none (not Linux)."""
    try:
        exit_fd = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        yield None
        return
    try:
        yield exit_fd
    finally:
        os.close(exit_fd)


def end_tree(process: subprocess.Popen[bytes]) -> None:
    """End bash and its descendants with SIGTERM, and those that still run after that with SIGKILL."""
    import psutil

    try:
        root = psutil.Process(process.pid)
        begun = root.create_time()
    except psutil.NoSuchProcess:
        process.wait()
        return

    def family() -> list[psutil.Process]:
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [child for child in adopted() if child.create_time() >= begun]
        with contextlib.suppress(psutil.NoSuchProcess):
            found += [root, *descendants(process.pid)]
        return found

    end_processes(family, _GRACE)
    process.wait()


def end_processes(find: Callable[[], list[psutil.Process]], grace: float) -> set[psutil.Process]:
    """End processes with SIGTERM, and those that still run after ``grace`` seconds with SIGKILL; return them all.

    Parameters
    ----------
    find
        Returns the processes that run now.
    grace
        The seconds between the signals.
    """
    import psutil

    # Found before any of them ends: orphans get another parent, and without a pool nobody would find them.
    family = set(find())
    for member in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            member.terminate()
    deadline = time.monotonic() + grace
    while any(map(_alive, family)) and time.monotonic() < deadline:
        time.sleep(0.01)
    deadline = time.monotonic() + _STUCK
    while time.monotonic() < deadline:
        family.update(find())  # they may have started others since they were found
        running = list(filter(_alive, family))
        if not running:
            break
        for member in running:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()
        time.sleep(0.01)
    return family


def adopted() -> list[psutil.Process]:
    """Return processes of this worker that the pool has adopted, because their parent has ended; and their descendants.

    Such processes have the name of this worker in their environment. Without a pool, as in a thread of the notebook,
    nobody finds them.
    """
    import psutil

    worker = os.environ.get(_WORKER_OF)
    found: list[psutil.Process] = []
    for pid in children_of(os.getppid()) if worker else ():
        with contextlib.suppress(psutil.Error):
            if pid != os.getpid() and (child := psutil.Process(pid)).environ().get(_WORKER_OF) == worker:
                found += [child, *descendants(pid)]
    return found


def descendants(pid: int) -> list[psutil.Process]:
    """Return the children of a process, their children, and so on."""
    import psutil

    found: list[psutil.Process] = []
    waiting = children_of(pid)
    while waiting:
        with contextlib.suppress(psutil.NoSuchProcess):
            found.append(psutil.Process(waiting.pop()))
            waiting += children_of(found[-1].pid)
    return found


def children_of(pid: int) -> list[int]:
    """Return the children of a process; none if it has ended."""
    # Linux keeps one list for each thread.  psutil reads the parent of each process of the host, which takes too long
    # for a loop on a busy host.
    paths = glob.glob(f"/proc/{pid}/task/*/children")
    if not paths and sys.platform != "linux":
        import psutil

        with contextlib.suppress(psutil.NoSuchProcess):
            return [child.pid for child in psutil.Process(pid).children()]
    found: list[int] = []
    for path in paths:
        with contextlib.suppress(OSError), open(path) as file:
            found += map(int, file.read().split())
    return found


def _alive(member: psutil.Process) -> bool:
    """Return whether a process runs; a zombie, which no parent has reaped, does not."""
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        return member.is_running() and member.status() != psutil.STATUS_ZOMBIE
    return False
