"""Grid Engine (SGE, Son of Grid Engine, Univa, Altair): qsub, qstat, qacct, qdel.

``qstat`` forgets a job as soon as it ends; ``qacct`` reports the end, if users may read it.  A walltime ends a block
in order; a job in error (``Eqw``) waits for an administrator and has failed.
"""

from __future__ import annotations

import os
import pwd
import re
from typing import TYPE_CHECKING, ClassVar
from xml.sax.saxutils import unescape

from parslab.description import Text
from parslab.errors import ConfigurationError
from parslab.providers.base import JobStatus, ended
from parslab.providers.batch.base import BatchProvider, directives
from parslab.providers.batch.job_status import StuckJob, gathered, unclear
from parslab.providers.batch.script import clock
from parslab.records.states import BlockState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.providers.base import Job

__all__ = ["GridEngineProvider"]

_KILLED_AT_LIMIT = "37"
"""The value of ``failed`` in qacct for a job that reached a limit, most often the walltime."""
_AFTER_JOB = "100"
"""The value of ``failed`` for a job that a signal ended; the exit status says which signal."""


class GridEngineProvider(BatchProvider):
    """Blocks are jobs of Grid Engine.

    Parameters
    ----------
    queue
        The queue for qsub; None means any queue that fits.
    scheduler_options
        Further directives, with or without ``#$``.  Several nodes need a parallel environment that gives one slot of
        each, such as ``-pe mpi1 2``.  Grid Engine refuses a request that no queue can meet at once.  That check may be
        wrong for a request that names load values; ``-w n`` submits without it.

    Examples
    --------
    >>> GridEngineProvider(queue="all.q", walltime="00:30:00", scheduler_options="-pe smp 8")
    GridEngineProvider(walltime=1800.0, scheduler_options='-pe smp 8', queue='all.q')
    """

    positional: ClassVar[tuple[str, ...]] = (
        "nodes_per_block",
        "init_blocks",
        "min_blocks",
        "max_blocks",
        "parallelism",
        "walltime",
        "scheduler_options",
        "worker_init",
        "launcher",
        "cmd_timeout",
        "queue",
    )
    scheduler: ClassVar[str] = "Grid Engine"
    prefix: ClassVar[str] = "#$"
    commands: ClassVar[tuple[str, ...]] = ("qsub", "qstat", "qdel")
    gone: ClassVar[str] = (
        r"denied: job \"?\d+\"? does not exist|job is already in deletion|already in deletion|do not exist|"
        r"registered the job \d+"
    )

    hints: ClassVar[tuple[tuple[str, str], ...]] = (
        ("unknown queue", "qconf -sql lists queues"),
        ("parallel environment", "qconf -spl lists parallel environments"),
        (
            "no suitable queues",
            "look at walltime, queue and scheduler_options; '-w n' there submits without this check",
        ),
        ("is no submit host", "load this on a submit host"),
    )

    queue = Text(None)

    def check(self) -> None:
        super().check()
        asked = "\n".join(directives(self.prefix, self.scheduler_options))
        if self.nodes_per_block > 1 and not re.search(r"^#\$.*\s-pe\s", asked, re.MULTILINE):
            raise ConfigurationError(
                f"GridEngineProvider: nodes_per_block={self.nodes_per_block} needs a parallel environment, such as "
                f"scheduler_options='-pe mpi {self.nodes_per_block}'; qconf -spl lists them."
            )

    def directives(self, job: Job) -> list[str]:
        lines = [
            "-S /bin/bash",
            f"-N {_name(job.name)}",
            f"-o {job.stdout}",
            f"-e {job.stderr}",
            "-j n",
            # A block runs once: managers of its first run would meet a second run of the same name.
            "-r n",
            "-w e",
            f"-l h_rt={clock(self.walltime)}",
        ]
        if self.queue is not None:
            lines.append(f"-q {self.queue}")
        return [f"#$ {line}" for line in lines]

    def submit_command(self, path: str) -> list[str]:
        return ["qsub", "-terse", path]

    def parse_job_id(self, stdout: str) -> str | None:
        # Scripts of the site may write something before the number.
        for line in reversed(stdout.splitlines()):
            match = re.match(r"(?:Your job(?:-array)? )?(\d+)(?:\.\S*)?(?:$| \()", line.strip())
            if match:
                return match[1]
        return None

    def status_command(self, jobs: list[str]) -> list[str]:
        # The plain format cuts names short, and ``qstat -j`` shows no states in older versions.
        return ["qstat", "-xml", "-u", _user()]

    def parse_statuses(self, stdout: str, jobs: list[str]) -> dict[str, JobStatus]:
        return gathered(_listed(stdout), jobs)

    def cancel_command(self, jobs: list[str]) -> list[str]:
        return ["qdel", *jobs]

    def accounting_commands(self, jobs: list[str]) -> list[list[str]]:
        # qacct takes one job at a time.
        return [["qacct", "-j", job] for job in jobs]

    def parse_accounting(self, stdout: str, jobs: list[str]) -> dict[str, JobStatus]:
        return gathered(_accounted(stdout), jobs)

    def reason_command(self, job: str) -> list[str]:
        return ["qstat", "-j", job]

    def parse_reason(self, stdout: str) -> str:
        found = re.search(r"^error reason\s+\d*:?\s*(.*)$", stdout, re.MULTILINE)
        return found[1].strip() if found else ""

    def find_command(self, name: str) -> list[str]:
        return ["qstat", "-xml", "-u", _user()]

    def parse_found(self, stdout: str, name: str) -> str | None:
        for fields in _jobs(stdout):
            if fields.get("JB_name") == _name(name):
                return fields.get("JB_job_number")
        return None


def _user() -> str:
    """Return the name of the account that runs this process."""
    # The variable USER may be missing or belong to another account, as under sudo.
    return pwd.getpwuid(os.geteuid()).pw_name


def _name(name: str) -> str:
    """Return the name in a form that qsub accepts: it begins with a letter and has no special characters."""
    return re.sub(r"[\s/:@\\*?]", "_", name if name[:1].isalpha() else f"p{name}")


def _jobs(xml: str) -> Iterator[dict[str, str]]:
    """Yield the simple elements of each listed job.  The text may be invalid XML, so it is not parsed as a whole."""
    for entry in re.findall(r"<job_list\b[^>]*>(.*?)</job_list>", xml, re.DOTALL):
        yield {name: unescape(text.strip()) for name, text in re.findall(r"<(\w+)[^>/]*>([^<]*)</\1>", entry)}


def _listed(xml: str) -> Iterator[tuple[str, JobStatus]]:
    for fields in _jobs(xml):
        if "JB_job_number" in fields:
            host = fields.get("queue_name", "").partition("@")[2]
            yield fields["JB_job_number"], _status(fields.get("state", ""), host)


def _status(letters: str, host: str) -> JobStatus:
    """Return the status for the letters of qstat, several of which may be set at the same time."""
    known = set(letters)
    if not known or known - set("EdhqrRsStTwNP"):
        return unclear("Grid Engine", letters)
    # The order matters, because qstat joins letters: "Eqw" is in error, "hqw" is held, and both contain "qw".
    if "E" in known:
        return StuckJob(BlockState.failed, f"in error ({letters})", host)
    if known & set("sSTNP"):
        return JobStatus(BlockState.running, f"suspended ({letters})", host)
    if known & set("rt"):
        return JobStatus(BlockState.running, "being deleted" if "d" in known else "", host)
    if "h" in known:
        return JobStatus(BlockState.queued, f"held ({letters})")
    if known & set("qw"):
        return JobStatus(BlockState.queued, "being deleted" if "d" in known else "")
    return unclear("Grid Engine", letters)


def _accounted(stdout: str) -> Iterator[tuple[str, JobStatus]]:
    for entry in re.split(r"^=+\s*$", stdout, flags=re.MULTILINE):
        fields: dict[str, str] = {}
        for line in entry.splitlines():
            # The first line of a name counts.
            name, _, text = line.strip().partition(" ")
            fields.setdefault(name, text.strip())
        if "jobnumber" in fields:
            yield fields["jobnumber"], _end(fields)


def _end(fields: dict[str, str]) -> JobStatus:
    """Return the final status of a job, from the output of qacct."""
    host = fields.get("hostname", "").removesuffix("UNKNOWN")
    failed, _, words = (part.strip() for part in fields.get("failed", "0").partition(":"))
    code = re.match(r"\d+", fields.get("exit_status", ""))
    status = ended(int(code[0])) if code else None
    # A deleted job also has failed=100 and the exit status of its signal, so this field is read first.
    who = fields.get("deleted_by", "NONE")
    if who not in ("NONE", "UNKNOWN", ""):
        return JobStatus(BlockState.scaled_in, f"deleted by {who}", host)
    failed = failed.split(" ")[0]
    if failed == _KILLED_AT_LIMIT:
        return JobStatus(BlockState.finished, f"it reached its walltime or another limit ({words})", host)
    if failed not in ("0", _AFTER_JOB, ""):
        return JobStatus(BlockState.failed, f"failed {failed}: {words or 'no reason is given'}", host)
    if status is None:
        return JobStatus(BlockState.failed, f"qacct reports no exit status ({fields.get('exit_status', '')})", host)
    return JobStatus(status.state, status.reason, host)
