"""The tasks on one node [core]: turns what happens to them into messages for the DataFlowKernel.

:class:`NodeTasks` implements the ``TaskEvents`` of the pool for a manager (D11).  The manager sends the messages in one
batch after each round of its loop.  Time is an argument.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from parslab.records.states import TaskState
from parslab.remote.pool.pool import PoolWorker
from parslab.wire.messages.base import DefineFunction, OutputPrinted, frame_count
from parslab.wire.messages.manager import HeldTask
from parslab.wire.messages.worker import Outcome, RunTask, WorkerReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from parslab.records.software import Software
    from parslab.remote.manager.sampling import Sampler
    from parslab.wire.messages.base import Failure, WireMessage
    from parslab.wire.messages.manager import ManagerMessage
    from parslab.wire.stream import Buffer

__all__ = ["NodeTasks", "Outbox", "TaskOnNode"]


_RECENT = 1024
"""The most outcomes that are kept, all without frames: more than end in the time between two writes of the log."""


class Outbox:
    """Messages and their frames, which are sent together."""

    def __init__(self) -> None:
        self.messages: list[ManagerMessage] = []
        self.frames: list[Buffer] = []

    def take(self) -> tuple[list[ManagerMessage], list[Buffer]]:
        """Return the waiting messages and frames, and empty the box."""
        taken = self.messages, self.frames
        self.messages, self.frames = [], []
        return taken


class TaskOnNode:
    """A task while it is on this node."""

    __slots__ = ("attempt", "fn", "frames", "id", "run", "since", "spec", "state", "worker")

    def __init__(self, run: RunTask, frames: Sequence[Buffer]) -> None:
        self.id = run.task
        self.attempt = run.attempt
        self.fn = run.fn
        self.run = run
        self.frames = frames
        self.state = TaskState.ready
        self.worker: object | None = None
        self.since = 0.0
        """When its body began, as far as the pool has asked; else 0."""
        special = run.slots > 1 or run.limit > 0 or run.software is not None or run.demand is not None
        # None for most tasks, so that the queue need not ask for their demands.
        self.spec: RunTask | None = run if special else None


class NodeTasks:
    """All tasks and functions that the DataFlowKernel sent to this node.

    Parameters
    ----------
    outbox
        Where messages for the DataFlowKernel wait.
    now
        The time.

    Attributes
    ----------
    sampler
        Measures tasks that run for long; None where nothing can be measured.
    progress
        When the last task ended, or when the first one arrived at an empty queue.
    recent
        The last outcomes, for another DataFlowKernel: the lost one may not have written them.
    changed
        Whether workers may have become busy or idle since the last report to monitoring.
    """

    def __init__(self, outbox: Outbox, now: float) -> None:
        self.sampler: Sampler | None = None
        self.progress = now
        self.changed = False
        self._outbox = outbox
        self._tasks: dict[int, TaskOnNode] = {}
        # Kept although workers have them: a worker that replaces a dead one needs all of them again.
        self._functions: dict[int, tuple[DefineFunction, Buffer]] = {}
        self.recent: deque[Outcome] = deque(maxlen=_RECENT)
        self._stopping: dict[int, TaskOnNode] = {}
        """Disowned tasks that workers have not stopped yet."""
        self._postponed: list[TaskOnNode] = []
        """Later attempts of these."""
        self._sampled: set[int] = set()
        """Tasks that run for so long that the sampler measures them."""

    def __len__(self) -> int:
        return len(self._tasks)

    # ----- messages of the DataFlowKernel

    def received(
        self, messages: Sequence[WireMessage], frames: Sequence[Buffer]
    ) -> tuple[list[TaskOnNode], list[WireMessage]]:
        """Take tasks and functions out of a batch; return the new tasks and the other messages."""
        at = 0
        tasks: list[TaskOnNode] = []
        others: list[WireMessage] = []
        for message in messages:
            if type(message) is RunTask:
                count = message.frames
                if message.values:
                    count += sum(map(frame_count, message.values))
                task = TaskOnNode(message, frames[at : at + count] if count else ())
                at += count
                self._tasks[task.id] = task
                # Two attempts of one task at the same time would confuse the pool.
                (self._postponed if task.id in self._stopping else tasks).append(task)
            elif type(message) is DefineFunction:
                self._functions[message.fn] = message, frames[at]
                at += 1
            else:
                others.append(message)
        return tasks, others

    def forget_function(self, fn: int) -> None:
        """Forget a function that nobody calls any more."""
        self._functions.pop(fn, None)

    def find(self, task: int) -> TaskOnNode | None:
        """Return the task of this number if it is on this node."""
        return self._tasks.get(task)

    def give_back(self, tasks: Sequence[TaskOnNode]) -> None:
        """Return tasks that no worker has begun to the DataFlowKernel."""
        for task in tasks:
            self._tasks.pop(task.id, None)
        if tasks:
            self._outbox.messages.append(WorkerReport(-1, 0.0, tuple(task.id for task in tasks)))

    def clear(self) -> None:
        """Forget all tasks: no worker will run them."""
        self._tasks.clear()

    def held(self, ended: Iterable[Outcome]) -> tuple[HeldTask, ...]:
        """Return the tasks that are here, and those of some outcomes."""
        return (
            *(HeldTask(outcome.task, outcome.attempt, 0.0) for outcome in ended),
            *(HeldTask(task.id, task.attempt, task.since) for task in self._tasks.values()),
        )

    def disown(self, attempts: Iterable[tuple[int, int]]) -> list[TaskOnNode]:
        """Forget attempts that the DataFlowKernel does not want from this node; return those that workers have."""
        found = []
        for number, attempt in attempts:
            task = self._tasks.get(number)
            if task is not None and task.attempt == attempt:
                del self._tasks[number]
                task.state = TaskState.cancelled
                found.append(task)
        at_workers = [task for task in found if task.worker is not None]
        self._stopping.update((task.id, task) for task in at_workers)
        return at_workers

    def take_freed(self) -> list[TaskOnNode]:
        """Return the tasks whose disowned attempts workers have stopped meanwhile."""
        if not self._postponed:
            return []
        freed = [task for task in self._postponed if task.id not in self._stopping]
        self._postponed = [task for task in self._postponed if task.id in self._stopping]
        return [task for task in freed if task.state is TaskState.ready]

    # ----- what the pool asks and reports (TaskEvents)

    def code(self, fn: int) -> tuple[DefineFunction, Buffer]:
        """Return what a worker must get before it can run this function."""
        return self._functions[fn]

    def message(self, task: TaskOnNode, frames: list[Buffer]) -> RunTask:
        """Return the message that carries a task, as the DataFlowKernel sent it."""
        if task.frames:
            frames.extend(task.frames)
        return task.run

    def sent(self, task: TaskOnNode, now: float, worker: str) -> None:
        """Do nothing: the DataFlowKernel counts a task as launched once it is on this node."""

    def begun(self, task: TaskOnNode, since: float, worker: str) -> None:
        """Report that the body of a task runs; the pool calls this only for tasks that have run for a moment."""
        task.since = since
        self._outbox.messages.append(WorkerReport(task.id, since))
        if self.sampler is not None and isinstance(task.worker, PoolWorker):
            self.sampler.begun(task.worker.pid, task.id, task.attempt)
            self._sampled.add(task.id)

    def returned(self, task: TaskOnNode, now: float) -> None:
        """Give a cancelled task that a worker returned back to the DataFlowKernel; the queue keeps any other."""
        # A task that the manager has given back already must not be reported a second time.
        if task.state is TaskState.cancelled:
            if self._tasks.get(task.id) is task:
                self.give_back([task])
            else:
                self._stopped(task)

    def ended(self, task: TaskOnNode, outcome: Outcome, frames: list[Buffer], worker: str) -> None:
        """Pass the outcome of a task on as it is."""
        self.progress = outcome.ended
        self.changed = True
        if not self._take(task):
            return
        if self._sampled:
            self._last_sample(task)
        self._outbox.messages.append(outcome)
        if frames:
            self._outbox.frames += frames
        else:
            self.recent.append(outcome)

    def failed(self, task: TaskOnNode, failure: Failure, now: float, worker: str) -> None:
        """Report that the worker of a task died."""
        if not self._take(task):
            return
        self._last_sample(task)
        outcome = Outcome(
            task=task.id, attempt=task.attempt, inline=b"", frames=0, started=0.0, ended=now, failure=failure
        )
        self._outbox.messages.append(outcome)

    def _take(self, task: TaskOnNode) -> bool:
        """Remove a task that has ended; return whether its end is to be reported.

        A disowned task is not here any more, but a later attempt of it may be.
        """
        if self._tasks.get(task.id) is not task:
            self._stopped(task)
            return False
        del self._tasks[task.id]
        return True

    def _stopped(self, task: TaskOnNode) -> None:
        if self._stopping.get(task.id) is task:
            del self._stopping[task.id]

    def _last_sample(self, task: TaskOnNode) -> None:
        if self.sampler is not None and task.id in self._sampled:
            self._sampled.discard(task.id)
            sample = self.sampler.ended(task.id)
            if sample is not None:
                self._outbox.messages.append(sample)

    def dropped(self) -> None:
        """Do nothing: only the DataFlowKernel counts outcomes that arrived late or twice."""

    def printed(self, message: OutputPrinted) -> None:
        """Pass on what a task printed."""
        self._outbox.messages.append(message)

    def demands(self, task: TaskOnNode) -> tuple[int, float]:
        """Return how many workers a task occupies, and its limit in seconds."""
        return task.run.slots, task.run.limit

    def software(self, task: TaskOnNode) -> Software | None:
        """Return the software of a task; None: that of its executor."""
        return task.run.software
