"""Statuses of jobs that only batch schedulers report, and the status of a job with several parts [pure]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.providers.base import JobStatus
from parslab.records.states import ENDED, BlockState

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["StuckJob", "UnclearJob", "gathered", "merged", "unclear"]


class StuckJob(JobStatus, frozen=True):
    """A job that the scheduler keeps but will never run; the runner cancels it."""


class UnclearJob(JobStatus, frozen=True):
    """A job in a state that parslab does not know; the runner keeps the state that it knew before."""


def unclear(scheduler: str, word: str) -> UnclearJob:
    """Return the status of a job whose state is the unknown word ``word``."""
    return UnclearJob(BlockState.queued, f"{scheduler} says {word!r}, a state that is not known here")


_PRECEDENCE = (
    BlockState.running,
    BlockState.queued,
    BlockState.failed,
    BlockState.scaled_in,
    BlockState.missing,
    BlockState.finished,
)
"""Of the states of a job's parts, the first in this list is the state of the job."""


def merged(parts: Iterable[JobStatus]) -> JobStatus:
    """Return the status of a job that has several parts: an array, a heterogeneous job or a cluster of processes.

    The job runs while a part runs, and has failed when a part has failed.
    """
    found = list(parts)
    stuck = [part for part in found if isinstance(part, StuckJob)]
    first = stuck[0] if stuck else min(found, key=lambda part: _PRECEDENCE.index(part.state))
    hosts = ",".join(dict.fromkeys(part.hosts for part in found if part.hosts))
    # The class marks a stuck or unclear job, so the merged status has the same class.
    return type(first)(first.state, first.reason, hosts)


def gathered(parts: Iterable[tuple[str, JobStatus]], jobs: list[str], count: int = 1) -> dict[str, JobStatus]:
    """Return the merged status of each of these jobs; parts of other jobs are ignored.

    Parameters
    ----------
    parts
        The jobs and statuses that a command has listed.
    jobs
        The jobs that were asked for.
    count
        How many parts each job has.  A job is left out if all its listed parts have ended but some are not listed.
    """
    found: dict[str, list[JobStatus]] = {}
    wanted = set(jobs)
    for job, part in parts:
        if job in wanted:
            found.setdefault(job, []).append(part)
    statuses = {job: merged(states) for job, states in found.items()}
    return {
        job: status
        for job, status in statuses.items()
        # The parts of a job leave the scheduler's list one after the other, and the part that failed may be the first.
        if len(found[job]) >= count or status.state not in ENDED or isinstance(status, StuckJob)
    }
