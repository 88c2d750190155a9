"""The workers of a run: what each does and how many tasks it has finished, from events.

[core]  Owned by the view.  A worker is told to two readers at their own pace: the panels (``changed``) and the store
(``unwritten``).  Their states are those of ``WorkerMoved`` only; what they run comes from the tasks.  Invariants: at
most ``DEAD`` dead workers are kept, the oldest go first; a dead worker has no task; ``done`` never falls.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import TYPE_CHECKING

from parslab.records.panel import WorkerRow

if TYPE_CHECKING:
    from parslab.monitoring.rows import Cells
    from parslab.records.events import WorkerMoved

__all__ = ["DEAD", "Workers"]

REASON = 500
"""Longest reason that is kept, in characters."""

DEAD = 100
"""Dead workers that are still shown."""


class Workers:
    """Rows by worker name."""

    __slots__ = ("_dead", "changed", "rows", "unwritten")

    def __init__(self) -> None:
        self.rows: dict[str, WorkerRow] = {}
        self.changed: set[str] = set()
        self.unwritten: set[str] = set()
        self._dead: deque[WorkerRow] = deque()

    def moved(self, event: WorkerMoved) -> None:
        """A worker came, became busy or idle, or died."""
        row = self.rows.get(event.worker)
        if row is None:
            row = WorkerRow(event.worker, event.executor, "", event.host, event.pid, None, 0, "")
            self.rows[event.worker] = row
        if event.state == "dead" and row.state != "dead":
            self._bury(row)
        elif row.state == "dead" and event.state != "dead":
            self._dead.remove(row)
        row.state = event.state
        row.executor = event.executor or row.executor
        row.host = event.host or row.host
        row.pid = event.pid or row.pid
        row.reason = event.reason[:REASON]
        if event.state != "busy":
            row.task = None
        self._touch(event.worker)

    def began(self, worker: str, task: int) -> None:
        """A worker runs this task now."""
        row = self.rows.get(worker)
        if row is not None and row.state != "dead":
            row.task = task
            self._touch(worker)

    def ended(self, worker: str, task: int) -> None:
        """A task that was given to this worker is over."""
        row = self.rows.get(worker)
        if row is not None:
            row.done += 1
            if row.task == task:
                row.task = None
            self._touch(worker)

    def busy(self) -> int:
        """How many work."""
        return sum(row.state == "busy" for row in self.rows.values())

    def alive(self) -> int:
        """How many are not dead."""
        return len(self.rows) - len(self._dead)

    def everything(self) -> list[WorkerRow]:
        """All rows as they are now."""
        return [copy(row) for row in self.rows.values()]

    def take_changed(self) -> list[WorkerRow]:
        """Rows that changed since the last call."""
        names, self.changed = self.changed, set()
        return [copy(self.rows[name]) for name in sorted(names) if name in self.rows]

    def take_unwritten(self) -> list[Cells]:
        """Rows for the store that changed since the last call."""
        names, self.unwritten = self.unwritten, set()
        rows = [self.rows[name] for name in sorted(names) if name in self.rows]
        return [(r.worker, r.executor, r.state, r.host, r.pid, r.task, r.done, r.reason) for r in rows]

    def _touch(self, worker: str) -> None:
        self.changed.add(worker)
        self.unwritten.add(worker)

    def _bury(self, row: WorkerRow) -> None:
        self._dead.append(row)
        if len(self._dead) > DEAD:
            del self.rows[self._dead.popleft().worker]
