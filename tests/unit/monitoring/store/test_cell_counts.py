"""The tasks of notebook cells, counted by state for the line below each cell."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from parslab.monitoring.store.inserts import OutputTails, create, write
from parslab.monitoring.store.queries import CELLS, cell_counts, task_page
from parslab.monitoring.view.view import View
from parslab.records.events import TaskMoved, TaskReopened, TaskSubmitted
from parslab.records.panel import CellCountsRequest, CellCountsRow, TaskPage, TaskPageRequest
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


def submitted(time: float, task: int, cell: str, client: int = 1) -> TaskSubmitted:
    return TaskSubmitted(time, task, "fit", S.ready, "llex", client, cell=cell)


def counts(connection: sqlite3.Connection, *cells: str, client: int = 1) -> dict[str, CellCountsRow]:
    found = cell_counts(connection, CellCountsRequest("1", list(cells), client))
    return {row.cell: row for row in found.rows}


def test_tasks_are_counted_by_cell_and_state(database: sqlite3.Connection) -> None:
    view = View()
    view.apply(
        [
            submitted(1.0, 0, "In [3]"),
            submitted(2.0, 1, "In [3]"),
            submitted(3.0, 2, "In [4]"),
            submitted(4.0, 3, ""),
            TaskMoved(5.0, 0, S.exec_done, 0, "w-0"),
            TaskMoved(6.0, 2, S.failed, 0, "w-0"),
        ],
        6.0,
    )
    write(database, view.take_batch(), OutputTails())
    assert counts(database, "In [3]", "In [4]", "In [5]") == {
        "In [3]": CellCountsRow("In [3]", {"exec_done": 1, "ready": 1}, 1.0, None),
        "In [4]": CellCountsRow("In [4]", {"failed": 1}, 3.0, 6.0),
    }
    view.apply([TaskMoved(9.0, 1, S.failed, 0, "w-0")], 9.0)
    write(database, view.take_batch(), OutputTails())
    assert counts(database, "In [3]")["In [3]"].ended == 9.0


def test_a_task_that_runs_again_is_unfinished(database: sqlite3.Connection) -> None:
    view = View()
    view.apply([submitted(1.0, 0, "In [3]"), TaskMoved(6.0, 0, S.failed, 0, "w-0")], 6.0)
    write(database, view.take_batch(), OutputTails())
    view.apply([TaskReopened(9.0, 0, S.pending, S.failed, 1, "fit", "llex", 1)], 9.0)
    write(database, view.take_batch(), OutputTails())
    assert counts(database, "In [3]")["In [3]"] == CellCountsRow("In [3]", {"pending": 1}, 1.0, None)


def test_cells_of_other_notebooks_do_not_count(database: sqlite3.Connection) -> None:
    view = View()
    view.apply([submitted(1.0, 0, "In [3]"), submitted(1.0, 1, "In [3]", client=2)], 1.0)
    write(database, view.take_batch(), OutputTails())
    assert counts(database, "In [3]")["In [3]"].counts == {"ready": 1}
    assert counts(database, "In [3]", client=5) == {}
    assert counts(database) == {}


def test_the_table_of_tasks_can_show_those_of_a_cell(database: sqlite3.Connection) -> None:
    view = View()
    view.apply([submitted(1.0, 0, "In [3]"), submitted(1.0, 1, "In [4]"), submitted(1.0, 2, "In [3]", client=2)], 1.0)
    write(database, view.take_batch(), OutputTails())
    page = task_page(database, TaskPageRequest("1", cell="In [3]", client=1))
    assert isinstance(page, TaskPage)
    assert ([row.id for row in page.rows], page.total) == ([0], 1)


def test_no_request_makes_the_database_count_for_long(database: sqlite3.Connection) -> None:
    view = View()
    view.apply([submitted(1.0, number, f"In [{number}]") for number in range(2 * CELLS)], 1.0)
    write(database, view.take_batch(), OutputTails())
    names = [f"In [{number}]" for number in range(2 * CELLS)]
    assert list(counts(database, *names)) == names[:CELLS]
    assert counts(database, *names, client=1 << 70) == {}
