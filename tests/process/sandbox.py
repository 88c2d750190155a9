"""Shared parts of tests with real runs: a sandbox that must be empty afterwards, scripts that own a run, deadlines.

A :class:`Sandbox` holds what a run may not leave behind: socket folders, connection files, processes. Everything that a
test starts has the token of the sandbox in its environment, so the test finds it anywhere in the process tree.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import textwrap
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest

from parslab.cores import usable_cores

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Iterator

    from parslab import AppFuture, DataFlowKernel

__all__ = [
    "Sandbox",
    "Script",
    "alive",
    "blocks_of",
    "is_gone",
    "memory",
    "patience",
    "rss",
    "sandbox_processes",
    "until",
    "within",
    "workers_of",
]

TOKEN = "PARSLAB_TEST_SANDBOX"
LEASE = 5.0
"""Seconds in which everything of a run must be gone (the promise of the product)."""


def patience() -> float:
    """Return how many times longer than on an idle machine something may take: the load of each core."""
    return max(1.0, os.getloadavg()[0] / usable_cores())


def until(condition: Callable[[], Any], seconds: float = 10.0, what: str = "") -> Any:
    """Poll until ``condition`` is true, and return that; fail after ``seconds``, on a busy machine later."""
    deadline = time.monotonic() + seconds * patience()
    while not (found := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"after {seconds:g} s still not: {what or getattr(condition, '__name__', condition)}")
        time.sleep(0.01)
    return found


@contextlib.contextmanager
def within(seconds: float) -> Iterator[None]:
    """Fail when the block takes longer than it may on a machine as busy as this one."""
    began = time.monotonic()
    yield
    took, limit = time.monotonic() - began, seconds * patience()
    assert took <= limit, f"took {took:.2f} s, may take {limit:g} s"


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def is_gone(pid: int) -> Callable[[], bool]:
    """Return a condition for :func:`until`: the process has ended."""
    return lambda: not alive(pid)


def rss(pid: int) -> int:
    """Return the bytes of memory of a process."""
    return int(psutil.Process(pid).memory_info().rss)


def blocks_of(pid: int) -> dict[int, int]:
    """Return the sizes of the blocks of shared memory that a process holds by descriptors, by their inodes."""
    blocks: dict[int, int] = {}
    for path in Path(f"/proc/{pid}/fd").glob("*"):
        with contextlib.suppress(OSError):
            if os.readlink(path).startswith("/memfd:parslab-value"):
                found = path.stat()
                blocks[found.st_ino] = found.st_size
    return blocks


def memory(pid: int) -> int:
    """Return the bytes of memory of a process, with the shared memory that it holds by descriptors."""
    return rss(pid) + sum(blocks_of(pid).values())


def workers_of(pid: int) -> list[int]:
    """Return the worker processes of a DataFlowKernel process."""
    found = []
    for child in psutil.Process(pid).children():
        with contextlib.suppress(psutil.Error):
            # Not by the command: until a new process has replaced itself, it has that of the DataFlowKernel.
            if child.status() != psutil.STATUS_ZOMBIE and "PARSLAB_WORKER" in child.environ():
                found.append(child.pid)
    return found


def sandbox_processes(token: str) -> list[psutil.Process]:
    """Return the processes that have the token of a sandbox in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.pid != os.getpid()
                and process.environ().get(TOKEN) == token
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


class Sandbox:
    """Folders for sockets, temporary and connection files of the runs of one test (or module)."""

    def __init__(self) -> None:
        self.token = uuid.uuid4().hex
        # Short, because paths of unix sockets end at about 100 characters.
        self.root = Path(tempfile.mkdtemp(prefix="plh-", dir="/tmp"))
        self.runtime = self.root / "run"
        self.temporary = self.root / "tmp"
        self.jupyter = self.root / "jupyter"
        self.runs = self.root / "runs"
        for folder in (self.runtime, self.temporary, self.jupyter):
            folder.mkdir(mode=0o700)

    def environment(self) -> dict[str, str]:
        """Return the variables that make a process use this sandbox."""
        return {
            TOKEN: self.token,
            "XDG_RUNTIME_DIR": str(self.runtime),
            "TMPDIR": str(self.temporary),
            "JUPYTER_RUNTIME_DIR": str(self.jupyter),
        }

    @contextlib.contextmanager
    def checked_at_end(self) -> Iterator[Sandbox]:
        """Check at the end of the block that runs have left nothing here but their folders; then remove the sandbox."""
        try:
            yield self
            self.assert_empty()
        finally:
            for process in sandbox_processes(self.token):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            shutil.rmtree(self.root, ignore_errors=True)

    @contextlib.contextmanager
    def entered(self) -> Iterator[Sandbox]:
        """As :meth:`checked_at_end`; runs that this process starts in the block use the sandbox."""
        with pytest.MonkeyPatch.context() as patch:
            for name, text in self.environment().items():
                patch.setenv(name, text)
            patch.setattr(tempfile, "tempdir", str(self.temporary))
            with self.checked_at_end():
                yield self

    def left(self) -> list[str]:
        """Return what runs have left: processes, socket folders, connection files."""
        found = [f"process {process.pid}: {_command(process)}" for process in sandbox_processes(self.token)]
        for folder in (self.runtime, self.temporary, self.jupyter):
            found += [str(path) for path in folder.glob("*parslab*")]
        return found

    def assert_empty(self, seconds: float = LEASE) -> None:
        """Fail if anything is left after ``seconds``."""
        deadline = time.monotonic() + seconds * patience()
        while (left := self.left()) and time.monotonic() < deadline:
            time.sleep(0.02)
        if left:
            pytest.fail("the run has left behind:\n  " + "\n  ".join(left), pytrace=False)

    @contextlib.contextmanager
    def load(self, workers: int = 1, resume: bool = True, **options: Any) -> Iterator[DataFlowKernel]:
        """Yield a run of this process, and clean it up at the end of the block."""
        import parslab

        executor = parslab.LowLatencyExecutor(workers=workers, **options)
        dfk = parslab.load(parslab.Config(executors=[executor], run_dir=self.runs, resume=resume))
        try:
            yield dfk
        finally:
            dfk.cleanup()
            parslab.clear()

    def script(self, source: str, **options: Any) -> Script:
        """Start a Python program that uses this sandbox."""
        return Script(self, source, **options)


class Script:
    """A program in a process of its own, which prints lines of JSON for the test."""

    PRELUDE = """
        import json, os, signal, subprocess, sys, threading, time
        import parslab
        from parslab import Config, LowLatencyExecutor, python_app
        def emit(**facts): print(json.dumps(facts), flush=True)
        def load(workers=1, **options):
            return parslab.load(Config(executors=[LowLatencyExecutor(workers=workers, **options)], run_dir=RUNS))
    """

    def __init__(self, sandbox: Sandbox, source: str, **options: Any) -> None:
        text = f"RUNS = {str(sandbox.runs)!r}\n" + textwrap.dedent(self.PRELUDE) + textwrap.dedent(source)
        path = sandbox.root / f"script-{uuid.uuid4().hex[:8]}.py"
        path.write_text(text, encoding="utf-8")
        self.errors = path.with_suffix(".err")
        with open(self.errors, "wb") as errors:
            self.popen = subprocess.Popen(
                [sys.executable, str(path)], stdout=subprocess.PIPE, stderr=errors, cwd=sandbox.root, **options
            )
        self._rest = b""

    def read_json(self, seconds: float = 10.0) -> dict[str, Any]:
        """Return the facts of the next line, which the script has printed with ``emit``."""
        facts: dict[str, Any] = json.loads(self.line(seconds))
        return facts

    def line(self, seconds: float = 10.0) -> str:
        """Return the next line that it prints."""
        assert self.popen.stdout is not None
        deadline = time.monotonic() + seconds * patience()
        while b"\n" not in self._rest:
            ready, _, _ = select.select([self.popen.stdout], [], [], max(0.0, deadline - time.monotonic()))
            more = os.read(self.popen.stdout.fileno(), 65536) if ready else b""
            if not more:
                pytest.fail(f"the script {'says nothing' if not ready else 'has ended'}:\n{self.errors.read_text()}")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line.decode()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.popen.send_signal(number)

    def wait(self, seconds: float = 10.0) -> int:
        """Wait for its end, and return its exit status."""
        return self.popen.wait(seconds * patience())

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *exc: object) -> None:
        assert self.popen.stdout is not None
        if self.popen.poll() is None:
            self.popen.kill()
        self.popen.wait()
        if self.popen.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.popen.stdin.close()
        self.popen.stdout.close()


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())[:200]
    except psutil.Error:
        return "?"


def error_of(future: AppFuture, seconds: float = 10.0) -> BaseException:
    """Wait for the failure of a future, and return its error."""
    error = future.exception(seconds * patience())
    assert error is not None, "it did not fail"
    return error
