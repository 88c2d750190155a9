"""Keeps when the tasks of a run occupied its workers, and when they waited.  [core]

A history is read from the database once, and then follows the rows that the view hands to the store.  Both have the
same columns.  The failed attempts of a task have rows of their own; the row of the task tells of its latest attempt.
Invariants:

* an attempt that has ended is in one lane; one that has not is in ``running``;
* lanes belong to the worker that ran their tasks, or to its manager if only that is known.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from parslab.monitoring.timeline.curve import Curve
from parslab.monitoring.timeline.lanes import Lanes, Span
from parslab.records.states import FINAL, TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FailedTry", "TaskMoments", "WorkHistory", "WorkPlace"]

_FINAL = frozenset(state.name for state in FINAL)
_FAILED = TaskState.failed.name
_RETRYING = TaskState.fail_retryable.name


class WorkPlace(NamedTuple):
    """Where a task ran."""

    executor: str
    worker: str
    """The worker, or its manager if only that is known; empty for the notebook process."""


class TaskMoments(NamedTuple):
    """What the history needs of the row of a task."""

    id: int
    app: str
    state: str
    executor: str
    worker: str
    submitted: float
    ready: float | None
    started: float | None
    joining: float | None
    ended: float | None


class FailedTry(NamedTuple):
    """An attempt that failed after it had begun."""

    task: int
    app: str
    executor: str
    worker: str
    started: float
    ended: float


class WorkHistory:
    """The times of one run."""

    def __init__(self) -> None:
        self.places: defaultdict[tuple[str, str], Lanes] = defaultdict(Lanes)
        """By executor and worker, as in ``WorkPlace``."""
        self.running: dict[int, tuple[WorkPlace, Span, float]] = {}
        """Attempts that occupy a worker now, and when they were ready; the end of a span is infinite."""
        self.waiting_since: dict[int, float] = {}
        """Tasks that are ready and that no worker has begun, and since when."""
        self.busy = Curve()
        self.waiting = Curve()
        self.apps: list[str] = []
        self.first = float("inf")
        """When the first task was called."""
        self.last = float("-inf")
        """When the last attempt ended."""
        self._numbers: dict[str, int] = {}

    def add(self, tasks: Iterable[TaskMoments], attempts: Iterable[FailedTry] = ()) -> None:
        """Take over rows that have changed, and attempts that have failed since the last call."""
        ended: list[tuple[Span, str, str]] = []
        waited: list[tuple[float, float]] = []
        for attempt in attempts:
            app = self._number(attempt.app)
            span = Span(attempt.ended, attempt.started, attempt.task, app, _FAILED)
            ended.append((span, attempt.executor, attempt.worker))
        self._sort_out(tasks, ended, waited)
        self.waiting.extend(waited)
        if ended:
            # Lanes take tasks in the order of their ends.
            ended.sort()
            places = self.places
            for span, executor, worker in ended:
                places[executor, worker].add(span)
            self.busy.extend([(span.start, span.end) for span, _, worker in ended if worker])
            self.last = max(self.last, ended[-1][0].end)

    def _sort_out(
        self,
        tasks: Iterable[TaskMoments],
        ended: list[tuple[Span, str, str]],
        waited: list[tuple[float, float]],
    ) -> None:
        """Put the last attempts of tasks that have ended into lists, and note the other tasks."""
        numbers, running, waiting_since = self._numbers, self.running, self.waiting_since
        for task, app, state, executor, worker, submitted, ready, started, joining, end in tasks:
            if submitted < self.first:
                self.first = submitted
            if running:
                running.pop(task, None)
            if waiting_since:
                waiting_since.pop(task, None)
            if state not in _FINAL:
                moments = (task, app, state, executor, worker, submitted, ready, started, joining, end)
                self._move(TaskMoments._make(moments))
                continue
            if ready is not None:
                waited.append((ready, started or end or ready))
            # The failed attempt has been added, unless the body ran well and a future failed that it had returned.
            if started is not None and (state != _FAILED or joining is not None):
                number = numbers.get(app)
                if number is None:
                    number = self._number(app)
                ended.append((Span(joining or end or started, started, task, number, state), executor, worker))

    def _move(self, task: TaskMoments) -> None:
        """Note a task that has not ended."""
        if task.started is None:
            if task.ready is not None:
                self.waiting_since[task.id] = task.ready
        elif task.state != _RETRYING:
            end = float("inf") if task.joining is None else task.joining
            span = Span(end, task.started, task.id, self._number(task.app), task.state)
            ready = task.started if task.ready is None else task.ready
            self.running[task.id] = WorkPlace(task.executor, task.worker), span, ready

    def _number(self, app: str) -> int:
        number = self._numbers.get(app)
        if number is None:
            number = self._numbers[app] = len(self.apps)
            self.apps.append(app)
        return number
