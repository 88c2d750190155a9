"""Goes once through the tasks of a run and sums up their times.  [core]

A run may have a million tasks.  So each task costs a few additions, and memory holds eight bytes for each run time: the
median and the percentile of an app need all of them.  The number of apps and workers with sums of their own is bounded,
because a program may make a name for each task.
"""

from __future__ import annotations

import heapq
from array import array
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

from parslab.monitoring.report.summary import AppUse, TaskTime, TimeTotals
from parslab.records.states import TASK_STATES, TaskGroup, TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["COLUMNS", "INTERVALS", "Intervals", "TaskTimes", "Times"]

INTERVALS = 240
"""Points of the curves over time."""

SLOWEST = 20
"""Tasks that the report lists by run time."""

MANY = 2000
"""Apps, and workers, with sums of their own; later ones share one sum."""

OTHERS = "(others)"

COLUMNS = (
    "id, app, state, worker, attempt, submitted, ready, launched, started, joining, ended, retrying, "
    "substr(shown, 1, 200)"
)

Times: TypeAlias = (
    "tuple[int, str, str, str, int, float, float | None, float | None, float | None, float | None, float | None, "
    "float | None, str]"
)
"""A row of ``COLUMNS``."""

_GROUPS = {state.name: info.group for state, info in TASK_STATES.items()}
_MEMOIZED = TaskState.memo_done.name


class Intervals:
    """An average over time: how many things went on, in intervals of equal length.

    Parameters
    ----------
    start, end
        The time that the intervals cover.

    Examples
    --------
    >>> curve = Intervals(0.0, 240.0)
    >>> curve.add(1.5, 3.0)
    >>> curve.values()[:4]
    [0.0, 0.5, 1.0, 0.0]
    """

    __slots__ = ("_changes", "_parts", "start", "step")

    def __init__(self, start: float, end: float) -> None:
        self.start = start
        self.step = max(end - start, 1e-6) / INTERVALS
        self._parts = [0.0] * (INTERVALS + 1)
        self._changes = [0.0] * (INTERVALS + 2)

    def add(self, begin: float, end: float, weight: float = 1.0) -> None:
        """Add something that went on from ``begin`` to ``end``."""
        first = min(max((begin - self.start) / self.step, 0.0), INTERVALS)
        last = min(max((end - self.start) / self.step, 0.0), INTERVALS)
        if last <= first:
            return
        low, high = int(first), int(last)
        if low == high:
            self._parts[low] += weight * (last - first)
            return
        self._parts[low] += weight * (low + 1 - first)
        self._parts[high] += weight * (last - high)
        # Only the two ends of a long time are touched, however many intervals it covers.
        self._changes[low + 1] += weight
        self._changes[high] -= weight

    def values(self) -> list[float]:
        """Return the average of each interval."""
        values, level = [], 0.0
        for part, change in zip(self._parts[:INTERVALS], self._changes, strict=False):
            level += change
            values.append(round(level + part, 4))
        return values

    def total(self) -> float:
        """Return the sum of the times that were added, as far as they are covered."""
        return sum(self.values()) * self.step


@dataclass(slots=True)
class _App:
    tasks: int = 0
    succeeded: int = 0
    failed: int = 0
    memoized: int = 0
    waiting: float = 0.0
    queue: float = 0.0
    transfer: float = 0.0
    runs: array[float] = field(default_factory=lambda: array("d"))


class TaskTimes:
    """The sums over the tasks of a run.

    Parameters
    ----------
    start, end
        The time of the run.
    """

    def __init__(self, start: float, end: float) -> None:
        self.times = TimeTotals()
        self.states: dict[str, int] = {}
        self.running = Intervals(start, end)
        self.on_workers = Intervals(start, end)
        """Like ``running``, without the tasks that run in the client and so on no worker."""
        self.waiting = Intervals(start, end)
        self.workers: dict[str, tuple[int, float]] = {}
        """Number and run time of the tasks of each worker."""
        self._end = end
        self._apps: dict[str, _App] = {}
        self._slowest: list[tuple[float, int, Times]] = []

    def take(self, rows: Iterable[Times]) -> None:
        """Add tasks."""
        for row in rows:
            self._add(row)

    def _add(self, row: Times) -> None:
        id, name, state, worker, _, _, _, launched, started, joining, ended, _, _ = row
        self.states[state] = self.states.get(state, 0) + 1
        waiting, queue, transfer, run = _parts(row, self._end)
        times = self.times
        times.waiting += waiting
        times.queue += queue
        times.transfer += transfer
        times.run += run
        if joining is not None:
            times.joining += max(0.0, (self._end if ended is None else ended) - joining)
        app = self._app(name)
        app.tasks += 1
        app.waiting += waiting
        app.queue += queue
        app.transfer += transfer
        group = _GROUPS.get(state)
        app.succeeded += group is TaskGroup.succeeded
        app.failed += group is TaskGroup.failed
        app.memoized += state == _MEMOIZED
        if queue:
            self.waiting.add((launched or ended or self._end) - queue, launched or ended or self._end)
        if started is None:
            return
        self.running.add(started, started + run)
        app.runs.append(run)
        if worker:
            self.on_workers.add(started, started + run)
            if worker not in self.workers and len(self.workers) >= MANY:
                worker = OTHERS
            tasks, busy = self.workers.get(worker, (0, 0.0))
            self.workers[worker] = (tasks + 1, busy + run)
        if len(self._slowest) < SLOWEST:
            heapq.heappush(self._slowest, (run, -id, row))
        elif run > self._slowest[0][0]:
            heapq.heapreplace(self._slowest, (run, -id, row))

    def _app(self, name: str) -> _App:
        app = self._apps.get(name)
        if app is None:
            if len(self._apps) >= MANY:
                name = OTHERS
            app = self._apps.setdefault(name, _App())
        return app

    def apps(self) -> list[AppUse]:
        """Return the apps, those with the longest run times first."""
        return sorted((_use(name, app) for name, app in self._apps.items()), key=lambda app: (-app.run, app.app))

    def slowest(self) -> list[TaskTime]:
        """Return the tasks with the longest run times."""
        return [_task_time(row, self._end) for _, _, row in sorted(self._slowest, key=lambda entry: entry[:2])[::-1]]


def _parts(row: Times, now: float) -> tuple[float, float, float, float]:
    """Return the seconds for which a task waited for inputs, queued, was on the way, and ran."""
    _, _, _, _, _, submitted, ready, launched, started, joining, ended, retrying, _ = row
    stop = now if ended is None else ended
    waiting = max(0.0, (stop if ready is None else ready) - submitted)
    queue = transfer = run = 0.0
    if ready is not None:
        # The other times are those of the last attempt, which began to wait when the one before it had failed.
        queued = ready if retrying is None else max(ready, retrying)
        queue = max(0.0, (stop if launched is None else launched) - queued)
    if launched is not None:
        transfer = max(0.0, (stop if started is None else started) - launched)
    if started is not None:
        run = max(0.0, (stop if joining is None else joining) - started)
    return waiting, queue, transfer, run


def _task_time(row: Times, now: float) -> TaskTime:
    waiting, queue, transfer, run = _parts(row, now)
    return TaskTime(
        task=row[0],
        app=row[1],
        state=row[2],
        arguments=row[12],
        worker=row[3],
        attempts=row[4] + 1,
        waiting=waiting,
        queue=queue,
        transfer=transfer,
        run=run,
    )


def _use(name: str, app: _App) -> AppUse:
    runs = sorted(app.runs)
    return AppUse(
        app=name,
        tasks=app.tasks,
        succeeded=app.succeeded,
        failed=app.failed,
        memoized=app.memoized,
        run=sum(runs),
        median=_quantile(runs, 0.5),
        p95=_quantile(runs, 0.95),
        longest=runs[-1] if runs else None,
        waiting=app.waiting,
        queue=app.queue,
        transfer=app.transfer,
    )


def _quantile(values: Sequence[float], share: float) -> float | None:
    """Return the value below which a share of the sorted values lies; None if there are none."""
    return values[min(int(len(values) * share), len(values) - 1)] if values else None
