"""``ExecutionProvider``: the base of providers that users have written for Parsl.

Such a provider is an object with state, not a description.  ``HighThroughputExecutor`` takes it as its provider, and
``providers.user`` runs its methods in a process of their own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ClusterProvider", "ExecutionProvider"]

_CLUSTER_OPTIONS = (
    "nodes_per_block",
    "init_blocks",
    "min_blocks",
    "max_blocks",
    "parallelism",
    "walltime",
    "launcher",
    "cmd_timeout",
)


class ExecutionProvider(ABC):
    """Base of providers of users, with the methods that Parsl calls.

    A provider of your own for parslab is better a subclass of :class:`parslab.providers.Provider`.

    Attributes
    ----------
    nodes_per_block, init_blocks, min_blocks, max_blocks, parallelism
        As for :class:`parslab.providers.Provider`.
    script_dir
        A folder for scripts and output; parslab sets it before the first call.
    cores_per_node, mem_per_node
        What a job requests on each node.
    resources
        A dictionary for the provider's own use.
    """

    nodes_per_block: int = 1
    init_blocks: int = 1
    min_blocks: int = 0
    max_blocks: int = 1
    parallelism: float = 1.0
    script_dir: str | None = None
    cores_per_node: int | None = None
    mem_per_node: float | None = None
    resources: dict[Any, Any]

    def __init__(self) -> None:
        self.resources = {}

    @abstractmethod
    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.auto") -> object:
        """Submit a job that runs ``command`` on each of its nodes, and return its id; a false value means failure."""

    @abstractmethod
    def status(self, job_ids: Sequence[Any]) -> Sequence[Any]:
        """Return the status of each job, as ``parslab.jobs.states.JobStatus``."""

    @abstractmethod
    def cancel(self, job_ids: Sequence[Any]) -> Sequence[bool]:
        """Cancel jobs, and return for each whether that worked."""

    @property
    def label(self) -> str:
        """A name for messages."""
        return type(self).__name__

    @property
    def status_polling_interval(self) -> int:
        """Least seconds between two calls of ``status``."""
        return 5


class ClusterProvider(ExecutionProvider):
    """Base of providers of users for schedulers.

    Parameters
    ----------
    label
        A name for messages.
    nodes_per_block, init_blocks, min_blocks, max_blocks, parallelism
        As for :class:`parslab.providers.Provider`.
    walltime
        The time that a block may run, as the scheduler's commands take it.
    launcher
        Starts the command on each node; it is called as ``launcher(command, tasks_per_node, nodes_per_block)``.
    cmd_timeout
        Seconds after which a command of the scheduler is killed.
    """

    walltime: Any
    launcher: Any
    cmd_timeout: float = 10

    def __init__(self, label: str, *values: Any, **options: Any) -> None:
        super().__init__()
        self._label = label
        # Parsl's providers pass these by position or by name.
        for name, value in [*zip(_CLUSTER_OPTIONS, values, strict=False), *options.items()]:
            setattr(self, name, value)
        self.script_dir = None

    @property
    def label(self) -> str:
        return self._label

    def execute_wait(self, cmd: str, timeout: float | None = None) -> tuple[int, str, str]:
        """Run a command, and return its exit status, stdout and stderr."""
        import subprocess

        done = subprocess.run(
            ["/bin/bash", "-c", cmd],
            capture_output=True,
            text=True,
            timeout=self.cmd_timeout if timeout is None else timeout,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def _write_submit_script(self, template: str, script_filename: str, job_name: str, configs: Any) -> None:
        """Fill in a template of :class:`string.Template` and write it as the script of a job."""
        import string

        with open(script_filename, "w", encoding="utf-8") as file:
            file.write(string.Template(template).substitute(jobname=job_name, **dict(configs)))
