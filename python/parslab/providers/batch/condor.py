"""HTCondor: condor_submit, condor_q, condor_history, condor_rm.

A block of several nodes is a cluster of as many processes, each with a manager.  A process that HTCondor holds has
failed, unless the user holds it.  A block runs once, although HTCondor would start an evicted process again.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, ClassVar

from parslab.description import Number, Text, Texts, Variables, Whole
from parslab.providers.base import JobStatus, Provider, ended, script_text
from parslab.providers.batch.base import BatchProvider
from parslab.providers.batch.job_status import StuckJob, gathered, unclear
from parslab.records.states import BlockState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from parslab.providers.base import Job

__all__ = ["CondorProvider"]

_FIELDS = ("JobStatus", "ExitCode", "ExitSignal", "HoldReasonCode", "RemoteHost", "HoldReason", "RemoveReason")
_IDLE, _RUNNING, _REMOVED, _COMPLETED, _HELD, _OUTPUT, _SUSPENDED = range(1, 8)
_BY_USER, _SPOOLING = "1", "16"
"""Codes of holds that end by themselves, or that the user ends."""
_WALLTIME = "the block reached its walltime"
_EVICTED = "PeriodicRemove"


class CondorProvider(BatchProvider):
    """Blocks are jobs of HTCondor.

    Parameters
    ----------
    nodes_per_block
        Slots of each block; each gets a manager.
    cores_per_slot
        Cores of each slot.
    mem_per_slot
        Memory of each slot in GB.
    environment
        Variables of the job.
    project
        ``ProjectName`` of the job.
    requirements
        A requirements expression of HTCondor that selects machines.
    transfer_input_files
        Files that HTCondor copies to the slot.
    scheduler_options
        More lines for the submit file.

    Examples
    --------
    >>> CondorProvider(cores_per_slot=4, requirements="(OpSysMajorVer == 12)")
    CondorProvider(cores_per_slot=4, requirements='(OpSysMajorVer == 12)')
    """

    positional: ClassVar[tuple[str, ...]] = (
        "nodes_per_block",
        "cores_per_slot",
        "mem_per_slot",
        "init_blocks",
        "min_blocks",
        "max_blocks",
        "parallelism",
        "environment",
        "project",
        "scheduler_options",
        "transfer_input_files",
        "walltime",
        "worker_init",
        "launcher",
        "requirements",
        "cmd_timeout",
        "cmd_chunk_size",
    )
    renamed: ClassVar[dict[str, str]] = {"cmd_chunk_size": "status_batch_size"}
    none_means_default: ClassVar[frozenset[str]] = frozenset({"environment"})
    scheduler: ClassVar[str] = "HTCondor"
    commands: ClassVar[tuple[str, ...]] = ("condor_submit", "condor_q", "condor_rm")
    gone: ClassVar[str] = r"couldn't find|not found|there are no|no result found|already (removed|marked)"

    cores_per_slot = Whole(None, low=1)
    mem_per_slot = Number(None, above=0)
    environment = Variables({})
    project = Text("", empty=True)
    requirements = Text("", empty=True)
    transfer_input_files = Texts(())

    def group(self) -> str:
        # Whether all processes of a block have ended can be told only if all blocks have as many.
        return f"{self.scheduler}, {self.nodes_per_block} slots"

    def check(self) -> None:
        Provider.check(self)  # HTCondor itself starts a manager in each slot, so any launcher will do

    def settings(self) -> dict[str, str]:
        found = {}
        if self.cores_per_slot is not None:
            found["PARSLAB_CORES"] = str(self.cores_per_slot)
        if self.mem_per_slot is not None:
            found["PARSLAB_MEMORY_GB"] = f"{self.mem_per_slot:g}"
        return found

    def script(self, job: Job) -> str:
        one = self.replaced(nodes_per_block=1)
        return script_text(one, job, [], self.variables(job), walltime=self.walltime, copies=self.nodes_per_block)

    def files(self, job: Job) -> dict[str, str]:
        return {job.script: self.script(job), _submit_file(job.script): self.submit_text(job)}

    def submit_text(self, job: Job) -> str:
        """Return the text of the submit file.

        Some commands have reasons that HTCondor does not make obvious:

        * ``stream_output``: otherwise the output arrives at the end, and nothing explains why no manager connects;
        * ``periodic_hold``: a held job stays in the queue with its reason, which the runner reads before it removes it;
        * ``periodic_remove``: HTCondor would start an evicted process again, although a block runs once;
        * ``output`` after the user's lines: the last value of a command counts, and parslab reads these files.
        """
        lines = [
            "universe = vanilla",
            # The default is the folder in which the run was started, which other machines may not have.
            f"initialdir = {_plain(os.path.dirname(job.script))}",
            f"executable = {_plain(job.script)}",
            f"log = {_plain(job.script)}.log",
            "should_transfer_files = IF_NEEDED",
            "when_to_transfer_output = ON_EXIT",
            "stream_output = True",
            "stream_error = True",
            f'+JobBatchName = "{job.name}"',
            f"periodic_hold = (JobStatus == 2) && (time() - EnteredCurrentStatus > {self.walltime:.0f})",
            f'periodic_hold_reason = "{_WALLTIME}"',
            "periodic_remove = (JobStatus == 1) && (NumJobStarts > 0)",
        ]
        if self.cores_per_slot is not None:
            lines.append(f"request_cpus = {self.cores_per_slot}")
        if self.mem_per_slot is not None:
            lines.append(f"request_memory = {self.mem_per_slot * 1024:.0f}")
        if self.requirements.strip():
            lines.append(f"requirements = {self.requirements}")
        if self.project.strip():
            lines.append('+ProjectName = "{}"'.format(self.project.strip().strip('"')))
        if self.environment:
            lines.append(f'environment = "{_environment(self.environment)}"')
        if self.transfer_input_files:
            lines.append(f"transfer_input_files = {', '.join(map(_plain, self.transfer_input_files))}")
        lines += [line for line in self.scheduler_options.splitlines() if line.strip()]
        lines += [f"output = {_plain(job.stdout)}", f"error = {_plain(job.stderr)}", "queue"]
        if self.nodes_per_block > 1:
            # Two processes that write to one file would overwrite each other's output.
            (out_folder, out), (err_folder, err) = os.path.split(job.stdout), os.path.split(job.stderr)
            names = [f"{out}{end}, {err}{end}" for end in ("", *(f".{n}" for n in range(1, self.nodes_per_block)))]
            lines[-3:] = [
                f"output = {_plain(out_folder)}/$(out)",
                f"error = {_plain(err_folder)}/$(err)",
                "\n".join(["queue out, err from (", *names, ")"]),
            ]
        return "\n".join([*lines, ""])

    def submit_command(self, path: str) -> list[str]:
        return ["condor_submit", _submit_file(path)]

    def parse_job_id(self, stdout: str) -> str | None:
        match = re.search(r"submitted to cluster (\d+)", stdout)
        return match[1] if match else None

    def status_command(self, jobs: list[str]) -> list[str]:
        return ["condor_q", *jobs, "-af:jt", *_FIELDS]

    def parse_statuses(self, stdout: str, jobs: list[str]) -> dict[str, JobStatus]:
        return gathered(_rows(stdout), jobs, self.nodes_per_block)

    def cancel_command(self, jobs: list[str]) -> list[str]:
        return ["condor_rm", *jobs]

    def accounting_commands(self, jobs: list[str]) -> list[list[str]]:
        # condor_history reads from the end, and with a limit it stops when it has found all jobs.
        limit = str(len(jobs) * self.nodes_per_block)
        return [["condor_history", *jobs, "-limit", limit, "-af:jt", *_FIELDS]]

    def parse_accounting(self, stdout: str, jobs: list[str]) -> dict[str, JobStatus]:
        return gathered(_rows(stdout), jobs, self.nodes_per_block)

    def find_command(self, name: str) -> list[str]:
        return ["condor_q", "-constraint", f'JobBatchName == "{name}"', "-af:jt", "JobBatchName"]

    def parse_found(self, stdout: str, name: str) -> str | None:
        for line in stdout.splitlines():
            number, _, found = line.partition("\t")
            if found.strip() == name and re.match(r"\d+\.", number.strip()):
                return number.strip().partition(".")[0]
        return None


def _submit_file(script: str) -> str:
    return f"{script}.submit"


def _plain(path: str) -> str:
    """Return a path as HTCondor reads it: it replaces names after ``$``."""
    return path.replace("$", "$(DOLLAR)")


def _environment(variables: object) -> str:
    """Environment variables in HTCondor's syntax: quotes are doubled, values with blanks are in single quotes."""
    words = []
    for name, text in dict(variables).items():  # type: ignore[call-overload]
        inner = text.replace('"', '""').replace("'", "''")
        words.append(f"{name}='{inner}'" if re.search(r"[\s']", text) or not text else f"{name}={inner}")
    return " ".join(words)


def _rows(stdout: str) -> Iterator[tuple[str, JobStatus]]:
    """Yield the job and the status of each process that a line names; other lines are ignored."""
    for line in stdout.splitlines():
        parts = [("" if part.strip() == "undefined" else part.strip()) for part in line.split("\t")]
        number = re.match(r"(\d+)\.\d+$", parts[0])
        if number and len(parts) == len(_FIELDS) + 1 and parts[1]:
            yield number[1], _status(dict(zip(_FIELDS, parts[1:], strict=True)))


def _status(row: Mapping[str, str]) -> JobStatus:
    """Return the status of one process, from its attributes ``_FIELDS``; an undefined attribute is empty."""
    held, removed, host = row["HoldReason"], row["RemoveReason"], row["RemoteHost"].rpartition("@")[2]
    number = int(row["JobStatus"]) if row["JobStatus"].isdigit() else 0
    if number == _IDLE:
        return JobStatus(BlockState.queued)
    if number in (_RUNNING, _OUTPUT, _SUSPENDED):
        return JobStatus(BlockState.running, "suspended" if number == _SUSPENDED else "", host)
    if number == _REMOVED:
        if _EVICTED in removed:
            return JobStatus(BlockState.failed, "its machine had to give it up", host)
        return _at_walltime(removed or held) or JobStatus(BlockState.scaled_in, removed, host)
    if number == _COMPLETED:
        end = ended(_exit_status(row["ExitSignal"], row["ExitCode"]))
        return JobStatus(end.state, end.reason, host)
    if number == _HELD:
        code = row["HoldReasonCode"]
        if code in (_BY_USER, _SPOOLING):
            return JobStatus(BlockState.queued, held)
        return _at_walltime(held) or StuckJob(BlockState.failed, f"HTCondor holds it: {held or f'code {code}'}")
    return unclear("HTCondor", row["JobStatus"])


def _exit_status(signal: str, code: str) -> int:
    # HTCondor has an attribute of its own for the signal; ``ended`` reads exit statuses as a shell reports them.
    if signal.isdigit():
        return 128 + int(signal)
    return int(code) if code.lstrip("-").isdigit() else 0


def _at_walltime(reason: str) -> JobStatus | None:
    """Return the status of a job that is held because its walltime is over; such a job stays in the queue."""
    # The second text is of HTCondor itself: a site or the user may set ``allowed_job_duration``.
    if _WALLTIME in reason or "exceeded allowed" in reason:
        return StuckJob(BlockState.finished, "it reached its walltime")
    return None
