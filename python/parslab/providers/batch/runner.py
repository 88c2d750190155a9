"""One runner for all batch schedulers [shell]: it owns files, commands and time.

The methods block; the background threads of the scaling controllers call them.  How the runner reads answers:

* a job that the status command has forgotten is looked up in the accounting, then in the exit status that the block's
  script wrote; a job that stays unknown for ``PATIENCE`` seconds is missing;
* a job that waits for something impossible is cancelled and has failed, with the scheduler's reason;
* an ended job keeps its status: the runner never asks for the job again.
"""

from __future__ import annotations

import contextlib
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from parslab.providers.base import Job, JobStatus, SubmitError, ended, exit_file, is_transient
from parslab.providers.batch.job_status import StuckJob, UnclearJob
from parslab.providers.commands import CommandHung, CommandResult, CommandRunner, run
from parslab.providers.place import PlaceUnreachable, ThisHost
from parslab.records.states import ENDED, BlockState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from parslab.providers.batch.scheduler import BatchScheduler
    from parslab.providers.place import Place

__all__ = ["PATIENCE", "BatchRunner", "KnownJobs"]

PATIENCE = 30.0
"""Seconds after which an unknown job is missing: new jobs and ended jobs do not show up everywhere at once."""


_TRANSIENT_WORDS = "|".join(
    (
        # the host that submits
        "connection (refused|reset|timed out)|socket timed out|temporarily unavailable",
        "too many open files|cannot allocate memory|cannot fork",
        # Slurm, Grid Engine: their daemon restarts, or its host is slow
        "unable to contact|(unable to send message to|no response from|can't get response from) qmaster|commlib error",
        # HTCondor: after a crash its master starts the schedd again within seconds
        "can't find address of|failed to connect to|failed to fetch ads",
        # PBS, Torque
        "cannot connect to .*server|no server running|communication failure",
        # LSF
        "(lsf|lim|mbatchd|batch daemon|batch system daemon) (is down|not responding)|please wait",
    )
)
"""Words of a submit command that fails for a reason that passes: the scheduler is away, or the host is overloaded."""


@dataclass(eq=False)
class KnownJobs:
    """The facts that the runners of one group share about its jobs.

    Threads of several controllers write to it without a lock: each write is one operation on a dictionary or set.
    """

    jobs: dict[str, Job] = field(default_factory=dict)
    last: dict[str, JobStatus] = field(default_factory=dict)
    ended: dict[str, JobStatus] = field(default_factory=dict)
    unseen: dict[str, float] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)

    def began(self, number: str, job: Job) -> None:
        """Add a new job, and forget an older job of the same number: a reinstalled scheduler gives numbers again."""
        for known in (self.last, self.ended, self.unseen):
            known.pop(number, None)
        self.cancelled.discard(number)
        self.jobs[number] = job


_KNOWN_JOBS: WeakValueDictionary[str, KnownJobs] = WeakValueDictionary()
"""The shared facts of each group, because a runner may be asked for jobs of the other runners of its group.

The references are weak, so the facts of a group disappear with its last runner.
"""


class BatchRunner:
    """Submits, watches and cancels the jobs of a batch provider.

    Parameters
    ----------
    scheduler
        The commands of the scheduler, and what their answers mean.
    run
        Runs a command.
    now
        A monotonic clock.
    known
        The facts about jobs; None means that all runners of the group share one object.
    place
        Where the commands run; None means this host, by ``run``.
    """

    late_arrival = 30.0

    def __init__(
        self,
        scheduler: BatchScheduler,
        run: CommandRunner = run,
        now: Callable[[], float] = time.monotonic,
        known: KnownJobs | None = None,
        place: Place | None = None,
    ) -> None:
        self._place = place = place or ThisHost(run)
        self.period = float(scheduler.poll_interval)
        self.group = f"{scheduler.group()} {place.group}".strip()
        self._scheduler, self._run, self._now = scheduler, place.run, now
        self._limit = float(scheduler.cmd_timeout)
        self._known = known or _KNOWN_JOBS.setdefault(self.group, KnownJobs())

    # ----- submit

    def submit(self, job: Job) -> str:
        scheduler, place = self._scheduler, self._place
        try:
            there = place.job(job)
            place.write(job, scheduler.files(there))
        except PlaceUnreachable as error:
            raise SubmitError(f"{error}", error.passes) from error
        command = scheduler.submit_command(there.script)
        try:
            answer = place.run(command, self._limit, scheduler.submit_input(there.script))
        # The scheduler may have accepted the job before the command was killed, so it is looked for by its name.
        except CommandHung as error:
            number = self._find(job.name)
            if number is None:
                # Not transient: cmd_timeout was the wait for it, and three of them must not become half an hour.
                raise SubmitError(
                    f"{error}, so the job was given up; see whether {scheduler.scheduler} is well, "
                    "or raise cmd_timeout."
                ) from error
        except OSError as error:
            raise self._not_started(command, error) from error
        else:
            number = self._number(job, command, answer)
        self._known.began(number, job)
        return number

    def _not_started(self, command: list[str], error: OSError) -> SubmitError:
        if isinstance(error, PlaceUnreachable):
            return SubmitError(f"{error}", error.passes)
        if is_transient(error):
            return SubmitError(f"{command[0]} cannot be started on {self._place.name}: {error}.", transient=True)
        return SubmitError(
            f"{error} on {self._place.name}: {self._place.advice.format(scheduler=self._scheduler.scheduler)}."
        )

    def adopt(self, number: str, job: Job) -> None:
        self._known.began(number, job)
        self._place.adopt(job)

    def find(self, name: str) -> str | None:
        command = self._scheduler.find_command(name)
        if not command:
            raise OSError(f"{self._scheduler.scheduler} cannot be asked for jobs by their names")
        answer = self._run(command, self._limit)
        if answer.status and not self._harmless(answer):
            raise OSError(f"{command[0]} failed: {answer.words()}")
        return self._scheduler.parse_found(answer.stdout, name)

    def _number(self, job: Job, command: list[str], answer: CommandResult) -> str:
        name = self._scheduler.scheduler
        number = self._scheduler.parse_job_id(answer.stdout) if answer.status == 0 else None
        if number is None and re.search("timed? ?out", answer.stderr, re.IGNORECASE):
            number = self._find(job.name)  # the answer was lost, but the scheduler may have accepted the job
        if number is None and answer.status:
            words = answer.words()
            advice = next((hint for found, hint in self._scheduler.hints if re.search(found, words, re.IGNORECASE)), "")
            text = f"{name} refused the job ({command[0]}): {words}{advice and f' ({advice})'}"
            raise SubmitError(text, transient=re.search(_TRANSIENT_WORDS, words, re.IGNORECASE) is not None)
        if number is None:
            raise SubmitError(f"{command[0]} accepted the job without naming it: {answer.words()}")
        return number

    def _find(self, name: str) -> str | None:
        with contextlib.suppress(OSError):
            return self.find(name)
        return None

    # ----- status

    def status(self, jobs: list[str]) -> dict[str, JobStatus]:
        jobs_known = self._known
        asked = [job for job in jobs if job not in jobs_known.ended]
        # The length of a command line is limited, and some schedulers limit the number of jobs in it.
        for part in _parts(asked, self._scheduler.status_batch_size):
            seen = self._listed(part)
            self._place.bring([jobs_known.jobs[job] for job in part if job in jobs_known.jobs])
            forgotten = [job for job in part if job not in seen]
            for job in seen:
                jobs_known.unseen.pop(job, None)
            if forgotten:
                seen.update(self._forgotten(forgotten))
            for job, status in seen.items():
                jobs_known.last[job] = known = self._final_status(job, status)
                if known.state in ENDED:
                    jobs_known.ended[job] = known
        # A job that is not listed for the moment keeps its last status.
        latest = {job: jobs_known.ended.get(job) or jobs_known.last.get(job) for job in jobs}
        return {job: status for job, status in latest.items() if status is not None}

    def _listed(self, jobs: list[str]) -> dict[str, JobStatus]:
        command = self._scheduler.status_command(jobs)
        answer = self._run(command, self._limit)
        if answer.status and not self._harmless(answer):
            raise OSError(f"{command[0]} failed: {answer.words()}")
        return self._scheduler.parse_statuses(answer.stdout, jobs)

    def _forgotten(self, jobs: list[str]) -> dict[str, JobStatus]:
        found: dict[str, JobStatus] = {}
        for command in self._scheduler.accounting_commands(jobs):
            # Many sites keep no accounting, or do not let users read it.
            with contextlib.suppress(OSError):
                found.update(self._scheduler.parse_accounting(self._run(command, self._limit).stdout, jobs))
        now = self._now()
        for job in jobs:
            if job in found:
                continue
            # The script writes its exit status to a file.  Sites without accounting leave no other trace of the end.
            status = self._exit_status(job)
            if status is not None:
                found[job] = ended(status)
            elif now - self._known.unseen.setdefault(job, now) >= PATIENCE:
                found[job] = JobStatus(
                    BlockState.missing,
                    f"{self._scheduler.scheduler} does not know job {job} any more, and it left no exit status: it was "
                    "killed, or never began",
                )
        return found

    def _final_status(self, job: str, status: JobStatus) -> JobStatus:
        """Return the status of a job, made from what the scheduler reported and what the runner knows."""
        state, reason = status.state, status.reason
        if isinstance(status, UnclearJob):
            last = self._known.last.get(job)
            state = last.state if last is not None else state
        if isinstance(status, StuckJob):
            # The reason is read before the job is cancelled, because the scheduler may forget it with the job.
            reason = self._with_reason(job, reason)
            try:
                self._cancel([job])
            except OSError as error:
                return JobStatus(BlockState.queued, f"{reason}; it cannot be cancelled now: {error}", status.hosts)
        elif state is BlockState.failed and "exit status" not in reason:
            left = self._exit_status(job)
            reason = f"{reason}, {ended(left).reason}" if left else reason
        # Schedulers often report a cancelled job as failed, or forget it.
        if state in (BlockState.failed, BlockState.missing) and job in self._known.cancelled:
            return JobStatus(BlockState.scaled_in, reason, status.hosts)
        return JobStatus(state, reason, status.hosts)

    def _with_reason(self, job: str, reason: str) -> str:
        command = self._scheduler.reason_command(job)
        if command:
            with contextlib.suppress(OSError):
                words = self._scheduler.parse_reason(self._run(command, self._limit).stdout)
                reason = f"{reason}: {words}" if words else reason
        return reason

    def _exit_status(self, job: str) -> int | None:
        """Return the exit status that the block's script has written."""
        known = self._known.jobs.get(job)
        if known is None:
            return None
        try:
            return int(Path(exit_file(known.script)).read_text())
        except (OSError, ValueError):
            return None

    # ----- cancel

    def cancel(self, jobs: list[str]) -> None:
        alive = [job for job in jobs if job not in self._known.ended]
        for part in _parts(alive, self._scheduler.status_batch_size):
            self._cancel(part)
            self._known.cancelled.update(part)

    def _cancel(self, jobs: list[str]) -> None:
        command = self._scheduler.cancel_command(jobs)
        answer = self._run(command, self._limit)
        if answer.status and not self._harmless(answer):
            raise OSError(f"{command[0]} failed: {answer.words()}")

    def _harmless(self, answer: CommandResult) -> bool:
        """Return whether a command that failed only reports that it does not know some jobs."""
        # stdout may also contain the answers for other jobs, so one such line is enough there.  stderr contains only
        # errors, so each of its lines must be harmless.
        lines = [line for line in (answer.stderr.strip() or answer.stdout.strip()).splitlines() if line.strip()]
        pattern = re.compile(self._scheduler.gone, re.IGNORECASE)
        if not answer.stderr.strip():
            return any(pattern.search(line) for line in lines)
        return bool(lines) and all(pattern.search(line) for line in lines)

    def close(self) -> None:
        """Release what the place of the commands holds; the jobs continue."""
        self._place.close()


def _parts(jobs: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(jobs), size):
        yield jobs[start : start + size]
