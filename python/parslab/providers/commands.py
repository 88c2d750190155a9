"""Runs a command of a scheduler without a terminal, and kills it with everything that it started after a time limit.

The background threads of the scaling controller call this; it blocks.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from parslab.providers.environment import clean_environment
from parslab.remote.awaited import awaited
from parslab.wire.descriptors import using_spare, with_user_limit

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["CommandHung", "CommandResult", "CommandRunner", "run"]


@dataclass(frozen=True, slots=True)
class CommandResult:
    """The output and the exit status of a command."""

    status: int
    stdout: str = ""
    stderr: str = ""

    def words(self) -> str:
        """Return the output of a command that failed, on one line."""
        text = self.stderr.strip() or self.stdout.strip() or f"exit status {self.status}, without a word"
        return " ".join(text.split())[:1000]


class CommandHung(OSError):
    """A command did not end in time, so it was killed."""


class CommandRunner(Protocol):
    """The signature of :func:`run`; tests pass another function."""

    def __call__(self, command: Sequence[str], limit: float, stdin: str | None = None) -> CommandResult:
        """See :func:`run`."""


def run(command: Sequence[str], limit: float, stdin: str | None = None) -> CommandResult:
    """Run a command, and return its output and exit status.

    Parameters
    ----------
    command
        Program and arguments.
    limit
        Seconds after which it is killed, with everything that it started.
    stdin
        The path of the file that it reads; None if it reads nothing.

    Raises
    ------
    OSError
        The command does not exist, may not be executed, or hangs (:class:`CommandHung`); the text is for the user.
    """
    # ``awaited`` keeps the thread that collects orphans from taking the exit status of this child.
    with awaited(lambda: using_spare(lambda: _started(command, stdin or os.devnull))) as process, process:
        try:
            out, err = process.communicate(timeout=limit)
        except BaseException as error:
            with contextlib.suppress(ProcessLookupError):
                # A wrapper script of the site may have started the real command, so the whole group is killed.
                os.killpg(process.pid, signal.SIGKILL)
            if isinstance(error, subprocess.TimeoutExpired):
                raise CommandHung(f"{command[0]} did not answer within {limit:g} s") from None
            raise
    return CommandResult(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))


def _started(command: Sequence[str], stdin: str) -> subprocess.Popen[bytes]:
    environment = clean_environment(os.environ)
    with open(stdin, "rb") as source:
        try:
            return subprocess.Popen(
                with_user_limit(command, environment),
                stdin=source,  # never the terminal: a command that asks for a password must fail, and not hang
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,  # a group of its own, which the time limit kills as a whole
            )
        except FileNotFoundError:
            raise FileNotFoundError(f"command not found: {command[0]}") from None
        except PermissionError:
            raise PermissionError(f"command {command[0]} may not be executed") from None
