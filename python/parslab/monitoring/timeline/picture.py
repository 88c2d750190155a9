"""Reduces the history of a run to rows of bars for a picture of some width.  [core]

A picture has at most a few thousand bars, whatever the number of tasks: the time to make, send and draw it is bounded.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from parslab.monitoring.timeline.history import WorkPlace
from parslab.monitoring.timeline.lanes import Lane, Lanes
from parslab.monitoring.timeline.places import KnownWorkers
from parslab.records.panel import Timeline, TimelineBar, TimelineRow, UtilisationPoint
from parslab.records.states import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from parslab.monitoring.timeline.history import WorkHistory
    from parslab.monitoring.timeline.lanes import Span
    from parslab.records.panel import TimelineRequest

__all__ = ["MAX_BARS", "POINTS", "Known", "picture_of"]

POINTS = 240
"""Points of the curves over time."""

MAX_BARS = 8000
"""Most bars of a picture, roughly: where there are many rows, short tasks share bars that are wider than two pixels."""

_LEAST = 2
"""Pixels that a bar needs to be seen."""

_MAX_ROWS = 500
_MAX_PIXELS = 4000
_LOOKS = 50_000
"""Most looks at a lane for the rows of several workers."""

_DONE, _FAILED = TaskState.exec_done.name, TaskState.failed.name

_NO_TIME = 0.001
"""The shortest time that a picture covers, in seconds."""

_LONGEST = 1e9
"""Seconds before and after the begin of the run that a request may ask for: about 30 years."""


class Known(NamedTuple):
    """What the database says of the run, beside its tasks."""

    origin: float
    """When the run began."""
    now: float
    """The present time, or the end of a run that has ended."""
    workers: Sequence[KnownWorkers]
    managers: Mapping[str, str]
    """The manager of each worker that has one."""


class _Line(NamedTuple):
    """A worker: its lane and the task that it runs now."""

    workers: KnownWorkers
    name: str
    """What its tasks name as their worker."""
    lane: Lane
    running: Span | None


class _Window(NamedTuple):
    """The time that the picture shows, as the clock of the run counts it."""

    since: float
    until: float
    pixels: int
    origin: float
    now: float


def picture_of(history: WorkHistory, known: Known, request: TimelineRequest) -> Timeline:
    """Return the picture that a request asks for.

    Parameters
    ----------
    history
        The times of the tasks.
    known
        The run and its workers.
    request
        The time and the size of the picture.
    """
    first, last, going_on = _whole(history, known)
    since = first if request.since is None else known.origin + _sensible(request.since)
    until = last if request.until is None else known.origin + _sensible(request.until)
    pixels = min(max(request.pixels, 1), _MAX_PIXELS)
    window = _Window(since, max(until, since + _NO_TIME), pixels, known.origin, known.now)
    lines = _lines(history, known)
    most = min(max(request.rows, 1), _MAX_ROWS)
    by, groups = _grouped(lines, most)
    shown = groups[:most]
    least = (window.until - since) / pixels * max(_LEAST, len(shown) * pixels / MAX_BARS)
    return Timeline(
        request_id=request.request_id,
        origin=known.origin,
        since=round(since - known.origin, 6),
        until=round(window.until - known.origin, 6),
        first=round(first - known.origin, 6),
        last=round(last - known.origin, 6),
        going_on=going_on,
        by=by,
        rows=[_row(by, group, window, least) for group in shown],
        hidden=len(groups) - len(shown),
        apps=history.apps,
        utilisation=_utilisation(history, known, lines, window),
    )


def _sensible(time: float) -> float:
    """Return a time that differences of milliseconds can be added to."""
    return min(max(time, -_LONGEST), _LONGEST)


def _whole(history: WorkHistory, known: Known) -> tuple[float, float, bool]:
    """Return the time of the picture that shows the whole run, and whether any task is unfinished."""
    going_on = bool(history.waiting_since) or any(span.end > known.now for _, span, _ in history.running.values())
    first = min(history.first, known.now)
    return first, max(known.now if going_on else min(history.last, known.now), first + _NO_TIME), going_on


# ----- which rows


def _lines(history: WorkHistory, known: Known) -> list[_Line]:
    """Return the workers with their lanes: those of the database, then those that only tasks name."""
    running: defaultdict[WorkPlace, list[Span]] = defaultdict(list)
    for place, span, _ in history.running.values():
        running[place].append(span)
    lanes = {WorkPlace(*place): found for place, found in history.places.items()}
    lanes |= {place: Lanes() for place in running if place not in lanes}
    left = dict.fromkeys(lanes)
    lines: list[_Line] = []
    by_manager: defaultdict[str, list[WorkPlace]] = defaultdict(list)
    for place in lanes:
        by_manager[known.managers.get(place.worker, place.worker)].append(place)
    for workers in known.workers:
        found: list[_Line] = []
        for place in sorted(by_manager.get(workers.name, ())):
            left.pop(place, None)
            found += [_Line(workers, place.worker, *pair) for pair in lanes[place].placed(running[place])]
        found += [_Line(workers, workers.name, Lane(), None)] * (workers.workers - len(found))
        lines += found
    for place in sorted(left, key=lambda place: (not place.worker, place)):
        lines += [_unknown(place, *pair) for pair in lanes[place].placed(running[place])]
    return lines


def _unknown(place: WorkPlace, lane: Lane, running: Span | None) -> _Line:
    """Return a worker that the database no longer has: it was there while it had tasks."""
    since = running.start if running and not len(lane) else lane.first
    until = None if running else lane.last
    return _Line(KnownWorkers(place.worker, place.executor, since=since, until=until), place.worker, lane, running)


_By: TypeAlias = Literal["worker", "node", "block", "executor"]

_KEYS: dict[_By, Callable[[KnownWorkers], tuple[str, ...]]] = {
    "node": lambda workers: (workers.executor, workers.block, workers.node),
    "block": lambda workers: (workers.executor, workers.block),
    "executor": lambda workers: (workers.executor,),
}


def _grouped(lines: list[_Line], most: int) -> tuple[_By, list[list[_Line]]]:
    """Return the finest rows of which there are at most ``most``, or those of executors."""
    if len(lines) <= most:
        return "worker", [[line] for line in lines]
    for by, key in _KEYS.items():
        groups: dict[tuple[str, ...], list[_Line]] = {}
        for line in lines:
            groups.setdefault(key(line.workers), []).append(line)
        if len(groups) <= most or by == "executor":
            return by, list(groups.values())
    raise AssertionError("unreachable")


# ----- what a row shows


def _row(by: _By, group: list[_Line], window: _Window, least: float) -> TimelineRow:
    first = group[0]
    workers = first.workers
    since = [line.workers.since for line in group]
    until = [line.workers.until for line in group]
    busy = sum(_busy(line, window.since, window.until, window.now) for line in group)
    is_local = not workers.node
    return TimelineRow(
        executor=workers.executor,
        block=workers.block if by != "executor" else "",
        node=workers.node if by in ("worker", "node") else "",
        host=workers.host if by in ("worker", "node") else "",
        worker=first.name if by == "worker" and (is_local or first.name != workers.node) else "",
        workers=len(group),
        names=list(dict.fromkeys(line.name for line in group)),
        since=_relative(None if None in since else min(filter(None, since)), window),
        until=_relative(None if None in until else max(filter(None, until)), window),
        busy=round(busy / ((window.until - window.since) * len(group)), 4),
        bars=_bars(first, window, least) if by == "worker" else _shared_bars(group, window, least),
    )


def _relative(time: float | None, window: _Window) -> float | None:
    return None if time is None else round(time - window.origin, 6)


def _busy(line: _Line, since: float, until: float, now: float) -> float:
    """Return for how many seconds a worker was busy between two times."""
    busy = line.lane.busy_until(until) - line.lane.busy_until(since)
    if line.running is not None:
        busy += max(0.0, min(line.running.end, now, until) - max(line.running.start, since))
    return busy


def _bars(line: _Line, window: _Window, least: float) -> list[TimelineBar]:
    bars = line.lane.bars(window.since, window.until, least, window.origin)
    span = line.running
    if span is not None and span.start < window.until:
        end = min(span.end, window.now)
        start, end = round(span.start - window.origin, 6), round(max(end, span.start) - window.origin, 6)
        bars.append(
            TimelineBar(
                start=start,
                end=end,
                tasks=1,
                task=span.task,
                app=span.app,
                state=span.state,
                failed=0,
                busy=round(end - start, 6),
            )
        )
    return bars


def _shared_bars(group: list[_Line], window: _Window, least: float) -> list[TimelineBar]:
    """Return bars of equal length, which say how many of the workers were busy."""
    length = window.until - window.since
    count = max(1, min(int(length / least), _LOOKS // len(group)))
    edges = [window.since + length * at / count for at in range(count + 1)]
    bars: list[TimelineBar] = []
    for since, until in pairwise(edges):
        busy = sum(_busy(line, since, until, window.now) for line in group)
        if busy > 0:
            bars.append(_shared_bar(group, (since, until), busy, window.origin))
    return bars


def _shared_bar(group: list[_Line], part: tuple[float, float], busy: float, origin: float) -> TimelineBar:
    tasks = failed = 0
    task, apps = -1, set()
    for line in group:
        seen, bad, example, app = line.lane.seen(*part)
        if line.running is not None and line.running.start < part[1]:
            seen, example, app = seen + 1, line.running.task, line.running.app
        if seen:
            tasks, failed, task = tasks + seen, failed + bad, example if task < 0 else task
            apps.add(app)
    return TimelineBar(
        start=round(part[0] - origin, 6),
        end=round(part[1] - origin, 6),
        tasks=tasks,
        task=task,
        app=apps.pop() if len(apps) == 1 else -1,
        state=_FAILED if failed else _DONE,
        failed=failed,
        busy=round(busy, 6),
    )


# ----- the curves


def _utilisation(history: WorkHistory, known: Known, lines: Iterable[_Line], window: _Window) -> list[UtilisationPoint]:
    """Return averages of the connected and the busy workers, and of the waiting tasks."""
    end = min(window.until, known.now)
    step = (window.until - window.since) / POINTS
    edges = [window.since + step * at for at in range(POINTS + 1)]
    edges = [edge for edge in edges if edge < end] + [end] if end > window.since else edges[:1]
    running = [(span.start, min(span.end, end)) for place, span, _ in history.running.values() if place.worker]
    waits = [(ready, span.start) for _, span, ready in history.running.values()]
    waits += [(since, end) for since in history.waiting_since.values()]
    busy = history.busy.averages(edges, running)
    waiting = history.waiting.averages(edges, waits)
    connected = _connected(lines, edges, known.now)
    points = [
        UtilisationPoint(round(edge - known.origin, 6), *values)
        for edge, *values in zip(edges, connected, busy, waiting, strict=False)
    ]
    if points:
        # A step chart needs the end of the last step.
        last = points[-1]
        points.append(UtilisationPoint(round(edges[-1] - known.origin, 6), last.connected, last.busy, last.waiting))
    return points


def _connected(lines: Iterable[_Line], edges: Sequence[float], now: float) -> list[float]:
    """Return the average number of workers between each two neighbours of ``edges``."""
    changes = [0.0] * len(edges)
    counts: dict[tuple[float, float], int] = {}
    for line in lines:
        if line.name:
            life = (line.workers.since or float("-inf"), line.workers.until or float("inf"))
            counts[life] = counts.get(life, 0) + 1
    for (since, until), count in counts.items():
        for at, (low, high) in enumerate(pairwise(edges)):
            part = min(until, high) - max(since, low)
            if part > 0:
                changes[at] += count * part / (high - low)
    return [round(value, 4) for value in changes[:-1]]
