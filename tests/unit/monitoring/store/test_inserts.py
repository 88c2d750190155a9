"""The rows of one batch are written in the order in which their events happened."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from parslab.monitoring.store.inserts import OutputTails, create, write
from parslab.monitoring.view.view import View
from parslab.records.events import TaskMoved, TaskReopened, TaskSubmitted
from parslab.records.states import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterator

S = TaskState


@pytest.fixture
def database() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    create(connection)
    yield connection
    connection.close()


def recalled(task: int) -> TaskSubmitted:
    """The event of a task that failed under a DataFlowKernel that was killed."""
    return TaskSubmitted(1.0, task, "fit", S.failed, "llex", 1, ended=4.0, worker="w-0", recalled=True)


def flush(connection: sqlite3.Connection, view: View) -> tuple[object, ...]:
    """Write what the view has for the store; the state, the attempt and the end of task 0 then."""
    write(connection, view.take_batch(), OutputTails())
    row: tuple[object, ...] = connection.execute("SELECT state, attempt, ended FROM task WHERE id = 0").fetchone()
    return row


@pytest.mark.parametrize("stored", ["", "launched", "failed"])
def test_a_task_that_is_recalled_and_reopened_in_one_batch_runs_again(
    database: sqlite3.Connection, stored: str
) -> None:
    """The lost DataFlowKernel may have stored nothing of the task, a part of its life, or all of it."""
    if stored:
        earlier = View()
        earlier.apply([TaskSubmitted(1.0, 0, "fit", S.ready, "llex", 1), TaskMoved(2.0, 0, S.launched, 0, "w-0")], 2.0)
        if stored == "failed":
            earlier.apply([TaskMoved(4.0, 0, S.failed, 0, "w-0")], 4.0)
        assert flush(database, earlier)[0] == stored
    view = View()
    view.apply([recalled(0), TaskReopened(9.0, 0, S.pending, S.failed, 1, "fit", "llex", 1)], 9.0)
    assert flush(database, view) == ("pending", 1, None)
    view.apply([TaskMoved(10.0, 0, S.ready, 1), TaskMoved(12.0, 0, S.exec_done, 1, "w-1")], 12.0)
    assert flush(database, view) == ("exec_done", 1, 12.0)


def test_a_task_that_ends_again_in_the_batch_of_its_recall_has_its_last_end(database: sqlite3.Connection) -> None:
    view = View()
    view.apply([recalled(0), TaskReopened(9.0, 0, S.pending, S.failed, 1, "fit", "llex", 1)], 9.0)
    view.apply([TaskMoved(10.0, 0, S.ready, 1), TaskMoved(12.0, 0, S.exec_done, 1, "w-1")], 12.0)
    assert flush(database, view) == ("exec_done", 1, 12.0)


def test_the_row_of_a_task_that_is_only_recalled_keeps_what_the_store_has(database: sqlite3.Connection) -> None:
    earlier = View()
    earlier.apply([TaskSubmitted(1.0, 0, "fit", S.ready, "llex", 1), TaskMoved(3.0, 0, S.failed, 2, "w-0")], 3.0)
    assert flush(database, earlier) == ("failed", 2, 3.0)
    view = View()
    view.apply([recalled(0)], 9.0)
    assert flush(database, view) == ("failed", 2, 3.0)
