"""Keeps the workers of a run: the current task of each and how many tasks it has finished.

[core]  The view owns the rows.  Panels (``take_changed``) and store (``take_unwritten``) read changed rows at their own
pace.  Only ``WorkerMoved`` changes the state of a worker; the events of tasks change its task.  ``managers`` also
counts the workers of managers.  Invariants:

* at most ``MAX_DEAD`` dead workers are kept, the newest ones;
* a dead worker has no task, and ``done`` never falls;
* panels receive at most ``MAX_LISTED`` workers; the others are only counted.
"""

from __future__ import annotations

from collections import deque
from copy import copy
from typing import TYPE_CHECKING

from parslab.monitoring.store.tables import WORKER
from parslab.records.events import WorkerMoved
from parslab.records.panel import WorkerRow
from parslab.records.states import WorkerState

if TYPE_CHECKING:
    from parslab.monitoring.store.tables import Cells
    from parslab.monitoring.view.managers import ManagerRows

__all__ = ["MAX_DEAD", "MAX_LISTED", "WorkerRows"]

REASON = 500
"""Longest reason that is kept, in characters."""

MAX_DEAD = 100
"""Most dead workers that panels show."""

MAX_LISTED = 1000
"""Workers that panels receive one by one: the first ones, because a run may have very many."""


class WorkerRows:
    """Rows by worker name.

    Parameters
    ----------
    managers
        The rows that receive the numbers of busy workers and finished tasks.
    """

    __slots__ = (
        "_alive_by_manager",
        "_busy",
        "_changed",
        "_dead",
        "_finished",
        "_listed",
        "_managers",
        "_unwritten",
        "rows",
    )

    def __init__(self, managers: ManagerRows) -> None:
        self.rows: dict[str, WorkerRow] = {}
        self._managers = managers
        self._alive_by_manager: dict[str, set[str]] = {}
        self._finished: dict[str, int] = {}
        """Finished tasks by manager, of which only the manager is known and which ``managers`` does not count yet."""
        self._listed: dict[str, None] = {}  # an ordered set
        self._busy = 0
        self._changed: set[str] = set()
        self._unwritten: set[str] = set()
        self._dead: deque[WorkerRow] = deque()

    def moved(self, event: WorkerMoved) -> None:
        """A worker was started, became busy or idle, or died."""
        row = self.rows.get(event.worker)
        if row is None:
            row = self.rows[event.worker] = _new(event)
            if len(self._listed) < MAX_LISTED:
                self._listed[event.worker] = None
        if event.state == "dead" and row.state != "dead":
            self._add_dead(row)
        elif row.state == "dead" and event.state != "dead":
            # A worker may come back after it was reported dead, and its row must not be dropped as an old one.
            self._dead.remove(row)
        if row.manager and event.state != "dead":
            self._alive_by_manager.setdefault(row.manager, set()).add(row.worker)
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

    def manager_left(self, manager: str, time: float, reason: str) -> None:
        """Mark the workers of a manager that has left as dead, because nobody else may report it."""
        for worker in sorted(self._alive_by_manager.pop(manager, ())):
            self.moved(WorkerMoved(time, worker, "", WorkerState.dead, reason=reason))

    def began(self, worker: str, task: int) -> None:
        """A worker has begun a task."""
        row = self.rows.get(worker)
        if row is not None and row.state != "dead":
            row.task = task
            self._touch(worker)

    def ended(self, worker: str, task: int) -> None:
        """A task of a worker has ended; ``worker`` is the name of a manager if only the manager is known."""
        row = self.rows.get(worker)
        if row is None:
            # Only a sum for now, because a batch of events may end thousands of tasks of one manager.
            self._finished[worker] = self._finished.get(worker, 0) + 1
            return
        row.done += 1
        if row.task == task:
            row.task = None
        if row.manager:
            self._managers.worked(row.manager, 0, 1)
        self._touch(worker)

    def host_of(self, worker: str) -> str:
        """Return the host of a worker, or of a manager if ``worker`` names one; empty if it is not known."""
        row = self.rows.get(worker)
        return self._managers.host_of(worker) if row is None else row.host

    def pass_on_finished(self) -> None:
        """Add finished tasks of which only the manager is known to the managers, once for a batch of events."""
        if self._finished:
            for manager, count in self._finished.items():
                self._managers.worked(manager, 0, count)
            self._finished.clear()

    @property
    def unwritten(self) -> bool:
        """Whether a row changed since it was handed to the store."""
        return bool(self._unwritten)

    def busy(self) -> int:
        """Return how many workers run a task."""
        return self._busy

    def alive(self) -> int:
        """Return how many workers are not dead."""
        return len(self.rows) - len(self._dead)

    def all_rows(self) -> list[WorkerRow]:
        """Copies of all rows that panels receive."""
        return [copy(self.rows[name]) for name in self._listed]

    def take_changed(self) -> list[WorkerRow]:
        """Return rows that changed since the last call."""
        # Sorted, because the order of a set of texts differs from process to process.
        names, self._changed = self._changed, set()
        return [copy(self.rows[name]) for name in sorted(names) if name in self.rows]

    def take_unwritten(self) -> list[Cells]:
        """Return rows for the store that changed since the last call."""
        names, self._unwritten = self._unwritten, set()
        return [WORKER.cells(self.rows[name]) for name in sorted(names) if name in self.rows]

    def _touch(self, worker: str) -> None:
        if worker in self._listed:
            self._changed.add(worker)
        self._unwritten.add(worker)

    def _add_dead(self, row: WorkerRow) -> None:
        self._dead.append(row)
        self._alive_by_manager.get(row.manager, set()).discard(row.worker)
        if len(self._dead) > MAX_DEAD:
            oldest = self._dead.popleft().worker
            del self.rows[oldest]
            self._listed.pop(oldest, None)


def _new(event: WorkerMoved) -> WorkerRow:
    return WorkerRow(
        worker=event.worker,
        executor=event.executor,
        state="",
        host=event.host,
        pid=event.pid,
        task=None,
        done=0,
        reason="",
        manager=event.manager,
    )
