"""One runner for all batch schedulers [shell]: it owns files, commands and time, a provider says what they mean.

Its methods block, and are called from the threads of the scaling controllers.  What it makes of answers:

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
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from parslab.atomic_files import write_atomically
from parslab.providers.base import Job, JobStatus, SubmitError, ended, exit_file
from parslab.providers.batch.base import StuckJob, UnclearJob
from parslab.providers.batch.commands import CommandHung, CommandResult, CommandRunner, run
from parslab.records.states import ENDED, BlockState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from parslab.providers.batch.base import BatchProvider

__all__ = ["PATIENCE", "BatchRunner", "JobLedger"]

PATIENCE = 30.0
"""Seconds after which a job that nobody knows is missing: new jobs and ends take a while to show up everywhere."""


@dataclass(eq=False)
class JobLedger:
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


_LEDGERS: WeakValueDictionary[str, JobLedger] = WeakValueDictionary()
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
        run: CommandRunner = run,
        now: Callable[[], float] = time.monotonic,
        ledger: JobLedger | None = None,
    ) -> None:
        self.period = float(provider.poll_interval)
        self.group = provider.group()
        self._provider, self._run, self._now = provider, run, now
        self._limit = float(provider.cmd_timeout)
        self._ledger = ledger or _LEDGERS.setdefault(self.group, JobLedger())

    # ----- submit

    def submit(self, job: Job) -> str:
        provider = self._provider
        try:
            for path, text in provider.files(job).items():
                write_atomically(path, text, 0o700)
        except OSError as error:
            raise SubmitError(f"The script of block {job.name} cannot be written: {error}.") from error
        command = provider.submit_command(job.script)
        try:
            answer = self._run(command, self._limit, provider.submit_input(job.script))
        except CommandHung as error:
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

    def adopt(self, number: str, job: Job) -> None:
        self._ledger.began(number, job)

    def find(self, name: str) -> str | None:
        command = self._provider.find_command(name)
        if not command:
            raise OSError(f"{self._provider.scheduler} cannot be asked for jobs by their names")
        answer = self._run(command, self._limit)
        if answer.status and not self._harmless(answer):
            raise OSError(f"{command[0]} failed: {answer.words()}")
        return self._provider.found(answer.stdout, name)

    def _number(self, job: Job, command: list[str], answer: CommandResult) -> str:
        scheduler = self._provider.scheduler
        number = self._provider.submitted(answer.stdout) if answer.status == 0 else None
        if number is None and re.search("timed? ?out", answer.stderr, re.IGNORECASE):
            number = self._find(job.name)  # the answer was lost, the job perhaps not
        if number is None and answer.status:
            words = answer.words()
            advice = next((told for found, told in self._provider.hints if re.search(found, words, re.IGNORECASE)), "")
            raise SubmitError(f"{scheduler} refused the job ({command[0]}): {words}{advice and f' ({advice})'}")
        if number is None:
            raise SubmitError(f"{command[0]} accepted the job without naming it: {answer.words()}")
        return number

    def _find(self, name: str) -> str | None:
        with contextlib.suppress(OSError):
            return self.find(name)
        return None

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
        if isinstance(status, UnclearJob):
            last = self._ledger.last.get(job)
            state = last.state if last is not None else state
        if isinstance(status, StuckJob):
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

    def _harmless(self, answer: CommandResult) -> bool:
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
