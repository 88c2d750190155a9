"""Writes rows to the tables of a run's database.

The store's thread calls this module with its own connection; this module has no thread, file or clock.  One ``INSERT``
statement writes many rows, ``VALUES (...), (...), ...``, so SQLite releases the GIL once for all of them.  That costs a
fourth of unpacking rows from JSON inside SQLite, and less than a call for each row.  The store may run every statement
again with the same rows.
"""

from __future__ import annotations

import sqlite3
import zlib
from itertools import chain
from typing import TYPE_CHECKING, Any

from parslab.monitoring.output import OutputLimit
from parslab.monitoring.store import tables
from parslab.monitoring.store.tables import REOPENED, TABLES, Cells, StoredOutput, Table
from parslab.records.states import FINAL

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parslab.monitoring.output import PrintedOutput
    from parslab.monitoring.store.batch import Batch

__all__ = ["VERSION", "OutputTails", "create", "write"]

_INDEXES = ("CREATE INDEX edge_dep ON edge (dep)", "CREATE INDEX failure_by_group ON failure (failure_group)")
_SCHEMA = "; ".join([*(table.create() for table in TABLES), *_INDEXES])

VERSION = zlib.crc32(_SCHEMA.encode()) >> 1
"""Identifies the schema: ``PRAGMA user_version`` of the file, a signed number of 32 bits."""

_TAIL_CHUNK = 1 << 30
"""Number of the chunk that holds the end of a stream.  Each flush replaces it."""

_KEPT = 128
"""Streams whose ends stay in memory between flushes (8 MB at most); the store reads the other ends back."""

_ROWS = (128, 16, 1) if sqlite3.sqlite_version_info >= (3, 32) else (32, 8, 1)
"""Rows per statement: few different numbers, so that each statement is compiled once.

Older versions of SQLite bind at most 999 values.
"""

_INSERTS = {(table.name, rows): table.insert(rows) for table in TABLES for rows in _ROWS}
_FINAL_NAMES = ", ".join(repr(state.name) for state in sorted(FINAL))
_RECOVER = tables.TASK.complete("state", f"task.state NOT IN ({_FINAL_NAMES})")
_REOPEN = f"UPDATE task SET {', '.join(f'{column} = ?' for column in REOPENED)} WHERE id = ?"
_ADOPT = "UPDATE task SET cell = ?, client = ? WHERE id = ?"


def create(connection: sqlite3.Connection) -> None:
    """Make the tables in an empty database."""
    connection.executescript(f"BEGIN; {_SCHEMA}; PRAGMA user_version = {VERSION}; COMMIT;")


class OutputTails:
    """The ends of streams that may still grow.

    Each flush replaces the ends that have grown.  A bounded number stays in memory.  The store reads another end from
    the database when its stream grows.
    """

    def __init__(self) -> None:
        self._kept: dict[tuple[int, str], OutputLimit] = {}

    def rows(self, connection: sqlite3.Connection, printed: dict[tuple[int, str], PrintedOutput]) -> list[StoredOutput]:
        """Return the rows of the table ``output`` for the text that tasks printed since the last flush."""
        rows: list[StoredOutput] = []
        for (task, stream), new in printed.items():
            kept = self._kept.pop((task, stream), None) or self._read(connection, task, stream)
            number = kept.chunks
            if chunk := kept.take(new):
                rows.append(StoredOutput(task=task, stream=stream, chunk=number, skipped=0, text=chunk))
            if kept.tail:
                rows.append(
                    StoredOutput(task=task, stream=stream, chunk=_TAIL_CHUNK, skipped=kept.skipped, text=kept.tail)
                )
            self._kept[task, stream] = kept  # now the newest, because pop() removed its old place
        while len(self._kept) > _KEPT:
            del self._kept[next(iter(self._kept))]
        return rows

    def forget(self) -> None:
        """Drop the ends in memory, because they may be ahead of the database after a rollback."""
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


def write(connection: sqlite3.Connection, batch: Batch, tails: OutputTails) -> None:
    """Write a whole batch in one transaction, or nothing of it."""
    # IMMEDIATE takes the write lock at once.  Some transactions begin with a read, such as one for output only.  If
    # another program wrote after that read, the first write would fail, and no timeout would help.
    connection.execute("BEGIN IMMEDIATE")
    try:
        for table, rows in _rows(connection, batch, tails):
            if rows:
                _insert(connection, table, rows)
        # In the order of the events: within one batch a task may end, or be recalled, and then be reopened or adopted.
        if batch.recovered:
            connection.executemany(_RECOVER, batch.recovered)
        if batch.reopened:
            connection.executemany(_REOPEN, batch.reopened)
        if batch.adopted:
            connection.executemany(_ADOPT, batch.adopted)
        connection.execute("COMMIT")
    except BaseException:
        tails.forget()
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _rows(connection: sqlite3.Connection, batch: Batch, tails: OutputTails) -> Iterable[tuple[Table[Any], list[Cells]]]:
    """Yield each table with its rows as cells."""
    yield tables.RUN, [tables.RUN.cells(row) for row in batch.run]
    yield tables.CLIENT, [tables.CLIENT.cells(row) for row in batch.clients]
    yield tables.WORKER, batch.workers
    yield tables.BLOCK, batch.blocks
    yield tables.MANAGER, batch.managers
    yield tables.NODE_SAMPLE, [tables.NODE_SAMPLE.cells(row) for row in batch.node_samples]
    yield tables.USAGE, [tables.USAGE.cells(row) for row in batch.usage.values()]
    yield tables.PLACEMENT, [tables.PLACEMENT.cells(row) for row in batch.placements.values()]
    yield tables.TASK, batch.tasks
    yield tables.EDGE, batch.edges
    yield tables.FAILURE, [tables.FAILURE.cells(row) for row in batch.failures]
    yield tables.FAILURE_GROUP, batch.failure_groups
    yield tables.ATTEMPT, [tables.ATTEMPT.cells(row) for row in batch.attempts.values()]
    yield tables.OUTPUT, [tables.OUTPUT.cells(row) for row in tails.rows(connection, batch.printed)]
    yield tables.NOTICE, [tables.NOTICE.cells(row) for row in batch.notices]


def _insert(connection: sqlite3.Connection, table: Table[Any], rows: list[Cells]) -> None:
    start = 0
    for size in _ROWS:
        statement = _INSERTS[table.name, size]
        while len(rows) - start >= size:
            connection.execute(statement, list(chain.from_iterable(rows[start : start + size])))
            start += size
