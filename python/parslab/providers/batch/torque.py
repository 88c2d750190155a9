"""Torque: qsub, qstat, qdel.

qstat lists ended jobs for some minutes with their exit status; a negative one is an error of Torque itself.  After that
the runner reads the exit status that the block's script has written.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from parslab.description import Text, Whole
from parslab.providers.base import JobStatus, ended
from parslab.providers.batch.base import BatchProvider
from parslab.providers.batch.job_status import StuckJob, gathered, unclear
from parslab.providers.batch.qstat import number_of, records
from parslab.providers.batch.script import clock
from parslab.records.states import BlockState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from parslab.providers.base import Job

__all__ = ["TorqueProvider"]

_WORDS = {
    -1: "it could not be started: its files could not be opened or its limits set",
    -2: "it could not be started on its nodes",
    -3: "it could not be started and is to be tried again",
    -9: "its output files could not be made",
    -10: "it used more memory than it had",
    -12: "it used more CPU time than it had",
}
_WALLTIME, _KILLED = -11, 256
"""The exit status of a job that reached its walltime, and the number to which a killing signal is added."""


class TorqueProvider(BatchProvider):
    """Blocks are jobs of Torque.

    Parameters
    ----------
    account, queue
        The options of qsub.
    cpus_per_node
        Cores of each node that a block requests (``ppn``).

    Examples
    --------
    >>> TorqueProvider(queue="batch", cpus_per_node=16, walltime="02:00:00")
    TorqueProvider(walltime=7200.0, queue='batch', cpus_per_node=16)
    """

    positional: ClassVar[tuple[str, ...]] = (
        "account",
        "queue",
        "scheduler_options",
        "worker_init",
        "nodes_per_block",
        "init_blocks",
        "min_blocks",
        "max_blocks",
        "parallelism",
        "launcher",
        "walltime",
        "cmd_timeout",
    )
    scheduler: ClassVar[str] = "Torque"
    prefix: ClassVar[str] = "#PBS"
    commands: ClassVar[tuple[str, ...]] = ("qsub", "qstat", "qdel")
    redirects: ClassVar[bool] = True
    gone: ClassVar[str] = r"unknown job ?id|invalid for state of job|invalid state for job"

    account = Text(None)
    queue = Text(None)
    cpus_per_node = Whole(1, low=1)

    def directives(self, job: Job) -> list[str]:
        lines = [
            "#PBS -S /bin/bash",
            f"#PBS -N {job.name}",
            "#PBS -m n",
            # A block runs once: managers of its first run would meet a second run of the same name.
            "#PBS -r n",
            f"#PBS -l walltime={clock(self.walltime)}",
            f"#PBS -l nodes={self.nodes_per_block}:ppn={self.cpus_per_node}",
            # Torque delivers these files only at the end of the job, so the script itself writes the output.
            f"#PBS -o {job.stdout}.scheduler",
            f"#PBS -e {job.stderr}.scheduler",
        ]
        if self.account is not None:
            lines.append(f"#PBS -A {self.account}")
        if self.queue is not None:
            lines.append(f"#PBS -q {self.queue}")
        return lines

    def submit_command(self, path: str) -> list[str]:
        return ["qsub", path]

    def parse_job_id(self, stdout: str) -> str | None:
        # Scripts of the site may write something before the number.
        found = re.findall(r"^\s*(\d+(?:\[\])?(?:\.\S+)?)\s*$", stdout, re.MULTILINE)
        return str(found[-1]) if found else None

    def status_command(self, jobs: list[str]) -> list[str]:
        return ["qstat", "-f", *jobs]

    def parse_statuses(self, stdout: str, jobs: list[str]) -> dict[str, JobStatus]:
        # qstat may write the full name of the server, and qsub its short name.
        names = {number_of(job): job for job in jobs}

        def rows() -> Iterator[tuple[str, JobStatus]]:
            for found, attributes in records(stdout).items():
                job = found if found in jobs else names.get(number_of(found))
                if job is not None and attributes.get("job_state"):
                    yield job, _status(attributes)

        return gathered(rows(), jobs)

    def cancel_command(self, jobs: list[str]) -> list[str]:
        return ["qdel", *jobs]

    def find_command(self, name: str) -> list[str]:
        return ["qselect", "-N", name]

    def parse_found(self, stdout: str, name: str) -> str | None:
        return self.parse_job_id(stdout)


def _status(attributes: Mapping[str, str]) -> JobStatus:
    state, comment = attributes["job_state"], attributes.get("comment", "")
    hosts = ",".join(dict.fromkeys(part.split("/")[0] for part in attributes.get("exec_host", "").split("+") if part))
    if state in ("Q", "W", "T"):
        return JobStatus(BlockState.queued, comment)
    if state == "H":
        kind = attributes.get("Hold_Types", "")
        if kind == "u":  # the user holds the job, and may release it
            return JobStatus(BlockState.queued, comment or "held by its owner")
        return StuckJob(BlockState.failed, f"Torque holds it: {comment or f'hold of type {kind}'}")
    if state in ("R", "E"):
        return JobStatus(BlockState.running, "", hosts)
    if state == "S":
        return JobStatus(BlockState.running, comment or "suspended", hosts)
    if state == "C":
        return _end(attributes.get("exit_status", ""), hosts, attributes.get("sched_hint", ""))
    return unclear("Torque", state)


def _end(text: str, hosts: str, hint: str) -> JobStatus:
    """Return the status of a completed job, from its exit status; a job that was deleted while it waited has none."""
    try:
        status = int(text)
    except ValueError:
        return JobStatus(BlockState.scaled_in, "deleted before it ran", hosts)
    if status == _WALLTIME:
        return JobStatus(BlockState.finished, "it reached its walltime", hosts)
    # qdel sends SIGTERM, which is signal 15.
    if status == _KILLED + 15:
        return JobStatus(BlockState.scaled_in, "deleted (exit status 271)", hosts)
    if status > _KILLED:
        status = status - _KILLED + 128  # the number that a shell would report
    if status < 0:
        words = f"{_WORDS.get(status, 'Torque could not run it')} (exit status {status})"
        return JobStatus(BlockState.failed, f"{words}: {hint}" if hint else words, hosts)
    end = ended(status)
    return JobStatus(end.state, end.reason, hosts)
