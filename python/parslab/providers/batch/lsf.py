"""LSF: bsub, bjobs, bhist, bkill.

bjobs lists ended jobs for an hour, with exit status and LSF's reason for ending them; afterwards bhist reports them.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

from parslab.description import Text, Whole, YesNo, warn_once
from parslab.errors import ConfigurationError
from parslab.providers.base import JobStatus, ended
from parslab.providers.batch.base import BatchProvider
from parslab.providers.batch.job_status import gathered, unclear
from parslab.records.states import BlockState

if TYPE_CHECKING:
    from collections.abc import Iterator, Set

    from parslab.providers.base import Job

__all__ = ["LSFProvider"]

_FIELDS = "jobid stat exit_code exit_reason exec_host pend_reason delimiter='|'"

_QUEUED = {"PEND": "", "FWD_PEND": "", "WAIT": "", "PROV": "its host is being made ready", "PSUSP": "held"}
_RUNNING = {
    "RUN": "",
    "USUSP": "suspended",
    "SSUSP": "suspended by LSF",
    "UNKWN": "LSF has lost sight of its host",
}

_ENDS = {
    "TERM_RUNLIMIT": (BlockState.finished, "it reached its walltime"),
    "TERM_DEADLINE": (BlockState.finished, "its queue closed"),
    "TERM_WINDOW": (BlockState.finished, "its queue closed"),
    "TERM_PREEMPT": (BlockState.finished, "another job took its place"),
    "TERM_OWNER": (BlockState.scaled_in, "killed by its owner"),
    "TERM_FORCE_OWNER": (BlockState.scaled_in, "killed by its owner"),
    "TERM_ADMIN": (BlockState.scaled_in, "killed by an administrator"),
    "TERM_FORCE_ADMIN": (BlockState.scaled_in, "killed by an administrator"),
    "TERM_MEMLIMIT": (BlockState.failed, "it used more memory than it had"),
}
"""LSF's reasons for ending a job; for other reasons the exit status says more."""


class LSFProvider(BatchProvider):
    """Blocks are jobs of LSF.

    Parameters
    ----------
    project, queue
        The options of bsub.
    request_by_nodes
        Request nodes (``-nnodes``, for LSF with job step manager and whole nodes); False requests cores.
    cores_per_node
        Cores of each node that a block requests; needed with ``request_by_nodes=False``.
    cores_per_block
        Cores of a block; None means ``cores_per_node`` on each of its nodes.
    bsub_redirection
        bsub reads the script from its standard input, where it looks for ``#BSUB`` lines at every site; False: it gets
        the script's name, and the site must have LSB_BSUB_PARSE_SCRIPT.

    Examples
    --------
    >>> LSFProvider(project="chem1", walltime="02:00:00", request_by_nodes=False, cores_per_node=16)
    LSFProvider(walltime=7200.0, project='chem1', request_by_nodes=False, cores_per_node=16)
    """

    positional: ClassVar[tuple[str, ...]] = (
        "nodes_per_block",
        "cores_per_block",
        "cores_per_node",
        "init_blocks",
        "min_blocks",
        "max_blocks",
        "parallelism",
        "walltime",
        "scheduler_options",
        "worker_init",
        "project",
        "queue",
        "cmd_timeout",
        "bsub_redirection",
        "request_by_nodes",
        "launcher",
    )
    scheduler: ClassVar[str] = "LSF"
    prefix: ClassVar[str] = "#BSUB"
    commands: ClassVar[tuple[str, ...]] = ("bsub", "bjobs", "bkill")
    redirects: ClassVar[bool] = True
    gone: ClassVar[str] = r"is not found|no matching job|already finished|no unfinished job|no job found"

    project = Text(None)
    queue = Text(None)
    request_by_nodes = YesNo(True)
    cores_per_node = Whole(None, low=1)
    cores_per_block = Whole(None, low=1)
    bsub_redirection = YesNo(True)

    def complete(self, given: Set[str]) -> None:
        super().complete(given)
        if self.request_by_nodes:
            if self.cores_per_block is not None:
                warn_once("LSFProvider: cores_per_block has no effect without request_by_nodes=False.")
        elif self.cores_per_block and self.cores_per_node and "nodes_per_block" not in given:
            self.nodes_per_block = -(-self.cores_per_block // self.cores_per_node)

    def check(self) -> None:
        super().check()
        if not self.request_by_nodes and self.cores_per_node is None:
            raise ConfigurationError("LSFProvider: request_by_nodes=False needs cores_per_node.")
        if not self.request_by_nodes and self.cores_per_block and self.cores_per_node:
            nodes = -(-self.cores_per_block // self.cores_per_node)
            if nodes != self.nodes_per_block:
                raise ConfigurationError(
                    f"LSFProvider: cores_per_block={self.cores_per_block} with cores_per_node={self.cores_per_node} is "
                    f"{nodes} nodes, but nodes_per_block is {self.nodes_per_block}."
                )

    def directives(self, job: Job) -> list[str]:
        # bsub reads hours and minutes, so the time is rounded up to a minute.
        minutes = -int(-self.walltime // 60)
        lines = [
            f"#BSUB -J {job.name}",
            # LSF appends its own report to this file.  The script itself writes the output of the block.
            f'#BSUB -o "{job.stdout}.scheduler"',
            f"#BSUB -W {minutes // 60}:{minutes % 60:02d}",
            # A block runs once: managers of its first run would meet a second run of the same name.
            "#BSUB -rn",
        ]
        if self.request_by_nodes:
            lines.append(f"#BSUB -nnodes {self.nodes_per_block}")
        else:
            cores = self.cores_per_block or self.cores_per_node * self.nodes_per_block
            lines += [f"#BSUB -n {cores}", f'#BSUB -R "span[ptile={self.cores_per_node}]"']
        if self.project is not None:
            lines.append(f"#BSUB -P {self.project}")
        if self.queue is not None:
            lines.append(f"#BSUB -q {self.queue}")
        return lines

    def settings(self) -> dict[str, str]:
        return {} if self.cores_per_node is None else {"PARSLAB_CORES": str(self.cores_per_node)}

    def submit_command(self, path: str) -> list[str]:
        return ["bsub"] if self.bsub_redirection else ["bsub", path]

    def submit_input(self, path: str) -> str | None:
        return path if self.bsub_redirection else None

    def parse_job_id(self, stdout: str) -> str | None:
        match = re.search(r"Job <(\d+)> is submitted", stdout, re.IGNORECASE)
        return match[1] if match else None

    def status_command(self, jobs: list[str]) -> list[str]:
        return ["bjobs", "-a", "-noheader", "-o", _FIELDS, *jobs]

    def parse_statuses(self, stdout: str, jobs: list[str]) -> dict[str, JobStatus]:
        return gathered(_rows(stdout), jobs)

    def cancel_command(self, jobs: list[str]) -> list[str]:
        return ["bkill", *jobs]

    def accounting_commands(self, jobs: list[str]) -> list[list[str]]:
        return [["bhist", "-l", *jobs]]

    def parse_accounting(self, stdout: str, jobs: list[str]) -> dict[str, JobStatus]:
        return gathered(_histories(stdout), jobs)

    def find_command(self, name: str) -> list[str]:
        return ["bjobs", "-a", "-noheader", "-o", "jobid job_name delimiter='|'", "-J", name]

    def parse_found(self, stdout: str, name: str) -> str | None:
        for line in stdout.splitlines():
            number, _, found = line.strip().partition("|")
            if found == name and number.isdigit():
                return number
        return None


def _rows(stdout: str) -> Iterator[tuple[str, JobStatus]]:
    for line in stdout.splitlines():
        # bjobs writes "-" for an empty field.
        # The reason is the last field, because it may contain the delimiter.
        parts = [part.strip().strip("-").strip() for part in line.split("|", 5)]
        number = re.match(r"(\d+)(?:\[\d+\])?$", parts[0])  # 12[3] is a part of an array
        if number is None or len(parts) < 6:
            continue
        word, code, reason, hosts, pending = parts[1:]
        # 16*n1:16*n2, or n1:n2
        hosts = ",".join(dict.fromkeys(host.rpartition("*")[2] for host in hosts.split(":") if host))
        if word in _QUEUED:
            yield number[1], JobStatus(BlockState.queued, pending or _QUEUED[word])
        elif word in _RUNNING:
            yield number[1], JobStatus(BlockState.running, _RUNNING[word], hosts)
        elif word in ("DONE", "EXIT", "ZOMBI"):
            yield number[1], _end(word, code, reason, hosts)
        else:
            yield number[1], unclear("LSF", word)


def _end(word: str, code: str, reason: str, hosts: str) -> JobStatus:
    if word == "DONE":
        return JobStatus(BlockState.finished, "", hosts)
    term = re.search(r"TERM_\w+", reason)
    if term and term[0] in _ENDS:
        state, words = _ENDS[term[0]]
        return JobStatus(state, f"{words} ({term[0]})", hosts)
    status_words = ended(int(code)).reason if code.isdigit() and int(code) else ""
    lost = "LSF has lost its host" if word == "ZOMBI" else ""
    return JobStatus(BlockState.failed, ", ".join(filter(None, (lost, status_words, reason))) or word, hosts)


def _histories(stdout: str) -> Iterator[tuple[str, JobStatus]]:
    """Yield the final statuses in bhist's long format, which wraps lines at 80 columns and indents continued lines."""
    text = re.sub(r"\n {15,}", "", stdout)
    for part in re.split(r"^-{20,}\s*$", text, flags=re.MULTILINE):
        number = re.search(r"Job <(\d+)", part)
        if number is None:
            continue
        if re.search(r"Done successfully", part):
            yield number[1], JobStatus(BlockState.finished)
        elif re.search(r"Completed <exit>|Exited", part):
            code = re.search(r"Exited with exit code (\d+)", part)
            term = re.search(r"TERM_\w+[^.;\n]*", part)
            yield number[1], _end("EXIT", code[1] if code else "", term[0] if term else "", "")
