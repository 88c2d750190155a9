"""What a pool of workers tells, written into the task table: the DataFlowKernel's half of the bargain in D11.

The manager of a node has its own half, which turns the same calls into messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.dataflow.graph.values import StoredValue
from parslab.wire.messages.worker import Outcome, RunTask

if TYPE_CHECKING:
    from parslab.dataflow.graph.function_registry import FunctionRegistry
    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.persistence.log_writer import LogWriter
    from parslab.wire.messages.base import DefineFunction, Failure, PackedValue
    from parslab.wire.stream import Buffer

__all__ = ["WorkerEvents", "run_message"]


class WorkerEvents:
    """Mixed into the kernel.

    Attributes
    ----------
    table
        The task graph.
    codes
        The functions of the run.
    record
        What outlives this process; None where that is not wanted.
    """

    table: TaskTable
    codes: FunctionRegistry
    record: LogWriter | None

    def code(self, fn: int) -> tuple[DefineFunction, Buffer]:
        """What a worker needs to know before it can run this function."""
        return self.codes.message(fn)

    def message(self, task: Task, frames: list[Buffer]) -> RunTask:
        """The message that carries a task and the values it needs."""
        return run_message(task, frames)

    def sent(self, task: Task, now: float, worker: str) -> None:
        """A task was given to a worker."""
        self.table.sent(task, now, worker)
        if self.record is not None:
            self.record.moves.append(task.id)
            if task.attempt:
                self.record.attempts.append((task.id, task.attempt))

    def begun(self, task: Task, since: float, worker: str) -> None:
        """Its body runs."""
        self.table.begun(task, since, worker)

    def returned(self, task: Task, now: float) -> None:
        """It came back, not begun."""
        self.table.returned(task, now)
        if self.record is not None:
            self.record.moves.append(~task.id)

    def ended(self, task: Task, outcome: Outcome, frames: list[Buffer], worker: str) -> None:
        """It has ended on a worker."""
        if outcome.failure is None:
            value = StoredValue(outcome.inline, frames)
            self.table.succeeded(task, value, outcome.started, outcome.ended, worker)
        else:
            self.table.failed(task, outcome.failure, outcome.started, outcome.ended, worker)

    def failed(self, task: Task, failure: Failure, now: float, worker: str) -> None:
        """Its worker died, or no worker will ever come."""
        self.table.failed(task, failure, 0.0, now, worker)

    def dropped(self) -> None:
        """An outcome came late or twice."""
        self.table.dropped += 1

    def demands(self, task: Task) -> tuple[int, float]:
        """A worker of the DataFlowKernel's host runs one task, whatever cores that asks for; its limit holds."""
        return 1, task.spec.max_run_time or 0.0 if task.spec is not None else 0.0


def run_message(task: Task, frames: list[Buffer]) -> RunTask:
    """The message that carries a task; large buffers, its own and those of what it needs, go to ``frames``."""
    frames.extend(task.frames)
    values: tuple[PackedValue, ...] = ()
    if task.needs:
        values = tuple(need.value.packed(frames) for need in task.needs if need.value is not None)
    return RunTask(task.id, task.attempt, task.fn, task.args, len(task.frames), values)
