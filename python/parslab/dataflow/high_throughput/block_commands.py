"""Carries out the user's commands about executors with blocks, their blocks and their managers [shell]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.errors import ConfigurationError
from parslab.records.panel import ScaleRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from parslab.dataflow.high_throughput.managers import ManagerService
    from parslab.records.panel import BlockActionRequest

__all__ = ["BlockCommands"]


class BlockCommands:
    """Carries out the commands about the blocks of a run.

    Parameters
    ----------
    executors
        The executors of the run that have blocks.
    """

    def __init__(self, executors: Sequence[ManagerService]) -> None:
        self._executors = executors

    def carry_out(self, command: ScaleRequest | BlockActionRequest) -> str:
        """Carry out a command about an executor's blocks, one of them, or one manager by its name.

        Returns
        -------
        str
            What was done, in a sentence.

        Raises
        ------
        ConfigurationError
            The command names no executor that has blocks.
        """
        if not isinstance(command, ScaleRequest):
            # ``block`` may be the name of a manager; only if there is no such manager is it the id of a block.
            for executor in self._executors:
                if command.executor in ("", executor.label):
                    done = executor.command(command.block, command.action)
                    if done:
                        return done
        controller = self._named(command.executor).controller
        if isinstance(command, ScaleRequest):
            return controller.scale(command.blocks)
        match command.action:
            case "hold" | "release":
                return controller.hold(command.block, command.action == "hold")
            case "drain":
                return controller.drain(command.block)
            case _:
                return controller.cancel(command.block)

    def _named(self, label: str) -> ManagerService:
        """Return the executor of this label; without a label, the only executor."""
        executors = {executor.label: executor for executor in self._executors}
        if not executors:
            raise ConfigurationError("No executor of this run has blocks: its workers are those of this host.")
        if not label and len(executors) == 1:
            return next(iter(executors.values()))
        if label not in executors:
            wrong = f"Executor {label!r} has no blocks" if label else "Name the executor"
            raise ConfigurationError(f"{wrong}: those that have blocks are {', '.join(executors)}.")
        return executors[label]
