"""One runner for all batch schedulers, and what a scheduler has to tell it.

A member of the family is a description with pure functions: text of the script, command lines, and what their answers
mean.  The runner owns files, commands and time.  What it makes of the answers:

* a job that the status command has forgotten is looked up in the accounting, then in the exit status that the block's
  script left; what is still unknown after ``PATIENCE`` seconds is missing;
* a job that waits for something that cannot happen is cancelled and has failed, with the scheduler's reason;
* what is known of an ended job is kept: it is never asked for again, nor does it change.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakValueDictionary

from parslab.description import Duration, Text, Whole
from parslab.errors import ConfigurationError
from parslab.providers.base import Job, JobStatus, Provider, SubmitError, ended, exit_file, script_text
from parslab.providers.commands import Answer, Hung, Run, run
from parslab.providers.files import write_script
from parslab.providers.script import clock
from parslab.records.states import ENDED, BlockState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

__all__ = [
    "BatchProvider",
    "BatchRunner",
    "Ledger",
    "Stuck",
    "Unclear",
    "clock",
    "directives",
    "gathered",
    "merged",
    "unclear",
]

PATIENCE = 30.0
"""Seconds after which a job that nobody knows is missing: new jobs and ends take a while to show up everywhere."""


class Stuck(JobStatus, frozen=True):
    """A job that the scheduler keeps but will never run; the runner cancels it."""


class Unclear(JobStatus, frozen=True):
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
        return BatchRunner(self)

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


def unclear(scheduler: str, word: str) -> Unclear:
    """For a state that we have no word for."""
    return Unclear(BlockState.queued, f"{scheduler} says {word!r}, a state that is not known here")


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
    stuck = [part for part in found if isinstance(part, Stuck)]
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


# --- the runner -------------------------------------------------------------------------------------------------------


@dataclass(eq=False)
class Ledger:
    """What is known of the jobs of one group.

    Threads of several controllers write to it; each write is one operation on a dictionary or set.
    """

    jobs: dict[str, Job] = field(default_factory=dict)
    last: dict[str, JobStatus] = field(default_factory=dict)
    ended: dict[str, JobStatus] = field(default_factory=dict)
    unseen: dict[str, float] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)

    def began(self, number: str, job: Job) -> None:
        """Note a new job; a scheduler that was set up anew gives numbers a second time."""
        for known in (self.last, self.ended, self.unseen):
            known.pop(number, None)
        self.cancelled.discard(number)
        self.jobs[number] = job


_LEDGERS: WeakValueDictionary[str, Ledger] = WeakValueDictionary()
"""Runners of one group may be asked for each other's jobs."""


class BatchRunner:
    """Carries a batch provider out.

    Parameters
    ----------
    provider
        The scheduler, and what is asked of it.
    run
        How commands are run.
    now
        A clock that never goes back.
    ledger
        What is known of jobs; None: it is shared with the other runners of the group.
    """

    def __init__(
        self,
        provider: BatchProvider,
        run: Run = run,
        now: Callable[[], float] = time.monotonic,
        ledger: Ledger | None = None,
    ) -> None:
        self.period = float(provider.poll_interval)
        self.group = provider.group()
        self._provider, self._run, self._now = provider, run, now
        self._limit = float(provider.cmd_timeout)
        self._ledger = ledger or _LEDGERS.setdefault(self.group, Ledger())

    # ----- submit

    def submit(self, job: Job) -> str:
        provider = self._provider
        try:
            for path, text in provider.files(job).items():
                write_script(path, text)
        except OSError as error:
            raise SubmitError(f"The script of block {job.name} cannot be written: {error}.") from error
        command = provider.submit_command(job.script)
        try:
            answer = self._run(command, self._limit, provider.submit_input(job.script))
        except Hung as error:
            number = self._find(job.name)
            if number is None:
                raise SubmitError(
                    f"{error}, so the job was given up; see whether {provider.scheduler} is well, or raise cmd_timeout."
                ) from error
        except OSError as error:
            raise SubmitError(
                f"{error} on {socket.gethostname()}: load this where {provider.scheduler} can be used, or add its "
                "folder to PATH."
            ) from error
        else:
            number = self._number(job, command, answer)
        self._ledger.began(number, job)
        return number

    def _number(self, job: Job, command: list[str], answer: Answer) -> str:
        scheduler = self._provider.scheduler
        number = self._provider.submitted(answer.stdout) if answer.status == 0 else None
        if number is None and re.search("timed? ?out", answer.stderr, re.IGNORECASE):
            number = self._find(job.name)  # the answer was lost, the job perhaps not
        if number is None and answer.status:
            raise SubmitError(f"{scheduler} refused the job ({command[0]}): {answer.words()}")
        if number is None:
            raise SubmitError(f"{command[0]} accepted the job without naming it: {answer.words()}")
        return number

    def _find(self, name: str) -> str | None:
        command = self._provider.find_command(name)
        if not command:
            return None
        try:
            answer = self._run(command, self._limit)
        except OSError:
            return None
        return self._provider.found(answer.stdout, name)

    # ----- status

    def status(self, jobs: list[str]) -> dict[str, JobStatus]:
        ledger = self._ledger
        asked = [job for job in jobs if job not in ledger.ended]
        for part in _parts(asked, self._provider.status_batch_size):
            seen = self._listed(part)
            forgotten = [job for job in part if job not in seen]
            for job in seen:
                ledger.unseen.pop(job, None)
            if forgotten:
                seen.update(self._forgotten(forgotten))
            for job, status in seen.items():
                ledger.last[job] = known = self._judged(job, status)
                if known.state in ENDED:
                    ledger.ended[job] = known
        # Of a job that is not listed for the moment we say what was said of it last.
        told = {job: ledger.ended.get(job) or ledger.last.get(job) for job in jobs}
        return {job: status for job, status in told.items() if status is not None}

    def _listed(self, jobs: list[str]) -> dict[str, JobStatus]:
        command = self._provider.status_command(jobs)
        answer = self._run(command, self._limit)
        if answer.status and not self._harmless(answer):
            raise OSError(f"{command[0]} failed: {answer.words()}")
        return self._provider.states(answer.stdout, jobs)

    def _forgotten(self, jobs: list[str]) -> dict[str, JobStatus]:
        found: dict[str, JobStatus] = {}
        for command in self._provider.accounting_commands(jobs):
            # Many sites keep no accounting, or do not let users read it.
            with contextlib.suppress(OSError):
                found.update(self._provider.ends(self._run(command, self._limit).stdout, jobs))
        now = self._now()
        for job in jobs:
            if job in found:
                continue
            status = self._left(job)
            if status is not None:
                found[job] = ended(status)
            elif now - self._ledger.unseen.setdefault(job, now) >= PATIENCE:
                found[job] = JobStatus(
                    BlockState.missing,
                    f"{self._provider.scheduler} does not know job {job} any more, and it left no exit status: it was "
                    "killed, or never began",
                )
        return found

    def _judged(self, job: str, status: JobStatus) -> JobStatus:
        """The final word about what was read of a job."""
        state, reason = status.state, status.reason
        if isinstance(status, Unclear):
            last = self._ledger.last.get(job)
            state = last.state if last is not None else state
        if isinstance(status, Stuck):
            reason = self._explained(job, reason)
            try:
                self._cancel([job])
            except OSError as error:
                return JobStatus(BlockState.queued, f"{reason}; it cannot be cancelled now: {error}", status.hosts)
        elif state is BlockState.failed and "exit status" not in reason:
            left = self._left(job)
            reason = f"{reason}, {ended(left).reason}" if left else reason
        if state in (BlockState.failed, BlockState.missing) and job in self._ledger.cancelled:
            return JobStatus(BlockState.scaled_in, reason, status.hosts)
        return JobStatus(state, reason, status.hosts)

    def _explained(self, job: str, reason: str) -> str:
        command = self._provider.why_command(job)
        if command:
            with contextlib.suppress(OSError):
                words = self._provider.why(self._run(command, self._limit).stdout)
                reason = f"{reason}: {words}" if words else reason
        return reason

    def _left(self, job: str) -> int | None:
        """The exit status that the block's script has written."""
        told = self._ledger.jobs.get(job)
        if told is None:
            return None
        try:
            return int(Path(exit_file(told.script)).read_text())
        except (OSError, ValueError):
            return None

    # ----- cancel

    def cancel(self, jobs: list[str]) -> None:
        alive = [job for job in jobs if job not in self._ledger.ended]
        for part in _parts(alive, self._provider.status_batch_size):
            self._cancel(part)
            self._ledger.cancelled.update(part)

    def _cancel(self, jobs: list[str]) -> None:
        command = self._provider.cancel_command(jobs)
        answer = self._run(command, self._limit)
        if answer.status and not self._harmless(answer):
            raise OSError(f"{command[0]} failed: {answer.words()}")

    def _harmless(self, answer: Answer) -> bool:
        """Whether a command that failed only says that it does not know jobs."""
        lines = [line for line in (answer.stderr.strip() or answer.stdout.strip()).splitlines() if line.strip()]
        pattern = re.compile(self._provider.gone, re.IGNORECASE)
        if not answer.stderr.strip():
            return any(pattern.search(line) for line in lines)
        return bool(lines) and all(pattern.search(line) for line in lines)

    def close(self) -> None:
        """There is nothing to give back."""


def _parts(jobs: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(jobs), size):
        yield jobs[start : start + size]
