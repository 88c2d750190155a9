"""A history that follows the view's batches equals the one that is read from the database, whatever tasks do."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parslab.monitoring.store import inserts
from parslab.monitoring.timeline.reading import add_batch, history_of
from parslab.monitoring.view.view import View
from parslab.records.events import TaskFailed, TaskMoved, TaskSubmitted
from parslab.records.states import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.monitoring.timeline.history import WorkHistory
    from parslab.records.events import Event

S = TaskState


class Books:
    """A view, its database, and a history that follows the batches."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        inserts.create(connection)
        self.view = View()
        self.tails = inserts.OutputTails()
        self.history = history_of(connection)

    def write(self, *events: Event) -> None:
        self.view.apply(events, 100.0)
        batch = self.view.take_batch()
        inserts.write(self.connection, batch, self.tails)
        add_batch(self.history, batch)

    def read(self) -> WorkHistory:
        return history_of(self.connection)


@pytest.fixture
def books() -> Iterator[Books]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield Books(connection)


def content(history: WorkHistory) -> dict[str, Any]:
    """What a history has, without the choice of lanes and the order of apps."""
    edges = [float(edge) for edge in range(0, 60, 3)]

    def named(span: Any) -> tuple[Any, ...]:
        return (*span[:3], history.apps[span.app], span.state)

    lanes = {
        place: sorted(
            (bar.start, bar.end, bar.task, history.apps[bar.app], bar.state)
            for lane in lanes.lanes
            for bar in lane.bars(-1.0, 1e9, 0.0, 0.0)
        )
        for place, lanes in history.places.items()
    }
    return {
        "lanes": lanes,
        "running": {task: (tuple(place), named(span)) for task, (place, span, _) in history.running.items()},
        "waiting": history.waiting_since,
        "times": (history.first, history.last),
        "curves": (history.busy.averages(edges), history.waiting.averages(edges)),
    }


def bars(history: WorkHistory, place: tuple[str, str] = ("htex", "w")) -> list[tuple[float, float, int, str]]:
    lanes = history.places[place].lanes
    return [(bar.start, bar.end, bar.task, bar.state) for lane in lanes for bar in lane.bars(-1.0, 1e9, 0.0, 0.0)]


def submitted(task: int, time: float = 1.0) -> TaskSubmitted:
    return TaskSubmitted(time, task, "fit", S.ready, "htex", 1)


def test_a_task_waits_runs_and_ends(books: Books) -> None:
    books.write(submitted(1))
    assert books.history.waiting_since == {1: 1.0}
    books.write(TaskMoved(3.0, 1, S.running, 0, "w"))
    ((place, span, ready),) = books.history.running.values()
    assert (place, span.start, span.end, ready) == (("htex", "w"), 3.0, float("inf"), 1.0)
    books.write(TaskMoved(5.0, 1, S.exec_done, 0, "w"))
    assert not books.history.running
    assert not books.history.waiting_since
    assert bars(books.history) == [(3.0, 5.0, 1, "exec_done")]
    assert books.history.waiting.averages([1.0, 3.0, 5.0]) == [1.0, 0.0]
    assert books.history.busy.averages([1.0, 3.0, 5.0]) == [0.0, 1.0]


def test_each_attempt_has_a_bar(books: Books) -> None:
    books.write(submitted(1), TaskMoved(2.0, 1, S.running, 0, "w"))
    books.write(TaskFailed(3.0, 1, 0, "E: 1", "", "", 2.0, "w"), TaskMoved(3.0, 1, S.fail_retryable, 0))
    assert bars(books.history) == [(2.0, 3.0, 1, "failed")]
    assert not books.history.running
    books.write(TaskMoved(4.0, 1, S.ready, 1), TaskMoved(5.0, 1, S.running, 1, "w"))
    books.write(TaskFailed(7.0, 1, 1, "E: 1", "", "", 5.0, "w"), TaskMoved(7.0, 1, S.failed, 1, "w"))
    assert bars(books.history) == [(2.0, 3.0, 1, "failed"), (5.0, 7.0, 1, "failed")]
    assert content(books.read()) == content(books.history)


def test_the_body_of_a_join_app_leaves_its_worker_when_it_waits(books: Books) -> None:
    books.write(submitted(1), TaskMoved(2.0, 1, S.running, 0, "w"), TaskMoved(3.0, 1, S.joining, 0))
    ((_, span, _),) = books.history.running.values()
    assert span.end == 3.0
    books.write(
        TaskFailed(9.0, 1, 0, "DependencyError: 2", "", "dependency"),
        TaskMoved(9.0, 1, S.failed, 0),
    )
    assert bars(books.history) == [(2.0, 3.0, 1, "failed")]
    assert content(books.read()) == content(books.history)


def test_a_task_of_no_worker_counts_as_no_busy_one(books: Books) -> None:
    books.write(
        TaskSubmitted(1.0, 1, "join", S.ready, "", 1), TaskMoved(2.0, 1, S.running), TaskMoved(4.0, 1, S.exec_done)
    )
    assert bars(books.history, ("", "")) == [(2.0, 4.0, 1, "exec_done")]
    assert books.history.busy.averages([2.0, 4.0]) == [0.0]


STEP = st.sampled_from(["launch", "run", "end", "fail", "give up", "cancel", "flush"])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), STEP), max_size=60))
def test_following_batches_equals_reading_the_database(steps: list[tuple[int, str]]) -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        books = Books(connection)
        books.write(*(submitted(task, float(task)) for task in range(5)))
        events: list[Event] = []
        attempts = [0] * 5
        for time, (task, step) in enumerate(steps, 6):
            attempt = attempts[task]
            worker = f"w{task % 2}"
            error = TaskFailed(float(time), task, attempt, "E: 1", "", "", time - 0.5, worker)
            if step == "fail":
                attempts[task] += 1
            moves: dict[str, list[Event]] = {
                "launch": [TaskMoved(float(time), task, S.launched, attempt, worker)],
                "run": [TaskMoved(float(time), task, S.running, attempt, worker)],
                "end": [TaskMoved(float(time), task, S.exec_done, attempt, worker)],
                "fail": [
                    error,
                    TaskMoved(float(time), task, S.fail_retryable, attempt),
                    TaskMoved(time + 0.1, task, S.ready, attempt + 1),
                ],
                "give up": [error, TaskMoved(float(time), task, S.failed, attempt, worker)],
                "cancel": [TaskMoved(float(time), task, S.cancelled, attempt)],
                "flush": [],
            }
            events += moves[step]
            if step == "flush":
                books.write(*events)
                events = []
        books.write(*events)
        assert content(books.history) == content(books.read())
