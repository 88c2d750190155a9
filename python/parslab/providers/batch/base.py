"""What a batch scheduler has to tell the runner, and what its providers share [pure].

A member of the family is a description with pure functions: text of the script, command lines, and what their answers
mean.  ``runner`` runs the commands and keeps what is known of jobs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from parslab.description import Duration, Text, Whole
from parslab.errors import ConfigurationError
from parslab.providers.base import Job, JobStatus, Provider, script_text
from parslab.providers.batch.script import clock
from parslab.records.states import BlockState

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from parslab.providers.batch.runner import BatchRunner

__all__ = [
    "BatchProvider",
    "StuckJob",
    "UnclearJob",
    "clock",
    "directives",
    "gathered",
    "merged",
    "unclear",
]


class StuckJob(JobStatus, frozen=True):
    """A job that the scheduler keeps but will never run; the runner cancels it."""


class UnclearJob(JobStatus, frozen=True):
    """A job in a state that we have no word for; the runner keeps the state that it had."""


class BatchProvider(Provider):
    """Base of the providers for batch schedulers.

    Parameters
    ----------
    walltime
        How long a block may run; the scheduler kills it then.
    scheduler_options
        Further directives, one a line, with or without the scheduler's prefix (``#SBATCH``).
    poll_interval
        Least seconds between two questions about the states of jobs.
    status_batch_size
        How many jobs are asked for in one command.
    """

    scheduler: ClassVar[str] = "the scheduler"
    """Its name, in sentences."""
    prefix: ClassVar[str] = "#"
    """What a line of the script begins with that the scheduler reads."""
    redirects: ClassVar[bool] = False
    """Output of jobs is handed over at their end only, so that the script must write the files itself."""
    gone: ClassVar[str] = r"(?!)"
    """A regular expression for lines by which commands say that they do not know a job, or that it has ended."""

    hints: ClassVar[tuple[tuple[str, str], ...]] = ()
    """What to do about a refusal: regular expressions for its words, and advice."""

    walltime = Duration(600.0, low=1.0)
    scheduler_options = Text("", empty=True)
    poll_interval = Duration(10.0)
    status_batch_size = Whole(500, low=1)

    def check(self) -> None:
        super().check()
        if self.nodes_per_block > 1 and not self.launcher.spans_nodes:
            raise ConfigurationError(
                f"{type(self).__name__}: nodes_per_block={self.nodes_per_block} needs a launcher that starts a manager "
                f"on each node, such as SrunLauncher() or MpiExecLauncher(); {type(self.launcher).__name__} stays on "
                "the first node."
            )

    def runner(self, folder: Path) -> BatchRunner:
        from parslab.providers.batch import runner

        return runner.BatchRunner(self)

    # ----- pure functions of a member

    def group(self) -> str:
        """Jobs of providers with the same group can be asked for together."""
        return self.scheduler

    def directives(self, job: Job) -> list[str]:
        """The lines of the script that the scheduler reads, without those of ``scheduler_options``."""
        raise NotImplementedError

    def settings(self) -> dict[str, str]:
        """Variables that the script sets, so that managers know what they may use."""
        return {}

    def script(self, job: Job) -> str:
        lines = [*self.directives(job), *directives(self.prefix, self.scheduler_options)]
        return script_text(self, job, lines, self.settings(), redirect=self.redirects)

    def files(self, job: Job) -> dict[str, str]:
        """The files of a job, by path; the script is one of them."""
        return {job.script: self.script(job)}

    def submit_command(self, path: str) -> list[str]:
        """The command that submits the script."""
        raise NotImplementedError

    def submit_input(self, path: str) -> str | None:
        """The file that the submit command reads from its standard input."""
        return None

    def submitted(self, stdout: str) -> str | None:
        """What the scheduler calls the job that it has just accepted; None when it does not say."""
        raise NotImplementedError

    def status_command(self, jobs: list[str]) -> list[str]:
        """The command that lists these jobs."""
        raise NotImplementedError

    def states(self, stdout: str, jobs: list[str]) -> dict[str, JobStatus]:
        """What the status command says of these jobs; those that it does not name are left out."""
        raise NotImplementedError

    def cancel_command(self, jobs: list[str]) -> list[str]:
        """The command that ends these jobs."""
        raise NotImplementedError

    def accounting_commands(self, jobs: list[str]) -> list[list[str]]:
        """Commands that know how jobs ended which the status command has forgotten."""
        return []

    def ends(self, stdout: str, jobs: list[str]) -> dict[str, JobStatus]:
        """What an accounting command says."""
        return {}

    def why_command(self, job: str) -> list[str]:
        """The command that explains why a job is stuck; empty: there is none."""
        return []

    def why(self, stdout: str) -> str:
        """What that command says; empty when it says nothing."""
        return ""

    def find_command(self, name: str) -> list[str]:
        """The command that looks for a job by its name; empty: there is none."""
        return []

    def found(self, stdout: str, name: str) -> str | None:
        """The job with this name, in what that command says."""
        return None


# --- what members share -----------------------------------------------------------------------------------------------


def directives(prefix: str, text: str) -> list[str]:
    """Lines of free-form options as the scheduler reads them; a line that begins with ``#`` is taken as it is.

    Examples
    --------
    >>> directives("#SBATCH", "--reservation=course\\n#SBATCH --mail-type=END")
    ['#SBATCH --reservation=course', '#SBATCH --mail-type=END']
    """
    lines = (line.strip() for line in text.splitlines())
    return [line if line.startswith("#") else f"{prefix} {line}" for line in lines if line]


def unclear(scheduler: str, word: str) -> UnclearJob:
    """For a state that we have no word for."""
    return UnclearJob(BlockState.queued, f"{scheduler} says {word!r}, a state that is not known here")


_ALIVE_FIRST = (
    BlockState.running,
    BlockState.queued,
    BlockState.failed,
    BlockState.scaled_in,
    BlockState.missing,
    BlockState.finished,
)


def merged(parts: Iterable[JobStatus]) -> JobStatus:
    """The state of a block from those of the parts of its job (array, heterogeneous job, cluster of processes).

    It runs while a part runs, and has failed when a part has.
    """
    found = list(parts)
    stuck = [part for part in found if isinstance(part, StuckJob)]
    first = stuck[0] if stuck else min(found, key=lambda part: _ALIVE_FIRST.index(part.state))
    hosts = ",".join(dict.fromkeys(part.hosts for part in found if part.hosts))
    return type(first)(first.state, first.reason, hosts)


def gathered(parts: Iterable[tuple[str, JobStatus]], jobs: list[str]) -> dict[str, JobStatus]:
    """The parts of each of these jobs, merged; parts of others are left out."""
    found: dict[str, list[JobStatus]] = {}
    wanted = set(jobs)
    for job, part in parts:
        if job in wanted:
            found.setdefault(job, []).append(part)
    return {job: merged(states) for job, states in found.items()}
