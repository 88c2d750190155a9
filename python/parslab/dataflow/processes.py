"""Worker processes of this host [shell]: started with exec in groups of their own, with everything needed to explain
their death: an exit status, the files that were their stdout and stderr, and a page naming the task they had begun.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import signal
import socket
import subprocess
import sys
from typing import Any

from parslab.remote.worker.output import anonymous_file

__all__ = ["Process", "how_it_ended"]

_START = (
    "import json, os, sys; s = json.loads(os.environ.pop('PARSLAB_WORKER')); sys.path[:] = s['path']; "
    "from parslab.remote.worker.main import main; main(s)"
)
_LAST_WORDS = 4000
_THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


class Process:
    """One worker process.

    Parameters
    ----------
    name, executor
        Who it is: its name and the number of its executor.
    settings
        Of the executor: ``environment`` and ``threads_per_worker``.
    run
        Of the run: ``path``, ``cwd``, ``package``.

    Attributes
    ----------
    data, control
        Our ends of its links, not blocking.
    """

    def __init__(self, name: str, executor: int, settings: dict[str, Any], run: dict[str, Any]) -> None:
        self.data, data = socket.socketpair()
        self.control, control = socket.socketpair()
        self.data.setblocking(False)
        self.control.setblocking(False)
        self._files = [anonymous_file("parslab-stdout"), anonymous_file("parslab-stderr")]
        page = anonymous_file("parslab-page")
        os.ftruncate(page, 8)
        fds = (data.fileno(), control.fileno(), *self._files, page)
        told = {
            "worker": name,
            "executor": executor,
            "data": fds[0],
            "control": fds[1],
            "files": self._files,
            "page": page,
            "parent": os.getpid(),
            "package": run["package"],
            "path": run["path"],
        }
        threads = {variable: str(settings["threads_per_worker"]) for variable in _THREAD_VARIABLES}
        environment = {**os.environ, **threads, **settings["environment"], "PARSLAB_WORKER": json.dumps(told)}
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
        self._map = mmap.mmap(page, 8)
        self._page = memoryview(self._map).cast("q")
        os.close(page)
        self.pid = self._popen.pid

    @property
    def ended(self) -> int | None:
        """Exit status (negative: signal) once it has ended."""
        return self._popen.poll()

    @property
    def page(self) -> int:
        """``t``: task t was begun last and has not ended; ``-1 - t``: it has ended."""
        return int(self._page[0])

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
        self._popen.wait()
        self.data.close()
        self.control.close()
        for fd in self._files:
            os.close(fd)
        self._files = []
        self._page.release()
        self._map.close()


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
