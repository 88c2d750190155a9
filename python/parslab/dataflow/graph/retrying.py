"""Decides whether and when a failed task has another attempt, and asks retry handlers about it [core].

Tasks that do not fail cost nothing here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from parslab.dataflow.graph.backoff import RetryState
from parslab.dataflow.graph.failure_propagation import DEPENDENCY
from parslab.dataflow.graph.task import NextAttempt
from parslab.records.machine import Signal
from parslab.records.states import TaskState
from parslab.wire.messages.base import TaskKind
from parslab.wire.messages.client import RequestRetryCost, RetryCost

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parslab.dataflow.graph.dispatch import Dispatch
    from parslab.dataflow.graph.task import Effects, Task
    from parslab.dataflow.graph.transitions import Transitions
    from parslab.wire.messages.base import Failure

__all__ = ["FinalFailure", "Retries"]


class FinalFailure(NamedTuple):
    """The failure that a task ends with, because it has no further attempt."""

    task: Task
    failure: Failure
    signal: Signal


class Retries:
    """The tasks that have failed and not ended.

    Parameters
    ----------
    effects
        Takes the next attempts, and the questions to retry handlers.
    transitions
        Moves the tasks.
    dispatch
        Hands over what the client runs again.
    limit
        How often a task is tried again when its call does not say.

    Attributes
    ----------
    states
        The failed attempts of each such task, by number.
    handlers
        The client whose retry handler decides about the failures of a client, by the number of the latter.
    count
        Attempts that failed and were followed by another one.
    """

    __slots__ = ("_dispatch", "_effects", "_transitions", "count", "handlers", "limit", "states")

    def __init__(self, effects: Effects, transitions: Transitions, dispatch: Dispatch, limit: int = 0) -> None:
        self._effects = effects
        self._transitions = transitions
        self._dispatch = dispatch
        self.limit = limit
        self.count = 0
        self.states: dict[int, RetryState] = {}
        self.handlers: dict[int, int] = {}

    def allowed(self, task: Task) -> int:
        """Return what the failed attempts of a task may cost; without a retry handler each costs 1."""
        spec = task.spec
        return self.limit if spec is None or spec.retries < 0 else spec.retries

    def attempt_failed(self, task: Task, failure: Failure, worker: str, now: float) -> bool:
        """Count a failed attempt; return whether another attempt or a question to the retry handler follows."""
        asks = task.client in self.handlers
        if not asks and not self.allowed(task):
            return False
        state = self.states.get(task.id)
        if state is None:
            state = self.states[task.id] = RetryState(task)
        state.note(failure, worker)
        if asks:
            self._ask(state, failure, now)
            return True
        return self._charge(state, 1.0, now)

    def need_failed(self, task: Task, failure: Failure, now: float) -> bool:
        """Return whether the retry handler is asked about a task that will not run, because its needs failed."""
        if task.client not in self.handlers:
            return False
        self._ask(self.states.setdefault(task.id, RetryState(task)), failure, now)
        return True

    def wait_for_files(self, task: Task, now: float) -> None:
        """Have a task wait for its next attempt, at no cost: inputs of this attempt were lost, and are made again."""
        self.states.setdefault(task.id, RetryState(task))
        task.worker = None
        self._transitions.move(task, Signal.attempt_failed, now)

    def try_again(self, task: Task, attempt: int, now: float) -> None:
        """Begin an attempt at the time that ``Effects.later`` named, unless the task was cancelled meanwhile."""
        # A task that was reopened meanwhile has another attempt number: this timer is not its own.
        if task.state is TaskState.fail_retryable and task.attempt == attempt:
            self._next_attempt(self.states[task.id], now)

    def cost_received(self, task: Task, answer: RetryCost, now: float) -> FinalFailure | None:
        """Charge a failed attempt with the cost that a retry handler has returned.

        Returns
        -------
        FinalFailure or None
            The failure that the task ends with; None: the task does not end.
        """
        state = self.states[task.id]
        asked, state.asked = state.asked, None
        assert asked is not None
        if answer.failure is not None:  # the handler itself failed
            self._transitions.attempt_failed(task, answer.failure, now, worker=state.worker)
            return FinalFailure(task, answer.failure, Signal.failed)
        # No price can make it run: its inputs have no values. The handler only learns of the failure.
        if asked.reason == DEPENDENCY:
            return FinalFailure(task, asked, Signal.need_failed)
        return None if self._charge(state, answer.cost, now) else FinalFailure(task, asked, Signal.failed)

    def expects_cost(self, task: Task, attempt: int) -> bool:
        """Return whether a retry handler has been asked about this attempt and has not answered."""
        state = self.states.get(task.id)
        return state is not None and state.asked is not None and attempt == task.attempt

    def set_handler(self, handler: int | None, clients: Iterable[int], now: float) -> list[FinalFailure]:
        """Let the retry handler of this client decide about failures of these clients; None: they have no handler.

        The new handler gets the open questions.  Without a handler each of these attempts costs 1.

        Returns
        -------
        list of FinalFailure
            The tasks that end, because nobody will answer.
        """
        chosen = set(clients)
        for client in chosen:
            if handler is None:
                self.handlers.pop(client, None)
            else:
                self.handlers[client] = handler
        ends: list[FinalFailure] = []
        # A copy, because an answer may end a task and remove its state.
        for state in list(self.states.values()):
            task, asked = state.task, state.asked
            if task.client not in chosen or asked is None:
                continue
            if handler is not None:
                self._effects.replies.append((handler, RequestRetryCost(task.id, task.attempt, asked), []))
            elif end := self.cost_received(task, RetryCost(task.id, task.attempt, 1.0), now):
                ends.append(end)
        return ends

    def forget(self, task: Task) -> None:
        """Forget the attempts of a task that ended."""
        self.states.pop(task.id, None)

    def _ask(self, state: RetryState, failure: Failure, now: float) -> None:
        """Have the retry handler say what a failure costs."""
        task = state.task
        task.worker = None
        state.asked = failure
        self._transitions.move(task, Signal.attempt_failed, now)
        handler = self.handlers[task.client]
        self._effects.replies.append((handler, RequestRetryCost(task.id, task.attempt, failure), []))

    def _charge(self, state: RetryState, cost: float, now: float) -> bool:
        """Charge for a failed attempt; return whether there is another one, now or after a pause."""
        task = state.task
        state.cost += cost
        # A cost that is not a number fails this comparison, and so ends the task.
        if not state.cost <= self.allowed(task):
            return False
        task.worker = None
        pause = state.pause
        if pause <= 0:
            self._next_attempt(state, now)
            return True
        # A question to the handler has already moved the task to this state.
        if task.state is not TaskState.fail_retryable:
            self._transitions.move(task, Signal.attempt_failed, now)
        # A pause is time, which the core does not have: the loop sets the timer.
        self._effects.later.append((pause, task, task.attempt))
        return True

    def _next_attempt(self, state: RetryState, now: float) -> None:
        task = state.task
        task.attempt += 1
        self.count += 1
        self._transitions.move(task, Signal.retried, now)
        if task.kind == TaskKind.remote:
            self._effects.again.append(NextAttempt(task, state.worker, state.losses > 0))
        else:
            self._dispatch.run(task, now)
