"""The managers of a run, one for each node of a block: what each holds and how busy its node is, from events.

[core]  Owned by the view.  States come from ``ManagerMoved``, load from ``NodeSampled``, busy workers and finished
tasks from the workers' and tasks' own events.  Every difference goes to the crew of the block too, so that nothing is
ever summed up again.  Invariants: a manager that has left has no busy worker; at most ``LEFT`` managers that have left
are kept; the crew of a block is the sum of its connected managers.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING

from parslab.records.panel import ManagerRow

if TYPE_CHECKING:
    from parslab.monitoring.store.rows import Cells
    from parslab.monitoring.view.blocks import BlockRows
    from parslab.records.events import ManagerMoved, NodeSampled

__all__ = ["HERE", "LEFT", "ManagerRows"]

HERE = frozenset({"ready", "held", "draining"})
"""States of a manager that is connected."""

LEFT = 200
"""Managers that have left and are still shown."""

REASON = 1000
"""Longest reason that is kept, in characters."""


class ManagerRows:
    """Rows by manager name.

    Parameters
    ----------
    blocks
        Whose crews are kept here.
    """

    __slots__ = ("_blocks", "_left", "changed", "rows", "unwritten", "workers")

    def __init__(self, blocks: BlockRows) -> None:
        self.rows: dict[str, ManagerRow] = {}
        self.changed: set[str] = set()
        self.unwritten: set[str] = set()
        self.workers = 0
        """Workers of all connected managers."""
        self._blocks = blocks
        self._left: dict[str, None] = {}

    def moved(self, event: ManagerMoved) -> bool:
        """A manager entered a state; answers whether it has left just now."""
        name = event.manager
        row = self.rows.get(name)
        if row is None:
            row = self.rows[name] = _new(event)
        elif row.state not in HERE and event.state == "draining":
            return False  # told late: who has left comes back with a hello only
        was_here, is_here = row.state in HERE, event.state in HERE
        self._count(row, -1)
        if row.state != event.state:
            row.state, row.since = event.state, event.time
        row.workers, row.pid, row.host = event.workers, event.pid or row.pid, event.host or row.host
        row.cores, row.memory = event.cores or row.cores, event.memory or row.memory
        row.reason = event.reason[:REASON]
        if not is_here:
            row.busy, row.cpu, row.used, row.load = 0, None, None, None
        self._count(row, 1)
        self._touch(name)
        if is_here:
            self._left.pop(name, None)
        else:
            self._left.setdefault(name)
        return was_here and not is_here

    def outdated(self) -> list[str]:
        """Managers that left so long ago that they are not shown any more."""
        return list(self._left)[: max(0, len(self._left) - LEFT)]

    def forget(self, name: str) -> list[Cells]:
        """Drop a manager that has left; answers the rows that the store has not been told."""
        cells = [_cells(self.rows[name])] if name in self.unwritten else []
        del self.rows[name]
        self._left.pop(name, None)
        self.changed.discard(name)
        self.unwritten.discard(name)
        return cells

    def sampled(self, event: NodeSampled) -> bool:
        """A node told how busy it is; whether its manager is known."""
        row = self.rows.get(event.manager)
        if row is None or row.state not in HERE:
            return False
        row.cpu, row.used, row.load = round(event.cpu, 1), event.memory, round(event.load, 2)
        self.changed.add(event.manager)
        return True

    def worked(self, manager: str, busy: int, done: int) -> None:
        """So many more of its workers are busy, so many more tasks are done."""
        row = self.rows.get(manager)
        if row is not None:
            busy = max(busy, -row.busy) if row.state in HERE else 0
            row.busy += busy
            row.done += done
            self.changed.add(manager)
            crew = self._blocks.crew((row.executor, row.block))
            crew.busy += busy
            crew.done += done

    def everything(self) -> list[ManagerRow]:
        """All rows as they are now."""
        return [copy(row) for row in self.rows.values()]

    def take_changed(self) -> list[ManagerRow]:
        """Rows that changed since the last call."""
        names, self.changed = self.changed, set()
        return [copy(self.rows[name]) for name in sorted(names) if name in self.rows]

    def take_unwritten(self) -> list[Cells]:
        """Rows for the store that changed since the last call."""
        names, self.unwritten = self.unwritten, set()
        return [_cells(self.rows[name]) for name in sorted(names) if name in self.rows]

    def _count(self, row: ManagerRow, sign: int) -> None:
        """Put a manager into the crew of its block, or take it out."""
        if row.state not in HERE:
            return
        crew = self._blocks.crew((row.executor, row.block))
        crew.managers += sign
        crew.ready += sign * (row.state == "ready")
        crew.held += sign * (row.state == "held")
        crew.workers += sign * row.workers
        crew.busy += sign * row.busy
        self.workers += sign * row.workers

    def _touch(self, name: str) -> None:
        self.changed.add(name)
        self.unwritten.add(name)


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


def _cells(row: ManagerRow) -> Cells:
    place = (row.manager, row.executor, row.block, row.state, row.host, row.pid)
    return (*place, row.workers, row.cores, row.memory, row.since, row.done, row.reason)
