"""Finds the batch job that the DataFlowKernel itself runs in, and when it ends [shell].

A notebook server may run in a job.  When the job ends, so does everything on its host.  The environment names the job.
Where it does not say when the job ends, the scheduler is asked once, in a thread.
"""

from __future__ import annotations

import contextlib
import logging
import math
import re
import threading
import time
from typing import TYPE_CHECKING, NamedTuple

from parslab.clock import steady_time, to_wall_time, wall_clock_offset
from parslab.records.events import OwnJobFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from parslab.dataflow.host import Host
    from parslab.providers.commands import CommandRunner

__all__ = ["OwnJob", "end_of", "look_for_own_job", "own_job"]

log = logging.getLogger(__name__)

_TIMEOUT = 20.0
"""Seconds that a scheduler may take to answer; nobody waits for it."""
_STAMP = "%Y-%m-%dT%H:%M:%S"
_CTIME = "%a %b %d %H:%M:%S %Y"


class OwnJob(NamedTuple):
    """A batch job as its environment describes it."""

    scheduler: str
    """``Slurm``, ``PBS`` or ``LSF``."""
    number: str
    ends: float | None
    """When it ends by the wall clock, in seconds since the epoch; None where the environment does not say it."""
    command: tuple[str, ...]
    """What asks the scheduler for that."""


def own_job(environment: Mapping[str, str]) -> OwnJob | None:
    """Return the job to which an environment belongs; None outside of jobs."""
    if number := environment.get("SLURM_JOB_ID"):
        ends = None
        with contextlib.suppress(ValueError):
            ends = float(environment.get("SLURM_JOB_END_TIME", ""))
            ends = ends if 0 < ends < math.inf else None
        return OwnJob("Slurm", number, ends, ("squeue", "-h", "-j", number, "-o", "%e"))
    if number := environment.get("PBS_JOBID"):
        return OwnJob("PBS", number, None, ("qstat", "-f", number))
    if number := environment.get("LSB_JOBID"):
        return OwnJob("LSF", number, None, ("bjobs", "-noheader", "-o", "time_left", number))
    return None


def end_of(scheduler: str, answer: str, now: float) -> float | None:
    """Return when a job ends, by the answer of its scheduler; None if that does not say it [core].

    Parameters
    ----------
    scheduler
        The scheduler, as :class:`OwnJob` names it.
    answer
        What its command has printed.
    now
        The present wall time, in seconds since the epoch.
    """
    with contextlib.suppress(ValueError, OverflowError):  # of a moment or a number that no clock has
        match scheduler:
            case "Slurm":
                return _moment(answer.strip(), _STAMP)
            case "PBS":
                return _end_of_pbs(answer, now)
            case "LSF":
                left = re.match(r"\s*(\d+):(\d+)\s+[LE]", answer)
                return now + 3600 * int(left[1]) + 60 * int(left[2]) if left else None
    return None


def _moment(text: str, form: str) -> float | None:
    """Return a moment in seconds since the epoch; None for another text, as ``N/A`` of a job without a limit."""
    try:
        return time.mktime(time.strptime(text, form))
    except ValueError:
        return None


def _end_of_pbs(answer: str, now: float) -> float | None:
    found = {name: text.strip() for name, text in re.findall(r"^\s*([\w.]+) = (.*)$", answer, re.MULTILINE)}
    if found.get("Walltime.Remaining", "").isdigit():  # Torque
        return now + int(found["Walltime.Remaining"])
    limit = re.fullmatch(r"(?:(\d+):)?(\d+):(\d+)", found.get("Resource_List.walltime", ""))
    if limit is None:
        return None
    seconds = 3600 * int(limit[1] or 0) + 60 * int(limit[2]) + int(limit[3])
    started = _moment(found.get("stime", ""), _CTIME)
    return None if started is None else started + seconds


def look_for_own_job(host: Host, environment: Mapping[str, str]) -> None:
    """Report the job that this process runs in, if there is one."""
    job = own_job(environment)
    if job is None:
        return
    if job.ends is not None:
        _report(host, job, job.ends)
        return
    # Imported here, because most runs need no scheduler.
    from parslab.providers.commands import run

    # A daemon: a scheduler that hangs must not delay the end of the process.
    threading.Thread(target=_ask, args=(host, job, run), name="parslab-own-job", daemon=True).start()


def _ask(host: Host, job: OwnJob, run: CommandRunner) -> None:
    """Ask the scheduler when the job ends, and report the job in any case."""
    ends = None
    try:
        answer = run(job.command, _TIMEOUT)
    except OSError as error:
        log.info("%s job %s: its end is not known: %s", job.scheduler, job.number, error)
    else:
        if not answer.status:
            ends = end_of(job.scheduler, answer.stdout, to_wall_time(steady_time()))
        if ends is None:
            log.info("%s job %s: its end is not known: %s", job.scheduler, job.number, answer.words())
    host.call_soon(lambda: _report(host, job, ends))


def _report(host: Host, job: OwnJob, ends: float | None) -> None:
    # Times of a run are those of its own clock.
    moment = None if ends is None else ends - wall_clock_offset()
    host.emit(OwnJobFound(steady_time(), f"{job.scheduler} job {job.number}", moment))
