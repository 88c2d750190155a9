"""Makes the summary of a run from its database.  [core]

The caller passes the connection, the time and whether the run is alive; this module has no file or clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from parslab.errors import ConfigurationError
from parslab.monitoring.report.capacity import blocks_of, capacity, workers_of
from parslab.monitoring.report.comparison import RunApps
from parslab.monitoring.report.critical_path import critical_path
from parslab.monitoring.report.failures import failure_groups, retry_summary
from parslab.monitoring.report.summary import (
    ReportedStatus,
    RunFacts,
    Summary,
    TaskTotals,
    Utilisation,
)
from parslab.monitoring.report.task_times import COLUMNS, TaskTimes
from parslab.monitoring.store.tables import RUN
from parslab.records.panel import RunInfo
from parslab.records.states import TASK_STATES, TaskGroup, TaskState
from parslab.version import version

if TYPE_CHECKING:
    import sqlite3

    from parslab.monitoring.report.task_times import Intervals

__all__ = ["IMPORTED", "summarise"]

IMPORTED = "Parsl"
"""The version of a run that Parsl has run."""

APPS = 40
"""Apps that the report lists."""

_NOTICES = 20

_LAST_EVENT = "SELECT max(submitted), max(coalesce(started, 0)), max(coalesce(ended, 0)) FROM task"


def summarise(connection: sqlite3.Connection, now: float, alive: bool) -> Summary:
    """Summarise a run.

    Parameters
    ----------
    connection
        An open database of a run.
    now
        The present time.
    alive
        Whether the DataFlowKernel of the run is up.
    """
    facts = _facts(connection, now, alive)
    start, end = facts.started, facts.started + facts.seconds
    tasks = TaskTimes(start, end)
    tasks.take(connection.execute(f"SELECT {COLUMNS} FROM task"))
    retries = retry_summary(connection)
    tasks.times.failed_attempts = retries.seconds
    apps = tasks.apps()
    workers, workers_hidden = workers_of(connection, tasks.workers)
    blocks, blocks_hidden = blocks_of(connection)
    failures, failures_hidden = failure_groups(connection)
    return Summary(
        written=now,
        written_by=version(),
        run=facts,
        tasks=_totals(tasks.states),
        times=tasks.times,
        apps=apps[:APPS],
        apps_hidden=max(0, len(apps) - APPS),
        utilisation=_utilisation(tasks, capacity(connection, start, end)),
        workers=workers,
        workers_hidden=workers_hidden,
        blocks=blocks,
        blocks_hidden=blocks_hidden,
        critical_path=critical_path(connection, start),
        slowest=tasks.slowest(),
        failures=failures,
        failures_hidden=failures_hidden,
        retries=retries,
        notices=_notices(connection),
    )


def run_apps(connection: sqlite3.Connection, now: float, alive: bool) -> RunApps:
    """Return a run and all of its apps, to compare it with another run.  Takes what :func:`summarise` takes."""
    facts = _facts(connection, now, alive)
    tasks = TaskTimes(facts.started, facts.started + facts.seconds)
    tasks.take(connection.execute(f"SELECT {COLUMNS} FROM task"))
    return RunApps(run=facts, tasks=_totals(tasks.states), apps=tasks.apps())


def _facts(connection: sqlite3.Connection, now: float, alive: bool) -> RunFacts:
    found = connection.execute(f"SELECT {', '.join(RUN.columns)} FROM run ORDER BY started DESC LIMIT 1").fetchone()
    if found is None:
        raise ConfigurationError("The database has no run: its DataFlowKernel was killed before it wrote anything.")
    # The list of executors is JSON text in the table.
    cells = dict(zip(RUN.columns, found, strict=True))
    cells["executors"] = msgspec.json.decode(cells["executors"])
    info = msgspec.convert(cells, RunInfo)
    last = max(time or 0.0 for time in connection.execute(_LAST_EVENT).fetchone())
    status: ReportedStatus = "ended" if info.ended is not None else "running" if alive else "lost"
    end = info.ended if info.ended is not None else now if alive else last
    return RunFacts(
        run=info.run,
        status="imported" if info.version == IMPORTED else status,
        host=info.host,
        run_dir=info.run_dir,
        version=info.version,
        executors=info.executors,
        started=info.started,
        ended=info.ended,
        seconds=max(0.0, max(end, last if not alive else 0.0) - info.started),
        reason=info.reason,
    )


def _totals(states: dict[str, int]) -> TaskTotals:
    groups = dict.fromkeys(TaskGroup, 0)
    for name, count in states.items():
        groups[TASK_STATES[TaskState[name]].group] += count
    return TaskTotals(
        total=sum(states.values()),
        states={state.name: states[state.name] for state in TASK_STATES if states.get(state.name)},
        succeeded=groups[TaskGroup.succeeded],
        failed=groups[TaskGroup.failed],
        cancelled=groups[TaskGroup.cancelled],
        memoized=states.get(TaskState.memo_done.name, 0),
        unfinished=groups[TaskGroup.waiting] + groups[TaskGroup.active],
    )


def _utilisation(tasks: TaskTimes, there: Intervals) -> Utilisation:
    offered = there.total()
    return Utilisation(
        start=there.start,
        step=there.step,
        running=tasks.running.values(),
        waiting=tasks.waiting.values(),
        workers=there.values() if offered else [],
        mean=min(1.0, tasks.on_workers.total() / offered) if offered else None,
    )


def _notices(connection: sqlite3.Connection) -> list[str]:
    sql = "SELECT text FROM notice WHERE level IN ('warning', 'error') ORDER BY n DESC LIMIT ?"
    return [text for (text,) in connection.execute(sql, (_NOTICES,))][::-1]
