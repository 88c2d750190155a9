"""A whole run in virtual time: the real task table and queue, fake workers and a fake client, with seeded faults.

:class:`Network` plays a whole run from one seed.  The run has a random graph of remote, local, join and foreign tasks.
Its links delay messages, its workers are slow, are killed or report twice, and its user cancels tasks and drops
futures.  The same seed always plays the same run.  Nothing sleeps and no socket is opened, so thousands of runs take
seconds.

A link keeps the order of its messages.  There is no order between the two links of a worker.
"""

from __future__ import annotations

import heapq
import itertools
import random
from functools import partial
from typing import TYPE_CHECKING

from parslab.dataflow.graph.table import TaskTable
from parslab.dataflow.operations.invariants import check
from parslab.dataflow.operations.retry_plan import plan, reopen
from parslab.records.events import TaskFailed, TaskMoved, TaskReopened
from parslab.records.reasons import Reason
from parslab.records.states import FINAL, TaskState
from parslab.remote.pool.queue import PoolQueue, WorkerSlot, not_begun
from parslab.testing.fakes import outcome
from parslab.testing.faults import Faults
from parslab.testing.history import History, TracedValue
from parslab.testing.line import Line
from parslab.testing.user import FakeUser
from parslab.testing.workers import FakeWorker, GivenTask
from parslab.wire.messages.base import Failure, TaskKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.dataflow.graph.task import Task

__all__ = ["Network"]

_LOST = Reason.worker_lost.value


class Network:
    """One run.

    Parameters
    ----------
    seed
        The seed of all random choices.
    tasks
        The number of calls of the user; the bodies of joins make more.
    workers
        The number of workers; a worker that dies is replaced.
    faults
        The faults, and how often they happen.
    retries
        How often a task that failed is tried again.
    handler
        Whether the user has a retry handler, which sets the cost of a failure; otherwise each failure costs 1.

    Examples
    --------
    >>> network = Network(seed=3)
    >>> network.play()
    >>> network.broken_promises()
    []
    """

    def __init__(
        self,
        seed: int,
        tasks: int = 12,
        workers: int = 3,
        *,
        faults: Faults | None = None,
        retries: int = 0,
        handler: bool = False,
    ) -> None:
        self.random = random.Random(seed)
        self.faults = faults or Faults()
        self.now = 1000.0
        self.history = History()
        self.table = TaskTable(("llex",), retries)
        if handler:
            self.table.retries.handlers[0] = 0
        self.queue: PoolQueue[Task] = PoolQueue()
        self.workers: dict[str, FakeWorker] = {}
        self._agenda: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._names = itertools.count()
        self._probe_at: float | None = None
        for _ in range(workers):
            self._hire()
        self.user = FakeUser(self, Line(self), tasks)
        self._to_user = Line(self)

    # ----- time

    def at(self, when: float, happen: Callable[[], None]) -> None:
        """Call ``happen`` at the time ``when``."""
        # The counter keeps calls of the same time in order, and keeps the heap from comparing functions.
        heapq.heappush(self._agenda, (when, next(self._order), happen))

    def after(self, delay: float, happen: Callable[[], None]) -> None:
        """Call ``happen`` after ``delay`` seconds."""
        self.at(self.now + delay, happen)

    def play(self, most: int = 100_000) -> None:
        """Play the run to its end, and check the invariants of the table after every step."""
        self.user.begin()
        self._until_quiet(most)
        self.user.drop_everything()
        self._until_quiet(most)

    def _until_quiet(self, most: int) -> None:
        for _ in range(most):
            if not self._agenda:
                return
            self.now, _, happen = heapq.heappop(self._agenda)
            happen()
            self._act()
            check(self.table)
        raise AssertionError("the run does not come to an end")

    # ----- one round of the kernel

    def _act(self) -> None:
        out, queue = self.table.out, self.queue
        while out.ready or out.replies or out.stops or out.again:
            ready, out.ready = out.ready, []
            queue.put(ready)
            again, out.again = out.again, []
            queue.put_again(again, self.now)
            for slot, tasks in queue.assign(self.now):
                self._give(self.workers[slot.name], tasks)
            stops, out.stops = out.stops, []
            for task in stops:
                if task.worker is not None:
                    worker = self.workers[task.worker.name]  # type: ignore[attr-defined]
                    worker.to_control.carry(partial(worker.interrupt, task))
            replies, out.replies = out.replies, []
            for _, message, _ in replies:
                self._to_user.carry(partial(self.user.receive, message))
        for slot, tasks in queue.assign(self.now):
            self._give(self.workers[slot.name], tasks)
        later, out.later = out.later, []
        for pause, task, attempt in later:
            self.after(pause, partial(self._try_again, task, attempt))
        events, out.events = out.events, []
        for event in events:
            if isinstance(event, TaskReopened):
                self.history.reopened(event)
            elif isinstance(event, TaskMoved):
                if event.state is TaskState.running:
                    self.history.late[event.task] = self.now - event.time
                self.history.moves.setdefault(event.task, []).append(event.state)
                self.history.attempts[event.task] = event.attempt
            elif isinstance(event, TaskFailed):
                failures = self.history.failures.setdefault(event.task, [])
                # An error of the retry handler replaces the task's own, so one attempt may report twice.
                if failures[-1:] != [event.attempt]:
                    failures.append(event.attempt)
        self._plan_probe()

    def _try_again(self, task: Task, attempt: int) -> None:
        self.table.try_again(task, attempt, self.now)

    def _give(self, worker: FakeWorker, tasks: list[Task]) -> None:
        for task in tasks:
            self.table.sent(task, self.now, worker.slot.name)
            for need in task.needs:
                right = need.value is not None and (need.kind == TaskKind.join or need.value.inline == b"%d" % need.id)
                if not right:
                    self.problem(f"task {task.id} got no value of task {need.id}, or a wrong one")
        given = [(task, task.attempt) for task in tasks]
        worker.to_data.carry(lambda: worker.receive(given))

    def _plan_probe(self) -> None:
        due = self.queue.next_deadline()
        if due is not None and due != self._probe_at:
            self._probe_at = due
            self.at(due, self._probe)

    def _probe(self) -> None:
        self._probe_at = None
        for slot in self.queue.silent_workers(self.now):
            worker = self.workers[slot.name]
            worker.to_control.carry(worker.looked_at)

    def retry(self, number: int) -> None:
        """Try a task again, as the retry service of the DataFlowKernel does."""
        found = plan(self.table, [number])
        if found.held_up:
            self.after(0.01, partial(self.retry, number))
        elif found.tasks:
            self.queue.drop({task.id for task in found.tasks if task.state is TaskState.cancelled})
            reopen(self.table, found, lambda _: None, self.now)

    # ----- messages of workers

    def body_begins(self, task: Task, attempt: int) -> None:
        """The body of a task starts."""
        self.history.begun[task.id, attempt] += 1

    def outcome(
        self, slot: WorkerSlot[Task], given: GivenTask, failure: Failure | None, started: float, ended: float
    ) -> None:
        """An outcome has arrived; this does what ``remote.pool`` does."""
        number, attempt = given[0].id, given[1]
        held = slot.inflight.get(number)
        if held is not None and held.attempt != attempt:
            held = None  # the same worker already has the next attempt, which continues
        task = self.queue.ended(slot, number, ended - started, self.now) if held is not None else None
        if task is None:
            self.table.dropped += 1
        elif failure is not None:
            self.table.attempt_ended(task, outcome(task, started, ended, failure, attempt=attempt), None, slot.name)
        else:
            value = self.value(task.id)
            self.table.attempt_ended(task, outcome(task, started, ended, attempt=attempt), value, slot.name)

    def reported(self, slot: WorkerSlot[Task], running: int, since: float, returned: list[int]) -> None:
        """A report has arrived."""
        for task in self.queue.reported(slot, running, returned, self.now):
            self.table.returned(task, self.now)
        busy = slot.inflight.get(running)
        if busy is not None:
            self.table.started(busy, since, slot.name)

    def lost(self, worker: FakeWorker) -> None:
        """Replace a dead worker; its tasks fail, or other workers get them."""
        held = self.queue.remove(worker.slot)
        again = not_begun(held, worker.page, worker.attempt)
        for task in held:
            task.worker = None
            if task in again:
                self.table.returned(task, self.now)
            elif task.state not in FINAL:
                lost = Failure(f"WorkerLost: {task.id}", reason=_LOST)
                self.table.attempt_ended(task, outcome(task, 0.0, self.now, lost), None, worker.slot.name)
        # To the front, in their order: the queue had given these tasks out before all others.
        self.queue.tasks.extendleft(reversed(again))
        self._hire()

    def _hire(self) -> None:
        slot: WorkerSlot[Task] = WorkerSlot(f"llex-{next(self._names)}", self.now)
        self.workers[slot.name] = FakeWorker(self, slot)
        self.queue.add(slot)

    def value(self, task: int) -> TracedValue:
        """Return the value of a task: its own number."""
        value = TracedValue(str(task).encode(), [])
        self.history.values.add(value)
        return value

    # ----- checks at the end

    def problem(self, sentence: str) -> None:
        """Note a broken promise."""
        self.history.problems.append(sentence)

    def broken_promises(self) -> list[str]:
        """Return every promise that the run broke; call this after ``play``, when the user has dropped all futures."""
        history, found = self.history, list(self.history.problems)
        for task, states in history.resolved.items():
            moves = history.moves.get(task, [])
            if len(states) != 1:
                found.append(f"task {task} was resolved {len(states)} times: {states}")
            if [state for state in moves if state in FINAL] != moves[-1:] or moves[-1:] != states:
                found.append(f"task {task} moved through {moves} and was resolved as {states}")
        found += [f"task {task} never ended" for task in self.user.called - set(history.resolved)]
        found += [f"attempt {a} of task {t} was begun {n} times" for (t, a), n in history.begun.items() if n > 1]
        for task, last in history.attempts.items():
            failures = history.failures.get(task, [])
            failed = history.resolved.get(task, [])[:1] in ([TaskState.failed], [TaskState.dep_fail])
            # The task may also have been cancelled while it waited for its next attempt.
            failed = failed or history.moves.get(task, [])[-2:-1] == [TaskState.fail_retryable]
            first = history.first.get(task, 0)
            too_many = last - first > self.table.retries.limit and not self.table.retries.handlers
            if too_many or failures != [*range(first, last + failed)]:
                found.append(f"task {task} had {last + 1} attempts, of which monitoring got {failures} as failed")
        found += [f"task {task} is still in the table" for task in self.table.tasks]
        found += [f"{slot.name} still holds {list(slot.inflight)}" for slot in self.queue.slots if slot.inflight]
        if self.table.retries.states:
            found.append(f"what was tried is still known of {list(self.table.retries.states)}")
        if self.table.unfinished:
            found.append(f"{self.table.unfinished} tasks count as unfinished")
        self.queue.assign(self.now)  # drops cancelled tasks that were still queued
        found += [f"task {task.id} is still queued" for task in self.queue.tasks]
        if history.values:
            found.append(f"values are still held: {[value.inline for value in history.values]}")
        return found
