"""Slurm: sbatch, squeue, sacct, scancel.

``squeue --states=all`` lists jobs that ended in the last minutes too; older jobs are looked up with sacct.  A block
that reaches its walltime or is preempted has finished in order.  A job that waits for something that its partition,
account or QOS can never give has failed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from parslab.description import Text, Whole, YesNo
from parslab.errors import ConfigurationError
from parslab.providers.base import JobStatus
from parslab.providers.batch.base import BatchProvider
from parslab.providers.batch.job_status import StuckJob, gathered, unclear
from parslab.records.states import BlockState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.providers.base import Job

__all__ = ["SlurmProvider"]

_QUEUED = (
    "PENDING PD CONFIGURING CF REQUEUED RQ REQUEUE_FED RF REQUEUE_HOLD RH SPECIAL_EXIT SE RESV_DEL_HOLD RD EXPEDITING"
)
_RUNNING = (
    "RUNNING R COMPLETING CG RESIZING RS SIGNALING SI STAGE_OUT SO STOPPED ST SUSPENDED S POWER_UP_NODE UPDATE_DB"
)
_FINISHED = "COMPLETED CD TIMEOUT TO PREEMPTED PR DEADLINE DL"
_FAILED = "FAILED F NODE_FAIL NF BOOT_FAIL BF OUT_OF_MEMORY OOM LAUNCH_FAILED RECONFIG_FAIL REVOKED RV"

_STATES = {
    word: state
    for words, state in (
        (_QUEUED, BlockState.queued),
        (_RUNNING, BlockState.running),
        (_FINISHED, BlockState.finished),
        (_FAILED, BlockState.failed),
        ("CANCELLED CA", BlockState.scaled_in),
    )
    for word in words.split()
}

_NEVER = (
    (r"PartitionNodeLimit", "the partition has not so many nodes, or a job may not have them: lower nodes_per_block"),
    (r"PartitionTimeLimit", "the partition allows less time: lower walltime"),
    (
        r"PartitionConfig",
        "the partition cannot give what is asked for: look at walltime, nodes_per_block, cores_ and mem_per_node",
    ),
    (r"(Assoc|QOS)Max\w+Per(Job|Node)", "your account or QOS allows less for one job"),
    (r"(Assoc|QOS)Grp(?!\w*Run)\w*Minutes", "the budget of your account or QOS is used up"),
    (r"QOSMin", "the QOS wants larger jobs"),
    (r"Invalid(Account|QOS|Qos)|AccountNotAllowed|QOSNotAllowed|AccountingPolicy", "look at account and qos"),
    (r"BadConstraints", "no node is like this: look at constraint, gres and mem_per_node"),
    (r"DependencyNeverSatisfied|BurstBuffer.*Error", "look at scheduler_options"),
    (r"launch failed|requeued in held state|JobHoldMaxRequeue", "its node could not start it"),
)
"""Reasons that do not pass, and what the user can do."""

_MEANING = {
    "TIMEOUT": "it reached its walltime",
    "PREEMPTED": "another job took its nodes",
    "NODE_FAIL": "a node of it failed",
    "OUT_OF_MEMORY": "it used more memory than it had: raise mem_per_node",
    "BOOT_FAIL": "its nodes did not boot",
    "DEADLINE": "it reached its deadline",
}


class SlurmProvider(BatchProvider):
    """Blocks are jobs of Slurm.

    Parameters
    ----------
    partition, account, qos, constraint, clusters, gres
        The options of sbatch.
    cores_per_node
        Cores of each node that a block requests and uses; None means all cores of the node.
    mem_per_node
        Memory of each node in GB; None means the default of Slurm.
    gpus_per_node
        GPUs of each node.
    exclusive
        Whether a block shares its nodes with no other job.
    regex_job_id
        A regular expression that finds the job's number in the output of sbatch, as the group ``id``.

    Examples
    --------
    >>> from parslab.launchers import SrunLauncher
    >>> SlurmProvider(partition="debug", nodes_per_block=2, walltime="01:00:00", launcher=SrunLauncher())
    SlurmProvider(nodes_per_block=2, launcher=SrunLauncher(), walltime=3600.0, partition='debug')
    """

    positional: ClassVar[tuple[str, ...]] = (
        "partition",
        "account",
        "qos",
        "constraint",
        "clusters",
        "nodes_per_block",
        "cores_per_node",
        "mem_per_node",
        "gpus_per_node",
        "gres",
        "init_blocks",
        "min_blocks",
        "max_blocks",
        "parallelism",
        "walltime",
        "scheduler_options",
        "regex_job_id",
        "worker_init",
        "cmd_timeout",
        "status_batch_size",
        "exclusive",
        "launcher",
    )
    scheduler: ClassVar[str] = "Slurm"
    prefix: ClassVar[str] = "#SBATCH"
    commands: ClassVar[tuple[str, ...]] = ("sbatch", "squeue", "scancel")
    gone: ClassVar[str] = r"invalid job id|already completing|already completed|job/step already"

    hints: ClassVar[tuple[tuple[str, str], ...]] = (
        ("invalid partition", "sinfo lists partitions"),
        ("invalid account|account/partition", "sacctmgr show associations user=$USER lists your accounts"),
        ("invalid qos", "sacctmgr show qos lists them"),
        ("node configuration is not available", "look at nodes_per_block, cores_per_node, mem_per_node and gres"),
        ("time limit is", "lower walltime"),
        ("unable to contact|connection refused|socket timed out", "Slurm's controller may be down"),
    )

    partition = Text(None)
    account = Text(None)
    qos = Text(None)
    constraint = Text(None)
    clusters = Text(None)
    cores_per_node = Whole(None, low=1)
    mem_per_node = Whole(None, low=1)
    gpus_per_node = Whole(None, low=1)
    gres = Text(None)
    exclusive = YesNo(True)
    regex_job_id = Text(r"Submitted batch job (?P<id>\S*)")

    def check(self) -> None:
        super().check()
        try:
            named = "id" in re.compile(self.regex_job_id).groupindex
        except re.error as error:
            raise ConfigurationError(f"SlurmProvider: regex_job_id is no regular expression: {error}.") from None
        if not named:
            raise ConfigurationError(
                "SlurmProvider: regex_job_id needs a group named id, as in 'Submitted batch job (?P<id>\\d+)'."
            )

    def group(self) -> str:
        return f"Slurm {self.clusters or ''}".strip()

    def directives(self, job: Job) -> list[str]:
        options = {
            "job-name": job.name,
            "output": _file_name(job.stdout),
            "error": _file_name(job.stderr),
            "nodes": self.nodes_per_block,
            # The launcher starts one manager on each node, and the manager gets all of the requested cores.
            "ntasks-per-node": 1,
            # sbatch counts in minutes.  The time is rounded up, because 0 would mean that there is no limit.
            "time": -int(-self.walltime // 60),
            "partition": self.partition,
            "account": self.account,
            "qos": self.qos,
            "constraint": self.constraint and _quoted(self.constraint),
            "clusters": self.clusters,
            "cpus-per-task": self.cores_per_node,
            "mem": self.mem_per_node and f"{self.mem_per_node}g",
            "gpus-per-node": self.gpus_per_node,
            "gres": self.gres,
        }
        lines = [f"#SBATCH --{name}={value}" for name, value in options.items() if value is not None]
        # A block runs once: managers of its first run would meet a second run of the same name.
        lines.append("#SBATCH --no-requeue")
        return [*lines, "#SBATCH --exclusive"] if self.exclusive else lines

    def settings(self) -> dict[str, str]:
        found = {}
        if self.cores_per_node is not None:
            found["PARSLAB_CORES"] = str(self.cores_per_node)
        if self.mem_per_node is not None:
            found["PARSLAB_MEMORY_GB"] = str(self.mem_per_node)
        return found

    def submit_command(self, path: str) -> list[str]:
        return ["sbatch", path]

    def parse_job_id(self, stdout: str) -> str | None:
        match = re.search(self.regex_job_id, stdout)
        return (match["id"] or None) if match else None

    def status_command(self, jobs: list[str]) -> list[str]:
        return ["squeue", "--noheader", "--states=all", "--format=%i|%T|%r|%N", *self._for(jobs)]

    def parse_statuses(self, stdout: str, jobs: list[str]) -> dict[str, JobStatus]:
        return gathered(self._rows(stdout), jobs)

    def cancel_command(self, jobs: list[str]) -> list[str]:
        return ["scancel", *self._clusters(), *jobs]

    def accounting_commands(self, jobs: list[str]) -> list[list[str]]:
        form = "--format=JobID,State,ExitCode,NodeList"
        return [["sacct", "--allocations", "--noheader", "--parsable2", form, *self._for(jobs)]]

    def parse_accounting(self, stdout: str, jobs: list[str]) -> dict[str, JobStatus]:
        return gathered(self._rows(stdout), jobs)

    def find_command(self, name: str) -> list[str]:
        return ["squeue", "--noheader", "--states=all", "--format=%i|%j", f"--name={name}", *self._clusters()]

    def parse_found(self, stdout: str, name: str) -> str | None:
        lines = (line.strip().partition("|") for line in stdout.splitlines())
        numbers = [number for number, _, found in lines if found == name and number.isdigit()]
        return max(numbers, key=int, default=None)  # ended jobs are listed too, and the newest job is the right one

    def _clusters(self) -> list[str]:
        # Without this option the commands ask the default cluster, which does not have the jobs.
        return [f"--clusters={self.clusters}"] if self.clusters else []

    def _for(self, jobs: list[str]) -> list[str]:
        return [f"--jobs={','.join(jobs)}", *self._clusters()]

    def _rows(self, stdout: str) -> Iterator[tuple[str, JobStatus]]:
        """Yield the number and the status of each job that a line names; other lines, such as warnings, are ignored."""
        for line in stdout.splitlines():
            parts = line.strip().split("|")
            # 12_3 and 12_[1-8] are parts of an array, 12+1 of a heterogeneous job; 12.batch is a step.
            number = re.match(r"(\d+)(?:$|[_+])", parts[0])
            if number and len(parts) == 4 and parts[1].strip():
                yield number[1], _status(parts[1].strip(), parts[2].strip(), parts[3].strip())


def _status(word: str, detail: str, nodes: str) -> JobStatus:
    """Return the status for a state of Slurm; ``detail`` is squeue's reason or sacct's exit code."""
    # sacct writes "CANCELLED by 1000", and adds "+" to a word that it has cut off.
    state = _STATES.get(word.split()[0].rstrip("+"))
    hosts = "" if nodes in ("None assigned", "(null)") else nodes
    if state is None:
        return unclear("Slurm", word)
    detail = "" if detail in ("None", "") else detail
    if state is BlockState.queued:
        advice = next((advice for pattern, advice in _NEVER if re.match(pattern, detail)), None)
        if advice:
            return StuckJob(BlockState.failed, f"Slurm would never start it: {detail} ({advice})")
        return JobStatus(state, detail)
    if state is BlockState.running:
        return JobStatus(state, "" if word in ("RUNNING", "R") else word, hosts)
    exit_code = re.fullmatch(r"(\d+):(\d+)", detail)
    words = _exit_words(int(exit_code[1]), int(exit_code[2])) if exit_code else detail
    if word in ("COMPLETED", "CD"):
        return JobStatus(state, "", hosts)
    meaning = _MEANING.get(word.split()[0], "")
    return JobStatus(state, ", ".join(part for part in (word, meaning or words) if part), hosts)


def _exit_words(code: int, number: int) -> str:
    if number:
        return f"killed by signal {number}"
    return f"exit status {code}" if code else ""


def _quoted(text: str) -> str:
    return f'"{text}"' if re.search(r"[\s|&*;()]", text) else text


def _file_name(path: str) -> str:
    """Return a path as sbatch reads it: ``%`` is doubled, because sbatch replaces patterns that begin with it."""
    return _quoted(path.replace("%", "%%"))
