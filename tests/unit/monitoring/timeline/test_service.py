"""The monitor answers with what has happened so far, and a run whose timeline nobody looks at pays nothing."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING

import msgspec
import pytest

from parslab.monitoring.monitor import Monitor
from parslab.monitoring.store.batch import Batch
from parslab.monitoring.store.reader import reading
from parslab.monitoring.timeline import service as module
from parslab.monitoring.timeline.service import KEEP, TimelineService, timeline
from parslab.records.events import RunEnded, RunStarted, TaskMoved, TaskReopened, TaskSubmitted, WorkerMoved
from parslab.records.panel import Timeline, TimelineRequest
from parslab.records.states import TaskState, WorkerState
from parslab.wire.encoding import encode_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab.records.events import Event

S = TaskState
WIDE = TimelineRequest("t", since=0.0, until=100.0)


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    watching = Monitor(tmp_path)
    watching.record([RunStarted(1000.0, "007", "here", 1, str(tmp_path), ("llex",), "0.1.0")])
    watching.record([WorkerMoved(1000.0, "w", "llex", WorkerState.idle, "here", 4711)])
    yield watching
    watching.close(1100.0, timeout=20.0)


def asked(monitor: Monitor, now: float = 1010.0, request: TimelineRequest = WIDE) -> Timeline:
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    assert monitor.request(encode_json(request), now, answers.put) is None
    return msgspec.json.decode(answers.get(timeout=20.0), type=Timeline)


def task(number: int, start: float, end: float | None) -> list[Event]:
    moves: list[Event] = [
        TaskSubmitted(1000.0, number, "fit", S.ready, "llex", 1),
        TaskMoved(1000.0 + start, number, S.running, 0, "w"),
    ]
    return moves if end is None else [*moves, TaskMoved(1000.0 + end, number, S.exec_done, 0, "w")]


def bars(picture: Timeline) -> list[tuple[float, float, int]]:
    return [(bar.start, bar.end, bar.task) for row in picture.rows for bar in row.bars if bar.state != "running"]


def test_a_request_shows_all_that_happened_before_it(monitor: Monitor) -> None:
    monitor.record(task(1, 1.0, 2.0))
    assert bars(asked(monitor)) == [(1.0, 2.0, 1)]
    monitor.record(task(2, 3.0, None))
    (row,) = asked(monitor).rows
    assert [(bar.task, bar.state) for bar in row.bars] == [(1, "exec_done"), (2, "running")]
    monitor.record([TaskMoved(1005.0, 2, S.exec_done, 0, "w")])
    assert bars(asked(monitor)) == [(1.0, 2.0, 1), (3.0, 5.0, 2)]


def test_later_requests_do_not_read_the_tasks_again(monitor: Monitor, monkeypatch: pytest.MonkeyPatch) -> None:
    monitor.record(task(1, 1.0, 2.0))
    asked(monitor)
    monkeypatch.setattr(module, "history_of", None)
    monitor.record(task(2, 3.0, 4.0))
    assert bars(asked(monitor)) == [(1.0, 2.0, 1), (3.0, 4.0, 2)]


def test_a_task_that_is_retried_is_shown_again(monitor: Monitor) -> None:
    monitor.record(task(1, 1.0, None))
    monitor.record([TaskMoved(1002.0, 1, S.cancelled, 0)])
    assert bars(asked(monitor)) == [(1.0, 2.0, 1)]
    monitor.record([TaskReopened(1003.0, 1, S.pending, S.cancelled, 1, "fit", "llex", 1)])
    monitor.record([TaskMoved(1003.0, 1, S.ready, 1), TaskMoved(1004.0, 1, S.running, 1, "w")])
    monitor.record([TaskMoved(1006.0, 1, S.exec_done, 1, "w")])
    assert bars(asked(monitor)) == [(4.0, 6.0, 1)]


def test_the_database_of_a_run_that_has_ended_gives_the_same_picture(monitor: Monitor) -> None:
    monitor.record(task(1, 1.0, 2.0) + task(2, 3.0, 4.0))
    live = asked(monitor)
    monitor.record([RunEnded(1010.0, "it was closed")])
    monitor.close(1010.0, timeout=20.0)
    assert monitor.database is not None
    with reading(monitor.database) as connection:
        ended = timeline(connection, WIDE, 5000.0)
    assert bars(ended) == bars(live)
    assert (ended.last, ended.going_on) == (4.0, False)


def test_nothing_is_kept_before_a_panel_asks_and_long_after(monkeypatch: pytest.MonkeyPatch) -> None:
    service = TimelineService()
    batch = Batch(tasks=[()])
    service.note(batch, 0.0)
    assert not service._noted
    service.ask(0.0)
    service.note(batch, KEEP)
    assert service._noted == [batch]
    service.note(batch, KEEP + 1.0)
    assert not service._noted
    assert service._kept is None


def test_rows_that_nobody_asks_for_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_NOTED", 5)
    service = TimelineService()
    service.ask(0.0)
    for _ in range(5):
        service.note(Batch(tasks=[()]), 1.0)
    assert len(service._noted) == 5
    service.note(Batch(tasks=[()]), 1.0)
    assert not service._noted
