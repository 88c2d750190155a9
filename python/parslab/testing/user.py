"""A user in virtual time, who calls apps, cancels tasks, drops futures, and runs local tasks.

The user is the client's side of :class:`parslab.testing.network.Network`.  It keeps the rules of the real client: it
drops a future only after the future is settled, and while no task of the client needs its value.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, Protocol

from parslab.records.states import SUCCESSES, TaskState
from parslab.testing.fakes import call, outcome
from parslab.testing.line import Simulation
from parslab.wire.messages.base import Failure, TaskKind
from parslab.wire.messages.client import (
    JoinBodyReturned,
    KernelMessage,
    RequestRetryCost,
    RequestValue,
    RetryCost,
    RunLocalTask,
    TaskResolved,
    TasksReopened,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.graph.task import Task
    from parslab.testing.history import History, TracedValue
    from parslab.testing.line import Line

__all__ = ["FakeUser", "UserHost"]

_KINDS = (
    *[TaskKind.remote] * 14,
    *[TaskKind.local] * 3,
    *[TaskKind.join] * 2,
    TaskKind.external,
)


class UserHost(Simulation, Protocol):
    """The run that gets the user's calls."""

    table: TaskTable
    history: History

    def body_begins(self, task: Task, attempt: int) -> None:
        """The body of a task starts."""

    def retry(self, number: int) -> None:
        """The user wants a task to be tried again."""

    def value(self, task: int) -> TracedValue:
        """Return the value of a task."""


class FakeUser:
    """One client.

    Parameters
    ----------
    network
        The run.
    line
        The link to the DataFlowKernel.
    calls
        The number of calls.

    Attributes
    ----------
    called : set of int
        Every task so far.
    """

    def __init__(self, network: UserHost, line: Line, calls: int) -> None:
        self._network = network
        self._table = network.table
        self._random = network.random
        self._line = line
        self._calls = calls
        self.called: set[int] = set()
        self._held: set[int] = set()
        """Tasks whose futures the user has."""
        self._dropping: set[int] = set()
        """Tasks whose futures the user drops as soon as no task of the client needs them."""
        self._settled: set[int] = set()
        self._kinds: dict[int, int] = {}
        self._needs: dict[int, tuple[int, ...]] = {}
        """Tasks that must be kept until this one is settled."""
        self._inner: dict[int, tuple[int, ...]] = {}
        """Tasks that a join has returned; they are kept as long as the join."""
        self._keepers: Counter[int] = Counter()
        self._turns: Counter[int] = Counter()
        """How often each task has ended."""
        self._in_threads: set[int] = set()
        """Thread-pool tasks whose bodies run, so that they cannot be cancelled."""

    def begin(self) -> None:
        """Plan all calls, some now and some later."""
        for _ in range(self._calls):
            self._network.after(self._random.choice((0.0, 0.0, 0.01, 0.3)) * self._random.random(), self._call_one)

    def _call_one(self) -> None:
        task = self._submit(self._random.choice(_KINDS), self._some(3))
        if self._random.random() < self._network.faults.cancelled:
            self._network.after(
                self._random.choice((0.0, 0.002, 0.2)) * self._random.random(), lambda: self._cancel(task)
            )

    def _some(self, most: int, below: int | None = None) -> tuple[int, ...]:
        """Choose a few of the tasks whose futures the user still has."""
        there = sorted(t for t in self._held - self._dropping if below is None or t < below)
        return tuple(self._random.sample(there, min(len(there), self._random.randint(0, most))))

    def _submit(self, kind: int, deps: tuple[int, ...], parent: int = -1) -> int:
        network, task = self._network, len(self.called)
        deps = () if kind == TaskKind.external else deps
        self.called.add(task)
        self._held.add(task)
        self._kinds[task] = kind
        # A value that the client has or needs keeps its future alive; other values are in the DataFlowKernel.
        self._needs[task] = tuple(d for d in deps if kind != TaskKind.remote or self._kinds[d] != TaskKind.remote)
        self._keepers.update(self._needs[task])
        message = call(task, *deps, kind=kind, fn=self._random.choice((0, 0, 0, 1, 2, 3)), at=network.now)
        message.parent = parent
        self._tell(lambda: self._table.submit(0, message, [], "app"))
        if kind == TaskKind.external:
            network.after(self._random.random() * 0.05, lambda: self._finish(task, network.now))
        return task

    def _tell(self, deliver: Callable[[], None]) -> None:
        self._line.carry(deliver)

    # ----- what the user does with futures

    def _cancel(self, task: int) -> None:
        if task not in self._settled and task not in self._in_threads:
            self._tell(lambda: self._cancelled(task))
            self._settle(task)

    def _cancelled(self, task: int) -> None:
        self._table.cancel([task], self._network.now)

    def _drop(self, task: int) -> None:
        """Release a future now, or as soon as no task of the client needs it."""
        self._dropping.add(task)
        if task in self._settled and not self._keepers[task] and task in self._held:
            self._held.discard(task)
            self._tell(lambda: self._table.release([task]))
            self._let_go(self._needs.pop(task, ()))
            self._let_go(self._inner.pop(task, ()))

    def _let_go(self, tasks: tuple[int, ...]) -> None:
        for task in tasks:
            self._keepers[task] -= 1
            if task in self._dropping:
                self._drop(task)

    def drop_everything(self) -> None:
        """Release all futures."""
        for task in sorted(self._held):
            self._drop(task)

    def _settle(self, task: int, state: TaskState = TaskState.cancelled) -> None:
        if task not in self._settled:
            self._settled.add(task)
            self._turns[task] += 1
            if state in SUCCESSES:
                self._let_go(self._needs.pop(task, ()))
            elif self._network.faults.retried and self._random.random() < self._network.faults.retried:
                self._network.after(self._random.choice((0.0, 0.1)) * self._random.random(), lambda: self._retry(task))
            if task in self._dropping or self._random.random() < self._network.faults.forgotten:
                self._drop(task)

    def _retry(self, task: int) -> None:
        """Try a task again, if the user still has its future."""
        if task in self._settled and task in self._held and task not in self._dropping:
            self._tell(lambda: self._network.retry(task))

    def _reopened(self, task: int) -> None:
        """Mark a task as unfinished again, unless the user has dropped it meanwhile."""
        if task in self._held:
            self._settled.discard(task)

    # ----- messages of the DataFlowKernel

    def receive(self, message: KernelMessage) -> None:
        """Handle a message that has arrived."""
        if isinstance(message, TaskResolved):
            self._network.history.resolved.setdefault(message.task, []).append(message.state)
            self._settle(message.task, message.state)
        elif isinstance(message, TasksReopened):
            for task in message.tasks:
                self._network.history.resolved.pop(task, None)
                self._reopened(task)
        elif isinstance(message, RunLocalTask):
            self._run(message.task)
        elif isinstance(message, RequestValue):
            self._ship(message.task)
        elif isinstance(message, RequestRetryCost):
            self._network.after(self._random.random() * 0.02, lambda: self._judge(message))

    def _run(self, task: int) -> None:
        started, turn = self._network.now, self._turns[task]
        if task not in self._held:  # the user dropped the task while the request was on its way
            given_up = Failure("CancelledError: given up")
            self._report(
                task, lambda there: self._table.attempt_ended(there, outcome(there, started, started, given_up))
            )
            return
        if task in self._settled:
            return  # cancelled before a thread was free
        if self._kinds[task] == TaskKind.local:
            self._in_threads.add(task)
        there = self._table.tasks[task]
        self._network.body_begins(there, there.attempt)
        self._report(task, lambda there: self._table.started(there, started))
        self._network.after(self._random.random() * 0.02, lambda: self._body_ends(task, started, turn))

    def _body_ends(self, task: int, started: float, turn: int) -> None:
        if self._turns[task] != turn:
            return  # the task ended, and may have begun again, while the body ran
        if self._kinds[task] != TaskKind.join or self._random.random() < self._network.faults.failed:
            self._finish(task, started)
            return
        fresh = [self._submit(TaskKind.remote, self._some(2, task), task) for _ in range(self._random.randint(0, 2))]
        inner = (*fresh, *self._some(2, task))
        many = len(inner) != 1 or self._random.random() < 0.5
        if many and inner and self._random.random() < 0.2:
            inner = (*inner, inner[0])
        if task in self._held:
            self._let_go(self._inner.pop(task, ()))
            self._inner[task] = inner
            self._keepers.update(inner)
        now = self._network.now
        returned = JoinBodyReturned(task, inner, many, started)
        self._report(task, lambda there: self._table.join_body_returned(there, returned, now))

    def _judge(self, asked: RequestRetryCost) -> None:
        """Act as the retry handler: a failure costs nothing, one attempt or more, and sometimes the handler raises."""
        failure, cost = None, self._random.choice((0.0, 0.5, 1.0, 1.0, 2.0))
        if self._random.random() < self._network.faults.handler_raises:
            failure = Failure(f"RuntimeError: {asked.task}")
        now = self._network.now
        answer = RetryCost(asked.task, asked.attempt, cost, failure)
        self._report(asked.task, lambda there: self._table.retry_cost_received(there, answer, now))

    def _finish(self, task: int, started: float) -> None:
        now = self._network.now
        self._in_threads.discard(task)
        if self._random.random() < self._network.faults.failed:
            failure = Failure(f"ValueError: {task}")
            self._report(task, lambda there: self._table.attempt_ended(there, outcome(there, started, now, failure)))
        else:
            self._report(task, lambda there: self._table.attempt_ended(there, outcome(there, started, now)))

    def _ship(self, task: int) -> None:
        if self._random.random() < self._network.faults.unshippable:
            failure = Failure(f"SerializationError: {task}")
            self._report(task, lambda there: self._table.value_not_picklable(there, failure, self._network.now))
        else:
            self._report(
                task, lambda there: self._table.value_arrived(there, self._network.value(task), self._network.now)
            )

    def _report(self, task: int, then: Callable[[Any], None]) -> None:
        """Send a report on a task to the DataFlowKernel, which may have forgotten the task when the report arrives."""

        def deliver() -> None:
            there = self._table.tasks.get(task)
            if there is not None:
                then(there)

        self._tell(deliver)
