"""The tasks of one worker, or of each worker of a manager, one after the other.  [core]

The database often names only the manager that ran a task.  Its tasks overlap then, and are put into as few lanes as
hold them: one for each worker that was busy at the same time.  Invariants:

* the tasks of a lane do not overlap, so their begins and their ends are both in order;
* tasks are added in the order of their ends.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from itertools import accumulate
from operator import attrgetter, sub
from typing import TYPE_CHECKING, NamedTuple

from parslab.records.panel import TimelineBar
from parslab.records.states import TaskState

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Lane", "Lanes", "Span"]

_TOLERANCE = 0.005
"""Seconds by which two tasks of one worker may seem to overlap: their times come from different clocks and messages."""

_DONE, _FAILED = TaskState.exec_done.name, TaskState.failed.name

_MAX_LANES = 1000
"""Most lanes of one manager; tasks beyond them share the last one, cut to the time that is free there."""

_SAMPLED = 9
"""Tasks of a bar that are looked at to name its usual app."""


class Span(NamedTuple):
    """The time in which one attempt to run a task occupied a worker."""

    end: float
    start: float
    task: int
    app: int
    """Place of the app in the list of all apps."""
    state: str


class Lane:
    """Tasks that followed each other."""

    __slots__ = ("_apps", "_busy", "_ends", "_failed", "_starts", "_states", "_tasks")

    def __init__(self) -> None:
        self._starts: array[float] = array("d")
        self._ends: array[float] = array("d")
        self._tasks: array[int] = array("q")
        self._apps: array[int] = array("l")
        self._states: dict[int, str] = {}
        """The states of the few tasks that did not end with a result, by place in the lane."""
        self._failed: list[int] = []
        """Places of the failed tasks."""
        self._busy: list[float] = [0.0]
        """Busy seconds before each task, and after the last one; made when they are needed."""

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def first(self) -> float:
        """When its first task began."""
        return self._starts[0] if self._starts else float("inf")

    @property
    def last(self) -> float:
        """When its last task ended."""
        return self._ends[-1] if self._ends else float("-inf")

    def add(self, span: Span) -> float:
        """Add a task that ended after all others of the lane, and return its end."""
        end, start, task, app, state = span
        ends = self._ends
        if ends and start < ends[-1]:
            start = ends[-1]
        if end < start:
            end = start
        if state != _DONE:
            self._states[len(ends)] = state
            if state == _FAILED:
                self._failed.append(len(ends))
        self._starts.append(start)
        ends.append(end)
        self._tasks.append(task)
        self._apps.append(app)
        return end

    def _sums(self) -> list[float]:
        if len(self._busy) <= len(self._ends):
            self._busy = list(accumulate(map(sub, self._ends, self._starts), initial=0.0))
        return self._busy

    def _failures(self, at: int, after: int) -> int:
        """Return how many tasks of a part of the lane failed."""
        return bisect_left(self._failed, after) - bisect_left(self._failed, at) if self._failed else 0

    def range(self, since: float, until: float) -> tuple[int, int]:
        """Return the first task that ended after ``since``, and the first one that began at ``until`` or later."""
        return bisect_right(self._ends, since), bisect_left(self._starts, until)

    def bars(self, since: float, until: float, least: float, origin: float) -> list[TimelineBar]:
        """Return the tasks between two times, with those in one bar that are too close to be told apart.

        Parameters
        ----------
        since, until
            The time that the picture shows.
        least
            The shortest time that the picture can show.
        origin
            The time from which the times of bars are counted.
        """
        at, stop = self.range(since, until)
        bars: list[TimelineBar] = []
        starts, ends = self._starts, self._ends
        while at < stop:
            after = at + 1
            if ends[at] - starts[at] < least:
                after = max(after, bisect_left(starts, starts[at] + least, at, stop))
                # A long task at the end of the group gets a bar of its own.
                if after - at > 1 and ends[after - 1] - starts[after - 1] >= least:
                    after -= 1
            bars.append(self._bar(at, after, origin))
            at = after
        return bars

    def _bar(self, at: int, after: int, origin: float) -> TimelineBar:
        failed, busy = self._failures(at, after), self._sums()
        return TimelineBar(
            start=round(self._starts[at] - origin, 6),
            end=round(self._ends[after - 1] - origin, 6),
            tasks=after - at,
            task=self._tasks[at],
            app=self._app(at, after),
            state=_FAILED if failed else self._states.get(at, _DONE),
            failed=failed,
            busy=round(busy[after] - busy[at], 6),
        )

    def _app(self, at: int, after: int) -> int:
        if after - at == 1:
            return self._apps[at]
        step = max(1, (after - at) // _SAMPLED)
        seen = self._apps[at:after:step]
        return max(dict.fromkeys(seen), key=seen.count)

    def busy_until(self, time: float) -> float:
        """Return for how many seconds tasks ran before a time."""
        begun = bisect_left(self._starts, time)
        return self._sums()[begun] - max(0.0, self._ends[begun - 1] - time) if begun else 0.0

    def seen(self, since: float, until: float) -> tuple[int, int, int, int]:
        """Return how many tasks ran between two times, how many of them failed, the first of them, and their app.

        The last two are -1 without a task.
        """
        at, stop = self.range(since, until)
        if at >= stop:
            return 0, 0, -1, -1
        return stop - at, self._failures(at, stop), self._tasks[at], self._app(at, stop)


class Lanes:
    """The lanes of one worker or manager."""

    __slots__ = ("_free_since", "_order", "lanes")

    def __init__(self) -> None:
        self.lanes: list[Lane] = []
        self._free_since: list[float] = []
        """When the last task of each lane ended, in order; ``_order`` has the lanes in the same order."""
        self._order: list[Lane] = []

    def add(self, span: Span) -> None:
        """Add a task that ended after the others."""
        times, order = self._free_since, self._order
        at = bisect_right(times, span.start + _TOLERANCE) - 1
        if at < 0 and len(order) < _MAX_LANES:
            lane = Lane()
            self.lanes.append(lane)
        else:
            # The lane that was free for the shortest time, so that the others stay free for tasks that began earlier.
            lane = order.pop(max(at, 0))
            del times[max(at, 0)]
        end = lane.add(span)
        place = len(times) if not times or times[-1] <= end else bisect_right(times, end)
        times.insert(place, end)
        order.insert(place, lane)

    def placed(self, running: Sequence[Span]) -> list[tuple[Lane, Span | None]]:
        """Return each lane with the task that runs on it now; tasks that find no lane get an empty one each."""
        times, free = list(self._free_since), list(self._order)
        found: dict[int, Span] = {}
        rest: list[Span] = []
        for span in sorted(running, key=attrgetter("start")):
            at = bisect_right(times, span.start + _TOLERANCE) - 1
            if at < 0:
                rest.append(span)
            else:
                del times[at]
                found[id(free.pop(at))] = span
        return [(lane, found.get(id(lane))) for lane in self.lanes] + [(Lane(), span) for span in rest]
