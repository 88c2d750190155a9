"""Says which workers and blocks a run had, and when.  [core]

The database keeps when each block ran, and how many workers its managers had.  Workers of the run's own host are
assumed to be there all the time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.monitoring.report.summary import BlockUse, WorkerUse
from parslab.monitoring.report.task_times import Intervals
from parslab.records.states import DEPARTED, ENDED

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping

__all__ = ["blocks_of", "capacity", "workers_of"]

BLOCKS = 60
"""Blocks that the report lists."""

WORKERS = 30
"""Workers that the report lists."""

_OVER = "the run is over"
"""The reason of workers that were there until the end."""

_DEPARTED = ", ".join(repr(state.value) for state in sorted(DEPARTED))
_ENDED = ", ".join(repr(state.value) for state in sorted(ENDED))


def blocks_of(connection: sqlite3.Connection) -> tuple[list[BlockUse], int]:
    """Return the blocks in the order of their requests, and how many are left out."""
    sql = (
        "SELECT executor, block, state, nodes, (SELECT coalesce(sum(workers), 0) FROM manager "
        "WHERE manager.executor = block.executor AND manager.block = block.block), requested, started, ended, reason "
        "FROM block ORDER BY requested, executor, block LIMIT ?"
    )
    blocks = [
        BlockUse(
            executor=executor,
            block=block,
            state=state,
            nodes=nodes,
            workers=workers,
            requested=requested,
            started=started,
            ended=ended,
            queue=None if started is None else max(0.0, started - requested),
            reason=reason,
        )
        for executor, block, state, nodes, workers, requested, started, ended, reason in connection.execute(
            sql, (BLOCKS,)
        )
    ]
    total: int = connection.execute("SELECT count(*) FROM block").fetchone()[0]
    return blocks, total - len(blocks)


def capacity(connection: sqlite3.Connection, start: float, end: float) -> Intervals:
    """Return how many workers there were, over time."""
    there = Intervals(start, end)
    local = connection.execute(
        "SELECT count(*) FROM worker WHERE manager = '' AND pid > 0 AND (state != 'dead' OR reason = ?)", (_OVER,)
    ).fetchone()[0]
    there.add(start, end, float(local))
    of_blocks = (
        "SELECT coalesce(block.started, manager.since), CASE WHEN manager.state IN "
        f"({_DEPARTED}) THEN manager.since WHEN block.state IN ({_ENDED}) THEN block.ended END, "
        "block.block IS NULL, manager.workers FROM manager LEFT JOIN block "
        "ON block.executor = manager.executor AND block.block = manager.block"
    )
    for began, left, alone, workers in connection.execute(of_blocks):
        # The database does not tell when a manager without a block connected.
        there.add(start if alone or began is None else began, end if left is None else left, float(workers))
    return there


def workers_of(connection: sqlite3.Connection, used: Mapping[str, tuple[int, float]]) -> tuple[list[WorkerUse], int]:
    """Return the workers that ran the most, from the number and time of their tasks, and how many are left out."""
    ordered = sorted(used, key=lambda worker: (-used[worker][1], worker))
    found = []
    for worker in ordered[:WORKERS]:
        # Without a process the row only names the host of tasks that Parsl has run.
        place = connection.execute("SELECT host, pid > 0 FROM worker WHERE worker = ?", (worker,)).fetchone()
        place = place or connection.execute("SELECT host, workers FROM manager WHERE manager = ?", (worker,)).fetchone()
        host, count = place or ("", 0)
        tasks, run = used[worker]
        found.append(WorkerUse(worker=worker, host=host, workers=count, tasks=tasks, run=run))
    return found, max(0, len(ordered) - WORKERS)
