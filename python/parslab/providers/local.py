"""Blocks that are processes of this host: for a laptop, a big node, or a notebook that runs inside a batch job.

A block is a session of its own that runs the job's script with bash.  It ends as a job of a scheduler does: all
processes that it started end with it, also those that left its session.  The process that owns the runner may collect
children that it does not know, because the DataFlowKernel adopts orphans.  So the runner reads the exit status from
the file that the script writes.

All processes of a block have a mark in their environment.  The runner identifies a block by its mark, never by a
process number alone.  So another process can take over or end a block, and a reused process number is no danger.
"""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
import uuid
from typing import TYPE_CHECKING, Any, ClassVar

from parslab.atomic_files import write_atomically
from parslab.bodies.resource_trackers import is_resource_tracker
from parslab.providers.base import (
    Job,
    JobStatus,
    Provider,
    SubmitError,
    ended,
    exit_file,
    is_transient,
    not_written,
    script_text,
)
from parslab.records.states import BlockState
from parslab.wire.descriptors import using_spare, with_user_limit

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["LocalProvider", "LocalRunner"]

# Parsl has modules below this one; a module with a path is a package, below which Python looks for them.
__path__: list[str] = []


def __getattr__(name: str) -> Any:
    from parslab.compat.modules import look_up

    return look_up("providers.local", name)


_MARK = "PARSLAB_LOCAL_JOB"
"""The environment variable with the mark of a block."""
_NAME = "PARSLAB_LOCAL_NAME"
"""The environment variable with the name of a block's job."""


class LocalProvider(Provider):
    """Blocks are processes of this host; they have the environment of the notebook, and of a job that it runs in.

    With ``nodes_per_block=2`` a block has two managers, as if there were two nodes, unless its launcher reaches other
    nodes.  For the other options see :class:`Provider`.

    Examples
    --------
    >>> LocalProvider(init_blocks=0, max_blocks=4)
    LocalProvider(init_blocks=0, max_blocks=4)
    """

    commands: ClassVar[tuple[str, ...]] = ("bash",)

    def script(self, job: Job) -> str:
        return script_text(self, job)

    def runner(self, folder: Path) -> LocalRunner:
        return LocalRunner(self.script)


class LocalRunner:
    """Starts, watches and ends blocks on this host.

    Parameters
    ----------
    script
        Returns the text of a job's script.
    grace
        Seconds between asking a block to end and killing it.
    """

    period = 0.5
    # Only the killed process could start the block.  At most, a child of it had not yet become the block's script.
    late_arrival = 3.0

    def __init__(self, script: Callable[[Job], str], grace: float = 2.0) -> None:
        # No other runner may ask for these blocks, because only this one knows them.
        self.group = f"this host {id(self)}"
        self._script = script
        self._grace = grace
        # Threads of one controller write to it without a lock, because each write is one operation.
        self._blocks: dict[str, _Block] = {}

    def submit(self, job: Job) -> str:
        try:
            using_spare(lambda: write_atomically(job.script, self._script(job), 0o700))
            block = using_spare(lambda: _start(job))
        except OSError as error:
            if not os.path.isdir(os.path.dirname(job.script)):
                raise not_written(job, error) from error
            words = f"Block {job.name} cannot be started on {socket.gethostname()}: {error}."
            raise SubmitError(words, is_transient(error)) from error
        self._blocks[block.name] = block
        return block.name

    def status(self, jobs: list[str]) -> dict[str, JobStatus]:
        return {name: self._blocks[name].status() for name in jobs if name in self._blocks}

    def adopt(self, number: str, job: Job) -> None:
        pid, mark = _parts(number)
        if mark:
            self._blocks[number] = _Block(job, pid, mark)

    def find(self, name: str) -> str | None:
        """Return the block of this name; its script is the oldest process that has the name."""
        import psutil

        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                variables = process.environ()
                if variables.get(_NAME) == name and process.status() != psutil.STATUS_ZOMBIE:
                    found.append((process.create_time(), process.pid, variables.get(_MARK, "")))
        if not found:
            return None
        _, pid, mark = min(found)
        return f"{pid}-{mark}"

    def cancel(self, jobs: list[str]) -> None:
        known = [self._blocks.get(name) or _foreign(name) for name in jobs]
        # A block that another process started may have ended and left processes running, so it is always searched for.
        blocks = [block for block in known if block.alive() or (block.process is None and block.mark)]
        for block in blocks:
            block.terminate()
        # A manager ends in order on SIGTERM, later than its script.  Processes that ignore the signal or left the group
        # are killed.
        deadline = time.monotonic() + self._grace
        while any(block.ending() for block in blocks) and time.monotonic() < deadline:
            time.sleep(0.02)
        _kill_marked({block.mark for block in blocks})
        for block in blocks:
            block.in_grace = False
            block.status()

    def close(self) -> None:
        for block in self._blocks.values():
            block.forget()


class _Block:
    """One session of processes.

    Parameters
    ----------
    job
        Its job; None if the block is only to be ended.
    pid, mark
        The process number of its script, and the mark of everything that it started.
    process
        Its script; None if another process started it.
    """

    def __init__(self, job: Job | None, pid: int, mark: str, process: subprocess.Popen[bytes] | None = None) -> None:
        self._job, self._pid, self.mark, self.process = job, pid, mark, process
        self.name = f"{pid}-{mark}"
        self.in_grace = False
        """Whether its processes were asked to end, and may still do so."""
        self._cancelled = False
        self._ended: JobStatus | None = None

    def alive(self) -> bool:
        """Return whether its script runs; Python may lack the exit status, because other code may have collected it."""
        if self._ended is not None:
            return False
        return self.process.poll() is None if self.process is not None else _has_mark(self._pid, self.mark)

    def terminate(self) -> None:
        """Ask every process of its group to end."""
        self._cancelled = self.in_grace = True
        if self.alive():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGTERM)

    def ending(self) -> bool:
        """Return whether its script runs, or a process of its group that was asked to end."""
        return self.alive() or (self._ended is None and self.in_grace and _group_runs(self._pid))

    def status(self) -> JobStatus:
        """Return its status; if the block has ended, kill every process that it left running."""
        if self.ending():
            return JobStatus(BlockState.running, hosts=socket.gethostname())
        if self._ended is None:
            _kill_marked({self.mark})
            self._ended = self._final_status()
        return self._ended

    def forget(self) -> None:
        """Forget the process, which continues."""
        if self.process is not None and self.process.poll() is None:
            self.process.returncode = 0  # otherwise Python warns about a process that still runs

    def _final_status(self) -> JobStatus:
        host = socket.gethostname()
        if self._cancelled:
            return JobStatus(BlockState.scaled_in, "cancelled", host)
        try:
            assert self._job is not None
            with open(exit_file(self._job.script)) as file:
                status = ended(int(file.read()))
        except (OSError, ValueError):
            return JobStatus(BlockState.failed, "killed before its script ended", host)
        return JobStatus(status.state, status.reason, host)


def _start(job: Job) -> _Block:
    mark = uuid.uuid4().hex[:8]
    with contextlib.suppress(FileNotFoundError):
        # An exit status of an earlier block with the same script would look like the end of this one.
        os.unlink(exit_file(job.script))
    with open(job.stdout, "ab") as out, open(job.stderr, "ab") as err:
        process = subprocess.Popen(
            with_user_limit(["bash", job.script]),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env={**os.environ, _MARK: mark, _NAME: job.name},
            start_new_session=True,
        )
    return _Block(job, process.pid, mark, process)


def _foreign(number: str) -> _Block:
    """Return a block that another process started, which this process can only end."""
    pid, mark = _parts(number)
    return _Block(None, pid, mark)


def _parts(number: str) -> tuple[int, str]:
    """Return the process number and the mark in the name of a block; the mark is empty if it is not a block of ours."""
    match = re.fullmatch(r"(\d+)-([0-9a-f]{8})", number)
    return (int(match[1]), match[2]) if match else (0, "")


def _has_mark(pid: int, mark: str) -> bool:
    """Return whether a process runs and has this mark."""
    import psutil

    try:
        process = psutil.Process(pid)
        return bool(mark) and process.status() != psutil.STATUS_ZOMBIE and process.environ().get(_MARK) == mark
    except (psutil.Error, OSError):
        return False


def _group_runs(group: int) -> bool:
    """Return whether a process of this group runs; a zombie does not."""
    import psutil

    for pid in psutil.pids():
        with contextlib.suppress(psutil.Error, OSError):
            if os.getpgid(pid) == group and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _kill_marked(marks: set[str], patience: float = 2.0) -> None:
    """Kill every process with one of these marks, repeatedly: a process that forks may have children not seen yet.

    Resource trackers end by themselves when the last process that uses them is gone; they are only waited for.
    """
    import psutil

    deadline = time.monotonic() + patience
    while marks and time.monotonic() < deadline:
        found = False
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(_MARK) in marks and process.status() != psutil.STATUS_ZOMBIE:
                    found = True
                    if not is_resource_tracker(process.cmdline()):
                        process.kill()
        if not found:
            return
        time.sleep(0.01)
