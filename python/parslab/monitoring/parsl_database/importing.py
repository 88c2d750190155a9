"""Writes each run of a monitoring database of Parsl to a database of its own, in a folder of its own.  [shell]

The name of the folder follows from Parsl's name of the run, and the new database replaces the one that is there.  So a
second import changes nothing, or adds what Parsl has written since.  The database is made under another name first:
whoever interrupts an import keeps the result of the one before.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from parslab.errors import ConfigurationError
from parslab.monitoring.parsl_database.blocks import add_blocks, add_managers
from parslab.monitoring.parsl_database.cells import Cells
from parslab.monitoring.parsl_database.database import opened
from parslab.monitoring.parsl_database.tasks import ParslTasks
from parslab.monitoring.report.summarise import IMPORTED
from parslab.monitoring.store import inserts
from parslab.monitoring.store.batch import Batch
from parslab.monitoring.store.tables import WORKER, StoredClient, StoredNotice
from parslab.records.panel import RunInfo, WorkerRow
from parslab.records.states import WorkerState

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.monitoring.parsl_database.database import Cell, ParslDatabase

__all__ = ["ImportedRun", "import_database"]

_BATCH = 2000
"""Tasks that are in memory at a time."""

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")

_WORKFLOW = ("run_id", "workflow_name", "workflow_version", "time_began", "time_completed", "host", "user", "rundir")


@dataclass(frozen=True)
class ImportedRun:
    """What an import has made of one run."""

    folder: Path
    sentence: str


@dataclass
class _Workflow:
    """A row of Parsl's table of runs."""

    run_id: str
    name: str
    version: str
    began: float
    ended: float | None
    host: str
    user: str
    rundir: str

    @property
    def run(self) -> str:
        """The name of the run here: the number of Parsl's folder, and the beginning of Parsl's name of the run."""
        number = re.sub(r"[^\w-]", "_", os.path.basename(self.rundir.rstrip("/")))[:20]
        unique = self.run_id[:8] if _UUID.fullmatch(self.run_id) else _hash(self.run_id)
        return "-".join(part for part in ("parsl", number, unique) if part)


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=4).hexdigest()


def import_database(place: str, run_dir: str = "") -> Iterator[ImportedRun]:
    """Import all runs of a database, and yield each one when it is written.

    Parameters
    ----------
    place
        The database: a path, or an SQLite URL as ``MonitoringHub`` takes it.
    run_dir
        The folder in which each run gets a folder; empty for the folder of the database.

    Raises
    ------
    ConfigurationError
        The database cannot be read, or the folder cannot be written.
    """
    with opened(place) as database:
        cells = Cells()
        workflows = [_workflow(row, cells) for row in database.rows("workflow", _WORKFLOW, order=("time_began",))]
        if not workflows:
            raise ConfigurationError(f"{database.file} has no run: Parsl has only made its tables.")
        root = Path(run_dir).expanduser() if run_dir else database.file.parent
        for workflow in workflows:
            yield _import(database, workflow, root / workflow.run)


def _workflow(row: tuple[Cell, ...], cells: Cells) -> _Workflow:
    run_id, name, version, began, ended, host, user, rundir = row
    return _Workflow(
        run_id=str(run_id),
        name=cells.text(name),
        version=cells.text(version),
        began=cells.time(began) or 0.0,
        ended=cells.time(ended),
        host=cells.text(host),
        user=cells.text(user),
        rundir=cells.text(rundir, 4096),
    )


def _import(database: ParslDatabase, workflow: _Workflow, folder: Path) -> ImportedRun:
    file = folder / "monitoring.db"
    new = folder / f".import-{os.getpid()}"
    cells = Cells()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check_folder(folder, file)
        with contextlib.suppress(FileNotFoundError):
            new.unlink()  # of an import that was killed
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        try:
            tasks = _write(new, database, workflow, folder, cells)
            os.replace(new, file)
        finally:
            with contextlib.suppress(OSError):
                new.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigurationError(
            f"The run cannot be written to {folder} ({error.strerror or error}): name another folder with --run-dir."
        ) from error
    return ImportedRun(folder, _sentence(database, workflow, folder, tasks, unreadable=cells.unreadable))


def _check_folder(folder: Path, file: Path) -> None:
    """Raise an error if the folder has something else than the result of an earlier import."""
    if not file.exists():
        return
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(file)) as connection:
        if connection.execute("SELECT version FROM run").fetchone() == (IMPORTED,):
            return
    raise ConfigurationError(f"{folder} has a database that is not of an import: name another folder with --run-dir.")


def _write(new: Path, database: ParslDatabase, workflow: _Workflow, folder: Path, cells: Cells) -> int:
    """Write the database of a run; return the number of its tasks."""
    with contextlib.closing(sqlite3.connect(new, isolation_level=None)) as connection:
        # The file is thrown away if the import does not end, so nothing needs to be safe before.
        connection.execute("PRAGMA journal_mode = OFF").fetchone()
        connection.execute("PRAGMA synchronous = OFF")
        try:
            inserts.create(connection)
            tails = inserts.OutputTails()
            batch = Batch()
            owners = add_blocks(batch, database, workflow.run_id, cells)
            managers = add_managers(batch, database, workflow.run_id, cells, owners=owners)
            rows = ParslTasks(database, workflow.run_id, cells, began=workflow.began, managers=managers)
            while rows.add(batch, _BATCH):
                inserts.write(connection, batch.take(), tails)
            _add_run(batch, database, workflow, folder, rows)
            inserts.write(connection, batch.take(), tails)
        except sqlite3.Error as error:
            if _of_target(connection, error):
                raise OSError(0, str(error)) from error
            raise
    return rows.count


def _of_target(connection: sqlite3.Connection, error: sqlite3.Error) -> bool:
    """Return whether the new file failed, and not the one that is read."""
    return "full" in str(error) or "disk I/O" in str(error) or connection.in_transaction


def _add_run(batch: Batch, database: ParslDatabase, workflow: _Workflow, folder: Path, rows: ParslTasks) -> None:
    batch.run = [
        RunInfo(
            run=workflow.run,
            host=workflow.host,
            pid=0,
            run_dir=str(folder),
            executors=sorted(label for label in rows.executors if label),
            started=workflow.began,
            version=IMPORTED,
            ended=workflow.ended,
            reason="" if workflow.ended else "Parsl has not written its end",
        )
    ]
    batch.clients = [StoredClient(client=0, pid=0, host=workflow.host, owner=True, attached=workflow.began)]
    batch.workers += [WORKER.cells(_host(name)) for name in rows.hosts]
    what = f"workflow {workflow.name or '?'} (version {workflow.version or '?'}) of {workflow.user or '?'}"
    text = f"Imported from {database.file}: {what}; Parsl's files are in {workflow.rundir or '?'}."
    batch.notices = [StoredNotice(time=workflow.began, level="info", text=text, n=1)]


def _host(name: str) -> WorkerRow:
    """Return a row that gives the host of tasks, because Parsl does not write which worker ran them."""
    return WorkerRow(
        worker=name, executor="", state=WorkerState.dead.value, host=name, pid=0, task=None, done=0, reason=""
    )


def _sentence(database: ParslDatabase, workflow: _Workflow, folder: Path, tasks: int, *, unreadable: int) -> str:
    parts = [f"Run {workflow.run} has {tasks} {'task' if tasks == 1 else 'tasks'} of {workflow.name or 'a workflow'}"]
    missing = database.missing()
    if missing:
        parts.append(f"the database has no {', '.join(missing)}, so less is known")
    if unreadable:
        parts.append(f"{unreadable} cells could not be read and are left empty")
    return f"{'; '.join(parts)}; its folder is {folder}"
