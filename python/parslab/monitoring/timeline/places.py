"""Reads which workers a run has or had, and since when, from its database."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from parslab.records.states import DEPARTED, ENDED

if TYPE_CHECKING:
    import sqlite3

__all__ = ["KnownWorkers", "workers_of"]

_OVER = "the run is over"
"""The reason of workers that were there until the end."""

_DEPARTED = ", ".join(repr(state.value) for state in sorted(DEPARTED))
_ENDED = ", ".join(repr(state.value) for state in sorted(ENDED))

_LOCAL = "SELECT worker, executor, host FROM worker WHERE manager = '' AND pid > 0 AND (state != 'dead' OR reason = ?)"
_OF_BLOCKS = (
    "SELECT manager.manager, manager.executor, manager.block, manager.host, manager.workers, "
    f"block.started, CASE WHEN manager.state IN ({_DEPARTED}) THEN manager.since "
    f"WHEN block.state IN ({_ENDED}) THEN block.ended END "
    "FROM manager LEFT JOIN block ON block.executor = manager.executor AND block.block = manager.block "
    "ORDER BY manager.executor, CAST(manager.block AS INTEGER), manager.block, manager.manager"
)
_OF_MANAGERS = "SELECT worker, manager FROM worker WHERE manager != ''"


class KnownWorkers(NamedTuple):
    """One worker of the run's own host, or all workers of a manager."""

    name: str
    executor: str
    block: str = ""
    node: str = ""
    """The manager; empty for a worker of the run's own host."""
    host: str = ""
    workers: int = 1
    since: float | None = None
    """When they could run tasks; None if the database does not tell."""
    until: float | None = None
    """When they left; None while they are there."""


def workers_of(connection: sqlite3.Connection) -> tuple[list[KnownWorkers], dict[str, str]]:
    """Return the workers of a run in the order of executors and blocks, and the manager of each worker that has one."""
    found = [
        KnownWorkers(worker, executor, host=host)
        for worker, executor, host in connection.execute(_LOCAL + " ORDER BY executor, worker", (_OVER,))
    ]
    for manager, executor, block, host, workers, started, left in connection.execute(_OF_BLOCKS):
        found.append(
            KnownWorkers(
                manager, executor, block=block, node=manager, host=host, workers=workers, since=started, until=left
            )
        )
    found.sort(key=lambda one: one.executor)
    return found, dict(connection.execute(_OF_MANAGERS).fetchall())
