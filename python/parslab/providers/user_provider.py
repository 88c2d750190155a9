"""Providers of users with Parsl's methods (:class:`ExecutionProvider`) run in a process of their own.

The DataFlowKernel process unpickles nothing, and a provider of a user is an object of any class.  So its runner starts
``python -m parslab.parsl.provider_process``, which unpickles the provider and calls its methods.  Requests and replies
are lines of JSON.
"""

from __future__ import annotations

import base64
import contextlib
import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

from parslab.description import Text
from parslab.errors import ConfigurationError
from parslab.launchers.user_launchers import as_text
from parslab.providers.base import Job, JobStatus, Provider, SubmitError
from parslab.records.states import BlockState

if TYPE_CHECKING:
    from pathlib import Path

    from parslab.providers.execution_provider import ExecutionProvider

__all__ = ["UserProvider", "UserRunner", "portable"]

_STATES = {
    "PENDING": BlockState.queued,
    "HELD": BlockState.queued,
    "UNKNOWN": BlockState.queued,
    "RUNNING": BlockState.running,
    "COMPLETED": BlockState.finished,
    "TIMEOUT": BlockState.finished,
    "CANCELLED": BlockState.scaled_in,
    "SCALED_IN": BlockState.scaled_in,
    "FAILED": BlockState.failed,
    "MISSING": BlockState.missing,
}
"""What each of Parsl's states of a job means for its block."""

_BLOCKS = ("nodes_per_block", "init_blocks", "min_blocks", "max_blocks", "parallelism")


class UserProvider(Provider):
    """An :class:`ExecutionProvider` in the form in which it reaches the DataFlowKernel process.

    Parameters
    ----------
    name
        The class of the provider, for messages.
    pickled
        Its pickle, in base64.
    path
        The import path of the client, one folder a line.
    """

    name = Text("provider")
    pickled = Text("")
    path = Text("", empty=True)

    def script(self, job: Job) -> str:
        return f"# {self.name} makes the scripts of its jobs itself, for this command:\n{job.command}\n"

    def runner(self, folder: Path) -> UserRunner:
        return UserRunner(self, folder)


def portable(provider: Provider | ExecutionProvider) -> Provider:
    """Return a provider that the DataFlowKernel process can use, for one that may be a class of the user.

    Raises
    ------
    ConfigurationError
        The provider cannot be pickled, or its launcher fails.
    """
    if isinstance(provider, Provider):
        launcher = as_text(provider.launcher, provider.nodes_per_block)
        return provider if launcher is provider.launcher else provider.replaced(launcher=launcher)
    from parslab.serialize.pickling import dumps

    name = type(provider).__name__
    try:
        pickled = base64.b64encode(dumps(provider)).decode()
    except Exception as error:
        raise ConfigurationError(f"{name} cannot be pickled ({type(error).__name__}: {error}).") from error
    options = {option: getattr(provider, option) for option in _BLOCKS}
    return UserProvider.bare({**options, "name": name, "pickled": pickled, "path": "\n".join(sys.path)})


class UserRunner:
    """Asks the process of a user's provider.

    Parameters
    ----------
    provider
        The provider.
    folder
        The folder for its scripts.
    """

    def __init__(self, provider: UserProvider, folder: Path) -> None:
        self.group = f"{provider.name} {id(self)}"
        self.period = 1.0
        self._provider, self._folder = provider, folder
        self._process: subprocess.Popen[str] | None = None
        # Several threads of one controller ask; each must get the reply to its own request.
        self._asking = threading.Lock()

    def submit(self, job: Job) -> str:
        try:
            return str(self._ask("submit", command=job.command, name=job.name))
        except OSError as error:
            raise SubmitError(f"{self._provider.name}.submit failed: {error}") from error

    def status(self, jobs: list[str]) -> dict[str, JobStatus]:
        found: dict[str, list[str]] = self._ask("status", jobs=jobs)
        return {job: JobStatus(_STATES[state], reason) for job, (state, reason) in found.items()}

    def cancel(self, jobs: list[str]) -> None:
        self._ask("cancel", jobs=jobs)

    def close(self) -> None:
        with self._asking:
            process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        with contextlib.suppress(OSError):
            process.stdin.close()  # the process ends at the end of its input
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def _ask(self, method: str, **arguments: Any) -> Any:
        """Send a request and return the result; raises OSError with the words of the provider."""
        with self._asking:
            process = self._process
            if process is None or process.poll() is not None:
                process = self._process = self._start()
            reply = _exchange(process, {"method": method, **arguments})
        if "error" in reply:
            raise OSError(reply["error"])
        self.period = max(0.5, reply.get("period", self.period))
        return reply["result"]

    def _start(self) -> subprocess.Popen[str]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with open(self._folder / "provider.log", "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "parslab.parsl.provider_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                bufsize=1,
            )
        first = {
            "path": self._provider.path.splitlines(),
            "folder": str(self._folder),
            "provider": self._provider.pickled,
        }
        reply = _exchange(process, first)
        if "error" in reply:
            raise OSError(f"{self._provider.name} cannot be used: {reply['error']}")
        return process


def _exchange(process: subprocess.Popen[str], request: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(request) + "\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise OSError("the process of the provider has ended: its output is in blocks/provider.log")
    reply: dict[str, Any] = json.loads(line)
    return reply
