"""Further attempts of a task that failed [core]: whether there is one, when, and who is asked about it.

Part of the task table.  A task that does not fail never comes here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.dataflow.graph.backoff import NextAttempt
from parslab.dataflow.graph.failure_propagation import DEPENDENCY
from parslab.dataflow.graph.steps import Steps
from parslab.records.machine import Signal
from parslab.records.states import TaskState
from parslab.wire.messages.base import TaskKind
from parslab.wire.messages.client import RequestRetryCost

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parslab.dataflow.graph.backoff import RetryState
    from parslab.dataflow.graph.task import Task
    from parslab.wire.messages.base import Failure

__all__ = ["Retrying"]


class Retrying(Steps):
    """What the task table does about tasks whose attempt has failed."""

    def allowed(self, task: Task) -> int:
        """What failed attempts may cost; without a retry handler each costs 1."""
        spec = task.spec
        return self.retries if spec is None or spec.retries < 0 else spec.retries

    def _go_on(self, task: Task, trial: RetryState, cost: float, now: float) -> bool:
        """Charge for a failed attempt; whether there is another one, now or after a while."""
        trial.cost += cost
        if not trial.cost <= self.allowed(task):  # nor when it is no number
            return False
        task.worker = None
        pause = trial.pause
        if pause <= 0:
            self._next_attempt(task, trial, now)
            return True
        if task.state is not TaskState.fail_retryable:
            self._move(task, Signal.attempt_failed, now)
        self.out.later.append((pause, task, task.attempt))
        return True

    def try_again(self, task: Task, attempt: int, now: float) -> None:
        """The time has come that was named in ``Effects.later``; it may have been cancelled meanwhile."""
        if task.state is TaskState.fail_retryable and task.attempt == attempt:
            self._next_attempt(task, self.trials[task.id], now)

    def _next_attempt(self, task: Task, trial: RetryState, now: float) -> None:
        task.attempt += 1
        self.retried += 1
        self._move(task, Signal.retried, now)
        if task.kind == TaskKind.remote:
            self.out.again.append(NextAttempt(task, trial.worker, trial.losses > 0))
        else:
            self._may_run(task, now)

    def _ask(self, task: Task, trial: RetryState, failure: Failure, now: float) -> None:
        """Have the retry handler of its client say what this failure costs."""
        task.worker = None
        trial.asked = failure
        self._move(task, Signal.attempt_failed, now)
        self.out.replies.append((self.judges[task.client], RequestRetryCost(task.id, task.attempt, failure), []))

    def judged(self, task: Task, attempt: int, cost: float, failure: Failure | None, now: float) -> None:
        """The retry handler has said what an attempt costs; a ``failure`` of its own ends the task."""
        trial = self.trials.get(task.id)
        if trial is None or trial.asked is None or attempt != task.attempt:
            self.dropped += 1
            return
        asked, trial.asked = trial.asked, None
        if failure is not None:
            self._tell_failure(task, failure, now, worker=trial.worker)
            self._fail(task, failure, Signal.failed, now)
        elif asked.reason == DEPENDENCY:
            self._fail(task, asked, Signal.need_failed, now)
        elif not self._go_on(task, trial, cost, now):
            self._fail(task, asked, Signal.failed, now)

    def judged_by(self, judge: int | None, clients: Iterable[int], now: float) -> None:
        """Have the retry handler of this client judge what fails of these clients; None: there is no handler.

        What waits for an answer is asked about again, or costs 1.
        """
        chosen = set(clients)
        for client in chosen:
            if judge is None:
                self.judges.pop(client, None)
            else:
                self.judges[client] = judge
        for number in [number for number, trial in self.trials.items() if trial.asked is not None]:
            task, trial = self.tasks[number], self.trials[number]
            if task.client not in chosen or trial.asked is None:
                continue
            if judge is None:
                self.judged(task, task.attempt, 1.0, None, now)
            else:
                self.out.replies.append((judge, RequestRetryCost(number, task.attempt, trial.asked), []))
