"""Monitoring databases as Parsl writes them, made by SQL: of a present version, and of the first years."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

BEGAN = datetime(2024, 5, 1, 10, 0, 0).timestamp()  # the local zone, as Parsl writes its times
RUN_ID = "3f2a91c4-0d1e-4b7a-9c55-aa0102030405"

TABLES = """
CREATE TABLE workflow (run_id TEXT NOT NULL PRIMARY KEY, workflow_name TEXT, workflow_version TEXT,
    time_began DATETIME NOT NULL, time_completed DATETIME, host TEXT, user TEXT, rundir TEXT,
    tasks_failed_count INTEGER, tasks_completed_count INTEGER);
CREATE TABLE task (task_id INTEGER NOT NULL, run_id TEXT NOT NULL, task_depends TEXT, task_func_name TEXT NOT NULL,
    task_memoize TEXT, task_hashsum TEXT, task_inputs TEXT, task_outputs TEXT, task_stdin TEXT, task_stdout TEXT,
    task_stderr TEXT, task_time_invoked DATETIME, task_time_returned DATETIME, task_fail_count INTEGER,
    task_fail_cost FLOAT, PRIMARY KEY (task_id, run_id));
CREATE TABLE "try" (try_id INTEGER NOT NULL, task_id INTEGER NOT NULL, run_id TEXT NOT NULL, block_id TEXT,
    hostname TEXT, task_executor TEXT, task_try_time_launched DATETIME, task_try_time_running DATETIME,
    task_try_time_returned DATETIME, task_fail_history TEXT, task_joins TEXT, PRIMARY KEY (try_id, task_id, run_id));
CREATE TABLE status (task_id INTEGER NOT NULL, task_status_name TEXT NOT NULL, timestamp DATETIME NOT NULL,
    run_id TEXT NOT NULL, try_id INTEGER NOT NULL, PRIMARY KEY (task_id, run_id, task_status_name, timestamp));
CREATE TABLE block (run_id TEXT, executor_label TEXT, block_id TEXT, job_id TEXT, timestamp DATETIME, status TEXT,
    PRIMARY KEY (run_id, block_id, executor_label, timestamp));
CREATE TABLE node (id INTEGER PRIMARY KEY, run_id TEXT, hostname TEXT, uid TEXT, block_id TEXT, cpu_count INTEGER,
    total_memory INTEGER, active BOOLEAN, worker_count INTEGER, python_v TEXT, timestamp DATETIME,
    last_heartbeat DATETIME);
CREATE TABLE resource (try_id INTEGER, task_id INTEGER, run_id TEXT, timestamp DATETIME,
    resource_monitoring_interval FLOAT, psutil_process_time_user FLOAT, psutil_process_time_system FLOAT,
    psutil_process_memory_resident FLOAT, psutil_process_disk_read FLOAT, psutil_process_disk_write FLOAT,
    PRIMARY KEY (try_id, task_id, run_id, timestamp));
"""

FILES = """
CREATE TABLE files (file_id TEXT PRIMARY KEY, file_name TEXT, file_path TEXT, run_id TEXT, task_id INTEGER);
CREATE TABLE input_files (file_id TEXT, run_id TEXT, task_id INTEGER, try_id INTEGER);
CREATE TABLE output_files (file_id TEXT, run_id TEXT, task_id INTEGER, try_id INTEGER);
"""

OLD_TABLES = """
CREATE TABLE workflow (run_id TEXT NOT NULL PRIMARY KEY, workflow_name TEXT, workflow_version TEXT,
    time_began DATETIME, time_completed DATETIME, workflow_duration FLOAT, host TEXT, user TEXT, rundir TEXT);
CREATE TABLE task (task_id INTEGER NOT NULL, run_id TEXT NOT NULL, task_executor TEXT, task_func_name TEXT,
    task_depends TEXT, task_time_submitted DATETIME, task_time_returned DATETIME, task_fail_count INTEGER,
    hostname TEXT, PRIMARY KEY (task_id, run_id));
CREATE TABLE status (task_id INTEGER NOT NULL, task_status_name TEXT, timestamp DATETIME, run_id TEXT);
"""
"""Of the first years: no attempts, no blocks, no nodes."""


def at(seconds: float) -> str:
    """Write a time of the run as Parsl does."""
    return str(datetime.fromtimestamp(BEGAN + seconds))


class ParslFile:
    """A monitoring database, filled row by row."""

    def __init__(self, path: Path, tables: str = TABLES) -> None:
        self.path = path
        with closing(sqlite3.connect(path)) as connection:
            connection.executescript(tables)

    def add(self, table: str, *rows: dict[str, object]) -> None:
        self.add_all(table, rows)

    def add_all(self, table: str, rows: Iterable[dict[str, object]]) -> None:
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.execute("PRAGMA synchronous = OFF")
            for row in rows:
                marks = ", ".join("?" * len(row))
                connection.execute(f'INSERT INTO "{table}" ({", ".join(row)}) VALUES ({marks})', list(row.values()))

    def run(self, run_id: str = RUN_ID, rundir: str = "/home/ada/runinfo/003", ended: float | None = 60.0) -> None:
        row: dict[str, object] = {
            "run_id": run_id,
            "workflow_name": "fit.py",
            "workflow_version": "1.2",
            "time_began": at(0),
            "time_completed": None if ended is None else at(ended),
            "host": "login1",
            "user": "ada",
            "rundir": rundir,
        }
        self.add("workflow", row)

    def task(self, id: int, times: dict[str, float], app: str = "fit", run_id: str = RUN_ID, **cells: object) -> None:
        """Add a task with its states and when it entered them."""
        row: dict[str, object] = {
            "task_id": id,
            "run_id": run_id,
            "task_func_name": app,
            "task_time_invoked": at(times.get("pending", 0.0)),
            "task_fail_count": 0,
            **cells,
        }
        last = max(times, key=lambda name: times[name])
        if last in ("exec_done", "failed", "dep_fail", "memo_done"):
            row["task_time_returned"] = at(times[last])
        self.add("task", row)
        self.add(
            "status",
            *(
                {"task_id": id, "run_id": run_id, "task_status_name": name, "timestamp": at(time), "try_id": 0}
                for name, time in times.items()
            ),
        )

    def attempt(self, id: int, number: int, times: tuple[float, float | None, float | None], **cells: object) -> None:
        """Add an attempt that was launched, ran and returned at these times."""
        launched, running, returned = (None if time is None else at(time) for time in times)
        row = {
            "try_id": number,
            "task_id": id,
            "run_id": RUN_ID,
            "block_id": "0",
            "hostname": "node7",
            "task_executor": "htex",
            "task_try_time_launched": launched,
            "task_try_time_running": running,
            "task_try_time_returned": returned,
        }
        self.add("try", row | cells)
