"""The database of a run: one SQLite file, one thread (``parslab-store``) that writes it and answers from it.

[shell]  The monitor hands over batches and queries; nothing here raises into the loop or makes it wait.  If the file
cannot be made or written (read-only or full disk, a lock that stays), a database in memory takes the rows, bounded by
``MEMORY_PAGES``, and one notice says so.  Reads see everything handed over before them, because one queue carries
both.  WAL with ``synchronous=NORMAL``: other programs may read while we write, and a crash of the machine does not
harm the file; it takes the CPU time of ``OFF``, and only checkpoints wait for the disk, without the GIL.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, TypeAlias

from parslab.monitoring.store import inserts, queries
from parslab.monitoring.store.batch import Batch
from parslab.monitoring.store.folder import database_file, left_database
from parslab.records.panel import ErrorReply, TaskDetail, TaskDetailRequest, TaskPage, TaskPageRequest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["MEMORY_PAGES", "QueryCallback", "Store"]

log = logging.getLogger(__name__)

QueryCallback: TypeAlias = "Callable[[TaskPage | TaskDetail | ErrorReply], None]"

MEMORY_PAGES = 64 * 1024
"""Pages of 4 kB that the database in memory may have, about 1.5 million small tasks."""

_COPY_BYTES = 64 << 20
"""A file up to this size is taken along when the rows go on in memory."""

_LOCKED_TRIES = 10
"""Seconds of patience with another program that holds a lock on the file."""


@dataclass(frozen=True, slots=True)
class _Query:
    ask: TaskPageRequest | TaskDetailRequest
    reply: QueryCallback


class Store:
    """The database of a run and its thread; both begin with the first thing handed over.

    Parameters
    ----------
    run_dir
        Where the file goes, unless that is on a network filesystem.
    report
        Called in the store's thread with level and text of a notice.
    max_pages
        Quota of the file in pages of 4 kB; 0 for none.
    again
        Go on with the database that an earlier process of this run has left.
    """

    def __init__(
        self, run_dir: Path, report: Callable[[str, str], None], max_pages: int = 0, again: bool = False
    ) -> None:
        self.file: Path | None = None
        """The database, when it is a file; known after the first write."""
        self._run_dir = run_dir
        self._report = report
        self._max_pages = max_pages
        self._again = again
        self._inbox: SimpleQueue[Batch | _Query | None] = SimpleQueue()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._handed = 0  # by the loop's thread only
        self._done = 0  # by the store's thread only
        # From here on the store's thread only, except that close() may interrupt the connection.
        self._connection: sqlite3.Connection | None = None
        self._tails = inserts.OutputTails()
        self._in_memory = False
        self._whole = True
        self._gave_up = False

    # ----- the loop's side

    @property
    def busy(self) -> bool:
        """Whether a batch handed over is still being written; wait with the next one, rows coalesce meanwhile."""
        return self._handed != self._done

    def write(self, batch: Batch) -> None:
        """Hand over rows; they belong to the store from now on."""
        self._handed += 1
        self._post(batch)

    def ask(self, ask: TaskPageRequest | TaskDetailRequest, reply: QueryCallback) -> None:
        """Answer a query from all earlier batches; ``reply`` is called in the store's thread."""
        if self._closed:
            reply(ErrorReply(ask.request_id, "The run has ended and its database is closed."))
            return
        self._post(_Query(ask, reply))

    def close(self, timeout: float = 2.0) -> bool:
        """Write what is left and end the thread, within about ``timeout`` seconds; whether that was possible."""
        self._closed = True
        thread = self._thread
        if thread is None:
            return True
        self._inbox.put(None)
        thread.join(timeout)
        connection = self._connection
        if thread.is_alive() and connection is not None:
            with contextlib.suppress(sqlite3.Error):
                connection.interrupt()
            thread.join(0.5)
        return not thread.is_alive()

    def _post(self, letter: Batch | _Query) -> None:
        if self._closed:
            return
        if self._thread is None:
            # A daemon: a disk that hangs must not keep the process.
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
            except Exception:  # this loop must survive: tasks go on, and what comes later may be stored again
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
                raise
            except sqlite3.Error as error:
                tries += 1
                if self._in_memory:
                    self._give_up(str(error))
                    return
                if _code(error) in (_BUSY, _LOCKED) and tries < _LOCKED_TRIES and not self._closed:
                    continue  # each try has waited already, see timeout= of the connection
                self._fall_back(str(error))

    def _answer(self, query: _Query) -> None:
        answer: TaskPage | TaskDetail | ErrorReply
        try:
            connection = self._open()
            if isinstance(query.ask, TaskPageRequest):
                answer = queries.task_page(connection, query.ask)
            else:
                answer = queries.task_detail(connection, query.ask)
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
            self._connection = _connect(str(file), self._max_pages)
            self.file = file
        except (OSError, sqlite3.Error) as error:
            return self._fall_back(str(error))
        if note:
            self._report("info", note)
        return self._connection

    def _found(self) -> sqlite3.Connection | None:
        """Open what an earlier process has left, when that is a whole database of this version."""
        file = left_database(self._run_dir)
        if file is None:
            return None
        try:
            connection = _connect(str(file), self._max_pages, make=False)
            if connection.execute("PRAGMA user_version").fetchone() == (inserts.VERSION,):
                self._connection, self.file = connection, file
                return connection
            connection.close()
        except sqlite3.Error as error:
            log.warning("the monitoring database %s cannot be gone on with: %s", file, error)
        return None

    def _fall_back(self, why: str) -> sqlite3.Connection:
        """Go on in memory, with what the file holds if that is not too much."""
        old, self._in_memory = self._connection, True
        memory = _connect(":memory:", MEMORY_PAGES)
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
            if self._in_memory and self._whole and self.file is not None:
                self._save(connection, self.file)
            elif not self._in_memory:
                connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        with contextlib.suppress(sqlite3.Error):
            connection.close()

    def _save(self, memory: sqlite3.Connection, file: Path) -> None:
        """The disk may have room again by now; if not, the file stays as it was."""
        with contextlib.closing(_connect(str(file), self._max_pages, make=False)) as target:
            memory.backup(target)


_BUSY, _LOCKED = 5, 6
_OURS = (sqlite3.ProgrammingError, sqlite3.InterfaceError, sqlite3.DataError, sqlite3.IntegrityError)
"""Errors that tell of a row that cannot be stored anywhere, not of a disk."""


def _code(error: sqlite3.Error) -> int:
    """SQLite's primary result code (Python 3.10 has only the text)."""
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return int(code) & 0xFF
    return _BUSY if "locked" in str(error) else 0


def _connect(file: str, max_pages: int, make: bool = True) -> sqlite3.Connection:
    # Only interrupt() is ever called from another thread.
    connection = sqlite3.connect(file, timeout=1.0, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchone()
        connection.execute("PRAGMA synchronous = NORMAL")
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
    """Copy the rows of the file; whether all of them are in memory now."""
    with contextlib.suppress(OSError, sqlite3.Error):
        if os.path.getsize(file) <= _COPY_BYTES:
            old.backup(memory)
            return True
    return False
