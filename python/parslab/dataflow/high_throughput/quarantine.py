"""Holds managers that fail tasks which other managers run well [shell]; runs in the kernel's loop.

:mod:`parslab.dataflow.high_throughput.node_health` decides.  A held manager keeps its tasks and gets no new ones until
the user releases it.  The last manager that works is never held.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from parslab.dataflow.high_throughput.connected_manager import ConnectedManager
from parslab.dataflow.high_throughput.node_health import FailedAttempt, NodeHealth
from parslab.records.reasons import Reason
from parslab.records.states import EXECUTING, TaskState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.high_throughput.node_health import FailureStreak
    from parslab.dataflow.host import Host
    from parslab.wire.messages.worker import Outcome

__all__ = ["ManagerGroup", "Quarantine"]

log = logging.getLogger(__name__)


class ManagerGroup(Protocol):
    """The managers that a quarantine watches."""

    @property
    def connected(self) -> Collection[ConnectedManager]:
        """The managers that are connected."""

    def manager(self, name: str) -> ConnectedManager | None:
        """Return the manager of this name."""

    def hold(self, manager: ConnectedManager, reason: str) -> None:
        """Give this manager no new tasks."""


class Quarantine:
    """Watches the managers of one executor.

    Parameters
    ----------
    group
        The managers.
    after
        How many tasks must fail in a row on one of them; 0: none is ever held.
    host
        The process that it runs in.
    find_task
        Returns the task of this number, None where there is none.
    """

    def __init__(self, group: ManagerGroup, after: int, host: Host, find_task: Callable[[int], Task | None]) -> None:
        self._group = group
        self._host = host
        self._find_task = find_task
        self.health = NodeHealth(after)

    def failed(self, manager: ConnectedManager, task: Task, outcome: Outcome, now: float) -> None:
        """Count a failed task, and hold the manager if the fault is that of its node."""
        failure, connected = outcome.failure, self._group.connected
        # With one manager there is nothing to compare it with, and nobody else to run the tasks.
        if failure is None or len(connected) < 2 or task.state is TaskState.cancelled:
            return
        fn = task.fn
        took = outcome.ended - outcome.started if outcome.started else 0.0
        # A generator: the search runs only at the first failure of a streak.
        same = (t.id for one in connected if one is not manager for t in one.inflight.values() if t.fn == fn)
        attempt = FailedAttempt(task.id, fn, failure.reason, took, failure.error)
        self.health.failed(manager.name, attempt, now=now, elsewhere=lambda: same)
        self._assess(manager, now)

    def succeeded(self, manager: ConnectedManager, task: Task, now: float) -> None:
        """Count a success while some manager has a streak: the success may prove that manager unhealthy."""
        self.health.succeeded(manager.name, task.fn)
        # One manager for each success, so that the cost does not grow with the number of managers.
        candidate = self._group.manager(self.health.next_candidate())
        if candidate is not None:
            self._assess(candidate, now)

    def manager_left(self, manager: ConnectedManager, lost: list[Task], reason: str, now: float) -> None:
        """Count the tasks that a manager lost as one failure, however many they are."""
        # One failure, because one crash of a node says the same however many tasks it had.
        if lost and self._group.connected:
            first = lost[0]
            attempt = FailedAttempt(first.id, first.fn, Reason.node_lost.value, 0.0, f"ManagerLost: {reason}")
            self.health.failed(manager.name, attempt, now=now, elsewhere=tuple)
        self.health.manager_left(manager.name, manager.host)

    def _assess(self, manager: ConnectedManager, now: float) -> None:
        streaks = self.health.streaks
        # At least one manager without failures must be left, or the run would stop.
        if manager.usable and any(one.usable and one.name not in streaks for one in self._group.connected):
            streak = self.health.unhealthy(manager.name, lambda task: self._runs_elsewhere(manager, task), now)
            if streak is not None:
                self._hold(manager, streak)

    def _runs_elsewhere(self, manager: ConnectedManager, number: int) -> bool:
        task = self._find_task(number)
        if task is None or task.state not in EXECUTING or task.worker is manager:
            return False
        other = task.worker
        return isinstance(other, ConnectedManager) and other.name not in self.health.streaks

    def _hold(self, manager: ConnectedManager, streak: FailureStreak) -> None:
        many = f"{len(streak.tasks)} tasks in a row failed on it"
        self._group.hold(manager, f"{many}, the last with {streak.error}")
        text = (
            f"Manager {manager.name} (host {manager.host}, block {manager.block}) gets no new tasks: {many}, the last "
            f"with {streak.error}, while other nodes do better with the same functions. Look at this node, then "
            f"`%parsl release {manager.name}`, or end its block; hold_after=0 never holds one."
        )
        log.warning("%s", text)
        self._host.notify("warning", text)
