"""Holds a manager that fails what others do well [shell]: carries out what ``suspects`` decides, on the kernel's loop.

A held manager keeps what it has and gets nothing new until somebody releases it; the last one that works is never held.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from parslab.dataflow.high_throughput.node_health import NodeHealth
from parslab.records.events import NoticeRaised
from parslab.records.reasons import Reason
from parslab.records.states import ManagerState, TaskState

if TYPE_CHECKING:
    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.high_throughput.managers import ManagerService
    from parslab.dataflow.high_throughput.node_health import FailureStreak
    from parslab.dataflow.high_throughput.scheduler import ManagerSlot
    from parslab.wire.messages.worker import Outcome

__all__ = ["Quarantine"]

log = logging.getLogger(__name__)


class Quarantine:
    """The watch over the managers of one executor.

    Parameters
    ----------
    managers
        Them.
    after
        How many tasks must have failed in a row on one of them; 0: none is ever held.
    """

    def __init__(self, managers: ManagerService, after: int) -> None:
        self._managers = managers
        self.suspects = NodeHealth(after)

    def failed(self, slot: ManagerSlot, task: Task, outcome: Outcome, now: float) -> None:
        """A task has failed on a node: hold it, if it is the node's fault."""
        failure, there = outcome.failure, self._managers.there
        if failure is None or len(there) < 2 or task.state is TaskState.cancelled:
            return
        suspects, fn = self.suspects, task.fn
        took = outcome.ended - outcome.started if outcome.started else 0.0
        same = (t.id for one in there if one is not slot for t in one.inflight.values() if t.fn == fn)
        suspects.failed(slot.name, task.id, fn, failure.reason, took, failure.error, now, lambda: same)
        self._judge(slot, now)

    def succeeded(self, slot: ManagerSlot, task: Task, now: float) -> None:
        """A task has succeeded while another node is suspected: it may be proof against that one."""
        self.suspects.succeeded(slot.name, task.fn)
        suspect = self._managers.queue.slots.get(self.suspects.next_ripe())
        if suspect is not None:
            self._judge(suspect, now)

    def _judge(self, slot: ManagerSlot, now: float) -> None:
        suspects = self.suspects
        if slot.usable and any(one.usable and one.name not in suspects.streaks for one in self._managers.there):
            streak = suspects.verdict(slot.name, lambda number: self._runs_elsewhere(slot, number), now)
            if streak is not None:
                self._hold(slot, streak, now)

    def left(self, slot: ManagerSlot, lost: list[Task], reason: str, now: float) -> None:
        """A manager has gone, and has lost these tasks: one loss, however many they are."""
        host = slot.shared.host
        if lost and self._managers.there:
            reasons = Reason.node_lost.value, 0.0, f"ManagerLost: {reason}"
            self.suspects.failed(slot.name, lost[0].id, lost[0].fn, *reasons, now, tuple)
        self.suspects.left(slot.name, host)

    def _runs_elsewhere(self, slot: ManagerSlot, number: int) -> bool:
        task = self._managers.task(number)
        if task is None or task.state is not TaskState.running or task.worker is slot:
            return False
        return task.worker is not None and task.worker.name not in self.suspects.streaks  # type: ignore[attr-defined]

    def _hold(self, slot: ManagerSlot, streak: FailureStreak, now: float) -> None:
        managers = self._managers
        managers.queue.hold(slot, True)
        many = f"{len(streak.tasks)} tasks in a row failed on it"
        managers.tell(slot, ManagerState.held, f"{many}, the last with {streak.error}")
        text = (
            f"Manager {slot.name} (host {slot.shared.host}, block {slot.block}) gets no new tasks: {many}, the last "
            f"with {streak.error}, while other nodes do better with the same functions. Look at this node, then "
            f"`%parsl release {slot.name}`, or end its block; hold_after=0 never holds one."
        )
        log.warning("%s", text)
        managers.event(NoticeRaised(now, "warning", text))
        managers.controller.wake()
