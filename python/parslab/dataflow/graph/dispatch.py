"""Passes ready tasks on [core]: to the queue of their executor, or back to the client that called them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.records.machine import Signal
from parslab.wire.messages.base import TaskKind
from parslab.wire.messages.client import RunLocalTask

if TYPE_CHECKING:
    from parslab.dataflow.graph.task import Effects, Task
    from parslab.dataflow.graph.transitions import Transitions

__all__ = ["Dispatch"]


class Dispatch:
    """Hands ready tasks over.

    Parameters
    ----------
    effects
        Takes the tasks for the queues, and the messages to clients.
    transitions
        Moves the tasks that a client runs.
    """

    __slots__ = ("_effects", "_transitions")

    def __init__(self, effects: Effects, transitions: Transitions) -> None:
        self._effects = effects
        self._transitions = transitions

    def run(self, task: Task, now: float) -> None:
        """Hand over a task in state ready."""
        if task.kind == TaskKind.remote:
            self._effects.ready.append(task)
        # A foreign future runs elsewhere: its client reports only the end.
        elif task.kind != TaskKind.external:
            task.needs = []  # the client has the arguments itself
            self._transitions.move(task, Signal.sent, now)
            self._effects.replies.append((task.client, RunLocalTask(task.id), []))
