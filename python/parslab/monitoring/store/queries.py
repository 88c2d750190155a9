"""The tables of a run's database, how rows are put into them and how panels' asks are answered from them.

Used by the store's thread with its own connection; no thread, no file and no clock here.  Rows go in with one
``INSERT ... VALUES (...), (...), ...`` for many rows: the GIL is let go once for all of them, and it costs a fourth of
what unpacking them from JSON inside SQLite costs, and less than a call for each row.  Every statement may be run again
with the same rows.  The text of an ask is only ever a bound value, never part of a statement.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from parslab.monitoring.output import OutputLimit, cut_mark
from parslab.monitoring.store.rows import AGAIN, COLUMNS, Batch, Cells
from parslab.monitoring.view.seen import CLIENT_SHIFT
from parslab.records.panel import (
    Attempt,
    ErrorReply,
    StateChange,
    TaskDetail,
    TaskDetailRequest,
    TaskPage,
    TaskPageRequest,
    TaskRow,
)
from parslab.records.reasons import Reason
from parslab.records.states import FINAL, TaskState

if TYPE_CHECKING:
    from parslab.monitoring.output import PrintedOutput

__all__ = ["VERSION", "StoredOutput", "create", "detail", "page", "write"]

VERSION = 3
"""Of the schema; ``PRAGMA user_version`` of the file."""

_SCHEMA = """
CREATE TABLE run (run TEXT PRIMARY KEY, host TEXT, pid INTEGER, run_dir TEXT, executors TEXT, started REAL,
    version TEXT, ended REAL, reason TEXT);
CREATE TABLE task (id INTEGER PRIMARY KEY, app TEXT, state TEXT, executor TEXT, submitted REAL, ready REAL,
    launched REAL, started REAL, retrying REAL, joining REAL, ended REAL, worker TEXT, attempt INTEGER, error TEXT,
    shown TEXT, cell TEXT, client INTEGER);
CREATE TABLE edge (task INTEGER, dep INTEGER, PRIMARY KEY (task, dep)) WITHOUT ROWID;
CREATE INDEX edge_dep ON edge (dep);
CREATE TABLE failure (task INTEGER PRIMARY KEY, attempt INTEGER, error TEXT, traceback TEXT);
CREATE TABLE attempt (task INTEGER, attempt INTEGER, started REAL, ended REAL, worker TEXT, reason TEXT, error TEXT,
    PRIMARY KEY (task, attempt)) WITHOUT ROWID;
CREATE TABLE output (task INTEGER, stream TEXT, chunk INTEGER, skipped INTEGER, text TEXT,
    PRIMARY KEY (task, stream, chunk));
CREATE TABLE worker (worker TEXT PRIMARY KEY, executor TEXT, state TEXT, host TEXT, pid INTEGER, task INTEGER,
    done INTEGER, reason TEXT);
CREATE TABLE block (executor TEXT, block TEXT, state TEXT, job TEXT, nodes INTEGER, requested REAL, started REAL,
    ended REAL, reason TEXT, stdout TEXT, stderr TEXT, PRIMARY KEY (executor, block));
CREATE TABLE manager (manager TEXT PRIMARY KEY, executor TEXT, block TEXT, state TEXT, host TEXT, pid INTEGER,
    workers INTEGER, cores INTEGER, memory INTEGER, since REAL, done INTEGER, reason TEXT);
CREATE TABLE node_sample (slot INTEGER PRIMARY KEY, manager TEXT, time REAL, cpu REAL, memory INTEGER, load REAL);
CREATE TABLE usage (task INTEGER PRIMARY KEY, attempt INTEGER, time REAL, cpu REAL, memory INTEGER, read INTEGER,
    written INTEGER);
CREATE TABLE client (client INTEGER PRIMARY KEY, pid INTEGER, host TEXT, owner INTEGER, attached REAL, left_at REAL,
    reason TEXT);
CREATE TABLE notice (n INTEGER PRIMARY KEY, time REAL, level TEXT, text TEXT);
"""

_TAIL_CHUNK = 1 << 30
"""The chunk that holds the end of a stream and is written anew; ``skipped`` characters were left out before it."""

_KEPT = 128
"""Streams whose ends are remembered between flushes; those of others are read back."""

_ROWS = (128, 16, 1) if sqlite3.sqlite_version_info >= (3, 32) else (32, 8, 1)
"""Rows per statement: few different ones, so that each is compiled once.  Older SQLites bind 999 values at most."""

_ENDED_BY = {TaskState.cancelled.name: Reason.cancelled.value, TaskState.failed.name: Reason.dependency.value}
"""Why an attempt ended that did not itself fail: a join fails when what its body returned does."""

_LISTED = 1000
"""Dependencies and dependents that a detail lists."""


@dataclass(frozen=True, slots=True)
class _TaskTable:
    name: str
    columns: tuple[str, ...]
    key: tuple[str, ...]

    def insert(self, rows: int) -> str:
        values = ",".join(["(" + ",".join("?" * len(self.columns)) + ")"] * rows)
        rest = ",".join(f"{column}=excluded.{column}" for column in self.columns if column not in self.key)
        action = f"UPDATE SET {rest}" if rest else "NOTHING"
        return (
            f"INSERT INTO {self.name} ({','.join(self.columns)}) VALUES {values} "
            f"ON CONFLICT ({','.join(self.key)}) DO {action}"
        )


def _table(name: str, columns: str, keys: int = 1) -> _TaskTable:
    names = tuple(columns.split())
    return _TaskTable(name, names, names[:keys])


_TASK = _table("task", " ".join(COLUMNS))
_EDGE = _table("edge", "task dep", 2)
_FAILURE = _table("failure", "task attempt error traceback")
_ATTEMPT = _table("attempt", "task attempt started ended worker reason error", 2)
_OUTPUT = _table("output", "task stream chunk skipped text", 3)
_WORKER = _table("worker", "worker executor state host pid task done reason")
_BLOCK = _table("block", "executor block state job nodes requested started ended reason stdout stderr", 2)
_MANAGER = _table("manager", "manager executor block state host pid workers cores memory since done reason")
_SAMPLE = _table("node_sample", "slot manager time cpu memory load")
_USAGE = _table("usage", "task attempt time cpu memory read written")
_CLIENT = _table("client", "client pid host owner attached left_at reason")
_NOTICE = _table("notice", "n time level text")
_RUN = _table("run", "run host pid run_dir executors started version ended reason")
_STATEMENTS = {
    (table.name, rows): table.insert(rows)
    for table in (
        _TASK,
        _EDGE,
        _FAILURE,
        _ATTEMPT,
        _OUTPUT,
        _WORKER,
        _BLOCK,
        _MANAGER,
        _SAMPLE,
        _USAGE,
        _CLIENT,
        _NOTICE,
        _RUN,
    )
    for rows in _ROWS
}


_RECALL = (
    f"INSERT INTO task ({','.join(COLUMNS)}) VALUES ({','.join('?' * len(COLUMNS))}) ON CONFLICT (id) DO UPDATE SET "
    f"state=excluded.state WHERE task.state NOT IN ({','.join(repr(state.name) for state in sorted(FINAL))})"
)
_RUN_AGAIN = f"UPDATE task SET {', '.join(f'{column} = ?' for column in AGAIN)} WHERE id = ?"


def create(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty database."""
    connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {VERSION}; COMMIT;")


# ----- rows in


class StoredOutput:
    """The ends of streams that may still grow; forgets and reads back, so it is bounded."""

    def __init__(self) -> None:
        self._kept: dict[tuple[int, str], OutputLimit] = {}

    def rows(self, connection: sqlite3.Connection, printed: dict[tuple[int, str], PrintedOutput]) -> list[Cells]:
        """Rows of the table ``output`` for what was printed since the last flush."""
        rows: list[Cells] = []
        for (task, stream), new in printed.items():
            kept = self._kept.pop((task, stream), None) or self._read(connection, task, stream)
            number = kept.chunks
            if chunk := kept.take(new):
                rows.append((task, stream, number, 0, chunk))
            if kept.tail:
                rows.append((task, stream, _TAIL_CHUNK, kept.skipped, kept.tail))
            self._kept[task, stream] = kept
        while len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
        return rows

    def forget(self) -> None:
        """What was written has been rolled back: read it again when needed."""
        self._kept.clear()

    def _read(self, connection: sqlite3.Connection, task: int, stream: str) -> OutputLimit:
        kept = OutputLimit()
        sql = (
            "SELECT chunk, skipped, length(text), CASE WHEN chunk = ? THEN text END FROM output "
            "WHERE task = ? AND stream = ?"
        )
        for chunk, skipped, size, text in connection.execute(sql, (_TAIL_CHUNK, task, stream)):
            if chunk == _TAIL_CHUNK:
                kept.skipped, kept.tail = skipped, text
            else:
                kept.chunks += 1
                kept.written += size
        return kept


def write(connection: sqlite3.Connection, batch: Batch, kept: StoredOutput) -> None:
    """Write a batch in one transaction, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        for table, rows in (
            (_RUN, batch.run),
            (_CLIENT, batch.clients),
            (_WORKER, batch.workers),
            (_BLOCK, batch.blocks),
            (_MANAGER, batch.managers),
            (_SAMPLE, batch.samples),
            (_USAGE, list(batch.usage.values())),
            (_TASK, batch.tasks),
            (_EDGE, batch.edges),
            (_FAILURE, batch.failures),
            (_ATTEMPT, list(batch.attempts.values())),
            (_OUTPUT, kept.rows(connection, batch.printed) if batch.printed else []),
            (_NOTICE, batch.notices),
        ):
            if rows:
                _insert(connection, table, rows)
        if batch.again:
            connection.executemany(_RUN_AGAIN, batch.again)
        if batch.recalled:
            connection.executemany(_RECALL, batch.recalled)
        if batch.adopted:
            connection.executemany("UPDATE task SET cell = ?, client = ? WHERE id = ?", batch.adopted)
        connection.execute("COMMIT")
    except BaseException:
        kept.forget()
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _insert(connection: sqlite3.Connection, table: _TaskTable, rows: list[Cells]) -> None:
    start = 0
    for size in _ROWS:
        statement = _STATEMENTS[table.name, size]
        while len(rows) - start >= size:
            connection.execute(statement, list(chain.from_iterable(rows[start : start + size])))
            start += size


# ----- answers out

_ROW = "id, app, state, executor, submitted, started, ended, worker, attempt, error, shown, cell"
_SORTABLE = frozenset(TaskRow.__struct_fields__)
_NUMBER = f"(id & {(1 << CLIENT_SHIFT) - 1})"
"""What people call the id of a task: its number among those of its client."""


def page(connection: sqlite3.Connection, ask: TaskPageRequest) -> TaskPage | ErrorReply:
    """Rows of the task table."""
    if ask.sort not in _SORTABLE:
        return ErrorReply(ask.request_id, f"The task table has no column {ask.sort[:50]!r} to sort by.")
    where, values = _filter(ask)
    total = connection.execute(f"SELECT count(*) FROM task{where}", values).fetchone()[0]
    way = "DESC" if ask.descending else "ASC"
    limit, offset = min(max(ask.limit, 0), 1000), min(max(ask.offset, 0), 1 << 62)
    sql = f"SELECT {_ROW} FROM task{where} ORDER BY {ask.sort} {way}, id {way} LIMIT ? OFFSET ?"
    rows = [TaskRow(*cells) for cells in connection.execute(sql, (*values, limit, offset))]
    return TaskPage(ask.request_id, rows, total, offset)


def _filter(ask: TaskPageRequest) -> tuple[str, list[Any]]:
    terms: list[str] = []
    values: list[Any] = []
    for column, wanted in (("state", ask.states), ("app", ask.apps)):
        if wanted:
            chosen = wanted[:500]
            terms.append(f"{column} IN ({','.join('?' * len(chosen))})")
            values += chosen
    if text := ask.text.strip()[:200]:
        for sign in "\\%_":
            text = text.replace(sign, "\\" + sign)
        terms.append(
            "(app LIKE ? ESCAPE '\\' OR shown LIKE ? ESCAPE '\\' OR error LIKE ? ESCAPE '\\' "
            f"OR CAST({_NUMBER} AS TEXT) LIKE ? ESCAPE '\\' OR CAST(id AS TEXT) LIKE ? ESCAPE '\\')"
        )
        values += [f"%{text}%"] * 4 + [text]
    return (" WHERE " + " AND ".join(terms) if terms else ""), values


def detail(connection: sqlite3.Connection, ask: TaskDetailRequest) -> TaskDetail | ErrorReply:
    """Everything known of one task."""
    sql = f"SELECT ready, launched, retrying, joining, client, {_ROW} FROM task WHERE id = ?"
    found = connection.execute(sql, (_stored(ask.task),)).fetchone()
    if found is None:
        return ErrorReply(ask.request_id, f"This run has no task {ask.task}.")
    ready, launched, retrying, joining, client, *cells = found
    row = TaskRow(*cells)
    host, pid = _place(connection, row.worker)
    sql = "SELECT traceback FROM failure WHERE task = ? AND attempt = ?"
    failure = connection.execute(sql, (row.id, row.attempt)).fetchone()
    sql = "SELECT cpu, memory, read, written FROM usage WHERE task = ?"
    cpu, memory, read, written = connection.execute(sql, (row.id,)).fetchone() or [None] * 4
    entered = (
        ("pending", row.submitted if ready != row.submitted else None),
        ("ready", ready),
        ("launched", launched),
        ("running", row.started),
        ("fail_retryable", retrying),
        ("joining", joining),
        (row.state, row.ended),
    )
    return TaskDetail(
        request_id=ask.request_id,
        row=row,
        times=[(state, time) for state, time in entered if time is not None],
        deps=_neighbours(connection, "dep", "task", row.id),
        dependents=_neighbours(connection, "task", "dep", row.id),
        host=host,
        pid=pid,
        traceback=failure[0] if failure and row.error else "",
        stdout=_text(connection, row.id, "stdout"),
        stderr=_text(connection, row.id, "stderr"),
        client=client,
        cpu=cpu,
        memory=memory,
        read=read,
        written=written,
        attempts=_attempts(connection, row, launched),
    )


def _place(connection: sqlite3.Connection, worker: str) -> tuple[str, int]:
    """Host and process of a worker, or of a manager: often only that is known that had the task."""
    for sql in ("SELECT host, pid FROM worker WHERE worker = ?", "SELECT host, 0 FROM manager WHERE manager = ?"):
        found = connection.execute(sql, (worker,)).fetchone() if worker else None
        if found is not None:
            return found[0], found[1]
    return "", 0


def _attempts(connection: sqlite3.Connection, row: TaskRow, launched: float | None) -> list[Attempt]:
    """Those that failed, of which there are rows, and the present one, which is the task's own row."""
    sql = (
        "SELECT attempt, started, ended, worker, reason, error FROM attempt WHERE task = ? "
        f"ORDER BY attempt DESC LIMIT {_LISTED}"
    )
    hosts: dict[str, str] = {}
    found: list[Attempt] = []
    for number, started, ended, worker, reason, error in connection.execute(sql, (row.id,)).fetchall():
        if worker not in hosts:
            hosts[worker] = _place(connection, worker)[0]
        found.append(Attempt(number, "failed", started, ended, worker, hosts[worker], reason, error))
    found.reverse()
    if (launched is not None or row.started is not None) and (not found or found[-1].attempt < row.attempt):
        reason = _ENDED_BY.get(row.state, "")
        host = _place(connection, row.worker)[0]
        found.append(Attempt(row.attempt, row.state, row.started, row.ended, row.worker, host, reason, row.error))
    return found


def _neighbours(connection: sqlite3.Connection, wanted: str, known: str, task: int) -> list[StateChange]:
    sql = (
        f"SELECT edge.{wanted}, coalesce(task.state, '') FROM edge LEFT JOIN task ON task.id = edge.{wanted} "
        f"WHERE edge.{known} = ? ORDER BY edge.{wanted} LIMIT {_LISTED}"
    )
    return [StateChange(*cells) for cells in connection.execute(sql, (task,))]


def _text(connection: sqlite3.Connection, task: int, stream: str) -> str:
    sql = "SELECT skipped, text FROM output WHERE task = ? AND stream = ? ORDER BY chunk"
    parts: list[str] = []
    for skipped, text in connection.execute(sql, (task, stream)):
        parts += [cut_mark(skipped), text] if skipped else [text]
    return "".join(parts)


def _stored(task: int) -> int:
    """An id that SQLite can hold; no task has another one."""
    return task if -(1 << 63) <= task < 1 << 63 else -1
