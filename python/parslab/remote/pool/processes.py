"""Worker processes of this host [shell]: started with exec in groups of their own, with everything needed to explain
their death: an exit status, the files that were their stdout and stderr, and a page naming the task they had begun.

Nothing that a task starts outlives the run. While the DataFlowKernel lives it signals groups, and on Linux it inherits
what left its group; when it dies, the kernel of the system kills each group by the lifeline that its worker holds.
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
import threading
from pathlib import Path
from time import sleep, time
from typing import TYPE_CHECKING, Any, NamedTuple

from parslab.remote.worker.output import anonymous_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import psutil

__all__ = [
    "ProcessPlan",
    "WorkerProcess",
    "adopt_orphans",
    "awaited",
    "bury_orphans",
    "end_orphans",
    "end_strays",
    "how_it_ended",
    "thread_variables",
]

_START = (
    "import json, os, sys; s = json.loads(os.environ.pop('PARSLAB_WORKER')); sys.path[:] = s['path']; "
    "from parslab.remote.worker.main import main; main(s)"
)
_LAST_WORDS = 4000
_PR_SET_CHILD_SUBREAPER = 36
_NOTHING_BEGUN = -(1 << 62)
"""On the page until the first task: 0 would name a task."""
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class ProcessPlan(NamedTuple):
    """What one worker process is given."""

    environment: dict[str, str]
    """Variables on top of those of its parent."""
    cores: tuple[int, ...] | None = None
    """The cores that it may use; None: all that its parent may use."""


def thread_variables(count: int) -> dict[str, str]:
    """The variables that tell numerical libraries how many threads to use."""
    return {variable: str(count) for variable in _THREAD_VARIABLES}


class WorkerProcess:
    """One worker process.

    Parameters
    ----------
    name, executor
        Who it is: its name and the number of its executor.
    plan
        Its environment and its cores.
    run
        Of the run: ``run``, ``path``, ``cwd``, ``package``.

    Attributes
    ----------
    data, control
        Our ends of its links, not blocking.
    """

    def __init__(self, name: str, executor: int, plan: ProcessPlan, run: dict[str, Any]) -> None:
        self.data, data = socket.socketpair()
        self.control, control = socket.socketpair()
        self.data.setblocking(False)
        self.control.setblocking(False)
        self._files = [anonymous_file("parslab-stdout"), anonymous_file("parslab-stderr")]
        page = anonymous_file("parslab-page")
        os.ftruncate(page, 16)
        lifeline, self._lifeline = os.pipe()
        fds = (data.fileno(), control.fileno(), *self._files, page, lifeline)
        told = {
            "worker": name,
            "executor": executor,
            "data": fds[0],
            "control": fds[1],
            "files": self._files,
            "page": page,
            "lifeline": lifeline,
            "parent": os.getpid(),
            "package": run["package"],
            "path": run["path"],
        }
        if plan.cores is not None:
            told["cores"] = plan.cores
        environment = {**os.environ, **plan.environment, "PARSLAB_WORKER": json.dumps(told)}
        # By these all that its tasks start is known, wherever it goes: the run, and whose worker it was.
        environment |= {"PARSLAB_RUN": run["run"], "PARSLAB_WORKER_OF": f"{os.getpid()}/{name}"}
        try:
            self._popen = subprocess.Popen(
                [sys.executable, "-c", _START],
                stdin=subprocess.DEVNULL,
                stdout=self._files[0],
                stderr=self._files[1],
                pass_fds=fds,
                env=environment,
                cwd=run["cwd"] if os.path.isdir(run["cwd"]) else None,
                start_new_session=True,
            )
        finally:
            data.close()
            control.close()
            os.close(lifeline)
        self._map = mmap.mmap(page, 16)
        self._page = memoryview(self._map).cast("q")
        self._page[0] = _NOTHING_BEGUN
        os.close(page)
        self.pid = self._popen.pid
        self._kin: list[psutil.Process] = []

    @property
    def ended(self) -> int | None:
        """Exit status (negative: signal) once it has ended."""
        return self._popen.poll()

    @property
    def page(self) -> int:
        """``t``: task t was begun last and has not ended; ``-1 - t``: it has ended."""
        return int(self._page[0])

    @property
    def attempt(self) -> int:
        """Which attempt of that task it was."""
        return int(self._page[1])

    def condemn(self) -> None:
        """Note everything that descends from it now, also what has left its group: it goes with it."""
        import psutil

        with contextlib.suppress(psutil.Error, OSError):
            self._kin = psutil.Process(self.pid).children(recursive=True)

    def signal(self, number: signal.Signals) -> None:
        """Signal the worker and everything its tasks have started in its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    def wait(self, timeout: float) -> bool:
        """Whether it ended within ``timeout`` seconds."""
        try:
            self._popen.wait(timeout)
        except subprocess.TimeoutExpired:
            return False
        return True

    def words(self, stream: int, start: int) -> bytes:
        """What it had written to stdout (1) or stderr (2) from ``start`` on, at most the last few kilobytes."""
        fd = self._files[stream - 1]
        size = os.lseek(fd, 0, os.SEEK_END)
        start = max(start, size - _LAST_WORDS)
        return os.pread(fd, size - start, start) if size > start else b""

    def close(self) -> None:
        """Give everything back; the process must have ended or been signalled."""
        self.signal(signal.SIGKILL)
        for process in self._kin:
            with contextlib.suppress(Exception):  # psutil's, which is imported only where there are any
                process.kill()
        self._popen.wait()
        self.data.close()
        self.control.close()
        for fd in (*self._files, self._lifeline):
            os.close(fd)
        self._files = []
        self._page.release()
        self._map.close()


def adopt_orphans() -> None:
    """Become the parent of what tasks leave behind, where the system has such a thing."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class _ExitingProcess:
    """Children that other threads have started, and wait for themselves."""

    def __init__(self) -> None:
        self.pids: set[int] = set()
        self.starting = 0
        self.lock = threading.Lock()


_awaited = _ExitingProcess()


@contextlib.contextmanager
def awaited(start: Callable[[], subprocess.Popen[bytes]]) -> Iterator[subprocess.Popen[bytes]]:
    """A child that this thread starts and waits for: were it buried by the loop, its exit status would be lost."""
    with _awaited.lock:
        _awaited.starting += 1
    try:
        process = start()
        _awaited.pids.add(process.pid)
    finally:
        with _awaited.lock:
            _awaited.starting -= 1
    try:
        yield process
    finally:
        _awaited.pids.discard(process.pid)


def bury_orphans(own: set[int]) -> None:
    """Collect adopted children that have ended, but none of ``own`` and ``awaited``: who wants their status gets it."""
    if sys.platform == "linux":
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is not None:
                # In this order: a child is among the awaited before it ceases to be one that is just starting.
                if ended.si_pid in own or _awaited.starting or ended.si_pid in _awaited.pids:
                    return  # the signal of its end is on its way, or another child's, and brings us here again
                os.waitpid(ended.si_pid, 0)


def end_orphans(patience: float = 1.0) -> None:
    """Kill all children that are left; theirs become ours then, so again until there are none."""
    deadline = time() + patience
    while (pids := _children()) and time() < deadline:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        sleep(0.002)
        bury_orphans(set())


def end_strays(worker: str, patience: float = 0.5) -> None:
    """Kill what tasks of a worker that has ended have left outside its group: the system has made it our children.

    What a task starts lives as long as its worker at most.
    """
    mark = f"\0PARSLAB_WORKER_OF={os.getpid()}/{worker}\0".encode()
    deadline = time() + patience
    while time() < deadline:
        strays = [pid for pid in _children() if mark in b"\0" + _environment(pid)]
        if not strays:
            return
        for pid in strays:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        sleep(0.002)  # their children become ours in turn


def _environment(pid: int) -> bytes:
    """Of a child of ours; empty for one that has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/environ").read_bytes()
    return b""


def _children() -> list[int]:
    pids: list[int] = []
    for path in glob.glob("/proc/self/task/*/children"):
        with contextlib.suppress(OSError), open(path) as file:
            pids += map(int, file.read().split())
    return pids


def how_it_ended(status: int) -> str:
    """``was killed by SIGSEGV`` or ``exited with status 3``, for the sentence of a WorkerLost."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = " (often the out-of-memory killer)" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
