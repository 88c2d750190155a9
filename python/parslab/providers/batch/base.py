"""The base of the providers for batch schedulers: a description that is also a pure :class:`BatchScheduler`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from parslab.description import Duration, Nested, Text, Whole
from parslab.errors import ConfigurationError
from parslab.providers.base import Job, Provider, script_text
from parslab.providers.batch.scheduler import BatchScheduler
from parslab.providers.channel.ssh import SSH

if TYPE_CHECKING:
    from pathlib import Path

    from parslab.providers.batch.runner import BatchRunner

__all__ = ["BatchProvider", "directives"]


class BatchProvider(Provider, BatchScheduler):
    """Base of the providers for batch schedulers.

    Parameters
    ----------
    walltime
        The time that a block may run; the scheduler kills a block that runs longer.
    scheduler_options
        More directives, one a line, with or without the scheduler's prefix (``#SBATCH``).
    poll_interval
        Least seconds between two status commands.
    status_batch_size
        The largest number of jobs that one command names.
    channel
        The login host on which the commands of the scheduler run, ``SSH("login.example.org")``; None: this host.
    """

    prefix: ClassVar[str] = "#"
    """The first characters of the script's lines that the scheduler reads."""
    redirects: ClassVar[bool] = False
    """The script writes the output files itself, because the scheduler delivers output only when the job ends."""

    walltime = Duration(600.0, low=1.0)
    scheduler_options = Text("", empty=True)
    poll_interval = Duration(10.0)
    status_batch_size = Whole(500, low=1)
    channel = Nested(SSH)

    @property
    def remote(self) -> bool:
        return self.channel is not None

    @property
    def tunnelled(self) -> bool:
        return self.channel is not None and self.channel.route == "relay"

    def check(self) -> None:
        super().check()
        if self.nodes_per_block > 1 and not self.launcher.spans_nodes:
            raise ConfigurationError(
                f"{type(self).__name__}: nodes_per_block={self.nodes_per_block} needs a launcher that starts a manager "
                f"on each node, such as SrunLauncher() or MpiExecLauncher(); {type(self.launcher).__name__} stays on "
                "the first node."
            )

    def runner(self, folder: Path) -> BatchRunner:
        # The user's process needs only the description, so it does not load what runs commands.
        from parslab.providers.batch import runner

        if self.channel is None:
            return runner.BatchRunner(self)
        from parslab.providers.channel.login_host import LoginHost

        return runner.BatchRunner(self, place=LoginHost(self.channel, folder))

    def directives(self, job: Job) -> list[str]:
        """Return the lines of the script that the scheduler reads, without those of ``scheduler_options``."""
        raise NotImplementedError

    def settings(self) -> dict[str, str]:
        """Environment variables that the script sets, so that managers know what they may use."""
        return {}

    def variables(self, job: Job) -> dict[str, str]:
        """Environment variables that the script of a job sets."""
        return {**self.settings(), "PARSLAB_INVITATION": job.invitation} if job.invitation else self.settings()

    def script(self, job: Job) -> str:
        lines = [*self.directives(job), *directives(self.prefix, self.scheduler_options)]
        return script_text(self, job, lines, self.variables(job), self.redirects, walltime=self.walltime)

    def files(self, job: Job) -> dict[str, str]:
        return {job.script: self.script(job)}


def directives(prefix: str, text: str) -> list[str]:
    """Return lines of free-form options as the scheduler reads them; a line that begins with ``#`` is kept as it is.

    Examples
    --------
    >>> directives("#SBATCH", "--reservation=course\\n#SBATCH --mail-type=END")
    ['#SBATCH --reservation=course', '#SBATCH --mail-type=END']
    """
    lines = (line.strip() for line in text.splitlines())
    return [line if line.startswith("#") else f"{prefix} {line}" for line in lines if line]
