"""Makes the history of a run from its database, or from the rows that are on their way to it."""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING

from parslab.monitoring.store.tables import TASK
from parslab.monitoring.timeline.history import FailedTry, TaskMoments, WorkHistory

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

    from parslab.monitoring.store.batch import Batch
    from parslab.monitoring.store.tables import Cells

__all__ = ["add_batch", "history_of"]

_COLUMNS = TaskMoments._fields
_TASKS = f"SELECT {', '.join(_COLUMNS)} FROM task WHERE ready IS NOT NULL OR started IS NOT NULL"
_ATTEMPTS = (
    "SELECT attempt.task, task.app, task.executor, attempt.worker, attempt.started, attempt.ended "
    "FROM attempt JOIN task ON task.id = attempt.task WHERE attempt.started IS NOT NULL"
)
_cells_of_times: Callable[[Cells], Cells] = itemgetter(*(TASK.columns.index(column) for column in _COLUMNS))


def history_of(connection: sqlite3.Connection) -> WorkHistory:
    """Read the whole history."""
    history = WorkHistory()
    attempts = map(FailedTry._make, connection.execute(_ATTEMPTS))
    history.add(connection.execute(_TASKS), attempts)
    (first,) = connection.execute("SELECT min(submitted) FROM task").fetchone()
    if first is not None:
        history.first = first  # of tasks that wait for others, too
    return history


def add_batch(history: WorkHistory, batch: Batch) -> None:
    """Add the rows of a batch that the view hands to the store."""
    tasks = [TaskMoments._make(_cells_of_times(cells)) for cells in batch.tasks]
    known = {task.id: task for task in tasks} if batch.attempts else {}
    # An event of a failed attempt changes the row of its task, too, so each batch has both.
    attempts = [
        FailedTry(
            attempt.task,
            known[attempt.task].app,
            known[attempt.task].executor,
            attempt.worker,
            attempt.started,
            attempt.ended,
        )
        for attempt in batch.attempts.values()
        if attempt.started is not None and attempt.task in known
    ]
    history.add(tasks, attempts)
