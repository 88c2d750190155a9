"""What the view hands to the store: one record a task, and the batch that one flush writes.

[core]  The first fields of :class:`TaskRecord` are the columns of the table ``task``, in this order and by these names
(``COLUMNS``); the rest is the view's own.  A record is made when the task is submitted and dropped when the
task has finished and was handed over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec

from parslab.records.panel import GraphNode

if TYPE_CHECKING:
    from parslab.monitoring.output import PrintedOutput

__all__ = ["AGAIN", "COLUMNS", "SAMPLES", "Batch", "Cells", "TaskRecord"]

SAMPLES = 100_000
"""Node samples that are kept, the newest of all managers: about 7 MB."""

Cells: TypeAlias = tuple[Any, ...]
"""One row of a table, in the order of its columns."""


class TaskRecord(msgspec.Struct, gc=False):
    """A task that is not finished, or not handed over yet.  Times are seconds since the epoch."""

    id: int
    app: str
    state: str
    executor: str
    submitted: float
    ready: float | None
    launched: float | None
    started: float | None
    retrying: float | None
    """When its attempt failed and it began to wait for its next one."""
    joining: float | None
    ended: float | None
    worker: str
    attempt: int
    error: str
    shown: str
    cell: str
    client: int
    # From here on: not stored.
    rank: int
    """How far the task is; see ``view.RANK``."""
    group: dict[str, int]
    """The counts of its app."""
    node: GraphNode | None
    """Its node, when it is among those of the graph."""
    dirty: bool
    """Changed since it was handed over."""
    reopened: bool = False
    """It had ended and left memory: of its columns only those of ``AGAIN`` are known."""


COLUMNS: tuple[str, ...] = TaskRecord.__struct_fields__[: TaskRecord.__struct_fields__.index("rank")]
"""Columns of the table ``task``."""

AGAIN: tuple[str, ...] = tuple(
    column for column in COLUMNS if column not in ("id", "app", "executor", "submitted", "shown", "cell", "client")
)
"""Columns that a task which runs again has anew."""


@dataclass(slots=True)
class Batch:
    """Rows to write, by table.  Writing one twice is the same as writing it once, except for ``printed``."""

    tasks: list[Cells] = field(default_factory=list)
    """``COLUMNS``"""
    again: list[Cells] = field(default_factory=list)
    """``AGAIN``, id"""
    edges: list[Cells] = field(default_factory=list)
    """task, dep"""
    failures: list[Cells] = field(default_factory=list)
    """task, attempt, error, traceback"""
    attempts: dict[tuple[int, int], Cells] = field(default_factory=dict)
    """By task and attempt, those that failed: task, attempt, started, ended, worker, reason, error"""
    workers: list[Cells] = field(default_factory=list)
    """worker, executor, state, host, pid, task, done, reason"""
    blocks: list[Cells] = field(default_factory=list)
    """executor, block, state, job, nodes, requested, started, ended, reason, stdout, stderr"""
    managers: list[Cells] = field(default_factory=list)
    """manager, executor, block, state, host, pid, workers, cores, memory, since, done, reason"""
    samples: list[Cells] = field(default_factory=list)
    """slot, manager, time, cpu, memory, load; a slot is used again after ``SAMPLES`` others"""
    usage: dict[int, Cells] = field(default_factory=dict)
    """By task, what it has used, as told last: task, attempt, time, cpu, memory, read, written"""
    clients: list[Cells] = field(default_factory=list)
    """client, pid, host, owner, attached, left_at, reason"""
    notices: list[Cells] = field(default_factory=list)
    """n, time, level, text"""
    run: list[Cells] = field(default_factory=list)
    """run, host, pid, run_dir, executors, started, version, ended, reason"""
    recalled: list[Cells] = field(default_factory=list)
    """``COLUMNS`` of tasks that ended under a DataFlowKernel that was lost: less than the store may know"""
    adopted: list[Cells] = field(default_factory=list)
    """cell, client, task: of finished tasks that a call of the next kernel has taken over"""
    printed: dict[tuple[int, str], PrintedOutput] = field(default_factory=dict)
    """By task and stream."""

    def __bool__(self) -> bool:
        return bool(
            self.tasks
            or self.again
            or self.edges
            or self.printed
            or self.workers
            or self.blocks
            or self.managers
            or self.samples
            or self.usage
            or self.failures
            or self.clients
            or self.notices
            or self.run
            or self.adopted
            or self.recalled
        )
