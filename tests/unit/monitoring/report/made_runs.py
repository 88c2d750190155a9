"""Databases of runs for the tests of reports, written row by row, and large ones made by a formula."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

from parslab.monitoring.report.summarise import summarise
from parslab.monitoring.store import inserts
from parslab.monitoring.store.reader import reading
from parslab.monitoring.store.tables import (
    ATTEMPT,
    BLOCK,
    EDGE,
    MANAGER,
    NOTICE,
    RUN,
    TASK,
    WORKER,
    StoredAttempt,
    StoredNotice,
    StoredTask,
)
from parslab.records.panel import BlockRow, ManagerRow, RunInfo, WorkerRow

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from parslab.monitoring.report.summary import Summary
    from parslab.monitoring.store.tables import Cells, Table


class MadeRun:
    """The database of a run that began at second 100."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "monitoring.db"
        with closing(sqlite3.connect(self.file)) as connection:
            inserts.create(connection)
        os.chmod(self.file, 0o600)

    def add(self, table: Table[Any], rows: Iterable[Cells]) -> None:
        with closing(sqlite3.connect(self.file)) as connection, connection:
            connection.execute("PRAGMA synchronous = OFF")
            connection.executemany(table.insert(1), rows)

    def run(self, **fields: Any) -> None:
        info = RunInfo(
            run="007-ab12cd",
            host="login1",
            pid=1,
            run_dir=str(self.folder),
            executors=["htex"],
            started=100.0,
            version="1.0",
        )
        for name, value in fields.items():
            setattr(info, name, value)
        self.add(RUN, [RUN.cells(info)])

    def task(self, id: int, times: tuple[float | None, ...] = (), *deps: int, **fields: Any) -> None:
        """Add a task: when it was submitted, ready, launched, started, and when it ended."""
        filled: list[float | None] = [*times, None, None, None, None, None]
        submitted, ready, launched, started, ended = filled[:5]
        task = StoredTask(
            id=id,
            app="fit",
            state="exec_done",
            executor="htex",
            submitted=submitted or 100.0,
            ready=ready,
            launched=launched,
            started=started,
            ended=ended,
            worker="htex/w0" if started is not None else "",
        )
        for name, value in fields.items():
            setattr(task, name, value)
        self.add(TASK, [TASK.cells(task)])
        self.add(EDGE, [(id, dep) for dep in deps])

    def attempt(self, task: int, number: int, reason: str, times: tuple[float, float], error: str = "") -> None:
        started, ended = times
        row = StoredAttempt(
            task=task, attempt=number, started=started, ended=ended, worker="htex/w0", reason=reason, error=error
        )
        self.add(ATTEMPT, [ATTEMPT.cells(row)])

    def worker(self, name: str, **fields: Any) -> None:
        row = WorkerRow(worker=name, executor="llex", state="idle", host="h", pid=7, task=None, done=0, reason="")
        for field, value in fields.items():
            setattr(row, field, value)
        self.add(WORKER, [WORKER.cells(row)])

    def block(self, number: str, requested: float, started: float | None, ended: float | None, **fields: Any) -> None:
        row = BlockRow(
            executor="htex",
            block=number,
            state="running" if ended is None else "scaled_in",
            job="471",
            nodes=1,
            managers=0,
            workers=0,
            busy=0,
            done=0,
            held=False,
            since=requested,
            requested=requested,
            started=started,
            ended=ended,
            reason="",
            stdout="",
            stderr="",
        )
        for field, value in fields.items():
            setattr(row, field, value)
        self.add(BLOCK, [BLOCK.cells(row)])

    def manager(self, name: str, block: str, workers: int, **fields: Any) -> None:
        row = ManagerRow(
            manager=name,
            executor="htex",
            block=block,
            state="ready",
            host="node1",
            pid=1,
            workers=workers,
            busy=0,
            done=0,
            cores=8,
            memory=1 << 30,
            cpu=None,
            used=None,
            load=None,
            since=100.0,
            reason="",
        )
        for field, value in fields.items():
            setattr(row, field, value)
        self.add(MANAGER, [MANAGER.cells(row)])

    def notice(self, n: int, level: str, text: str) -> None:
        self.add(NOTICE, [NOTICE.cells(StoredNotice(time=100.0, level=level, text=text, n=n))])

    def summary(self, now: float = 200.0, alive: bool = False) -> Summary:
        with reading(self.file) as connection:
            return summarise(connection, now, alive)


def large_run(folder: Path, tasks: int) -> MadeRun:
    """Make a run of many tasks, of which each needs the one 16 before it, and each hundredth fails."""
    made = MadeRun(folder)
    made.run(ended=100.0 + tasks)
    made.add(TASK, (_cells(id) for id in range(tasks)))
    made.add(EDGE, ((id, id - 16) for id in range(16, tasks)))
    return made


def _cells(id: int) -> Cells:
    begin = 100.0 + id
    bad = id % 100 == 99
    return TASK.cells(
        StoredTask(
            id=id,
            app=f"app {id % 5000}",
            state="failed" if bad else "exec_done",
            executor="htex",
            submitted=100.0,
            ready=begin,
            launched=begin + 0.1,
            started=begin + 0.2,
            ended=begin + 14.0,
            worker=f"htex/{id % 5000}",
            error=f"OSError: no file /data/{id}" if bad else "",
            shown=f"n={id}",
        )
    )
