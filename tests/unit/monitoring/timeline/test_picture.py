"""The picture of a run: which rows it has, what they show, and that its size is bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from parslab.monitoring.timeline import picture as module
from parslab.monitoring.timeline.history import TaskMoments, WorkHistory
from parslab.monitoring.timeline.picture import MAX_BARS, Known, picture_of
from parslab.monitoring.timeline.places import KnownWorkers
from parslab.records.panel import Timeline, TimelineRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

ORIGIN = 1000.0


def ran(task: int, start: float, end: float | None, worker: str = "w0", **fields: Any) -> TaskMoments:
    state = "exec_done" if end is not None else "running"
    values: dict[str, Any] = {
        "id": task,
        "app": "fit",
        "state": state,
        "executor": "htex",
        "worker": worker,
        "submitted": ORIGIN,
        "ready": ORIGIN,
        "started": ORIGIN + start,
        "joining": None,
        "ended": None if end is None else ORIGIN + end,
    }
    return TaskMoments(**(values | fields))


def local(*names: str) -> list[KnownWorkers]:
    return [KnownWorkers(name, "htex", host="here") for name in names]


def nodes(count: int, workers: int, **fields: Any) -> list[KnownWorkers]:
    return [
        KnownWorkers(f"m{n}", "htex", block=str(n // 2), node=f"m{n}", host=f"n{n}", workers=workers, **fields)
        for n in range(count)
    ]


def picture(
    tasks: Sequence[TaskMoments], workers: Sequence[KnownWorkers] = (), now: float = 10.0, **request: Any
) -> Timeline:
    history = WorkHistory()
    history.add(tasks)
    known = Known(origin=ORIGIN, now=ORIGIN + now, workers=workers, managers={"m0-w1": "m0"})
    return picture_of(history, known, TimelineRequest("t", **request))


def test_each_worker_has_a_row_also_one_that_did_nothing() -> None:
    found = picture([ran(1, 2.0, 4.0), ran(2, 5.0, 10.0), ran(3, 0.0, 5.0, "gone")], local("w0", "w1"))
    assert (found.by, found.hidden, found.origin) == ("worker", 0, ORIGIN)
    assert [(row.worker, row.host, row.busy) for row in found.rows] == [
        ("w0", "here", 0.7),
        ("w1", "here", 0.0),
        ("gone", "", 0.5),
    ]
    assert [(bar.start, bar.end, bar.task, bar.tasks) for bar in found.rows[0].bars] == [
        (2.0, 4.0, 1, 1),
        (5.0, 10.0, 2, 1),
    ]
    assert (found.rows[2].since, found.rows[2].until) == (0.0, 5.0)
    assert (found.since, found.until, found.going_on, found.apps) == (0.0, 10.0, False, ["fit"])


def test_workers_of_a_manager_share_its_tasks() -> None:
    tasks = [ran(1, 1.0, 4.0, "m0"), ran(2, 2.0, 3.0, "m0"), ran(3, 5.0, None, "m0"), ran(4, 6.0, 7.0, "m0-w1")]
    found = picture(tasks, nodes(1, 4, since=ORIGIN + 0.5))
    assert [(row.node, row.worker, row.names, [bar.task for bar in row.bars]) for row in found.rows] == [
        ("m0", "", ["m0"], [2]),
        ("m0", "", ["m0"], [1, 3]),
        ("m0", "m0-w1", ["m0-w1"], [4]),
        ("m0", "", ["m0"], []),
    ]
    assert {row.since for row in found.rows} == {0.5}
    last = found.rows[1].bars[-1]
    assert (last.state, last.start, last.end) == ("running", 5.0, 10.0)
    assert found.going_on


def test_a_window_is_shown_larger() -> None:
    tasks = [ran(n, n / 100, n / 100 + 0.005) for n in range(1000)]
    whole = picture(tasks, local("w0"), pixels=100)
    assert whole.rows[0].bars[0].tasks > 1
    assert sum(bar.tasks for bar in whole.rows[0].bars) == 1000
    part = picture(tasks, local("w0"), pixels=100, since=2.0, until=2.1)
    assert [bar.task for bar in part.rows[0].bars] == list(range(200, 210))
    assert (part.since, part.until, part.first) == (2.0, 2.1, 0.0)
    assert part.last == pytest.approx(9.995)


@pytest.mark.parametrize(
    ("rows", "by", "count"), [(40, "worker", 40), (10, "node", 10), (5, "block", 5), (4, "executor", 1)]
)
def test_where_there_is_no_room_workers_share_rows(rows: int, by: str, count: int) -> None:
    tasks = [ran(n, n % 10, n % 10 + 1.0, f"m{n % 10}", app=f"app{n % 10 // 5}") for n in range(20)]
    found = picture(tasks, nodes(10, 4), rows=rows, pixels=100)
    assert (found.by, len(found.rows), found.hidden) == (by, count, 0)
    assert sum(row.workers for row in found.rows) == 40
    assert sum(row.busy * row.workers * 10.0 for row in found.rows) == pytest.approx(20.0, abs=0.1)
    assert sum(bar.busy for row in found.rows for bar in row.bars) == pytest.approx(20.0, abs=0.1)


def test_executors_beyond_the_rows_are_counted() -> None:
    workers = [KnownWorkers(f"w{n}", f"e{n}") for n in range(5)]
    found = picture([], workers, rows=3)
    assert (found.by, len(found.rows), found.hidden) == ("executor", 3, 2)


def test_a_row_of_several_workers_never_hides_a_failure() -> None:
    tasks = [ran(n, n / 10, n / 10 + 0.1, "m0") for n in range(100)]
    history = WorkHistory()
    history.add(tasks)
    history.add([ran(100, 3.0, 3.2, "m0", state="failed", joining=ORIGIN + 3.2)])
    known = Known(ORIGIN, ORIGIN + 10.0, nodes(2, 2), {})
    found = picture_of(history, known, TimelineRequest("t", rows=2, pixels=50))
    assert {bar.state for bar in found.rows[0].bars} == {"exec_done", "failed"}


def test_utilisation_is_what_the_workers_did() -> None:
    workers = [*local("w0"), *nodes(1, 2, since=ORIGIN + 5.0, until=ORIGIN + 8.0)]
    tasks = [ran(1, 2.0, 4.0), ran(2, 6.0, 8.0, "m0"), ran(3, 6.0, 8.0, "m0"), ran(4, 9.0, None)]
    waits = TaskMoments(5, "fit", "ready", "htex", "", ORIGIN, ORIGIN + 9.0, None, None, None)
    found = picture([*tasks, waits], workers)

    def at(time: float) -> tuple[float, float, float]:
        point = next(point for point in reversed(found.utilisation) if point.time <= time)
        return point.connected, point.busy, point.waiting

    assert at(1.0) == (1.0, 0.0, 4.0)
    assert at(3.0) == (1.0, 1.0, 3.0)
    assert at(7.0) == (3.0, 2.0, 1.0)
    assert at(8.5) == (1.0, 0.0, 1.0)
    assert at(9.5) == (1.0, 1.0, 1.0)
    assert found.utilisation[-1].time == 10.0
    assert len(found.utilisation) <= module.POINTS + 2


def test_bodies_of_join_apps_are_no_workers() -> None:
    found = picture([ran(1, 1.0, 2.0, "", executor="")])
    assert [(row.executor, row.names) for row in found.rows] == [("", [""])]
    assert {(point.connected, point.busy) for point in found.utilisation} == {(0.0, 0.0)}


def test_a_picture_of_a_run_without_tasks_is_empty() -> None:
    found = picture([], local("w0"), now=0.0)
    assert found.rows[0].bars == []
    assert found.until > found.since


def test_the_size_of_a_picture_is_bounded() -> None:
    tasks = [ran(n, n / 1000, n / 1000 + 0.0001, f"w{n % 100}") for n in range(40_000)]
    found = picture(tasks, now=40.0, pixels=100_000, rows=100_000)
    assert sum(len(row.bars) for row in found.rows) <= MAX_BARS * 1.1


@pytest.mark.parametrize("request_", [{"pixels": -5, "rows": -1}, {"since": 5.0, "until": 1.0}, {"since": 1e300}])
def test_a_senseless_request_gets_an_answer(request_: dict[str, Any]) -> None:
    assert isinstance(picture([ran(1, 1.0, 2.0)], **request_), Timeline)
