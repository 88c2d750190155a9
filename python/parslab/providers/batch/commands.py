"""Runs a command of a scheduler: with a time limit for it and all that it starts, and without a terminal.

Called from the threads of the scaling controller; it blocks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from parslab.providers.environment import clean_environment
from parslab.remote.pool.processes import awaited

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CommandHung", "CommandResult", "CommandRunner", "run"]


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What a command said and how it ended."""

    status: int
    stdout: str = ""
    stderr: str = ""

    def words(self) -> str:
        """What it said about a failure, on one line."""
        text = self.stderr.strip() or self.stdout.strip() or f"exit status {self.status}, without a word"
        return " ".join(text.split())[:1000]


class CommandHung(OSError):
    """A command did not end in time and was killed."""


class CommandRunner(Protocol):
    """What :func:`run` does; tests put something else in its place."""

    def __call__(self, command: Sequence[str], limit: float, stdin: str | None = None) -> CommandResult:
        """See :func:`run`."""


def run(command: Sequence[str], limit: float, stdin: str | None = None) -> CommandResult:
    """Run a command and return what it said.

    Parameters
    ----------
    command
        Program and arguments.
    limit
        Seconds after which it is killed, with everything that it started.
    stdin
        Path of the file that it reads; None: it reads nothing.

    Raises
    ------
    OSError
        There is no such command, it may not be executed, or it hung (:class:`CommandHung`); the text is for the user.
    """
    with awaited(lambda: _started(command, stdin or os.devnull)) as process, process:
        try:
            out, err = process.communicate(timeout=limit)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise CommandHung(f"{command[0]} did not answer within {limit:g} s") from None
            raise
    return CommandResult(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


def _started(command: Sequence[str], stdin: str) -> subprocess.Popen[bytes]:
    with open(stdin, "rb") as source:
        try:
            return subprocess.Popen(
                command,
                stdin=source,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=clean_environment(os.environ),
                start_new_session=True,
            )
        except FileNotFoundError:
            raise FileNotFoundError(f"command not found: {command[0]}") from None
        except PermissionError:
            raise PermissionError(f"command {command[0]} may not be executed") from None
