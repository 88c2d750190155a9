"""Declares each table of a run's database once, by a struct.

[core]  A :class:`Table` takes its columns and their SQL types from the fields of its struct, and makes the statements
that create and fill it.  The rows that panels receive (``records.panel``) are such structs themselves, or bases of
them.  So a new field of ``TaskRow`` is a new column of the table ``task``.
"""

from __future__ import annotations

import types
import typing
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar

import msgspec

from parslab.records.panel import BlockRow, FailureGroupRow, ManagerRow, Notice, RunInfo, TaskRow, WorkerRow
from parslab.records.states import TASK_STATES

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "ATTEMPT",
    "BLOCK",
    "CLIENT",
    "EDGE",
    "FAILURE",
    "FAILURE_GROUP",
    "MANAGER",
    "NODE_SAMPLE",
    "NOTICE",
    "OUTPUT",
    "REOPENED",
    "RUN",
    "TABLES",
    "TASK",
    "USAGE",
    "WORKER",
    "Cells",
    "EdgeRow",
    "StoredAttempt",
    "StoredClient",
    "StoredFailure",
    "StoredNodeSample",
    "StoredNotice",
    "StoredOutput",
    "StoredPlacement",
    "StoredTask",
    "StoredUsage",
    "Table",
]

Cells: TypeAlias = tuple[Any, ...]
"""One row of a table, in the order of its columns."""

Row = TypeVar("Row", bound=msgspec.Struct)

# The structs below have gc=False: they are in no reference cycle, and millions of them would slow each collection.


class StoredTask(TaskRow, kw_only=True, gc=False):
    """All that the database keeps of a task: the row of the task table, and the fields that only its details show."""

    ready: float | None = None
    launched: float | None = None
    retrying: float | None = None
    """When the last attempt failed and the task began to wait for the next one."""
    joining: float | None = None
    client: int = 0


class EdgeRow(msgspec.Struct, gc=False):
    """A dependency: ``task`` needs the result of ``dep``."""

    task: int
    dep: int


class StoredFailure(msgspec.Struct, kw_only=True, gc=False):
    """The latest error of a task."""

    task: int
    attempt: int
    error: str
    traceback: str
    failure_group: int
    """The number of its ``FailureGroupRow``."""


class StoredAttempt(msgspec.Struct, kw_only=True, gc=False):
    """An attempt that failed."""

    task: int
    attempt: int
    started: float | None
    ended: float
    worker: str
    reason: str
    error: str


class StoredOutput(msgspec.Struct, kw_only=True, gc=False):
    """A chunk of printed text; ``skipped`` characters are missing before it."""

    task: int
    stream: str
    chunk: int
    skipped: int
    text: str


class StoredUsage(msgspec.Struct, kw_only=True, gc=False):
    """The resources that a task has used, by its latest sample."""

    task: int
    attempt: int
    time: float
    cpu: float
    memory: int
    read: int
    written: int


class StoredPlacement(msgspec.Struct, kw_only=True, gc=False):
    """The nodes of an MPI task, and the command that starts its ranks."""

    task: int
    attempt: int
    nodes: str
    cores: str
    launch: str


class StoredNodeSample(msgspec.Struct, kw_only=True, gc=False):
    """The load of a manager's node at a time.  Slots are reused, which bounds the table."""

    slot: int
    manager: str
    time: float
    cpu: float
    memory: int
    load: float


class StoredClient(msgspec.Struct, kw_only=True, gc=False):
    """A client that is or was attached."""

    client: int
    pid: int
    host: str
    owner: bool
    attached: float
    left_at: float | None = None
    reason: str = ""


class StoredNotice(Notice, kw_only=True, gc=False):
    """A notice and its number in the run."""

    n: int


_SQL_TYPES = {int: "INTEGER", bool: "INTEGER", float: "REAL", str: "TEXT"}


class Table(Generic[Row]):
    """A table and its statements.

    Parameters
    ----------
    name
        Name of the table.
    struct
        Its fields are the columns.  A list or a dictionary becomes JSON text.
    key
        Columns of the primary key.
    without
        Fields that are not stored.
    rowid
        Whether rows have a hidden number.  False saves the separate index of the key.

    Examples
    --------
    >>> Table("edge", EdgeRow, key=("task", "dep")).create()
    'CREATE TABLE edge (task INTEGER, dep INTEGER, PRIMARY KEY (task, dep))'
    """

    def __init__(
        self,
        name: str,
        struct: type[Row],
        *,
        key: tuple[str, ...],
        without: tuple[str, ...] = (),
        rowid: bool = True,
    ) -> None:
        self.name = name
        self.struct = struct
        self.key = key
        self.columns = tuple(field for field in struct.__struct_fields__ if field not in without)
        self._rowid = rowid
        hints = typing.get_type_hints(struct)
        self._types = {column: _sql_type(hints[column]) for column in self.columns}
        plain: Callable[[Row], Cells] = attrgetter(*self.columns)
        nested = any(typing.get_origin(hints[column]) in (list, dict) for column in self.columns)
        self.cells: Callable[[Row], Cells] = (lambda row: tuple(map(_cell, plain(row)))) if nested else plain
        """Makes the row of a struct.  ``attrgetter`` is faster than a loop, and each task needs it."""

    def create(self) -> str:
        """Return the statement that makes the table."""
        columns = ", ".join(f"{column} {self._types[column]}" for column in self.columns)
        end = "" if self._rowid else " WITHOUT ROWID"
        return f"CREATE TABLE {self.name} ({columns}, PRIMARY KEY ({', '.join(self.key)})){end}"

    def insert(self, rows: int) -> str:
        """Return the statement that writes so many rows, and replaces those with the same key."""
        # An upsert keeps the row in its place.  INSERT OR REPLACE would delete it and write all indexes again.  A table
        # of key columns only has nothing to update.
        rest = ",".join(f"{column}=excluded.{column}" for column in self.columns if column not in self.key)
        action = f"UPDATE SET {rest}" if rest else "NOTHING"
        return f"{self._values(rows)} ON CONFLICT ({','.join(self.key)}) DO {action}"

    def complete(self, column: str, condition: str) -> str:
        """Return the statement that adds a row, or updates one column of an existing row if the condition holds."""
        conflict = f"ON CONFLICT ({','.join(self.key)}) DO UPDATE SET {column}=excluded.{column} WHERE {condition}"
        return f"{self._values(1)} {conflict}"

    def row(self, cells: Cells) -> Row:
        """Make the struct of a row that a ``SELECT`` of all ``columns`` gave."""
        return self.struct(**dict(zip(self.columns, cells, strict=True)))

    def _values(self, rows: int) -> str:
        values = ",".join(["(" + ",".join("?" * len(self.columns)) + ")"] * rows)
        return f"INSERT INTO {self.name} ({','.join(self.columns)}) VALUES {values}"


def _sql_type(hint: object) -> str:
    # The only unions of stored fields are those with None, which every column takes.
    if isinstance(hint, types.UnionType):
        (hint,) = set(typing.get_args(hint)) - {types.NoneType}
    if typing.get_origin(hint) in (list, dict):
        return "TEXT"
    return _SQL_TYPES[typing.cast("type", hint)]


def _cell(value: object) -> object:
    return msgspec.json.encode(value).decode() if isinstance(value, (list, dict)) else value


RUN = Table(
    "run",
    RunInfo,
    key=("run",),
    without=("notebook", "linger", "away", "ends", "clients", "stopped", "clock"),
)
TASK = Table("task", StoredTask, key=("id",))
EDGE = Table("edge", EdgeRow, key=("task", "dep"), rowid=False)
FAILURE = Table("failure", StoredFailure, key=("task",))
FAILURE_GROUP = Table("failure_group", FailureGroupRow, key=("number",))
ATTEMPT = Table("attempt", StoredAttempt, key=("task", "attempt"), rowid=False)
OUTPUT = Table("output", StoredOutput, key=("task", "stream", "chunk"))
WORKER = Table("worker", WorkerRow, key=("worker",))
# Panels compute these fields from workers and tasks.  Storing them would rewrite the rows with each task.
BLOCK = Table(
    "block",
    BlockRow,
    key=("executor", "block"),
    without=("managers", "workers", "busy", "done", "held", "since"),
)
MANAGER = Table("manager", ManagerRow, key=("manager",), without=("busy", "cpu", "used", "load"))
NODE_SAMPLE = Table("node_sample", StoredNodeSample, key=("slot",))
USAGE = Table("usage", StoredUsage, key=("task",))
PLACEMENT = Table("placement", StoredPlacement, key=("task",))
CLIENT = Table("client", StoredClient, key=("client",))
NOTICE = Table("notice", StoredNotice, key=("n",))

TABLES: tuple[Table[Any], ...] = (
    RUN,
    CLIENT,
    WORKER,
    BLOCK,
    MANAGER,
    NODE_SAMPLE,
    USAGE,
    PLACEMENT,
    TASK,
    EDGE,
    FAILURE,
    FAILURE_GROUP,
    ATTEMPT,
    OUTPUT,
    NOTICE,
)

_OF_AN_ATTEMPT = {"state", "worker", "attempt", "error"} | {info.column for info in TASK_STATES.values()}
REOPENED = tuple(column for column in TASK.columns if column in _OF_AN_ATTEMPT and column != "submitted")
"""Columns of ``task`` that are reset when a finished task is reopened."""
