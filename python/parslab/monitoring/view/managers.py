"""Keeps the managers of a run, one for each node of a block: the workers of each and the load of its node.

[core]  The view owns the rows.  ``ManagerMoved`` changes states, ``NodeSampled`` changes loads, and the events of
workers and tasks change the numbers of busy workers and finished tasks.  The module adds each difference to the
``BlockWorkers`` of the block too, so that no reader has to sum over managers.  Invariants:

* a manager that has left has no busy worker;
* at most ``MAX_LEFT`` managers that have left are kept;
* the ``BlockWorkers`` of a block are the sum over its connected managers.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from parslab.monitoring.store.tables import MANAGER
from parslab.records.panel import ManagerRow
from parslab.records.states import DEPARTED, ManagerState

if TYPE_CHECKING:
    from parslab.monitoring.store.tables import Cells
    from parslab.monitoring.view.blocks import BlockRows
    from parslab.records.events import ManagerMoved, NodeSampled

__all__ = ["CONNECTED", "MAX_LEFT", "ManagerRows"]

CONNECTED = frozenset(str(state) for state in ManagerState if state not in DEPARTED)
"""States in which a manager is connected."""

MAX_LEFT = 200
"""Most managers that have left and that panels still show."""

REASON = 1000
"""Longest reason that is kept, in characters."""


class ManagerRows:
    """Rows by manager name.

    Parameters
    ----------
    blocks
        The blocks whose ``BlockWorkers`` are kept here.
    """

    __slots__ = ("_blocks", "_changed", "_left", "_unwritten", "rows", "workers")

    def __init__(self, blocks: BlockRows) -> None:
        self.rows: dict[str, ManagerRow] = {}
        self._changed: set[str] = set()
        self._unwritten: set[str] = set()
        self.workers = 0
        """Workers of all connected managers."""
        self._blocks = blocks
        self._left: dict[str, None] = {}  # an ordered set: the first ones left first

    def moved(self, event: ManagerMoved) -> bool:
        """Apply an event of a manager; return whether the manager was connected and has left."""
        name = event.manager
        row = self.rows.get(name)
        if row is None:
            row = self.rows[name] = _new(event)
        elif row.state not in CONNECTED and event.state == "draining":
            return False  # a late event: only a new handshake makes a manager connected again
        was_connected, is_connected = row.state in CONNECTED, event.state in CONNECTED
        # Subtract the row as it was, and add it below as it is: then the sums are right whatever the event changes.
        self._count(row, -1)
        if row.state != event.state:
            row.state, row.since = event.state, event.time
        row.workers, row.pid, row.host = event.workers, event.pid or row.pid, event.host or row.host
        row.cores, row.memory = event.cores or row.cores, event.memory or row.memory
        row.reason = event.reason[:REASON]
        if not is_connected:
            row.busy, row.cpu, row.used, row.load = 0, None, None, None
        self._count(row, 1)
        self._touch(name)
        if is_connected:
            self._left.pop(name, None)
        else:
            self._left.setdefault(name)
        return was_connected and not is_connected

    def host_of(self, manager: str) -> str:
        """Return the host of a manager; empty if it is not known."""
        row = self.rows.get(manager)
        return "" if row is None else row.host

    def outdated(self) -> list[str]:
        """Return the managers that left so long ago that panels do not show them any more."""
        return list(self._left)[: max(0, len(self._left) - MAX_LEFT)]

    def forget(self, name: str) -> list[Cells]:
        """Drop a manager that has left; return its row if the store does not have it yet."""
        cells = [MANAGER.cells(self.rows[name])] if name in self._unwritten else []
        del self.rows[name]
        self._left.pop(name, None)
        self._changed.discard(name)
        self._unwritten.discard(name)
        return cells

    def sampled(self, event: NodeSampled) -> bool:
        """Apply a sample of a node's load; return False if its manager is not connected."""
        row = self.rows.get(event.manager)
        if row is None or row.state not in CONNECTED:
            return False
        row.cpu, row.used, row.load = round(event.cpu, 1), event.memory, round(event.load, 2)
        self._changed.add(event.manager)
        return True

    def worked(self, manager: str, busy: int, done: int) -> None:
        """Add busy workers (or subtract them) and finished tasks."""
        row = self.rows.get(manager)
        if row is not None:
            # Events of workers may follow the end of their manager, whose workers no longer count as busy.
            busy = max(busy, -row.busy) if row.state in CONNECTED else 0
            row.busy += busy
            row.done += done
            self._changed.add(manager)
            block = self._blocks.workers_of((row.executor, row.block))
            block.busy += busy
            block.done += done

    @property
    def unwritten(self) -> bool:
        """Whether a row changed since it was handed to the store."""
        return bool(self._unwritten)

    def all_rows(self) -> list[ManagerRow]:
        """Copies of all rows."""
        return [copy(row) for row in self.rows.values()]

    def take_changed(self) -> list[ManagerRow]:
        """Return rows that changed since the last call."""
        names, self._changed = self._changed, set()
        return [copy(self.rows[name]) for name in sorted(names) if name in self.rows]

    def take_unwritten(self) -> list[Cells]:
        """Return rows for the store that changed since the last call."""
        names, self._unwritten = self._unwritten, set()
        return [MANAGER.cells(self.rows[name]) for name in sorted(names) if name in self.rows]

    def _count(self, row: ManagerRow, sign: int) -> None:
        """Add a manager to the ``BlockWorkers`` of its block, or subtract it."""
        if row.state not in CONNECTED:
            return
        block = self._blocks.workers_of((row.executor, row.block))
        block.managers += sign
        block.ready += sign * (row.state == "ready")
        block.held += sign * (row.state == "held")
        block.workers += sign * row.workers
        block.busy += sign * row.busy
        self.workers += sign * row.workers

    def _touch(self, name: str) -> None:
        self._changed.add(name)
        self._unwritten.add(name)


def _new(event: ManagerMoved) -> ManagerRow:
    return ManagerRow(
        manager=event.manager,
        executor=event.executor,
        block=event.block,
        state="",
        host=event.host,
        pid=event.pid,
        workers=0,
        busy=0,
        done=0,
        cores=event.cores,
        memory=event.memory,
        cpu=None,
        used=None,
        load=None,
        since=event.time,
        reason="",
    )
