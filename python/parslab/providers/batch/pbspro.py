"""PBS Pro and OpenPBS: qsub, qstat -x, qdel.

``qstat -x`` also lists ended jobs if the server keeps a history.  A walltime ends a block in order.  A job has failed
if the server reports that it can never run.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from parslab.description import Text, Whole
from parslab.providers.base import JobStatus, ended
from parslab.providers.batch.base import BatchProvider
from parslab.providers.batch.job_status import StuckJob, gathered, unclear
from parslab.providers.batch.qstat import records
from parslab.providers.batch.script import clock, short_name
from parslab.records.states import BlockState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from parslab.providers.base import Job

__all__ = ["PBSProProvider"]

_TERMINATED = "91"
"""The substate of a job that qdel has ended."""
_NEVER = (
    r"Can Never Run|would never run|No default queue|too many failed attempts|cannot be satisfied|Not Running: .*never"
)
_WORDS = {
    "Q": BlockState.queued,
    "H": BlockState.queued,
    "W": BlockState.queued,
    "T": BlockState.queued,
    "M": BlockState.queued,
    "R": BlockState.running,
    "B": BlockState.running,
    "E": BlockState.running,
    "S": BlockState.running,
    "U": BlockState.running,
}
_MEANING = {
    "H": "held",
    "W": "waits for its start time",
    "T": "being moved",
    "M": "moved to another server",
    "E": "exiting",
    "S": "suspended",
    "U": "suspended, because its workstation is in use",
}


class PBSProProvider(BatchProvider):
    """Blocks are jobs of PBS Pro or OpenPBS.

    Parameters
    ----------
    account, queue
        The options of qsub.
    cpus_per_node
        Cores of each node that a block requests (``ncpus`` of the select line).
    select_options
        More resources for the select line, such as ``ngpus=4``.

    Examples
    --------
    >>> PBSProProvider(queue="workq", cpus_per_node=32, select_options="ngpus=4")
    PBSProProvider(queue='workq', cpus_per_node=32, select_options='ngpus=4')
    """

    positional: ClassVar[tuple[str, ...]] = (
        "account",
        "queue",
        "scheduler_options",
        "select_options",
        "worker_init",
        "nodes_per_block",
        "cpus_per_node",
        "init_blocks",
        "min_blocks",
        "max_blocks",
        "parallelism",
        "launcher",
        "walltime",
        "cmd_timeout",
    )
    scheduler: ClassVar[str] = "PBS"
    prefix: ClassVar[str] = "#PBS"
    redirects: ClassVar[bool] = True
    commands: ClassVar[tuple[str, ...]] = ("qsub", "qstat", "qdel")
    gone: ClassVar[str] = r"Unknown Job Id|Job has finished|Request invalid for state of job"

    hints: ClassVar[tuple[tuple[str, str], ...]] = (
        ("unknown queue", "qstat -Q lists queues"),
        ("account|project", "look at account"),
        ("walltime|resource limits", "look at walltime, nodes_per_block and cpus_per_node"),
        ("unknown resource|illegal attribute", "look at select_options and scheduler_options"),
    )

    account = Text(None)
    queue = Text(None)
    cpus_per_node = Whole(1, low=1)
    select_options = Text("", empty=True)

    def directives(self, job: Job) -> list[str]:
        chunk = ":".join(part for part in (f"ncpus={self.cpus_per_node}", self.select_options.strip(" :")) if part)
        lines = [
            "-S /bin/bash",
            f"-N {short_name(job.name, 230)}",
            "-j oe",
            # PBS delivers this file only at the end of the job, so the script itself writes the output.
            f"-o {job.stdout}.scheduler",
            "-m n",
            # A block runs once: managers of its first run would meet a second run of the same name.
            "-r n",
            f"-l walltime={clock(self.walltime)}",
            f"-l select={self.nodes_per_block}:{chunk}",
        ]
        # Without this option PBS may put several parts of a block on one node.
        if self.nodes_per_block > 1 and "place=" not in self.scheduler_options:
            lines.append("-l place=scatter")
        lines += [f"-{letter} {text}" for letter, text in (("A", self.account), ("q", self.queue)) if text is not None]
        return [f"#PBS {line}" for line in lines]

    def submit_command(self, path: str) -> list[str]:
        return ["qsub", path]

    def parse_job_id(self, stdout: str) -> str | None:
        for line in reversed(stdout.splitlines()):
            if re.fullmatch(r"\d+(\[\])?(\.\S+)?", line.strip()):
                return line.strip()
        return None

    def status_command(self, jobs: list[str]) -> list[str]:
        return ["qstat", "-x", "-f", *jobs]

    def parse_statuses(self, stdout: str, jobs: list[str]) -> dict[str, JobStatus]:
        # The name of the server may be complete in one place and short in another.
        by_number = {job.partition(".")[0]: job for job in jobs}
        found = (
            (by_number.get(job.partition(".")[0], job), _status(attributes))
            for job, attributes in records(stdout).items()
        )
        return gathered(found, jobs)

    def cancel_command(self, jobs: list[str]) -> list[str]:
        return ["qdel", *jobs]

    def find_command(self, name: str) -> list[str]:
        return ["qstat", "-f"]

    def parse_found(self, stdout: str, name: str) -> str | None:
        short = short_name(name, 230)
        return next((job for job, attributes in records(stdout).items() if attributes.get("Job_Name") == short), None)


def _status(attributes: Mapping[str, str]) -> JobStatus:
    """Return the status of a job, from its attributes."""
    letter, comment = attributes.get("job_state", ""), attributes.get("comment", "")
    hosts = ",".join(_hosts(attributes.get("exec_host", "")))
    if letter in ("F", "X", "C"):
        return _end(attributes, hosts)
    state = _WORDS.get(letter)
    if state is None:
        return unclear("PBS", letter)
    if state is BlockState.queued:
        # PBS keeps an impossible job in its queue for ever; only the comment shows that it will never run.
        if re.search(_NEVER, comment, re.IGNORECASE):
            return StuckJob(BlockState.failed, f"PBS would never start it: {comment}")
        if letter == "H" and "s" in attributes.get("Hold_Types", ""):
            return StuckJob(BlockState.failed, f"held by the system: {comment or 'no reason is given'}")
        return JobStatus(state, ": ".join(part for part in (_MEANING.get(letter, ""), comment) if part))
    return JobStatus(state, _MEANING.get(letter, ""), hosts)


def _end(attributes: Mapping[str, str], hosts: str) -> JobStatus:
    comment = attributes.get("comment", "")
    code = attributes.get("Exit_status", "")
    used, limit = (attributes.get(name, "") for name in ("resources_used.walltime", "Resource_List.walltime"))
    # PBS ends such a job with a signal, so its exit status alone does not show the reason.
    if _seconds(used) >= _seconds(limit, 1e18):
        return JobStatus(BlockState.finished, "it reached its walltime", hosts)
    if attributes.get("substate") == _TERMINATED:
        return JobStatus(BlockState.scaled_in, comment or "deleted", hosts)
    if not re.fullmatch(r"-?\d+", code):
        return JobStatus(BlockState.failed, comment or "it ended without an exit status", hosts)
    number = int(code)
    if number < 0:
        return JobStatus(BlockState.failed, f"PBS could not run it (Exit_status {code}): {comment}", hosts)
    status = ended(number - 128 if number > 256 else number)  # PBS adds 256 to a signal, bash 128
    words = f"{status.reason}: {comment}" if comment and status.state is BlockState.failed else status.reason
    return JobStatus(status.state, words, hosts)


def _hosts(text: str) -> Iterator[str]:
    """Yield the nodes in a text such as ``n1/0*32+n2/0``, each of them once."""
    yield from dict.fromkeys(part.partition("/")[0] for part in text.split("+") if part)


def _seconds(clock_text: str, otherwise: float = 0.0) -> float:
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d)", clock_text)
    return int(match[1]) * 3600.0 + int(match[2]) * 60 + int(match[3]) if match else otherwise
