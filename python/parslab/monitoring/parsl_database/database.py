"""Opens a monitoring database of Parsl and reads its tables.  [shell]

Parsl's schema has grown over the years, and other programs have added tables and columns of their own.  So a query
names the columns that it wants; a column or table that the file lacks gives empty cells, or no rows.  The file is
opened for reading only, and nothing in it is trusted: neither the types of its cells nor their encoding.
"""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from parslab.checkpoints import refuse_parsl_checkpoint
from parslab.errors import ConfigurationError
from parslab.monitoring.store.reader import read_only

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["Cell", "ParslDatabase", "Row", "opened"]

Cell: TypeAlias = "int | float | str | bytes | None"
Row: TypeAlias = "tuple[Cell, ...]"

_NEEDED = {"workflow": ("run_id", "time_began"), "task": ("task_id", "run_id")}
"""Without these nothing can be imported."""

_USED = ("try", "status", "block", "node", "resource")
"""Tables of every present version of Parsl; a file without one is imported, with less to tell."""

_READ = frozenset({*_NEEDED, *_USED, "files", "input_files", "output_files", "run", "attempt"})
"""Tables that are looked at; the last two are of parslab's own databases."""

_WHERE = "name Parsl's monitoring.db, which is usually in the folder runinfo"


class ParslDatabase:
    """An open monitoring database of Parsl.

    Parameters
    ----------
    file
        The path of the file, for messages.
    connection
        A connection to it.
    """

    def __init__(self, file: Path, connection: sqlite3.Connection) -> None:
        self.file = file
        self._connection = connection
        names = connection.execute("SELECT name FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
        self._empty = not names
        # Other tables may need modules of SQLite that are not there.
        self._columns = {name: self._columns_of(name) for (name,) in names if name in _READ}

    def _columns_of(self, table: str) -> frozenset[str]:
        return frozenset(row[1] for row in self._connection.execute(f'PRAGMA table_info("{table}")'))

    def check(self) -> None:
        """Raise an error if this is no monitoring database of Parsl."""
        if self._empty:
            raise ConfigurationError(f"{self.file} is empty: Parsl has not written anything to it.")
        if self.has("run", "run_dir") and self.has("attempt"):
            raise ConfigurationError(
                f"{self.file} is a database of parslab itself, which needs no import: parslab report {self.file.parent}"
            )
        for table, columns in _NEEDED.items():
            missing = [column for column in columns if not self.has(table, column)]
            if not self.has(table):
                raise ConfigurationError(
                    f"{self.file} is an SQLite database, but not one of Parsl's monitoring, because it has no table "
                    f"{table}: {_WHERE}."
                )
            if missing:
                raise ConfigurationError(
                    f"{self.file} has a schema of Parsl that parslab does not know, because its table {table} has no "
                    f"column {missing[0]}: it cannot be imported."
                )

    def missing(self) -> list[str]:
        """Return the tables that the file lacks, although present versions of Parsl write them."""
        return [table for table in _USED if not self.has(table)]

    def has(self, table: str, column: str = "") -> bool:
        """Return whether the file has a table, or a column of it."""
        columns = self._columns.get(table)
        return columns is not None and (not column or column in columns)

    def rows(
        self, table: str, columns: Sequence[str], run_id: str | None = None, order: Sequence[str] = ()
    ) -> Iterator[Row]:
        """Yield the rows of a table, of one run or of all, one by one.

        Parameters
        ----------
        table
            Name of a table.  Without such a table there are no rows.
        columns
            Names of columns; those that the table lacks are None in each row.
        run_id
            The run whose rows are wanted.
        order
            Names of columns to sort by; those that the table lacks are left out.
        """
        if not self.has(table):
            return iter(())
        chosen = ", ".join(f'"{column}"' if self.has(table, column) else "NULL" for column in columns)
        where = " WHERE run_id = ?" if run_id is not None else ""
        if "task_id" in columns:
            # SQLite stores any type in any column, and the sort below must be one of numbers.
            where += f"{' AND' if where else ' WHERE'} typeof(task_id) = 'integer'"
        sort = ", ".join(f'"{column}"' for column in order if self.has(table, column))
        sql = f'SELECT {chosen} FROM "{table}"{where}{f" ORDER BY {sort}" if sort else ""}'
        return self._connection.execute(sql, () if run_id is None else (run_id,))

    def usage(self, run_id: str) -> Iterator[Row]:
        """Yield for each task and attempt: CPU seconds, memory, bytes read and written, time of the last sample."""
        if not self.has("resource", "task_id"):
            return iter(())
        names = ("time_user", "time_system", "memory_resident", "disk_read", "disk_write")
        user, system, memory, read, written = (
            f"max(psutil_process_{name})" if self.has("resource", f"psutil_process_{name}") else "NULL"
            for name in names
        )
        attempt = "try_id" if self.has("resource", "try_id") else "0"
        return self._connection.execute(
            f"SELECT task_id, {attempt}, coalesce({user}, 0) + coalesce({system}, 0), {memory}, {read}, {written}, "
            "max(timestamp) FROM resource WHERE run_id = ? AND typeof(task_id) = 'integer' "
            "GROUP BY 1, 2 ORDER BY 1, 2",
            (run_id,),
        )

    def files(self, run_id: str, direction: str) -> Iterator[Row]:
        """Yield for each task the names of its files, where Parsl has kept them; ``direction`` is input or output."""
        table = f"{direction}_files"
        if not self.has(table, "file_id") or not self.has("files", "file_name"):
            return iter(())
        return self._connection.execute(
            f"SELECT task_id, group_concat(file_name, ', ') FROM (SELECT DISTINCT \"{table}\".task_id, files.file_name "
            f'FROM "{table}" JOIN files ON files.file_id = "{table}".file_id WHERE "{table}".run_id = ? AND '
            f"typeof(\"{table}\".task_id) = 'integer') GROUP BY task_id ORDER BY task_id",
            (run_id,),
        )


@contextlib.contextmanager
def opened(place: str) -> Iterator[ParslDatabase]:
    """Open a monitoring database of Parsl, by its path or by the URL that ``MonitoringHub`` took.

    Raises
    ------
    ConfigurationError
        There is none, it cannot be read, or it is something else.
    """
    file = _file_of(place)
    try:
        with contextlib.closing(read_only(file)) as connection:
            # The functions that a foreign schema calls must not be able to do harm.
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("BEGIN")  # all tables as they are at one moment, although Parsl may still write
            database = ParslDatabase(file, connection)
            database.check()
            yield database
    except sqlite3.Error as error:
        raise ConfigurationError(_sentence(file, error)) from error


def _file_of(place: str) -> Path:
    scheme, _, rest = place.partition("://")
    if rest or place.startswith("sqlite:"):
        if scheme.partition("+")[0] not in ("sqlite", "sqlite:"):
            raise ConfigurationError(
                f"{scheme}:// names a database server, and only SQLite files are imported: copy the tables of Parsl "
                "into an SQLite file."
            )
        place = rest.removeprefix("/")  # SQLAlchemy writes three slashes before a relative path, and four before others
    file = Path(place).expanduser()
    if not file.exists():
        raise ConfigurationError(f"There is no file {file}: {_WHERE}.")
    if file.is_dir():
        file = file / "monitoring.db"
        if not file.is_file():
            raise ConfigurationError(f"There is no file {file}: {_WHERE}.")
    refuse_parsl_checkpoint(file)
    if not file.is_file():
        raise ConfigurationError(f"{file} is not a file: {_WHERE}.")
    if not file.stat().st_size:
        raise ConfigurationError(f"{file} is empty: Parsl has not written anything to it.")
    return file


def _sentence(file: Path, error: sqlite3.Error) -> str:
    text = str(error)
    if "locked" in text:
        return f"{file} is locked by another program, perhaps by Parsl itself: import it when that has ended."
    if "not a database" in text:
        return f"{file} is no SQLite database: {_WHERE}."
    if "malformed" in text:
        return f"{file} is damaged ({text}): recover it with `sqlite3 {file} .recover`, and import the result."
    if "unable to open" in text:
        return f"{file} cannot be opened: make it readable."
    return f"{file} cannot be read: {text}."
