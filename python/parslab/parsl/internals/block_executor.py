"""``BlockProviderExecutor``: the base of executors that users have written for Parsl and that get blocks.

Such an executor runs in the client.  It submits its blocks through a provider of either kind, and a thread looks at
them, and requests more of them while tasks wait.
"""

from __future__ import annotations

import math
import threading
from abc import abstractmethod
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from parslab.errors import BadStateException
from parslab.executors.base import ParslExecutor
from parslab.parsl.api.states import JobState, ParslJobStatus, noop_error_handler, simple_error_handler
from parslab.parsl.internals.utilities import AtomicIDCounter, Timer
from parslab.providers.base import Job, Provider
from parslab.providers.execution_provider import ExecutionProvider

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from parslab.providers.base import JobStatus, Runner

__all__ = ["BlockProviderExecutor", "JobsOfProvider"]

_STATES = {
    "queued": JobState.PENDING,
    "running": JobState.RUNNING,
    "finished": JobState.COMPLETED,
    "failed": JobState.FAILED,
    "scaled_in": JobState.SCALED_IN,
    "missing": JobState.MISSING,
}
"""Parsl's states for those of parslab's providers."""
_PERIOD = 5.0
"""Seconds between two looks at the blocks, where the run has no configuration (Parsl: ``strategy_period``)."""


class JobsOfProvider(ExecutionProvider):
    """A provider of parslab with the methods of Parsl's providers.

    Parameters
    ----------
    provider
        The provider.
    """

    def __init__(self, provider: Provider) -> None:
        super().__init__()
        for name in ("nodes_per_block", "init_blocks", "min_blocks", "max_blocks", "parallelism"):
            setattr(self, name, getattr(provider, name))
        self._described = provider

    @cached_property
    def _runner(self) -> Runner:
        assert self.script_dir is not None
        return self._described.runner(Path(self.script_dir))

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl.auto") -> object:
        script = f"{self.script_dir}/{job_name}"
        return self._runner.submit(
            Job(name=job_name, command=command, script=f"{script}.sh", stdout=f"{script}.out", stderr=f"{script}.err")
        )

    def status(self, job_ids: Sequence[Any]) -> Sequence[Any]:
        found = self._runner.status(list(job_ids))
        return [_as_parsl(found.get(job)) for job in job_ids]

    def cancel(self, job_ids: Sequence[Any]) -> Sequence[bool]:
        self._runner.cancel(list(job_ids))
        return [True for _ in job_ids]


def _as_parsl(status: JobStatus | None) -> ParslJobStatus:
    if status is None:
        return ParslJobStatus(JobState.MISSING)
    return ParslJobStatus(_STATES.get(status.state.name, JobState.UNKNOWN), status.reason or None)


class BlockProviderExecutor(ParslExecutor):
    """Base of executors of users that run their workers in blocks.

    Parameters
    ----------
    provider
        Where blocks come from; None: the executor gets none.
    block_error_handler
        A function of the executor and the statuses of its blocks, which is called when one of them has ended.  True
        stands for ``simple_error_handler``, False for none.

    Attributes
    ----------
    blocks_to_job_id, job_ids_to_block
        The jobs of the blocks.
    """

    def __init__(
        self,
        *,
        provider: Provider | ExecutionProvider | None,
        block_error_handler: bool | Callable[[Any, dict[str, Any]], None] = True,
    ) -> None:
        super().__init__()
        self._provider = JobsOfProvider(provider) if isinstance(provider, Provider) else provider
        handlers = {True: simple_error_handler, False: noop_error_handler}
        self.block_error_handler: Callable[[Any, dict[str, Any]], None] = (
            handlers[block_error_handler] if isinstance(block_error_handler, bool) else block_error_handler
        )
        self._failed = threading.Event()
        self._exception: BaseException | None = None
        self._numbers = AtomicIDCounter()
        self._tasks: dict[object, Future[Any]] = {}
        self.blocks_to_job_id: dict[str, Any] = {}
        self.job_ids_to_block: dict[Any, str] = {}
        self._status: dict[str, ParslJobStatus] = {}
        self._timer: Timer | None = None

    # ----- what a subclass says

    @abstractmethod
    def outstanding(self) -> int:
        """Return the number of tasks that have not ended."""

    @property
    @abstractmethod
    def workers_per_node(self) -> int | float:
        """The number of workers on each node of a block."""

    @abstractmethod
    def _get_launch_command(self, block_id: str) -> str:
        """Return the command that starts the workers of a block on one of its nodes."""

    # ----- blocks

    @property
    def provider(self) -> ExecutionProvider | None:
        """The provider; one of parslab has the methods of Parsl's here."""
        return self._provider

    @property
    def tasks(self) -> dict[object, Future[Any]]:
        """The futures of the tasks, as the subclass keeps them."""
        return self._tasks

    @property
    def status_polling_interval(self) -> int:
        """Least seconds between two questions about the blocks."""
        return 0 if self._provider is None else self._provider.status_polling_interval

    def begin_scaling(self, period: float = _PERIOD) -> None:
        """Request the first blocks and begin to look at them; the client calls this after ``start``."""
        if self._provider is not None and self._timer is None:
            folder = Path(self.run_dir, "submit_scripts")
            folder.mkdir(exist_ok=True)
            self._provider.script_dir = str(folder)
            # A subclass may have requested some of them itself.
            self.scale_out_facade(self._provider.init_blocks - len(self.blocks_to_job_id))
            self._timer = Timer(self.poll_facade, interval=period, name=self.label)

    def end_scaling(self) -> None:
        """End all blocks; the client calls this before ``shutdown``."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.close()
        self.scale_in_facade(len(self.blocks_to_job_id))

    def scale_out_facade(self, n: int) -> list[str]:
        """Request blocks, and return their names; a refused one has the status FAILED."""
        return [self._request_block() for _ in range(n if self._provider is not None else 0)]

    def _request_block(self) -> str:
        assert self._provider is not None
        block = str(self._numbers.get_id())
        try:
            job = self._provider.submit(self._get_launch_command(block), 1, f"parsl.{self.label}.block-{block}")
            if not job:
                raise RuntimeError("the provider returned no id for the job")
        except Exception as error:
            self._status[block] = ParslJobStatus(JobState.FAILED, f"{type(error).__name__}: {error}")
        else:
            self.blocks_to_job_id[block], self.job_ids_to_block[job] = job, block
            self._status[block] = ParslJobStatus(JobState.PENDING)
        return block

    def scale_in(self, blocks: int) -> list[str]:
        """End blocks, the newest first, and return their names."""
        chosen = list(self.blocks_to_job_id)[::-1][:blocks]
        if chosen and self._provider is not None:
            ended = self._provider.cancel([self.blocks_to_job_id[block] for block in chosen])
            chosen = [block for block, worked in zip(chosen, ended, strict=True) if worked]
        for block in chosen:
            self.job_ids_to_block.pop(self.blocks_to_job_id.pop(block), None)
            self._status[block] = ParslJobStatus(JobState.SCALED_IN)
        return chosen

    def scale_in_facade(self, n: int, max_idletime: float | None = None) -> list[str]:
        """End blocks; see :meth:`scale_in`."""
        return self.scale_in(n)

    def status(self) -> dict[str, ParslJobStatus]:
        """Ask the provider for the statuses of the blocks, and return them by block."""
        blocks = list(self.blocks_to_job_id)
        if blocks and self._provider is not None:
            found = self._provider.status([self.blocks_to_job_id[block] for block in blocks])
            self._status.update(zip(blocks, found, strict=True))
        return dict(self._status)

    @property
    def status_facade(self) -> dict[str, ParslJobStatus]:
        """The statuses that the last question found."""
        return dict(self._status)

    def poll_facade(self) -> None:
        """Look at the blocks, call the error handler, and request blocks for tasks that wait."""
        found = self.status()
        for block, status in found.items():
            if status.terminal and block in self.blocks_to_job_id:
                self.job_ids_to_block.pop(self.blocks_to_job_id.pop(block), None)
        if self._provider is None or self.bad_state_is_set:
            return
        self.handle_errors(found)
        if not self.bad_state_is_set:
            self.scale_out_facade(self._wanted() - len(self.blocks_to_job_id))

    def _wanted(self) -> int:
        provider = self._provider
        assert provider is not None
        tasks = self.outstanding() * provider.parallelism
        needed = math.ceil(tasks / (max(self.workers_per_node, 1) * provider.nodes_per_block))
        return max(provider.min_blocks, min(provider.max_blocks, needed))

    # ----- failures

    def handle_errors(self, status: dict[str, ParslJobStatus]) -> None:
        """Call the error handler with the statuses of all blocks."""
        if self._failed.is_set():
            return
        self.block_error_handler(self, status)

    def set_bad_state_and_fail_all(self, exception: Exception) -> None:
        """Fail all tasks, and all later ones, because the executor cannot work any more."""
        self._exception = exception
        self._failed.set()
        for future in list(self._tasks.values()):
            if not future.done():
                future.set_exception(BadStateException(self.label, exception))

    @property
    def bad_state_is_set(self) -> bool:
        """Whether the executor has failed for good."""
        return self._failed.is_set()

    @property
    def executor_exception(self) -> BaseException | None:
        """The error with which the executor failed for good."""
        return self._exception
