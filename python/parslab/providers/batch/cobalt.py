"""Cobalt: qsub, qstat, qdel.

qstat forgets a job as soon as it ends, so the runner reads the exit status that the block's script has written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from parslab.description import Text
from parslab.providers.base import JobStatus
from parslab.providers.batch.base import BatchProvider
from parslab.providers.batch.job_status import StuckJob, gathered, unclear
from parslab.records.states import BlockState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.providers.base import Job

__all__ = ["CobaltProvider"]

_HOLDS = {
    "user_hold": "held by its owner",
    "admin_hold": "held by an administrator",
    "dep_hold": "waits for another job",
    "maxrun_hold": "its owner has as many jobs running as may be",
    "hold": "held",
}
_QUEUED = ("queued", "starting", "preempted")
_RUNNING = ("running", "exiting", "killing", "terminating", "cleanup", "done")


class CobaltProvider(BatchProvider):
    """Blocks are jobs of Cobalt.

    Parameters
    ----------
    account, queue
        The options of qsub.

    Examples
    --------
    >>> CobaltProvider(account="Chem", queue="debug", walltime="00:30:00")
    CobaltProvider(walltime=1800.0, account='Chem', queue='debug')
    """

    scheduler: ClassVar[str] = "Cobalt"
    prefix: ClassVar[str] = "#COBALT"
    commands: ClassVar[tuple[str, ...]] = ("qsub", "qstat", "qdel")
    gone: ClassVar[str] = r"not found|no match|could not find|does not exist|no jobs?\b"

    account = Text(None)
    queue = Text(None)

    def directives(self, job: Job) -> list[str]:
        lines = [
            f"#COBALT -n {self.nodes_per_block}",
            # qsub counts in minutes, so the time is rounded up: a block never gets less than its walltime.
            f"#COBALT -t {-int(-self.walltime // 60)}",
            f"#COBALT --jobname {job.name}",
            f"#COBALT -o {job.stdout}",
            f"#COBALT -e {job.stderr}",
        ]
        if self.account is not None:
            lines.append(f"#COBALT -A {self.account}")
        if self.queue is not None:
            lines.append(f"#COBALT -q {self.queue}")
        return lines

    def submit_command(self, path: str) -> list[str]:
        return ["qsub", "--mode", "script", path]

    def parse_job_id(self, stdout: str) -> str | None:
        # Scripts of the site may write something before the number.
        found = re.findall(r"^\s*(\d+)\s*$", stdout, re.MULTILINE)
        return str(found[-1]) if found else None

    def status_command(self, jobs: list[str]) -> list[str]:
        return ["qstat", "--header", "JobID:State:Location", *jobs]

    def parse_statuses(self, stdout: str, jobs: list[str]) -> dict[str, JobStatus]:
        return gathered(_rows(stdout), jobs)

    def cancel_command(self, jobs: list[str]) -> list[str]:
        return ["qdel", *jobs]

    def find_command(self, name: str) -> list[str]:
        return ["qstat", "--header", "JobID:JobName"]

    def parse_found(self, stdout: str, name: str) -> str | None:
        for line in stdout.splitlines():
            parts = line.split()
            if len(parts) == 2 and parts[1] == name and parts[0].isdigit():
                return parts[0]
        return None


def _rows(stdout: str) -> Iterator[tuple[str, JobStatus]]:
    """Yield the number and the status of each job that a row names; head lines and rulers are ignored."""
    for line in stdout.splitlines():
        # Blanks separate the columns, but the name of this state contains one.
        parts = line.replace("Maxrun Hold", "maxrun_hold").replace("maxrun hold", "maxrun_hold").split()
        if len(parts) < 2 or not parts[0].isdigit():
            continue
        word, place = parts[1].lower(), "" if len(parts) < 3 or parts[2] == "None" else parts[2]
        if word in _HOLDS:
            yield parts[0], JobStatus(BlockState.queued, _HOLDS[word])
        elif word in _QUEUED:
            yield parts[0], JobStatus(BlockState.queued, "" if word == "queued" else word)
        elif word in _RUNNING:
            yield parts[0], JobStatus(BlockState.running, "" if word == "running" else word, place)
        elif word == "dep_fail":
            yield parts[0], StuckJob(BlockState.failed, "Cobalt would never start it: a job it depends on has failed")
        else:
            yield parts[0], unclear("Cobalt", parts[1])
