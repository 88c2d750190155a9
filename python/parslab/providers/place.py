"""Where the commands of a batch scheduler run, and where the files of its jobs lie: on this host, or elsewhere [shell].

The runner of batch schedulers uses a place.  :mod:`parslab.providers.channel` has the one on a login host.
"""

from __future__ import annotations

import errno
import socket
from typing import TYPE_CHECKING, Protocol

from parslab.atomic_files import write_atomically
from parslab.providers.base import Job, not_written
from parslab.providers.commands import CommandResult, CommandRunner, run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Place", "PlaceUnreachable", "ThisHost"]


class PlaceUnreachable(OSError):
    """The host of the commands cannot be used now.

    Parameters
    ----------
    text
        Why, and what to do, for the user.
    passes
        Whether the reason passes by itself.
    """

    def __init__(self, text: str, passes: bool = True) -> None:
        super().__init__(text)
        self.passes = passes
        if passes:
            self.errno = errno.ETIMEDOUT  # one of those after which a submission is tried again


class Place(Protocol):
    """A host with the commands of a scheduler."""

    name: str
    """The name of the host, for the user."""
    group: str
    """Jobs of schedulers at places of the same group can be asked for together; empty: this host."""
    advice: str
    """What the user can do if a command of ``{scheduler}`` is not there."""

    def run(self, command: Sequence[str], limit: float, stdin: str | None = None) -> CommandResult:
        """Run a command there; see :func:`parslab.providers.commands.run`."""

    def job(self, job: Job) -> Job:
        """Return a job with the paths that its files have there."""

    def write(self, job: Job, files: Mapping[str, str]) -> None:
        """Write the files of a job there: their texts by path.

        Raises
        ------
        SubmitError
            They cannot be written.
        OSError
            The host cannot be reached now.
        """

    def adopt(self, job: Job) -> None:
        """Serve a job that another process has submitted; this never blocks."""

    def bring(self, jobs: Sequence[Job]) -> None:
        """Bring what jobs have written to the files of the run on this host; what cannot be read now comes later."""

    def close(self) -> None:
        """Release what the place holds; the jobs continue."""


class ThisHost:
    """The host of this process.

    Parameters
    ----------
    run
        Runs a command.
    """

    group = ""
    advice = "load this where {scheduler} can be used, or add its folder to PATH"

    def __init__(self, run: CommandRunner = run) -> None:
        self.name = socket.gethostname()
        self._run = run

    def run(self, command: Sequence[str], limit: float, stdin: str | None = None) -> CommandResult:
        return self._run(command, limit, stdin)

    def job(self, job: Job) -> Job:
        return job

    def write(self, job: Job, files: Mapping[str, str]) -> None:
        try:
            for path, text in files.items():
                write_atomically(path, text, 0o700)
        except OSError as error:
            raise not_written(job, error) from error

    def adopt(self, job: Job) -> None:
        """Do nothing: its files are here."""

    def bring(self, jobs: Sequence[Job]) -> None:
        """Do nothing: their files are here."""

    def close(self) -> None:
        """Do nothing: it holds nothing."""
