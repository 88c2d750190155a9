"""Reads the tasks, edges and failed attempts of a run's database, row by row.  [shell]"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from parslab.monitoring.store.tables import ATTEMPT, EDGE, TASK

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterator

    from parslab.monitoring.store.tables import StoredAttempt, StoredTask

__all__ = ["ExportedRun", "run_of"]

_TASKS = f"SELECT {', '.join(TASK.columns)} FROM task ORDER BY id"
_STARTED = f"SELECT {', '.join(TASK.columns)} FROM task WHERE started IS NOT NULL ORDER BY started, id"
_ATTEMPTS = f"SELECT {', '.join(ATTEMPT.columns)} FROM attempt WHERE started IS NOT NULL ORDER BY started, task"
_EDGES = f"SELECT {', '.join(EDGE.columns)} FROM edge ORDER BY task, dep"
_FAILURES = "SELECT task, error, traceback FROM failure ORDER BY task"


@dataclass(frozen=True)
class ExportedRun:
    """A run, read from an open connection.

    Parameters
    ----------
    connection
        A snapshot of the database, as ``reading`` of the store gives it.
    name
        The name of the run.
    started
        When it began, in seconds since the epoch.
    now
        The time until which things last that have not ended.
    """

    connection: sqlite3.Connection
    name: str
    started: float
    now: float

    def tasks(self) -> Iterator[StoredTask]:
        """Yield the tasks in the order of their numbers."""
        return map(TASK.row, self.connection.execute(_TASKS))

    def started_tasks(self) -> Iterator[StoredTask]:
        """Yield the tasks that a worker has begun, in the order in which their latest attempts began."""
        return map(TASK.row, self.connection.execute(_STARTED))

    def failed_attempts(self) -> Iterator[StoredAttempt]:
        """Yield the failed attempts that a worker has begun, in the order in which they began."""
        return map(ATTEMPT.row, self.connection.execute(_ATTEMPTS))

    def edges(self) -> Iterator[tuple[int, int]]:
        """Yield ``(task, the task whose result it needs)`` in the order of the tasks."""
        return self.connection.execute(_EDGES)

    def failures(self) -> Iterator[tuple[int, str, str]]:
        """Yield a task that failed, its error and its traceback, in the order of the tasks."""
        return self.connection.execute(_FAILURES)


def run_of(connection: sqlite3.Connection, now: float) -> ExportedRun:
    """Return the run of a database.

    Parameters
    ----------
    connection
        A snapshot of the database.
    now
        The present time.
    """
    row = connection.execute("SELECT run, started FROM run").fetchone()
    name, started = row or ("", 0.0)
    return ExportedRun(connection, name, started, now)
