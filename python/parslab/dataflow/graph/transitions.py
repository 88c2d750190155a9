"""Changes the states of tasks [core]: the machine decides, the task stores the signal, monitoring gets an event.

This is the only module that assigns ``Task.state``; ``tests/unit/dataflow/graph/test_transitions.py`` checks that.  The
table and its components call it on the loop of the DataFlowKernel.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from parslab.records.events import TaskFailed, TaskMoved, TaskSubmitted
from parslab.records.machine import HISTORY, PATHS, SIGNAL_BITS, TASK, Signal
from parslab.records.state_machine import step
from parslab.records.states import FINAL, TaskState

if TYPE_CHECKING:
    from parslab.dataflow.graph.task import Effects, Task
    from parslab.wire.messages.base import Failure
    from parslab.wire.messages.client import SubmitTask

__all__ = ["Transitions"]

# Python 3.11 needs 70 ns to look up a member of an enum, and these are looked up four times for each task.
_READY = TaskState.ready
_LAUNCHED = TaskState.launched
_RUNNING = TaskState.running
_JOINING = TaskState.joining
_STAGING = TaskState.staging
_BORN_READY = int(Signal.needs_met)
_NEXT = {state: {signal: after for (before, signal), after in TASK.items() if before is state} for state in TaskState}
"""The machine by state and then by signal: two look-ups by an integer cost less than one by a pair."""
_RESTORED = {
    state: reduce(lambda history, signal: history << SIGNAL_BITS | signal, path, 0) for state, path in PATHS.items()
}


class Transitions:
    """Moves tasks from state to state.

    Parameters
    ----------
    effects
        Takes the events for monitoring.
    fold_moves
        Whether the first moves of a task, until monitoring reads its events, are folded into the event that announced
        the task.  That saves three events for most tasks.
    """

    __slots__ = ("_effects", "_fold_moves")

    def __init__(self, effects: Effects, fold_moves: bool = False) -> None:
        self._effects = effects
        self._fold_moves = fold_moves

    def announce(self, task: Task, message: SubmitTask, executor: str, ready: bool) -> None:
        """Report a new task, which is ``ready`` at once or pending, to monitoring."""
        if ready:
            # Without a call of ``move``: nearly all tasks of a burst begin so.
            task.state, task.history = _READY, _BORN_READY
        task.submitted = event = TaskSubmitted(
            time=message.at,
            task=task.id,
            app=task.app,
            state=task.state,
            executor=executor,
            client=task.client,
            deps=message.deps,
            shown=message.shown,
            cell=message.cell,
            open=self._fold_moves,
            ready=message.at if ready else 0.0,
        )
        self._effects.events.append(event)

    def move(self, task: Task, signal: Signal, now: float, worker: str = "") -> None:
        """Take the step that this signal asks for, and report it to monitoring."""
        state = _NEXT[task.state].get(signal)
        if state is None:
            # An impossible pair: ``step`` raises with the story, which takes too long to write for each move.
            state = step(TASK, task.state, signal, task.story())
        task.state = state
        # One integer for the whole story: a list for each task would cost more than the task.
        task.history = task.history << SIGNAL_BITS | signal
        # Monitoring closes the event when it reads it; until then moves cost a field and no event of their own.
        event = task.submitted
        if event is None or not event.open:
            self._effects.events.append(TaskMoved(now, task.id, state, task.attempt, worker))
            return
        if worker:
            event.worker = worker
        if state is _LAUNCHED:
            event.launched = now
        elif state is _RUNNING:
            event.started = now
        elif state in FINAL:
            # The event is complete, and the task must not keep it in memory.
            event.ended = now
            task.submitted = None
        elif state is _READY:
            event.ready = now
        elif state is _JOINING:
            event.joining = now
        elif state is _STAGING:
            event.started = now
        else:  # the event has no field for the time of this state
            self.unfold(task)
            self._effects.events.append(TaskMoved(now, task.id, state, task.attempt, worker))
            return
        event.state = state

    def reopen(self, task: Task, signal: Signal) -> None:
        """Lead a task out of a final state; the caller emits ``TaskReopened``."""
        task.state = step(TASK, task.state, signal, task.story())
        task.history = (task.history << SIGNAL_BITS | signal) & HISTORY

    def restore(self, task: Task, state: TaskState) -> None:
        """Give a new task the state that it had under a lost DataFlowKernel, without events."""
        task.state, task.history = state, _RESTORED[state]

    def attempt_failed(
        self, task: Task, failure: Failure, now: float, *, started: float = 0.0, worker: str = ""
    ) -> None:
        """Report a failed attempt to monitoring, before the task moves on or ends."""
        task.history &= HISTORY  # a task may be tried again for ever
        self.unfold(task)
        self._effects.events.append(
            TaskFailed(
                time=now,
                task=task.id,
                attempt=task.attempt,
                error=failure.error,
                traceback=failure.traceback,
                reason=failure.reason,
                started=started,
                worker=worker,
            )
        )

    @staticmethod
    def unfold(task: Task) -> None:
        """Report the next moves by events of their own: the folded event has room for each state once."""
        if task.submitted is not None:
            task.submitted.open = False
            task.submitted = None
