"""What the parts of the task table stand on [core]: what it knows, and the steps that every task takes.

The table is one class, because a task goes from hand to hand within one call; its parts (further attempts, joins, equal
calls) are classes of their own, which know of one another only through these.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parslab.dataflow.graph.backoff import RetryState
    from parslab.dataflow.graph.memo import Memo
    from parslab.dataflow.graph.task import Effects, Task
    from parslab.records.machine import Signal
    from parslab.wire.messages.base import Failure

__all__ = ["Steps"]


class Steps(ABC):
    """Base of the parts of :class:`~parslab.dataflow.graph.table.TaskTable`, which says what the attributes are."""

    retries: int
    memo: Memo
    tasks: dict[int, Task]
    dropped: int
    retried: int
    trials: dict[int, RetryState]
    judges: dict[int, int]
    out: Effects
    _freed: list[Task]
    _called: dict[int, list[int]]

    @abstractmethod
    def cancel(self, ids: Iterable[int] | None, now: float, also_threads: bool = False) -> int:
        """Cancel these tasks, and with a join what its body has called."""

    @abstractmethod
    def need(self, task: Task, dep: int) -> Task:
        """What a task needs, by its number."""

    @abstractmethod
    def _may_run(self, task: Task, now: float) -> None:
        """A task has nothing to wait for any more (state ready)."""

    @abstractmethod
    def _move(self, task: Task, signal: Signal, now: float, worker: str = "") -> None:
        """Take the step that this signal asks for, and tell monitoring."""

    @abstractmethod
    def _tell_failure(self, task: Task, failure: Failure, now: float, started: float = 0.0, worker: str = "") -> None:
        """Tell monitoring of an attempt that failed."""

    @abstractmethod
    def _fail(self, task: Task, failure: Failure, signal: Signal, now: float, worker: str = "") -> None:
        """End a task with this failure."""

    @abstractmethod
    def _end(self, task: Task, now: float) -> None:
        """A task has just entered a final state: tell its client, wake its dependents."""

    @abstractmethod
    def _wake_all(self, now: float) -> None:
        """Wake the dependents of everything that ended."""
