"""Writes the database of a run, one SQLite file, and answers queries from it, in one thread (``parslab-store``).

[shell]  The monitor hands over batches and queries.  Nothing here raises into the loop or makes the loop wait.  One
queue carries both, so a query sees all batches before it.  The store may be unable to make or write the file: the disk
is full or read-only, or another program keeps a lock.  It then puts the rows into a database in memory, whose size
``MEMORY_PAGES`` limits, and raises one notice.

The file uses a write-ahead log (WAL) with ``synchronous=NORMAL``.  So other programs can read while the store writes,
and a crash of the machine does not damage the file.  This setting needs no more CPU time than ``OFF``; only checkpoints
of the WAL wait for the disk, and they do so without the GIL.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeAlias

from parslab.monitoring.store import inserts, queries
from parslab.monitoring.store.batch import Batch
from parslab.monitoring.store.folder import database_file, left_database
from parslab.records.panel import CellCountsRequest, ErrorReply, TaskDetailRequest, TaskPageRequest
from parslab.wire.descriptors import spare

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from parslab.records.panel import CellCounts, TaskDetail, TaskPage, Timeline, TimelineRequest

__all__ = ["MEMORY_PAGES", "QueryCallback", "Store"]

log = logging.getLogger(__name__)

Query: TypeAlias = "TaskPageRequest | CellCountsRequest | TaskDetailRequest | TimelineRequest"
Found: TypeAlias = "TaskPage | CellCounts | TaskDetail | Timeline | ErrorReply"

QueryCallback: TypeAlias = "Callable[[Found], None]"
QueryAnswer: TypeAlias = "Callable[[sqlite3.Connection, Any], Found]"

MEMORY_PAGES = 64 * 1024
"""Pages of 4 kB that the database in memory may have: about 1.5 million small tasks."""

_COPY_BYTES = 64 << 20
"""Largest file that the store copies into memory when it can no longer write the file."""

_LOCKED_TRIES = 10
"""How often the store tries to write while another program holds a lock.  Each try waits a second."""


@dataclass(frozen=True, slots=True)
class _Query:
    ask: Query
    reply: QueryCallback
    answer: QueryAnswer


_ANSWERS: dict[type, QueryAnswer] = {
    TaskPageRequest: queries.task_page,
    CellCountsRequest: queries.cell_counts,
    TaskDetailRequest: queries.task_detail,
}


class Store:
    """The database of a run and its thread; the first batch or query starts both.

    Parameters
    ----------
    run_dir
        The directory for the file, unless it is on a network filesystem.
    report
        A function of the level and the text of a notice; the store's thread calls it.
    max_pages
        Most pages of 4 kB in the file; 0 for no limit.
    again
        Whether to continue the database of an earlier process of this run.
    """

    def __init__(
        self, run_dir: Path, report: Callable[[str, str], None], max_pages: int = 0, again: bool = False
    ) -> None:
        self.file: Path | None = None
        """The path of the database; None before the first write, and when no file could be made."""
        self._run_dir = run_dir
        self._report = report
        self._max_pages = max_pages
        self._again = again
        self._inbox: SimpleQueue[Batch | _Query | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        # Two counters instead of a lock: only the loop's thread changes the first, only the store's thread the second.
        self._handed = 0
        self._done = 0
        # Only the store's thread uses what follows, except that close() may interrupt the connection.
        self._connection: sqlite3.Connection | None = None
        self._tails = inserts.OutputTails()
        self._in_memory = False
        self._whole = True
        self._gave_up = False

    # ----- the loop's side

    @property
    def busy(self) -> bool:
        """Whether the store has not finished all batches; the monitor then waits with the next one."""
        return self._handed != self._done

    def write(self, batch: Batch) -> None:
        """Hand over rows; the caller must not change them afterwards."""
        self._handed += 1
        self._post(batch)

    def ask(self, ask: Query, reply: QueryCallback, answer: QueryAnswer | None = None) -> None:
        """Answer a query; the store's thread calls ``reply``, after it has written all earlier batches.

        Parameters
        ----------
        ask
            The request.
        reply
            Receives the answer.
        answer
            Makes the answer from the database and the request; by default, the function of :mod:`queries` for it.
        """
        if self._closed:
            reply(ErrorReply(ask.request_id, "The run has ended and its database is closed."))
            return
        self._post(_Query(ask, reply, answer or _ANSWERS[type(ask)]))

    def close(self, timeout: float = 2.0) -> bool:
        """Write all batches and end the thread; return False if that takes longer than about ``timeout`` seconds."""
        self._closed = True
        thread = self._thread
        if thread is None:
            return True
        self._inbox.put(None)
        thread.join(timeout)
        connection = self._connection
        # SQLite allows interrupt() from any thread.  It stops a long statement, but not a write that the disk blocks.
        if thread.is_alive() and connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.interrupt()
            thread.join(0.5)
        return not thread.is_alive()

    def _post(self, letter: Batch | _Query) -> None:
        if self._closed:
            return
        if self._thread is None:
            # A daemon thread, because a disk that hangs must not keep the process alive.
            self._thread = threading.Thread(target=self._work, name="parslab-store", daemon=True)
            self._thread.start()
        self._inbox.put(letter)

    # ----- the thread's side

    def _work(self) -> None:
        while (letter := self._inbox.get()) is not None:
            try:
                if isinstance(letter, Batch):
                    self._write(letter)
                else:
                    self._answer(letter)
            except Exception:  # this thread must survive, because it may be able to store later batches
                log.exception("the monitoring store could not do its work")
                self._give_up("see the log of the DataFlowKernel")
            finally:
                if isinstance(letter, Batch):
                    self._done += 1
        self._end()

    def _write(self, batch: Batch) -> None:
        tries = 0
        while True:
            try:
                inserts.write(self._open(), batch, self._tails)
                return
            except _OURS:
                raise  # a database in memory would refuse the same row, so only this batch is lost
            except sqlite3.Error as error:
                tries += 1
                if self._in_memory:
                    self._give_up(str(error))
                    return
                if _code(error) in (_BUSY, _LOCKED) and tries < _LOCKED_TRIES and not self._closed:
                    continue  # each try has waited already: see timeout= in _connect()
                self._fall_back(str(error))

    def _answer(self, query: _Query) -> None:
        answer: Found
        try:
            answer = query.answer(self._open(), query.ask)
        except (sqlite3.Error, UnicodeError) as error:
            answer = ErrorReply(query.ask.request_id, f"The monitoring database could not be read: {error}.")
        query.reply(answer)

    # ----- opening, falling back, ending

    def _open(self) -> sqlite3.Connection:
        if self._connection is not None:
            return self._connection
        found = self._found() if self._again else None
        if found is not None:
            return found
        try:
            file, note = database_file(self._run_dir)
            with spare():  # SQLite opens several files, and reports a lack of descriptors like a damaged disk
                self._connection = _connect(str(file), self._max_pages)
            self.file = file
        except (OSError, sqlite3.Error) as error:
            return self._fall_back(str(error))
        if note:
            self._report("info", note)
        return self._connection

    def _found(self) -> sqlite3.Connection | None:
        """Open the database of an earlier process of the run, if it is complete and has this version."""
        file = left_database(self._run_dir)
        if file is None:
            return None
        try:
            connection = _connect(str(file), self._max_pages, make=False)
            # create() sets the version in the transaction that makes the tables, so a half-made database has none.
            if connection.execute("PRAGMA user_version").fetchone() == (inserts.VERSION,):
                self._connection, self.file = connection, file
                return connection
            connection.close()
        except sqlite3.Error as error:
            log.warning("the monitoring database %s cannot be gone on with: %s", file, error)
        return None

    def _fall_back(self, why: str) -> sqlite3.Connection:
        """Use a database in memory from now on, with a copy of the file if that is small enough."""
        old, self._in_memory = self._connection, True
        memory = _connect(":memory:", MEMORY_PAGES)
        # The ends of streams must agree with the rows of the new database, which may be empty.
        self._tails.forget()
        if old is not None and self.file is not None:
            self._whole = _copied(old, memory, self.file)
            with contextlib.suppress(sqlite3.Error):
                old.close()
        self._connection = memory
        where = self.file or self._run_dir
        self._report(
            "warning",
            f"The monitoring database cannot be written at {where} ({why}): tasks go on and their history is kept in "
            "memory only; make room or make the directory writable, then load a new run.",
        )
        return memory

    def _give_up(self, why: str) -> None:
        if not self._gave_up:
            self._gave_up = True
            self._report(
                "error", f"Part of this run's history could not be kept ({why}): tasks go on, the counts stay true."
            )

    def _end(self) -> None:
        connection = self._connection
        if connection is None:
            return
        with contextlib.suppress(sqlite3.Error):
            # Only a complete copy may replace the file, which otherwise has rows that memory does not have.
            if self._in_memory and self._whole and self.file is not None:
                self._save(connection, self.file)
            elif not self._in_memory:
                # SQLite removes the WAL only with the last connection of any program.  Without this, a copy of the
                # database file alone could miss rows.
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with contextlib.suppress(sqlite3.Error):
            connection.close()

    def _save(self, memory: sqlite3.Connection, file: Path) -> None:
        """Copy the rows back to the file, because the disk may have room again; else the file stays as it was."""
        with contextlib.closing(_connect(str(file), self._max_pages, make=False)) as target:
            memory.backup(target)


_BUSY, _LOCKED = 5, 6
_OURS = (sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError, sqlite3.IntegrityError)
"""Errors of a row that no database could store, as opposed to errors of the disk."""


def _code(error: sqlite3.Error) -> int:
    """Return the primary result code of SQLite; Python 3.10 has only the text of the error."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return int(code) & 0xFF  # the higher bits of an extended code say more, and differ between versions
    return _BUSY if "locked" in str(error) else 0


def _connect(file: str, max_pages: int, make: bool = True) -> sqlite3.Connection:
    # Another thread calls only interrupt(), which is safe.  Without an isolation level Python begins no transactions
    # of its own; inserts.write() does.
    connection = sqlite3.connect(file, timeout=1.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = NORMAL")
        # A full disk must not prevent the sorting of a page of tasks, for which SQLite may make temporary files.
        connection.execute("PRAGMA temp_store = MEMORY")
        if max_pages:
            connection.execute(f"PRAGMA max_page_count = {max_pages:d}").fetchone()
        if make:
            inserts.create(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _copied(old: sqlite3.Connection, memory: sqlite3.Connection, file: Path) -> bool:
    """Copy the rows of the file to memory; return whether all of them were copied."""
    with contextlib.suppress(OSError, sqlite3.Error):
        if os.path.getsize(file) <= _COPY_BYTES:
            old.backup(memory)
            return True
    return False
