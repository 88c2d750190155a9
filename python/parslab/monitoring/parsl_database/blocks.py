"""Makes the rows of blocks and managers from Parsl's tables ``block`` and ``node``.  [core]

Parsl writes a row whenever the scheduler reports another status of a block.  It writes a row for each manager that
connects, and one for each of its heartbeats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.monitoring.store.tables import BLOCK, MANAGER
from parslab.monitoring.view.text import TEXT
from parslab.records.panel import BlockRow, ManagerRow
from parslab.records.states import ENDED, BlockState, ManagerState

if TYPE_CHECKING:
    from parslab.monitoring.parsl_database.cells import Cells
    from parslab.monitoring.parsl_database.database import ParslDatabase
    from parslab.monitoring.store.batch import Batch

__all__ = ["add_blocks", "add_managers"]

_STATES = {
    "PENDING": BlockState.queued,
    "HELD": BlockState.queued,
    "RUNNING": BlockState.running,
    "COMPLETED": BlockState.finished,
    "TIMEOUT": BlockState.finished,
    "FAILED": BlockState.failed,
    "CANCELLED": BlockState.scaled_in,
    "SCALED_IN": BlockState.scaled_in,
    "MISSING": BlockState.missing,
}

_MOST = 100_000
"""Blocks, and managers, that are read: memory holds them all."""


def add_blocks(batch: Batch, database: ParslDatabase, run_id: str, cells: Cells) -> dict[str, str]:
    """Add the blocks of a run; return the executor of each block, where the number names one."""
    blocks: dict[tuple[str, str], BlockRow] = {}
    columns = ("executor_label", "block_id", "job_id", "status", "timestamp")
    for label, number, job, status, timestamp in database.rows("block", columns, run_id, ("timestamp",)):
        key = cells.text(label), cells.text(number)
        # Some versions write the name of the class, too.
        state = _STATES.get(cells.text(status).rpartition(".")[2])
        time = cells.time(timestamp)
        if time is None or (key not in blocks and len(blocks) >= _MOST):
            continue
        row = blocks.get(key)
        if row is None:
            row = blocks[key] = _new_block(*key, time)
        row.job = cells.text(job) or row.job
        if state is None or BlockState(row.state) in ENDED:
            continue
        if state.value != row.state:
            row.state, row.since = state.value, time
        if state is BlockState.running and row.started is None:
            row.started = time
        if state in ENDED:
            row.ended = time
            row.reason = "the job reached its walltime" if "TIMEOUT" in cells.text(status) else ""
    batch.blocks += [BLOCK.cells(row) for row in blocks.values()]
    owners: dict[str, str] = {}
    for label, number in blocks:
        # A block's number names no executor if several executors have blocks with this number.
        owners[number] = "" if number in owners else label
    return owners


def _new_block(executor: str, block: str, time: float) -> BlockRow:
    return BlockRow(
        executor=executor,
        block=block,
        state=BlockState.requested.value,
        job="",
        nodes=1,
        managers=0,
        workers=0,
        busy=0,
        done=0,
        held=False,
        since=time,
        requested=time,
        started=None,
        ended=None,
        reason="",
        stdout="",
        stderr="",
    )


def add_managers(
    batch: Batch, database: ParslDatabase, run_id: str, cells: Cells, *, owners: dict[str, str]
) -> dict[tuple[str, str], str]:
    """Add the managers of a run; return the name of the manager by block and host, and by host alone (block "").

    Parameters
    ----------
    batch, database, run_id, cells
        As for :func:`add_blocks`.
    owners
        The executor of each block.
    """
    rows: dict[str, ManagerRow] = {}
    columns = ("uid", "hostname", "block_id", "cpu_count", "total_memory", "active", "worker_count", "last_heartbeat")
    for uid, host, block, cores, memory, active, workers, heartbeat in database.rows(
        "node", columns, run_id, ("timestamp",)
    ):
        name = cells.text(uid)
        if not name or (name not in rows and len(rows) >= _MOST):
            continue
        number = cells.text(block)
        rows[name] = ManagerRow(
            manager=name,
            executor=owners.get(number, ""),
            block=number,
            state=(ManagerState.ready if active else ManagerState.gone).value,
            host=cells.text(host, TEXT),
            pid=0,
            workers=cells.number(workers),
            busy=0,
            done=0,
            cores=cells.number(cores),
            memory=cells.number(memory),
            cpu=None,
            used=None,
            load=None,
            since=cells.time(heartbeat) or 0.0,
            reason="",
        )
    batch.managers += [MANAGER.cells(row) for row in rows.values()]
    names: dict[tuple[str, str], str] = {}
    for row in rows.values():
        names[row.block, row.host] = names["", row.host] = row.manager
    return names
