"""Calls that are equal to earlier ones [core]: they have the result of these, now or when it is there.

Part of the task table; ``dataflow.memo`` knows which calls are equal.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.dataflow.graph.steps import Steps
from parslab.records.machine import Signal
from parslab.records.states import FINAL, TaskState
from parslab.wire.messages.base import TaskKind

if TYPE_CHECKING:
    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.graph.values import StoredValue
    from parslab.wire.messages.base import Failure
    from parslab.wire.messages.client import SubmitTask

__all__ = ["MemoizedCalls"]


class MemoizedCalls(Steps):
    """What the task table does about calls that are remembered."""

    def _remembered(self, task: Task, message: SubmitTask) -> StoredValue | None:
        """What an equal call gave, where that is known before this one has all that it needs."""
        self.memo.begin(task, message)
        if message.deps:
            needs = [self.need(task, dep) for dep in message.deps]
            found = self.memo.ask(task, needs, all(need.state in FINAL for need in needs))
        else:
            found = self.memo.ask(task, (), True)
        if task.kind != TaskKind.remote and found is None and task.call is not None:
            task.wanted = not task.call.why  # what it gives lies at the client
        return found

    def _take_remembered(self, task: Task, value: StoredValue, now: float) -> None:
        """A pending task has what an equal call gave."""
        task.value, task.wanted = value, False
        self._move(task, Signal.remembered, now)
        self._end(task, now)

    def _share(self, task: Task, now: float, unshippable: Failure | None = None) -> None:
        """How a call that is remembered has ended concerns those that are equal to it.

        They have its result, or its failure; when it was cancelled or could not run the next of them takes its place.
        """
        memo, call = self.memo, task.call
        if not memo.leads(task) or call is None:
            return
        value = task.value
        if task.state is TaskState.exec_done and value is None and unshippable is None:
            call.awaited = True  # it is on its way from the client
            return
        if value is not None and task.state is TaskState.exec_done:
            memo.keep(call, value)
        followers = memo.ended(task)
        if unshippable is not None:
            for each in [task, *followers]:
                memo.part(each, f"what it gives cannot leave the notebook's process ({unshippable.error})")
            self._freed += reversed(followers)  # taken from the end
        elif value is not None:
            for follower in followers:
                self._take_remembered(follower, value, now)
        elif task.state is TaskState.failed and task.failure is not None:
            for follower in followers:
                self._tell_failure(follower, task.failure, now)
                self._fail(follower, task.failure, Signal.shared, now)
        elif followers:
            self._freed.append(memo.lead(followers))
            self._wake_all(now)
