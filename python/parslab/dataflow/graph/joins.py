"""Handles the tasks of join apps [core]: what their bodies call, and the futures that the bodies return."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.dataflow.graph.failure_propagation import passed_on
from parslab.dataflow.graph.values import joined
from parslab.records.machine import Signal
from parslab.records.states import FINAL, SUCCESSES, TaskState
from parslab.wire.messages.client import RequestValue

if TYPE_CHECKING:
    from parslab.dataflow.graph.dependencies import Dependencies
    from parslab.dataflow.graph.task import Effects, Task
    from parslab.dataflow.graph.transitions import Transitions
    from parslab.wire.messages.client import JoinBodyReturned

__all__ = ["Joins"]


class Joins:
    """The joins among the tasks.

    Parameters
    ----------
    tasks
        All tasks, by number; the table owns the dictionary.
    effects
        Takes the messages to clients.
    transitions
        Moves the joins.
    dependencies
        Has the joins wait.
    """

    __slots__ = ("_calls", "_dependencies", "_effects", "_tasks", "_transitions")

    def __init__(
        self, tasks: dict[int, Task], effects: Effects, transitions: Transitions, dependencies: Dependencies
    ) -> None:
        self._tasks = tasks
        self._effects = effects
        self._transitions = transitions
        self._dependencies = dependencies
        self._calls: dict[int, list[int]] = {}

    def add_call(self, task: Task, parent: int) -> bool:
        """Note that the body of the join ``parent`` called a task.

        Returns
        -------
        bool
            False when the join is cancelled or forgotten, so that the task must be cancelled, too.
        """
        join = self._tasks.get(parent)
        # The call was on its way when the join was cancelled; ``take_calls`` could not name it then.
        if join is None or join.state is TaskState.cancelled:
            return False
        if join.state not in FINAL:
            self._calls.setdefault(parent, []).append(task.id)
        return True

    def take_calls(self, join: int) -> list[int]:
        """Take the numbers of what the body of a join has called, because the join ends."""
        return self._calls.pop(join, [])

    def body_returned(self, task: Task, message: JoinBodyReturned, now: float) -> None:
        """Have a join wait for what its body returned; it may wait for nothing."""
        if task.state is TaskState.launched:
            self._transitions.move(task, Signal.started, message.started)
        self._transitions.move(task, Signal.joined, now)
        task.many = message.many
        task.joins = [self._tasks[number] for number in message.tasks]
        self._dependencies.wait_for_joined(task)

    def finish(self, task: Task, now: float) -> None:
        """Move a join that waits for nothing any more to its final state."""
        inner = task.joins or []
        # All failures are collected, so that the user sees every root and not only the first.
        bad = [one for one in inner if one.state not in SUCCESSES]
        if bad:
            task.failure = failure = passed_on("JoinError", bad)
            self._transitions.attempt_failed(task, failure, now)
            self._transitions.move(task, Signal.join_failed, now)
            return
        values = [one.value for one in inner if one.value is not None]
        # A value may be absent because the client ran the inner task itself.
        if len(values) == len(inner):
            task.value = joined(values) if task.many else values[0]
        elif task.wanted:  # some values are at the client, which therefore has to send the whole
            self._effects.replies.append((task.client, RequestValue(task.id), []))
        self._transitions.move(task, Signal.succeeded, now)
