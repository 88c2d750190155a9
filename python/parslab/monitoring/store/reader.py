"""Opens the database of a run for reading, also while its run writes it or after its DataFlowKernel was killed.

[shell]  Commands call this in their own thread.  A reader never changes the file, and the write-ahead log lets it read
while the store writes.
"""

from __future__ import annotations

import contextlib
import sqlite3
from functools import partial
from typing import TYPE_CHECKING

from parslab.errors import ConfigurationError
from parslab.monitoring.store.folder import left_database
from parslab.monitoring.store.inserts import VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["database_of", "read_only", "reading"]

_LOCK_TIMEOUT = 5.0
"""Seconds that a reader waits for a program that locks the whole file."""


def database_of(run_dir: Path) -> Path:
    """Return the database in the folder of a run.

    Raises
    ------
    ConfigurationError
        The folder has none.
    """
    file = left_database(run_dir)
    if file is None:
        raise ConfigurationError(
            f"There is no monitoring database in {run_dir}: name the folder of a run, such as runinfo/000."
        )
    return file


def read_only(file: Path, immutable: bool = False) -> sqlite3.Connection:
    """Connect to an SQLite file without the right to change it.

    Parameters
    ----------
    file
        The path of the file.
    immutable
        Whether nobody else writes the file, so that SQLite needs neither locks nor a file beside it.
    """
    address = f"{file.resolve().as_uri()}?mode=ro{'&immutable=1' * immutable}"
    connection = sqlite3.connect(address, uri=True, timeout=_LOCK_TIMEOUT, isolation_level=None)
    # A damaged file may hold bytes that are not UTF-8, and one such cell must not cost the whole table.
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")
    return connection


@contextlib.contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection]:
    """Read the database of a run as it is at one moment.

    Raises
    ------
    ConfigurationError
        The file cannot be read, or another version of parslab has written it.
    """
    try:
        with contextlib.closing(_opened(file)) as connection:
            connection.execute("BEGIN")  # one snapshot for all queries, although the run goes on
            yield connection
    except sqlite3.Error as error:
        raise ConfigurationError(f"The monitoring database {file} cannot be read: {error}.") from error


def _opened(file: Path) -> sqlite3.Connection:
    connection = read_only(file)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        if "locked" in str(error):
            raise
        # The folder is read-only, so SQLite cannot make the shared memory of the write-ahead log.
        connection = read_only(file, immutable=True)
        version = connection.execute("PRAGMA user_version").fetchone()[0]
    except BaseException:
        connection.close()
        raise
    if not version:
        # create() sets the version in the transaction that makes the tables.
        connection.close()
        raise ConfigurationError(
            f"The monitoring database {file} is empty: its run has not written anything to it yet."
        )
    if version != VERSION:
        connection.close()
        raise ConfigurationError(
            f"The monitoring database {file} was written by another version of parslab: read it with that version."
        )
    return connection
