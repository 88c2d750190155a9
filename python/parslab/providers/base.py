"""The base of providers: a provider describes the source of blocks, and its runner submits and cancels their jobs.

A provider is a :class:`~parslab.description.Description`.  The DataFlowKernel process asks it for a :class:`Runner`.
The methods of the runner may block: background threads of the scaling controller call them, never the loop
[HPDC19 §4.2.1].

A provider of your own is a subclass of one of ours, or of :class:`Provider` with a runner.  Name it by an entry point
of the group ``parslab.providers`` (see :mod:`parslab.plugins`)::

    class NiceProvider(LocalProvider):
        \"\"\"Blocks of this host that leave the processor to other processes.\"\"\"

        niceness = Whole(10, low=0, high=19)

        def script(self, job: Job) -> str:
            return f"#!/bin/bash\\nrenice -n {self.niceness} $$ > /dev/null\\n{super().script(job)}"

Test it with :class:`parslab.testing.conformance.ProviderSuite`, on real jobs.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, runtime_checkable

import msgspec

from parslab.description import Description, Duration, Nested, Number, Text, Whole
from parslab.errors import ConfigurationError
from parslab.launchers import Launcher, SingleNodeLauncher
from parslab.providers.execution_provider import ExecutionProvider
from parslab.records.states import BlockState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Set
    from pathlib import Path

__all__ = [
    "ExecutionProvider",
    "FindsJobs",
    "Job",
    "JobStatus",
    "Provider",
    "Runner",
    "SubmitError",
    "ended",
    "exit_file",
    "is_transient",
    "not_written",
    "script_text",
    "worker_init_errors",
]


class Job(msgspec.Struct, frozen=True):
    """The job of a block that is about to be submitted."""

    name: str
    """``parslab.<run>.<label>.<block>``; the lists of the scheduler show it."""
    command: str
    """The command that starts a manager on one node; the launcher runs it on each node."""
    script: str
    """The path of the job's script."""
    stdout: str
    stderr: str
    python: str = ""
    """The interpreter of the managers; empty where the job runs no manager."""
    invitation: str = ""
    """The file by which managers find the run, for a provider that takes it to its nodes; empty for all others."""


class JobStatus(msgspec.Struct, frozen=True):
    """The status of a job.

    ``state`` is queued, running, finished, failed, scaled_in or missing.  A finished job has ended with status 0.
    A job is scaled_in if the scheduler says that somebody cancelled it.
    """

    state: BlockState
    reason: str = ""
    """The reason why the job waits or has failed, or its exit status, in the scheduler's own words."""
    hosts: str = ""
    price: float | None = None
    """The price of the job per hour; None if nobody says."""


class SubmitError(Exception):
    """A job was not accepted.

    Parameters
    ----------
    text
        The words of the scheduler or the shell, and advice for the user if there is any.
    transient
        Whether the reason passes by itself, so that the job is submitted again later.
    """

    def __init__(self, text: str, transient: bool = False) -> None:
        super().__init__(text)
        self.transient = transient


class Runner(Protocol):
    """Submits, watches and cancels jobs; :meth:`Provider.runner` makes it."""

    period: float
    """Least seconds between two calls of ``status``."""
    group: str
    """One ``status`` call may ask for the jobs of all runners with the same group."""

    def submit(self, job: Job) -> str:
        """Submit a job, and return its number; raises SubmitError if the scheduler does not accept it."""

    def status(self, jobs: list[str]) -> dict[str, JobStatus]:
        """Return the statuses of the jobs that are known; raises OSError if the scheduler does not answer now."""

    def cancel(self, jobs: list[str]) -> None:
        """End these jobs, queued or running; a job that has ended is no error.  Raises OSError as ``status`` does."""

    def close(self) -> None:
        """Release the resources of the runner; its jobs continue."""


@runtime_checkable
class FindsJobs(Protocol):
    """A runner that can also take over the jobs of a process that was killed.

    Other runners can watch and cancel such jobs by their numbers, but cannot find a job whose number is unknown.
    """

    late_arrival: float
    """Seconds after the end of a process in which a job may still appear that the process was submitting.

    A command such as ``sbatch`` outlives the process that started it, and its job may reach the scheduler late.
    """

    def adopt(self, number: str, job: Job) -> None:
        """Take a job over; this runs no command of the scheduler and never blocks."""

    def find(self, name: str) -> str | None:
        """Return the number of the job of this name, or None if there is none.

        Raises OSError if the scheduler cannot answer.
        """


class Provider(Description):
    """Base of providers; a provider describes the source of blocks.

    Parameters
    ----------
    nodes_per_block
        Nodes of each block.
    init_blocks
        Blocks that are requested before there is any task.
    min_blocks
        Blocks that are kept while there is no task.
    max_blocks
        The largest number of blocks.  With 0 tasks wait until the user sets another number.
    parallelism
        Workers that each waiting task needs: 1 means as many workers as tasks, 0.5 one worker for two tasks, 0 one
        block for all tasks.
    launcher
        Starts a manager on each node of a block.
    worker_init
        Shell text that each block runs before its managers start, such as modules to load.
    cmd_timeout
        Seconds after which a command of the scheduler is killed.
    """

    nodes_per_block = Whole(1, low=1)
    init_blocks = Whole(1, low=0)
    min_blocks = Whole(0, low=0)
    max_blocks = Whole(1, low=0)
    parallelism = Number(1.0, low=0, high=1)
    launcher = Nested(Launcher, SingleNodeLauncher)
    worker_init = Text("", empty=True)
    cmd_timeout = Duration(20.0, low=0.1)

    commands: ClassVar[tuple[str, ...]] = ()
    """Programs of the scheduler that must be on the PATH of this host."""
    positional: ClassVar[tuple[str, ...]] = (
        "nodes_per_block",
        "launcher",
        "init_blocks",
        "min_blocks",
        "max_blocks",
        "worker_init",
        "cmd_timeout",
        "parallelism",
    )
    ignored: ClassVar[dict[str, str]] = {
        "channel": "only the providers of schedulers run their commands elsewhere",
        "label": "the executor has the label",
        "move_files": "nothing is copied",
        "script_dir": "scripts are kept in the run's folder",
        "tasks_per_node": "the executor decides how many workers each node has",
    }

    @property
    def remote(self) -> bool:
        """Return whether its nodes share no file system with this host.

        Such a provider takes ``Job.invitation`` to its nodes, and gives managers its path there in the environment
        variable ``PARSLAB_INVITATION``.
        """
        return False

    @property
    def tunnelled(self) -> bool:
        """Return whether managers reach this host only at its loopback address, because the provider has a tunnel."""
        return False

    def translated(self, options: Mapping[str, Any]) -> dict[str, Any]:
        options = dict(options)
        # Parsl's LocalChannel means what parslab does; the class is found by name, as this module may not import it.
        if type(options.get("channel")).__name__ == "LocalChannel":
            self.__dict__["channel"] = options.pop("channel")
        return super().translated(options)

    def complete(self, given: Set[str]) -> None:
        # Parsl does not compare these numbers, and its programs leave some of them out.
        if "max_blocks" not in given:
            self.max_blocks = max(self.max_blocks, self.init_blocks, self.min_blocks)
        elif "init_blocks" not in given:
            self.init_blocks = min(self.init_blocks, self.max_blocks)

    def check(self) -> None:
        for name in ("min_blocks", "init_blocks"):
            if getattr(self, name) > self.max_blocks:
                raise ConfigurationError(
                    f"{type(self).__name__}: {name} ({getattr(self, name)}) must not be more than max_blocks "
                    f"({self.max_blocks})."
                )

    def require(self) -> None:
        """Raise ConfigurationError if this host lacks what the provider needs; called when it is loaded."""

    def script(self, job: Job) -> str:
        """Return the text of the job's script."""
        raise NotImplementedError

    def runner(self, folder: Path) -> Runner:
        """Return the runner for this description; its files go to ``folder``, which exists."""
        raise NotImplementedError


# Programs for Parsl ask whether something is a provider; a description of ours has none of the methods all the same.
ExecutionProvider.register(Provider)


# --- what members share -----------------------------------------------------------------------------------------------


_TRANSIENT = frozenset(
    {
        errno.EAGAIN,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EINTR,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOBUFS,
        errno.ENOMEM,
        errno.ETIMEDOUT,
    }
)
"""Errors of the operating system that pass: it has too few descriptors, processes or memory now, or no connection."""


def is_transient(error: BaseException) -> bool:
    """Return whether the reason for a failed submission passes by itself."""
    return error.transient if isinstance(error, SubmitError) else getattr(error, "errno", None) in _TRANSIENT


def not_written(job: Job, error: OSError) -> SubmitError:
    """Return the error of a job whose files cannot be written."""
    folder = os.path.dirname(job.script)
    if not os.path.isdir(folder):
        run_dir = os.path.dirname(folder)
        gone = folder if os.path.isdir(run_dir) else run_dir
        return SubmitError(
            f"Block {job.name} needs the folder {gone} for its script and output, and that folder is gone: somebody "
            "has deleted it. End this run and load again."
        )
    return SubmitError(f"The script of block {job.name} cannot be written: {error}.", is_transient(error))


def worker_init_errors(script: str) -> str:
    """Return the file into which the script of a job copies the stderr of ``worker_init``."""
    return f"{script}.init"


def exit_file(script: str) -> str:
    """Return the file into which the script of a job writes its exit status when it ends."""
    return f"{script}.exit"


def ended(status: int) -> JobStatus:
    """Return the status of a job that ended with an exit status of bash or of a scheduler.

    Examples
    --------
    >>> ended(127).reason
    'exit status 127 (command not found)'
    """
    if status == 0:
        return JobStatus(BlockState.finished, "exit status 0")
    meaning = {126: "command cannot be executed", 127: "command not found"}.get(status, "")
    if status > 128:
        # A shell reports a process that a signal killed as 128 plus the number of the signal.
        number = status - 128
        try:
            meaning = signal.Signals(number).name
        except ValueError:
            meaning = f"signal {number}"
    return JobStatus(BlockState.failed, f"exit status {status}{f' ({meaning})' if meaning else ''}")


_AWAIT_TEE = "exec 2>&-; for _ in 1 2 3 4 5 6 7 8 9 10; do kill -0 $parslab_tee || break; sleep 0.1; done"
"""Closes the pipe to ``tee`` and waits until it has written everything, for a second at most."""


def _worker_init_lines(worker_init: str, errors: str) -> list[str]:
    """Return the user's lines, with a copy of what they write to stderr."""
    return [
        "# A copy of what worker_init writes to stderr: parslab shows its mistakes although the block starts.",
        f"exec 9>&2 2> >(exec tee {shlex.quote(errors)} >&9 9>&-)",
        "# The last words must arrive before the job ends, but a process in the background may hold the pipe open.",
        f"parslab_tee=$!; trap '{_AWAIT_TEE}' EXIT",
        worker_init.strip("\n"),
        "exec 2>&9 9>&-",
        "",
    ]


def script_text(
    provider: Provider,
    job: Job,
    directives: Iterable[str] = (),
    variables: Mapping[str, str] | None = None,
    redirect: bool = False,
    *,
    walltime: float | None = None,
    copies: int = 1,
) -> str:
    """Return the text of a job's script.

    Parameters
    ----------
    provider
        The provider, whose ``worker_init`` and ``launcher`` go into the script.
    job
        The block.
    directives
        Comments that the scheduler reads; they come first, because it stops reading at the first command.
    variables
        Environment variables that the script sets before the user's lines.
    redirect
        The script itself opens the job's stdout and stderr, because the scheduler delivers them only at the end.
    walltime
        Seconds after which the scheduler ends the job; managers read when that is.
    copies
        How many times the scheduler starts the script for one block.
    """
    left = shlex.quote(exit_file(job.script))
    # Of several copies, one that succeeds must not hide that another one has failed.
    unless_failed = f'[ "$status" = 0 ] && [ -s {left} ] || ' if copies > 1 else ""
    lines = ["#!/bin/bash", *directives, ""]
    if redirect:
        lines.append(f"exec >> {shlex.quote(job.stdout)} 2>> {shlex.quote(job.stderr)}")
    if walltime is not None:
        # The node computes the end, because the job begins at a time that is unknown now.
        lines.append(f"export PARSLAB_WALLTIME={walltime:g} PARSLAB_JOB_ENDS=$(($(date +%s) + {walltime:.0f}))")
    lines += [f"export {name}={shlex.quote(text)}" for name, text in (variables or {}).items()]
    # The user's lines run in a subshell: an ``exit`` in them must not skip the lines that write the exit status.
    lines.append("(")
    if provider.worker_init.strip():
        lines += _worker_init_lines(provider.worker_init, worker_init_errors(job.script))
    return "\n".join(
        [
            *lines,
            provider.launcher.script(job.command, provider.nodes_per_block),
            ")",
            "status=$?",
            "# parslab reads this when the scheduler has forgotten the job; a job that is killed leaves none.",
            f'{unless_failed}echo "$status" > {left}',
            'exit "$status"',
            "",
        ]
    )
