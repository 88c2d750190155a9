"""``ExecutorView`` shows an executor of a run as ``dfk.executors["label"]`` does in Parsl."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parslab.records import panel
from parslab.records.states import ACTIVE, DEPARTED, ENDED, BlockState, ManagerState, TaskState

if TYPE_CHECKING:
    from parslab.client.handle.commands import RunCommands
    from parslab.executors.base import Executor

__all__ = ["ExecutorView"]

_STATES = [state.name for state in (TaskState.ready, *ACTIVE)]
"""The states of a task that an executor has."""
_PAGE = 1000
"""Rows of the task table that one reply may have."""


class ExecutorView:
    """An executor of a run: its description, and what its blocks do.

    Options of the description are attributes, too.  Each method asks the DataFlowKernel.

    Parameters
    ----------
    executor
        The description.
    commands
        Asks the DataFlowKernel.
    """

    def __init__(self, executor: Executor, commands: RunCommands) -> None:
        self._executor = executor
        self._commands = commands

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self._executor, name)

    @property
    def label(self) -> str:
        """The label of the executor."""
        return str(self._executor.label)

    def _snapshot(self) -> panel.Snapshot:
        answer = self._commands.ask(panel.SnapshotRequest(subscribe=False))
        assert isinstance(answer, panel.Snapshot)
        return answer

    def _blocks(self) -> list[panel.BlockRow]:
        return [block for block in self._snapshot().blocks if block.executor == self.label]

    def outstanding(self) -> int:
        """Return the number of unfinished tasks of this executor that a worker has or waits for."""
        found = offset = 0
        while True:
            request = panel.TaskPageRequest("", states=_STATES, offset=offset, limit=_PAGE)
            page = self._commands.ask(request)
            assert isinstance(page, panel.TaskPage)
            found += sum(row.executor == self.label for row in page.rows)
            offset += _PAGE
            if offset >= page.total:
                return found

    def connected_blocks(self) -> list[str]:
        """Return the blocks from which a manager has ever connected."""
        return [block.block for block in self._blocks() if block.started is not None]

    def connected_managers(self) -> list[dict[str, Any]]:
        """Return a dictionary for each connected manager."""
        return [
            {
                "manager": row.manager,
                "block_id": row.block,
                "worker_count": row.workers,
                "tasks": row.busy,
                "active": row.state == "ready",
                "draining": row.state == "draining",
                "hostname": row.host,
            }
            for row in self._snapshot().managers
            if row.executor == self.label and ManagerState(row.state) not in DEPARTED
        ]

    def status(self) -> dict[str, str]:
        """Return the state of each block, by its number."""
        return {block.block: block.state for block in self._blocks()}

    def scale_out_facade(self, n: int) -> list[str]:
        """Request blocks in addition to those that there are, and return the names of these."""
        return self._scale(n)

    def scale_in_facade(self, n: int, max_idletime: float | None = None) -> list[str]:
        """End blocks when their tasks have finished, and return the names of those that stay or are about to end."""
        return self._scale(-n)

    scale_out, scale_in = scale_out_facade, scale_in_facade

    def _scale(self, by: int) -> list[str]:
        there = [block.block for block in self._blocks() if BlockState(block.state) not in ENDED]
        self._commands.scale(self.label, max(0, len(there) + by))
        return there

    @property
    def bad_state_is_set(self) -> bool:
        """Whether the executor has failed for good."""
        return self.label in self._snapshot().run.stopped

    @property
    def executor_exception(self) -> str | None:
        """Why the executor has failed for good, as text."""
        return self._snapshot().run.stopped.get(self.label)

    def __repr__(self) -> str:
        return f"<{self._executor!r} in a run>"
