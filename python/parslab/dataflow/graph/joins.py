"""Tasks of join apps [core]: what their bodies have called, and what they wait for when these have returned.

Part of the task table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.dataflow.graph.failure_propagation import passed_on
from parslab.dataflow.graph.steps import Steps
from parslab.dataflow.graph.task import DEAF
from parslab.dataflow.graph.values import joined
from parslab.records.machine import Signal
from parslab.records.states import FINAL, SUCCESSES, TaskState
from parslab.wire.messages.client import RequestValue

if TYPE_CHECKING:
    from parslab.dataflow.graph.task import Task

__all__ = ["Joining"]


class Joining(Steps):
    """What the task table does about join apps."""

    def called_by(self, task: Task, parent: int, now: float) -> None:
        """The body of a join has called it: it goes where that goes."""
        join = self.tasks.get(parent)
        if join is None or join.state is TaskState.cancelled:
            self.cancel((task.id,), now)
        elif join.state not in FINAL:
            self._called.setdefault(parent, []).append(task.id)

    def joins(self, task: Task, ids: tuple[int, ...], many: bool, started: float, now: float) -> None:
        """The body of a join app returned these tasks."""
        if task.state in DEAF:
            self.dropped += 1
            return
        if task.state is TaskState.launched:
            self._move(task, Signal.begun, started)
        self._move(task, Signal.joined, now)
        task.many = many
        task.joins = [self.tasks[i] for i in ids]
        self.wait_for_joined(task, now)

    def wait_for_joined(self, task: Task, now: float) -> None:
        """Have a join wait for what its body returned."""
        for inner in dict.fromkeys(task.joins or ()):
            if inner.state not in FINAL:
                task.waiting += 1
                if inner.dependents is None:
                    inner.dependents = []
                inner.dependents.append(task)
        if not task.waiting:
            self._join_ended(task, now)

    def _join_ended(self, task: Task, now: float) -> None:
        bad = [t for t in task.joins or () if t.state not in SUCCESSES]
        if bad:
            failure = passed_on("JoinError", bad)
            task.failure = failure
            self._tell_failure(task, failure, now)
            self._move(task, Signal.join_failed, now)
        else:
            values = [t.value for t in task.joins or () if t.value is not None]
            if len(values) == len(task.joins or ()):
                task.value = joined(values) if task.many else values[0]
            elif task.wanted:
                self.out.replies.append((task.client, RequestValue(task.id), []))
            self._move(task, Signal.succeeded, now)
        self._end(task, now)
