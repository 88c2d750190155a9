"""The interface of schedulers for the batch runner: command lines, and the meaning of the answers [pure].

A member of the family implements these functions; :mod:`~parslab.providers.batch.runner` runs the commands, and keeps
the facts about jobs.  The functions do no I/O, so tests feed them recorded answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from parslab.providers.base import Job, JobStatus

__all__ = ["BatchScheduler"]


class BatchScheduler:
    """Base of the schedulers: their commands, and how to read the answers."""

    scheduler: ClassVar[str] = "the scheduler"
    """The name of the scheduler in sentences."""
    gone: ClassVar[str] = r"(?!)"
    """A regular expression for lines in which a command says that it does not know a job, or that the job has ended."""
    hints: ClassVar[tuple[tuple[str, str], ...]] = ()
    """Advice for the user about a refusal, each with a regular expression for the words of the refusal."""

    poll_interval: Any
    """Least seconds between two status commands."""
    cmd_timeout: Any
    """Seconds after which a command is killed."""
    status_batch_size: Any
    """The largest number of jobs that one command names."""

    def group(self) -> str:
        """Jobs of schedulers with the same group can be asked for together."""
        return self.scheduler

    def files(self, job: Job) -> dict[str, str]:
        """Return the files that must exist before a job is submitted: their texts by path."""
        raise NotImplementedError

    def submit_command(self, path: str) -> list[str]:
        """Return the command that submits the script at ``path``."""
        raise NotImplementedError

    def submit_input(self, path: str) -> str | None:
        """Return the file that the submit command reads from its standard input; None when it reads nothing."""
        return None

    def parse_job_id(self, stdout: str) -> str | None:
        """Return the number of the job that the scheduler has just accepted; None if the output does not contain it."""
        raise NotImplementedError

    def status_command(self, jobs: list[str]) -> list[str]:
        """Return the command that lists these jobs."""
        raise NotImplementedError

    def parse_statuses(self, stdout: str, jobs: list[str]) -> dict[str, JobStatus]:
        """Return the statuses that the status command reports; jobs that it does not name are missing."""
        raise NotImplementedError

    def cancel_command(self, jobs: list[str]) -> list[str]:
        """Return the command that cancels these jobs."""
        raise NotImplementedError

    def accounting_commands(self, jobs: list[str]) -> list[list[str]]:
        """Return commands that report the end of jobs that the status command has forgotten."""
        return []

    def parse_accounting(self, stdout: str, jobs: list[str]) -> dict[str, JobStatus]:
        """Return the statuses that an accounting command reports."""
        return {}

    def reason_command(self, job: str) -> list[str]:
        """Return the command that explains why a job is stuck; empty when there is none."""
        return []

    def parse_reason(self, stdout: str) -> str:
        """Return the explanation that the reason command gives; empty when it gives none."""
        return ""

    def find_command(self, name: str) -> list[str]:
        """Return the command that looks for a job by its name; empty when there is none."""
        return []

    def parse_found(self, stdout: str, name: str) -> str | None:
        """Return the job with this name that the find command reports."""
        return None
