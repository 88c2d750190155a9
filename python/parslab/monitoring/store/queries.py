"""Answers the requests of panels from the tables of a run's database.

The store's thread calls this module with its own connection; this module has no thread, file or clock.  The text of a
request is always a bound value and never part of a statement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from parslab.monitoring.failures.tracebacks import cell_line
from parslab.monitoring.output import cut_mark
from parslab.monitoring.store.tables import ATTEMPT, TASK, StoredTask
from parslab.records.panel import (
    CLIENT_SHIFT,
    Attempt,
    CellCounts,
    CellCountsRequest,
    CellCountsRow,
    ErrorReply,
    StateChange,
    TaskDetail,
    TaskDetailRequest,
    TaskPage,
    TaskPageRequest,
    TaskRow,
)
from parslab.records.reasons import Reason
from parslab.records.states import FINAL, TASK_STATES, TaskGroup, TaskState

if TYPE_CHECKING:
    import sqlite3

__all__ = ["cell_counts", "task_detail", "task_page"]

CELLS = 50
"""Most cells in a reply."""

_LISTED = 1000
"""Most dependencies, dependents and attempts in a reply."""

_SORTABLE = frozenset(TaskRow.__struct_fields__)
"""Columns that a request may sort by.  SQL cannot bind the name of a column, so only these names enter a statement."""
_TASK_COLUMNS = ", ".join(TASK.columns)
_NUMBER = f"(id & {(1 << CLIENT_SHIFT) - 1})"
"""The number of a task among the tasks of its client, which panels show instead of the id."""

_ENDED_BY = {TaskGroup.cancelled: Reason.cancelled.value, TaskGroup.failed: Reason.dependency.value}
"""The reason of a last attempt that did not itself fail, such as that of a join app whose returned future failed."""


_BY_COLUMN: dict[str, list[str]] = {}
for _state, _info in TASK_STATES.items():
    _BY_COLUMN.setdefault(_info.column, []).append(_state.name)
_SHARED = {column: states for column, states in _BY_COLUMN.items() if len(states) > 1}
"""Columns in which several states keep their time, with the names of these states."""


def task_page(connection: sqlite3.Connection, request: TaskPageRequest) -> TaskPage | ErrorReply:
    """Return one page of the task table."""
    if request.sort not in _SORTABLE:
        return ErrorReply(request.request_id, f"The task table has no column {request.sort[:50]!r} to sort by.")
    where, values = _filter(request)
    total = connection.execute(f"SELECT count(*) FROM task{where}", values).fetchone()[0]
    way = "DESC" if request.descending else "ASC"
    # SQLite raises for a number of more than 64 bits.
    limit, offset = min(max(request.limit, 0), 1000), min(max(request.offset, 0), 1 << 62)
    # The id decides between equal values, so that no task is on two pages or on none.
    sql = f"SELECT {_TASK_COLUMNS} FROM task{where} ORDER BY {request.sort} {way}, id {way} LIMIT ? OFFSET ?"
    rows = [_task_row(TASK.row(cells)) for cells in connection.execute(sql, (*values, limit, offset))]
    return TaskPage(request.request_id, rows, total, offset)


def _task_row(task: StoredTask) -> TaskRow:
    """Return the columns of a task that the task table shows."""
    return msgspec.convert(task, TaskRow, from_attributes=True)


def _filter(request: TaskPageRequest) -> tuple[str, list[Any]]:
    """Return the ``WHERE`` clause of a page and its values."""
    terms: list[str] = []
    values: list[Any] = []
    for column, wanted in (("state", request.states), ("app", request.apps)):
        if wanted:
            chosen = wanted[:500]  # older versions of SQLite bind at most 999 values
            terms.append(f"{column} IN ({','.join('?' * len(chosen))})")
            values += chosen
    if request.failures is not None:
        # The table of failures keeps the error of a task that was retried, so the state counts, too.
        terms.append("id IN (SELECT task FROM failure WHERE failure_group = ?) AND state = ?")
        values += [_storable(request.failures), TaskState.failed.name]
    if request.cell:
        terms.append("cell = ? AND client = ?")
        values += [request.cell, _storable(request.client)]
    if request.workers:
        chosen = request.workers[:500]
        terms.append(f"worker IN ({','.join('?' * len(chosen))})")
        values += chosen
    if request.between is not None:
        since, until = request.between
        terms.append("started < ? AND coalesce(joining, ended, retrying, ?) > ?")
        values += [until, until, since]
    if text := request.text.strip()[:200]:
        # The backslash is first: later it would also escape the backslashes in front of the other two.
        for sign in "\\%_":
            text = text.replace(sign, "\\" + sign)
        terms.append(
            "(app LIKE ? ESCAPE '\\' OR shown LIKE ? ESCAPE '\\' OR error LIKE ? ESCAPE '\\' "
            f"OR CAST({_NUMBER} AS TEXT) LIKE ? ESCAPE '\\' OR CAST(id AS TEXT) LIKE ? ESCAPE '\\')"
        )
        values += [f"%{text}%"] * 4 + [text]
    return (" WHERE " + " AND ".join(terms) if terms else ""), values


def cell_counts(connection: sqlite3.Connection, request: CellCountsRequest) -> CellCounts:
    """Return the tasks by state of each requested cell; the caller sets the time."""
    rows = []
    # One statement for each cell: all cells in one would sort the whole table, which takes ten times as long.
    sql = "SELECT state, count(*), min(submitted), max(ended) FROM task WHERE cell = ? AND client = ? GROUP BY state"
    for cell in request.cells[:CELLS]:
        found = connection.execute(sql, (cell, _storable(request.client))).fetchall()
        if found:
            states, tasks, submitted, ended = zip(*found, strict=True)
            over = all(TaskState[state] in FINAL for state in states)
            last = max(time or 0.0 for time in ended) if over else None
            rows.append(CellCountsRow(cell, dict(zip(states, tasks, strict=True)), min(submitted), last))
    return CellCounts(request.request_id, 0.0, rows)


def task_detail(connection: sqlite3.Connection, request: TaskDetailRequest) -> TaskDetail | ErrorReply:
    """Return all details of one task."""
    sql = f"SELECT {_TASK_COLUMNS} FROM task WHERE id = ?"
    found = connection.execute(sql, (_storable(request.task),)).fetchone()
    if found is None:
        return ErrorReply(request.request_id, f"This run has no task {request.task}.")
    task = TASK.row(found)
    host, pid = _place(connection, task.worker)
    sql = "SELECT traceback FROM failure WHERE task = ? AND attempt = ?"
    failure = connection.execute(sql, (task.id, task.attempt)).fetchone()
    sql = "SELECT cpu, memory, read, written FROM usage WHERE task = ?"
    cpu, memory, read, written = connection.execute(sql, (task.id,)).fetchone() or [None] * 4
    sql = "SELECT nodes, cores, launch FROM placement WHERE task = ?"
    nodes, cores, launch = connection.execute(sql, (task.id,)).fetchone() or ("", "", "")
    traceback = failure[0] if failure and task.error else ""
    return TaskDetail(
        request_id=request.request_id,
        row=_task_row(task),
        times=_times(task),
        deps=_neighbours(connection, "dep", "task", task.id),
        dependents=_neighbours(connection, "task", "dep", task.id),
        host=host,
        pid=pid,
        traceback=traceback,
        stdout=_text(connection, task.id, "stdout"),
        stderr=_text(connection, task.id, "stderr"),
        client=task.client,
        cpu=cpu,
        memory=memory,
        read=read,
        written=written,
        attempts=_attempts(connection, task),
        nodes=nodes,
        cores=cores,
        launch=launch,
        source=cell_line(traceback),
    )


def _times(task: StoredTask) -> list[tuple[str, float]]:
    """Return the states that the task entered, with their times."""
    times: list[tuple[str, float]] = []
    for state, info in TASK_STATES.items():
        time: float | None = getattr(task, info.column)
        if time is None or (info.column in _SHARED and state.name != _owner(info.column, task)):
            continue
        if state is TaskState.pending and task.ready == time:
            continue  # a task without dependencies is ready at once
        times.append((state.name, time))
    return times


def _owner(column: str, task: StoredTask) -> str:
    """Return the state to which the time in a shared column belongs; states that share one exclude each other."""
    states = _SHARED[column]
    # A task that has ended keeps no note of which of them it was; the first one is the usual one.
    return task.state if task.state in states or TASK_STATES[TaskState[states[0]]].final else states[0]


def _place(connection: sqlite3.Connection, worker: str) -> tuple[str, int]:
    """Return host and process id of a worker, or only the host if ``worker`` names a manager, as it often does."""
    for sql in ("SELECT host, pid FROM worker WHERE worker = ?", "SELECT host, 0 FROM manager WHERE manager = ?"):
        found = connection.execute(sql, (worker,)).fetchone() if worker else None
        if found is not None:
            return found[0], found[1]
    return "", 0


def _attempts(connection: sqlite3.Connection, task: StoredTask) -> list[Attempt]:
    """Return the failed attempts, which have rows of their own, and the latest attempt, from the row of the task."""
    sql = f"SELECT {', '.join(ATTEMPT.columns)} FROM attempt WHERE task = ? ORDER BY attempt DESC LIMIT {_LISTED}"
    hosts: dict[str, str] = {}
    found: list[Attempt] = []
    for row in map(ATTEMPT.row, connection.execute(sql, (task.id,)).fetchall()):
        if row.worker not in hosts:
            hosts[row.worker] = _place(connection, row.worker)[0]
        found.append(
            Attempt(
                attempt=row.attempt,
                state=TaskState.failed.name,
                started=row.started,
                ended=row.ended,
                worker=row.worker,
                host=hosts[row.worker],
                reason=row.reason,
                error=row.error,
            )
        )
    found.reverse()
    begun = task.launched is not None or task.started is not None
    if begun and (not found or found[-1].attempt < task.attempt):
        found.append(
            Attempt(
                attempt=task.attempt,
                state=task.state,
                started=task.started,
                ended=task.ended,
                worker=task.worker,
                host=_place(connection, task.worker)[0],
                reason=_ENDED_BY.get(TASK_STATES[TaskState[task.state]].group, ""),
                error=task.error,
            )
        )
    return found


def _neighbours(connection: sqlite3.Connection, wanted: str, known: str, task: int) -> list[StateChange]:
    sql = (
        f"SELECT edge.{wanted}, coalesce(task.state, '') FROM edge LEFT JOIN task ON task.id = edge.{wanted} "
        f"WHERE edge.{known} = ? ORDER BY edge.{wanted} LIMIT {_LISTED}"
    )
    return [StateChange(id=id, state=state) for id, state in connection.execute(sql, (task,))]


def _text(connection: sqlite3.Connection, task: int, stream: str) -> str:
    sql = "SELECT skipped, text FROM output WHERE task = ? AND stream = ? ORDER BY chunk"
    parts: list[str] = []
    for skipped, text in connection.execute(sql, (task, stream)):
        parts += [cut_mark(skipped), text] if skipped else [text]
    return "".join(parts)


def _storable(task: int) -> int:
    """Return the id, or -1, which no task has, if SQLite cannot store the id."""
    return task if -(1 << 63) <= task < 1 << 63 else -1
