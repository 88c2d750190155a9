"""Finds the chain of tasks that decided when the work of a run was done.  [core]

The search goes backwards from the task that ended last, each time to the dependency that ended last.  It asks the
database a few rows for each step, so it costs as much as the chain is long, and not as much as the graph is large.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from parslab.monitoring.report.summary import CriticalPath, PathStep

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

__all__ = ["LONGEST", "critical_path"]

LONGEST = 200_000
"""Steps that are followed."""

SHOWN = 20
"""Steps that are listed from each end of the chain."""

_STEP = "id, app, state, submitted, launched, started, joining, ended"
_LAST = f"SELECT {_STEP} FROM task WHERE ended IS NOT NULL ORDER BY ended DESC, id DESC LIMIT 1"
_BEFORE = (
    f"SELECT {_STEP} FROM edge JOIN task ON task.id = edge.dep WHERE edge.task = ? AND ended <= ? "
    "ORDER BY ended DESC, id DESC LIMIT 1"
)

_Row = tuple[int, str, str, float, "float | None", "float | None", "float | None", float]


def critical_path(connection: sqlite3.Connection, started: float) -> CriticalPath:
    """Return the critical path of a run that began at ``started``."""
    rows, whole = _chain(connection)
    if not rows:
        return CriticalPath()
    steps = list(_steps(rows, started))
    return CriticalPath(
        seconds=max(0.0, rows[-1][7] - started),
        length=len(steps),
        whole=whole,
        program=sum(step.program for step in steps),
        queue=sum(step.queue for step in steps),
        transfer=sum(step.transfer for step in steps),
        run=sum(step.run for step in steps),
        joining=sum(step.joining for step in steps),
        steps=steps if len(steps) <= 2 * SHOWN else steps[:SHOWN] + steps[-SHOWN:],
        hidden=max(0, len(steps) - 2 * SHOWN),
    )


def _chain(connection: sqlite3.Connection) -> tuple[list[_Row], bool]:
    """Return the tasks of the chain in the order of time, and whether it is whole."""
    rows: list[_Row] = []
    visited = set()
    row: _Row | None = connection.execute(_LAST).fetchone()
    # A damaged database may have a circle of tasks that ended at the same time.
    while row is not None and row[0] not in visited:
        if len(rows) >= LONGEST:
            return rows[::-1], False
        rows.append(row)
        visited.add(row[0])
        row = connection.execute(_BEFORE, (row[0], row[7])).fetchone()
    return rows[::-1], True


def _steps(rows: list[_Row], started: float) -> Iterable[PathStep]:
    before = started
    for id, app, state, submitted, launched, began, joining, ended in rows:
        # Each mark is at least the one before it, so the parts are never negative and add up to the whole.
        marks = [before]
        for mark in (submitted, launched, began, joining or ended, ended):
            marks.append(max(marks[-1], min(ended if mark is None else mark, ended)))
        program, queue, transfer, run, joined = (later - earlier for earlier, later in pairwise(marks))
        if began is None:
            # The task never ran, so all the time until its end was spent waiting.
            queue, transfer, run = queue + transfer + run, 0.0, 0.0
        yield PathStep(
            task=id, app=app, state=state, program=program, queue=queue, transfer=transfer, run=run, joining=joined
        )
        before = max(before, ended)
