"""Worker processes of this host [shell]: each runs a new program, in a process group of its own.

The parent holds everything that explains the death of a worker: its exit status, the files of its stdout and stderr,
and a page of memory that names the task it began last.

Nothing that a task starts outlives the run.  While the DataFlowKernel lives it signals groups, and on Linux it inherits
the processes that left their group.  When it dies, the system kills each group by the lifeline that its worker holds.
Where the system allows it, each worker has a control group, which nothing that its tasks start can leave.
"""

from __future__ import annotations

import contextlib
import glob
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

from parslab.bodies.resource_trackers import is_resource_tracker
from parslab.clock import steady_time
from parslab.remote.awaited import is_awaited
from parslab.remote.pool.control_group import ControlGroup, worker_mark
from parslab.remote.pool.worker_start import ProcessPlan, WorkerRun, start_command, worker_settings
from parslab.remote.software.engines import removes_container
from parslab.remote.worker.output import anonymous_file
from parslab.wire.messages.worker import CLOSED_DESCRIPTORS, NOT_RESTORED, STATE_NOT_RESTORED

if TYPE_CHECKING:
    import psutil

__all__ = [
    "ProcessPlan",
    "WorkerProcess",
    "WorkerRun",
    "adopt_orphans",
    "collect_orphans",
    "end_orphans",
    "end_strays",
    "how_it_ended",
    "thread_variables",
]

_REMOVAL = 5.0
"""Seconds that engines may take to remove containers."""
_LAST_WORDS = 4000
"""Bytes of output that explain the death of a worker."""
_PAGE = 16
"""Bytes of the page: the number of a task and that of an attempt."""
_PR_SET_CHILD_SUBREAPER = 36
_NOTHING_BEGUN = -(1 << 62)
"""The content of the page until the first task begins, because 0 would name a task."""
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def thread_variables(count: int) -> dict[str, str]:
    """Return the variables that set how many threads numerical libraries use."""
    return {variable: str(count) for variable in _THREAD_VARIABLES}


def _pair(undo: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    """Return our end of a link, which does not block, and the worker's."""
    ours, theirs = socket.socketpair()
    undo.callback(ours.close)
    undo.callback(theirs.close)
    ours.setblocking(False)
    return ours, theirs


def _file(undo: contextlib.ExitStack, name: str) -> int:
    fd = anonymous_file(name)
    undo.callback(os.close, fd)
    return fd


def _environment_of(name: str, plan: ProcessPlan, run: WorkerRun, settings: dict[str, object]) -> dict[str, str]:
    return {
        **os.environ,
        **plan.environment,
        "PARSLAB_WORKER": json.dumps(settings),
        # Every process that a task starts inherits these two, so it can be found even outside its group.
        "PARSLAB_RUN": run.run,
        "PARSLAB_WORKER_OF": worker_mark(name),
    }


class WorkerProcess:
    """One worker process.

    Parameters
    ----------
    name, executor
        The name of the worker and the number of its executor.
    plan
        Its environment and its cores.
    run
        The run.

    Attributes
    ----------
    data, control
        Our ends of its links, not blocking.
    in_container
        Whether it runs in a container.
    """

    def __init__(self, name: str, executor: int, plan: ProcessPlan, run: WorkerRun) -> None:
        with contextlib.ExitStack() as undo:  # a start that fails half-way must close every descriptor
            self.data, data = _pair(undo)
            self.control, control = _pair(undo)
            self._files = [_file(undo, "parslab-stdout"), _file(undo, "parslab-stderr")]
            page = _file(undo, "parslab-page")
            lifeline, self._lifeline = os.pipe()
            undo.callback(os.close, self._lifeline)
            undo.callback(os.close, lifeline)
            os.ftruncate(page, _PAGE)
            settings = {
                **worker_settings(name, executor, plan, run),
                "data": data.fileno(),
                "control": control.fileno(),
                "files": self._files,
                "page": page,
                "lifeline": lifeline,
            }
            inherited = (data.fileno(), control.fileno(), *self._files, page, lifeline)
            self._map = mmap.mmap(page, _PAGE)
            self._page = memoryview(self._map).cast("q")
            self._page[0] = _NOTHING_BEGUN
            self._popen = self._start(
                start_command(plan), _environment_of(name, plan, run, settings), inherited, run.cwd
            )
            undo.pop_all()
        # The worker has its own copies: while ours are open, its links would not break when it dies.
        for end in (data, control):
            end.close()
        for fd in (lifeline, page):
            os.close(fd)
        self.pid = self._popen.pid
        self.in_container = plan.container is not None
        # A container has groups of its own, and its engine needs time to remove it.
        self._group = None if self.in_container else ControlGroup.make(run.run, self.pid)
        self._descendants: list[psutil.Process] = []

    def _start(
        self, command: list[str], environment: dict[str, str], inherited: tuple[int, ...], folder: str
    ) -> subprocess.Popen[bytes]:
        # A session of its own is also a process group, and keeps Ctrl-C in a terminal away from the worker.
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=self._files[0],
            stderr=self._files[1],
            pass_fds=inherited,
            env=environment,
            cwd=folder if os.path.isdir(folder) else None,
            start_new_session=True,
        )

    @property
    def ended(self) -> int | None:
        """Its exit status (negative: a signal); None while it runs."""
        return self._popen.poll()

    @property
    def page(self) -> int:
        """``t``: the worker began task t last, which has not ended; ``-1 - t``: it has ended."""
        return int(self._page[0])

    @property
    def attempt(self) -> int:
        """Which attempt of that task it was."""
        return int(self._page[1])

    def note_descendants(self) -> None:
        """Note all processes that descend from it now, also outside its group, so that :meth:`close` kills them."""
        import psutil

        with contextlib.suppress(psutil.Error, OSError):
            self._descendants = psutil.Process(self.pid).children(recursive=True)

    def signal(self, number: signal.Signals) -> None:
        """Signal the worker and everything that its tasks started in its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def wait(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for its end; return whether it has ended."""
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def last_words(self, stream: int, start: int) -> bytes:
        """Return what it wrote to stdout (1) or stderr (2) from ``start`` on, at most the last few kilobytes."""
        fd = self._files[stream - 1]
        # The worker shares the position in this file, but it appends, so a seek does not move its writes.
        size = os.lseek(fd, 0, os.SEEK_END)
        start = max(start, size - _LAST_WORDS)
        return os.pread(fd, size - start, start) if size > start else b""

    def close(self) -> None:
        """Kill its group and close all descriptors."""
        self.signal(signal.SIGKILL)
        for process in self._descendants:
            with contextlib.suppress(Exception):  # psutil.Error, whose module may not be loaded
                process.kill()
        self._popen.wait()
        if self._group is not None:
            self._group.kill()
        self.data.close()
        self.control.close()
        for fd in (*self._files, self._lifeline):
            os.close(fd)
        self._files = []
        self._page.release()
        self._map.close()


def adopt_orphans() -> None:
    """Become the parent of the processes that tasks leave behind, where the system offers that."""
    if sys.platform == "linux":
        import ctypes

        # Without this, orphans become children of process 1, and this process cannot find them among its own.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def collect_orphans(own: set[int]) -> None:
    """Collect the exit status of adopted children that ended, but not of ``own`` and :func:`awaited` children."""
    if sys.platform == "linux":
        with contextlib.suppress(ChildProcessError):
            # WNOWAIT only looks: to take the exit status of a worker here would leave its ``Popen`` without one.
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                if ended.si_pid in own or is_awaited(ended.si_pid):
                    return  # a later SIGCHLD, for this child or another one, calls this function again
                os.waitpid(ended.si_pid, 0)


def end_orphans(patience: float = 1.0, *, own_tracker: bool = False) -> None:
    """Kill all remaining children, and then their children, which become ours, until none is left.

    Parameters
    ----------
    patience
        Seconds after which processes that do not die are left alone.
    own_tracker
        Whether this process may use multiprocessing, whose resource tracker then lives as long as this process.
    """
    # With a limit: a process that waits for a dead network file system does not die even by KILL.
    begun = steady_time()
    while pids := _children():
        words = {pid: _command_line(pid) for pid in pids}
        trackers = [pid for pid in pids if is_resource_tracker(os.fsdecode(words[pid]).split("\0"))]
        if own_tracker:
            pids = [pid for pid in pids if pid not in trackers]
            if not pids:
                return
        # The helper of an engine ends by itself, after it has removed the container of a dead worker.  A resource
        # tracker does so after the last process that uses it; killed before, it leaves named semaphores in the system.
        helpers = [pid for pid in pids if pid in trackers or removes_container(words[pid])]
        if steady_time() > begun + (_REMOVAL if len(helpers) == len(pids) else patience):
            return
        for pid in set(pids) - set(helpers):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        sleep(0.002)
        collect_orphans(set())


def end_strays(worker: str, patience: float = 0.5) -> None:
    """Kill the processes that tasks of an ended worker left outside its group; the system made them our children.

    A process that a task starts lives as long as its worker at most.
    """
    mark = f"\0PARSLAB_WORKER_OF={worker_mark(worker)}\0".encode()
    deadline = steady_time() + patience
    while steady_time() < deadline:
        strays = [pid for pid in _children() if mark in b"\0" + _environment(pid)]
        if not strays:
            return
        for pid in strays:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        sleep(0.002)  # their children become ours in turn


def _environment(pid: int) -> bytes:
    """Return the environment of a child of ours; empty for one that has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""


def _command_line(pid: int) -> bytes:
    """Return the words of a child's command, with a zero byte behind each; empty for one that has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _children() -> list[int]:
    # A child is in the list of the thread that started it, and orphans may be in that of any thread.
    pids: list[int] = []
    for path in glob.glob("/proc/self/task/*/children"):
        with contextlib.suppress(OSError), open(path) as file:
            pids += map(int, file.read().split())
    return pids


def how_it_ended(status: int, words: str = "") -> str:
    """Return ``was killed by SIGSEGV`` or ``exited with status 3``, for the sentence of a WorkerLost.

    Parameters
    ----------
    status
        The exit status; negative: a signal.
    words
        The last words of the worker on stderr.
    """
    *_, last = ["", *words.splitlines()]
    if status == STATE_NOT_RESTORED and last.startswith(NOT_RESTORED):  # a task may exit with any status
        return f"exited, because {last}"
    if status == CLOSED_DESCRIPTORS:
        return (
            f"exited with status {status}, because the task closed descriptors of its worker, for example with "
            "os.closerange: a task may only close what it has opened"
        )
    if status >= 0:
        return f"exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = " (often the out-of-memory killer)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
