"""Applies the events of worker pools to the task table: the DataFlowKernel's implementation of ``TaskEvents``.

The manager of a node has its own implementation, which turns the same calls into messages.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.clock import steady_time
from parslab.dataflow.graph.rich_output import DISPLAY, RichOutput
from parslab.dataflow.graph.run_message import run_message
from parslab.dataflow.graph.values import StoredValue
from parslab.records.events import ExecutorStopped, OutputWritten
from parslab.wire.messages.worker import Outcome

if TYPE_CHECKING:
    from parslab.dataflow.clients.registry import ClientRegistry
    from parslab.dataflow.graph.function_registry import FunctionRegistry
    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.host import Host
    from parslab.dataflow.persistence.log_writer import LogWriter
    from parslab.records.software import Software
    from parslab.remote.pool.pool import WorkerPool
    from parslab.wire.messages.base import Failure, OutputPrinted
    from parslab.wire.stream import Buffer

__all__ = ["WorkerEvents"]

# Monitoring has no stream for rich output: it shows the plain text of it as if the task had printed that.
_STREAMS = {1: "stdout", 2: "stderr", DISPLAY: "stdout"}


class WorkerEvents:
    """Receives what the pools of a run report.

    Parameters
    ----------
    host
        The process that it runs in.
    table, functions
        The task table and the functions of the run.
    clients
        The attached clients, which receive the output of the tasks that they follow.
    log_writer
        Writes the event log; None if the run has none.
    rich_output
        Keeps the rich output of cells.
    """

    def __init__(
        self,
        host: Host,
        *,
        table: TaskTable,
        functions: FunctionRegistry,
        clients: ClientRegistry,
        log_writer: LogWriter | None,
        rich_output: RichOutput,
    ) -> None:
        self.table = table
        self._host = host
        self._clients = clients
        self._log_writer = log_writer
        self._rich_output = rich_output
        # Bound without a method in between, because pools call these for every task.
        self.code = functions.message
        self.message = run_message

    def sent(self, task: Task, now: float, worker: str) -> None:
        """A pool sent a task to a worker."""
        self.table.sent(task, now, worker)
        log_writer = self._log_writer
        if log_writer is not None:
            log_writer.moves.append(task.id)
            # Nearly all attempts are first ones, so the log names only the others.
            if task.attempt:
                log_writer.attempts.append((task.id, task.attempt))

    def begun(self, task: Task, since: float, worker: str) -> None:
        """A worker runs the body of a task."""
        self.table.started(task, since, worker)

    def returned(self, task: Task, now: float) -> None:
        """A worker returned a task that it had not begun."""
        self.table.returned(task, now)
        if self._log_writer is not None:
            self._log_writer.moves.append(~task.id)

    def ended(self, task: Task, outcome: Outcome, frames: list[Buffer], worker: str) -> None:
        """A worker reported how a task ended."""
        value = StoredValue(outcome.inline, frames) if outcome.failure is None else None
        self.table.attempt_ended(task, outcome, value, worker)

    def failed(self, task: Task, failure: Failure, now: float, worker: str) -> None:
        """A task ended without an outcome: its worker died, or its executor has none."""
        outcome = Outcome(
            task=task.id, attempt=task.attempt, inline=b"", frames=0, started=0.0, ended=now, failure=failure
        )
        self.table.attempt_ended(task, outcome, None, worker)

    def dropped(self) -> None:
        """Count an outcome that a pool has dropped, because it arrived late or twice."""
        self.table.dropped += 1

    def demands(self, task: Task) -> tuple[int, float]:
        """Return how many workers a task occupies, and the seconds that it may run (0: any).

        A worker of the DataFlowKernel's host runs one task, whatever number of cores the task asks for.
        """
        return 1, task.spec.max_run_time or 0.0 if task.spec is not None else 0.0

    def software(self, task: Task) -> Software | None:
        """Return the software of a task; None: that of its executor."""
        return task.spec.software if task.spec is not None else None

    def printed(self, message: OutputPrinted) -> None:
        """A task printed something: monitoring and the clients that follow the task receive it."""
        if message.stream == DISPLAY:
            text = self._rich_output.add(message, self.table.tasks)
        else:
            # A task may print any bytes, and a write may end in the middle of a character.
            text = bytes(message.text).decode(errors="replace")
        if text:
            self._host.emit(OutputWritten(steady_time(), message.task, _STREAMS[message.stream], text))
        task = self.table.tasks.get(message.task)
        for number in (task.followers if task is not None else None) or ():
            client = self._clients.connected.get(number)
            if client is not None:
                self._clients.send(client, [message])

    def pool_broken(self, pool: WorkerPool[Task]) -> None:
        """An executor has no worker and will never have one."""
        self._host.notify("error", f"Executor {pool.label} is stopped: {pool.broken}")
        self._host.emit(ExecutorStopped(steady_time(), pool.label, pool.broken))
        pool.fail_waiting()
