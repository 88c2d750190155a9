"""The workers of a run: what each does and how many tasks it has finished, from events.

[core]  Owned by the view.  A worker is told to two readers at their own pace: the panels (``changed``) and the store
(``unwritten``).  Their states are those of ``WorkerMoved`` only; what they run comes from the tasks.  What a worker of
a manager does is passed on to ``managers``.  Invariants: at most ``DEAD`` dead workers are kept, the oldest go first; a
dead worker has no task; ``done`` never falls; panels are told of ``LISTED`` workers, the others are only counted.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import TYPE_CHECKING

from parslab.records.events import WorkerMoved
from parslab.records.panel import WorkerRow
from parslab.records.states import WorkerState

if TYPE_CHECKING:
    from parslab.monitoring.store.rows import Cells
    from parslab.monitoring.view.managers import ManagerRows

__all__ = ["DEAD", "LISTED", "WorkerRows"]

REASON = 500
"""Longest reason that is kept, in characters."""

DEAD = 100
"""Dead workers that are still shown."""

LISTED = 1000
"""Workers that panels are told of one by one, first come first served; a run may have very many."""


class WorkerRows:
    """Rows by worker name.

    Parameters
    ----------
    managers
        Told which of their workers are busy and which tasks are done.
    """

    __slots__ = ("_busy", "_crews", "_dead", "_listed", "_managers", "changed", "rows", "unwritten")

    def __init__(self, managers: ManagerRows) -> None:
        self.rows: dict[str, WorkerRow] = {}
        self._managers = managers
        self._crews: dict[str, set[str]] = {}  # living workers by manager
        self._listed: dict[str, None] = {}
        self._busy = 0
        self.changed: set[str] = set()
        self.unwritten: set[str] = set()
        self._dead: deque[WorkerRow] = deque()

    def moved(self, event: WorkerMoved) -> None:
        """A worker came, became busy or idle, or died."""
        row = self.rows.get(event.worker)
        if row is None:
            manager = event.manager
            row = WorkerRow(event.worker, event.executor, "", event.host, event.pid, None, 0, "", manager)
            self.rows[event.worker] = row
            if len(self._listed) < LISTED:
                self._listed[event.worker] = None
        if event.state == "dead" and row.state != "dead":
            self._bury(row)
        elif row.state == "dead" and event.state != "dead":
            self._dead.remove(row)
        if row.manager and event.state != "dead":
            self._crews.setdefault(row.manager, set()).add(row.worker)
        busy = (event.state == "busy") - (row.state == "busy")
        if busy:
            self._busy += busy
            if row.manager:
                self._managers.worked(row.manager, busy, 0)
        row.state = event.state
        row.executor = event.executor or row.executor
        row.host = event.host or row.host
        row.pid = event.pid or row.pid
        row.reason = event.reason[:REASON]
        if event.state != "busy":
            row.task = None
        self._touch(event.worker)

    def deserted(self, manager: str, time: float, reason: str) -> None:
        """A manager has left: its workers are not to be had any more, whether somebody says so or not."""
        for worker in sorted(self._crews.pop(manager, ())):
            self.moved(WorkerMoved(time, worker, "", WorkerState.dead, reason=reason))

    def began(self, worker: str, task: int) -> None:
        """A worker runs this task now."""
        row = self.rows.get(worker)
        if row is not None and row.state != "dead":
            row.task = task
            self._touch(worker)

    def ended(self, worker: str, task: int) -> None:
        """A task that was given to this worker is over."""
        row = self.rows.get(worker)
        if row is None:
            return
        row.done += 1
        if row.task == task:
            row.task = None
        if row.manager:
            self._managers.worked(row.manager, 0, 1)
        self._touch(worker)

    def busy(self) -> int:
        """How many work."""
        return self._busy

    def alive(self) -> int:
        """How many are not dead."""
        return len(self.rows) - len(self._dead)

    def everything(self) -> list[WorkerRow]:
        """All rows as they are now."""
        return [copy(self.rows[name]) for name in self._listed]

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
        if worker in self._listed:
            self.changed.add(worker)
        self.unwritten.add(worker)

    def _bury(self, row: WorkerRow) -> None:
        self._dead.append(row)
        self._crews.get(row.manager, set()).discard(row.worker)
        if len(self._dead) > DEAD:
            oldest = self._dead.popleft().worker
            del self.rows[oldest]
            self._listed.pop(oldest, None)
