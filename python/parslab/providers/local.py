"""Blocks that are processes of this host: for a laptop, a big node, or a notebook that runs inside a batch job.

A block is a session of its own that runs the job's script with bash.  It ends as a job of a scheduler does: all that it
started ends with it, wherever in the process tree it went.  The process that owns the runner may collect children that
it does not know (the DataFlowKernel adopts orphans), so the exit status is read from the file that the script leaves.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import uuid
from typing import TYPE_CHECKING, ClassVar

from parslab.providers.base import Job, JobStatus, Provider, SubmitError, ended, exit_file, script_text
from parslab.providers.files import write_script
from parslab.records.states import BlockState

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LocalProvider", "LocalRunner"]

_MARK = "PARSLAB_LOCAL_JOB"
"""The environment variable by which all that a block has started is found again."""


class LocalProvider(Provider):
    """Blocks are processes of this host; they see the notebook's environment, also that of a job it runs in.

    With ``nodes_per_block=2`` a block is two managers, as if there were two nodes, unless its launcher reaches others.
    For the other options see :class:`Provider`.

    Examples
    --------
    >>> LocalProvider(init_blocks=0, max_blocks=4)
    LocalProvider(init_blocks=0, max_blocks=4)
    """

    commands: ClassVar[tuple[str, ...]] = ("bash",)

    def script(self, job: Job) -> str:
        return script_text(self, job)

    def runner(self, folder: Path) -> LocalRunner:
        return LocalRunner(self)


class LocalRunner:
    """Starts, watches and ends blocks of this host.

    Parameters
    ----------
    provider
        Whose scripts are run.
    grace
        Seconds between asking a block to end and killing it.
    """

    period = 0.5

    def __init__(self, provider: LocalProvider, grace: float = 2.0) -> None:
        self.group = f"this host {id(self)}"
        self._provider = provider
        self._grace = grace
        # Threads of one controller write to it; each write is one operation.
        self._blocks: dict[str, _Block] = {}

    def submit(self, job: Job) -> str:
        try:
            write_script(job.script, self._provider.script(job))
            block = _Block(job)
        except OSError as error:
            raise SubmitError(f"Block {job.name} cannot be started on {socket.gethostname()}: {error}.") from error
        self._blocks[block.name] = block
        return block.name

    def status(self, jobs: list[str]) -> dict[str, JobStatus]:
        return {name: self._blocks[name].status() for name in jobs if name in self._blocks}

    def cancel(self, jobs: list[str]) -> None:
        blocks = [self._blocks[name] for name in jobs if name in self._blocks and self._blocks[name].alive()]
        for block in blocks:
            block.terminate()
        deadline = time.monotonic() + self._grace
        while any(block.alive() for block in blocks) and time.monotonic() < deadline:
            time.sleep(0.02)
        _sweep({block.mark for block in blocks})
        for block in blocks:
            block.status()

    def close(self) -> None:
        for block in self._blocks.values():
            block.forget()


class _Block:
    """One session of processes."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._cancelled = False
        self._ended: JobStatus | None = None
        self.mark = uuid.uuid4().hex[:8]
        with contextlib.suppress(FileNotFoundError):
            os.unlink(exit_file(job.script))
        with open(job.stdout, "ab") as out, open(job.stderr, "ab") as err:
            self._process = subprocess.Popen(
                ["bash", job.script],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, _MARK: self.mark},
                start_new_session=True,
            )
        # A process number alone may come again in a long run.
        self.name = f"{self._process.pid}-{self.mark}"

    def alive(self) -> bool:
        """Whether its script runs; Python does not know its exit status where others have collected it."""
        return self._ended is None and self._process.poll() is None

    def terminate(self) -> None:
        """Ask all that is in its group to end."""
        self._cancelled = True
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGTERM)

    def status(self) -> JobStatus:
        """Its state; what an ended one has left running is killed."""
        if self.alive():
            return JobStatus(BlockState.running, hosts=socket.gethostname())
        if self._ended is None:
            _sweep({self.mark})
            self._ended = self._judged()
        return self._ended

    def forget(self) -> None:
        """Give back what is held of the process, which goes on."""
        if self._process.poll() is None:
            self._process.returncode = 0  # or Python would warn of a process that nobody waits for

    def _judged(self) -> JobStatus:
        host = socket.gethostname()
        if self._cancelled:
            return JobStatus(BlockState.scaled_in, "cancelled", host)
        try:
            with open(exit_file(self._job.script)) as file:
                status = ended(int(file.read()))
        except (OSError, ValueError):
            return JobStatus(BlockState.failed, "killed before its script ended", host)
        return JobStatus(status.state, status.reason, host)


def _sweep(marks: set[str], patience: float = 2.0) -> None:
    """Kill all that carries one of these marks, until nothing does: one that forks has children not seen yet."""
    import psutil

    deadline = time.monotonic() + patience
    while marks and time.monotonic() < deadline:
        found = False
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get(_MARK) in marks and process.status() != psutil.STATUS_ZOMBIE:
                    found = True
                    process.kill()
        if not found:
            return
        time.sleep(0.01)
