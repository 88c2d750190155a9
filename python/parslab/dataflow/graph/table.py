"""The task graph [core]: what is submitted, what waits for what, what may run, how everything ends.

Pure: messages of clients and outcomes come in, effects go out in :class:`Effects`; time is an argument.  Called by the
loop of the DataFlowKernel only.  Values are opaque.  Here is the way of every task; what only some need stands in
parts of its own (``attempts``, ``joins``, ``equals``), what is always true in ``invariants``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.dataflow.graph.backoff import RetryState
from parslab.dataflow.graph.failure_propagation import CANCELLED, passed_on, unshipped
from parslab.dataflow.graph.function_registry import FunctionRegistry
from parslab.dataflow.graph.joins import Joining
from parslab.dataflow.graph.memo import Memo
from parslab.dataflow.graph.memoized_calls import MemoizedCalls
from parslab.dataflow.graph.retrying import Retrying
from parslab.dataflow.graph.task import DEAF, Effects, Task
from parslab.dataflow.graph.values import NOTHING, StoredValue
from parslab.errors import InternalError
from parslab.records.events import TaskFailed, TaskMoved, TaskSubmitted
from parslab.records.machine import TASK, Signal, step
from parslab.records.states import FINAL, SUCCESSES, TaskState
from parslab.wire.messages.base import INLINE, Failure, TaskKind
from parslab.wire.messages.base import TaskValue as ValueMessage
from parslab.wire.messages.client import RequestValue, RunLocalTask, SubmitTask, TaskResolved

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parslab.wire.stream import Buffer

__all__ = ["TaskTable"]


class TaskTable(Retrying, Joining, MemoizedCalls):
    """All tasks that somebody can still ask for.

    Parameters
    ----------
    labels
        Executor labels, in the order in which ``SubmitTask`` numbers them.
    retries
        How often a task that fails is tried again, when its call does not say.
    memo
        What is remembered of calls.
    lives
        Whether what happens to a task before monitoring hears of it is told in one event.
    """

    def __init__(
        self, labels: tuple[str, ...], retries: int = 0, memo: Memo | None = None, lives: bool = False
    ) -> None:
        self.labels = labels
        self.retries = retries
        self.memo = Memo(FunctionRegistry()) if memo is None else memo
        self.lives = lives
        self.tasks: dict[int, Task] = {}
        self.unfinished = 0
        self.ended = 0
        """Tasks that have come to their end so far."""
        self.dropped = 0
        """Outcomes that were ignored: late, doubled, or of an earlier attempt."""
        self.retried = 0
        """Attempts that failed and were followed by another one."""
        self.trials: dict[int, RetryState] = {}
        """What is known of tasks that have failed and not ended."""
        self.judges: dict[int, int] = {}
        """Of which clients the failures are judged, and by the retry handler of which client."""
        self.out = Effects()
        self._ended: list[Task] = []
        self._freed: list[Task] = []
        """Tasks that an equal call had held back, and does not any more."""
        self._waking = False
        self._called: dict[int, list[int]] = {}
        """What the body of each unfinished join has called."""

    # ----- what clients ask

    def submit(self, client: int, message: SubmitTask, frames: list[Buffer], app: str) -> None:
        """Put a call into the graph."""
        task = Task(client, message, frames, app)
        if task.id in self.tasks:
            raise InternalError(f"client {client} submitted a second {self.tasks[task.id].story()}")
        self.tasks[task.id] = task
        self.unfinished += 1
        deps = message.deps
        found = self._remembered(task, message) if message.memo else None
        if found is None:
            if deps:
                self.take_needs(task, deps)
            if not task.waiting and (task.call is None or task.call.leader is None):
                task.state = TaskState.ready
        task.life = TaskSubmitted(
            message.at,
            task.id,
            app,
            task.state,
            self.labels[task.executor] if task.kind < TaskKind.join else "",
            client,
            deps,
            message.shown,
            message.cell,
            self.lives,
            message.at if task.state is TaskState.ready else 0.0,
        )
        self.out.events.append(task.life)
        if found is not None:
            self._take_remembered(task, found, message.at)
        elif task.state is TaskState.ready:
            self._may_run(task, message.at)
        if message.parent >= 0:
            self.called_by(task, message.parent, message.at)

    def need(self, task: Task, dep: int) -> Task:
        """What a task needs, by its number."""
        need = self.tasks.get(dep)
        if need is None:
            raise InternalError(f"task {task.id} needs task {dep}, which is not known any more")
        return need

    def take_needs(self, task: Task, deps: tuple[int, ...]) -> None:
        """Have a task that waits for nothing wait for these."""
        remote = task.kind == TaskKind.remote
        for dep in deps:
            need = self.need(task, dep)
            task.needs.append(need)
            self.wait_for(task, need, remote)

    def wait_for(self, task: Task, need: Task, remote: bool) -> None:
        """Have a task wait for one that it needs, if that has not ended, or its value is not here yet."""
        if remote:
            self._want(need)
        if need.state not in FINAL or (remote and need.state is TaskState.exec_done and need.value is None):
            task.waiting += 1
            if need.dependents is None:
                need.dependents = []
            need.dependents.append(task)

    def _want(self, need: Task) -> None:
        """A worker will need this value: fetch it when it lies at a client."""
        if need.wanted:
            return
        need.wanted = True
        if need.kind != TaskKind.remote and need.state is TaskState.exec_done and need.value is None:
            self.out.replies.append((need.client, RequestValue(need.id), []))

    def _may_run(self, task: Task, now: float) -> None:
        """A task has nothing to wait for any more (state ready)."""
        for need in task.needs:
            if need.state not in SUCCESSES:
                self._dependency_failed(task, now)
                return
        if task.kind == TaskKind.remote:
            self.out.ready.append(task)
        elif task.kind != TaskKind.external:
            task.needs = []
            self._move(task, Signal.sent, now)
            self.out.replies.append((task.client, RunLocalTask(task.id), []))

    def go_on(self, task: Task, now: float) -> None:
        """A task that was put here from the record waits for nothing: it is ready, or the last that it joined ended."""
        if task.state is TaskState.joining:
            self._join_ended(task, now)
        else:
            self._may_run(task, now)

    def lose(self, task: Task, failure: Failure, now: float) -> None:
        """A task that has not begun will never have what it needs."""
        task.state = TaskState.pending
        self._tell_failure(task, failure, now)
        self._fail(task, failure, Signal.need_failed, now)

    def cancel(self, ids: Iterable[int] | None, now: float, also_threads: bool = False) -> int:
        """Cancel these tasks (None: all unfinished), and with a join what its body has called; how many that were.

        What runs in a thread of the client goes on, as nobody can stop it, but ``also_threads``: it is given up.
        """
        chosen: list[Task] = []
        left = list(self.tasks) if ids is None else list(ids)
        while left:
            task = self.tasks.get(left.pop())
            if task is None or task.state in FINAL or (self.in_thread(task) and not also_threads):
                continue
            # All are marked before the first is told of: what depends on another of them was cancelled, too, and
            # has not failed.
            chosen.append(task)
            if task.worker is not None:
                self.out.stops.append(task)
            task.failure = CANCELLED
            self._move(task, Signal.cancelled, now)
            if task.kind == TaskKind.join:
                left += self._called.pop(task.id, ())
        for task in chosen:
            self._end(task, now)
        return len(chosen)

    @staticmethod
    def in_thread(task: Task) -> bool:
        """Whether it runs in a thread of the client, where nobody can stop it."""
        return task.kind == TaskKind.local and task.state is TaskState.running

    def release(self, ids: Iterable[int]) -> None:
        """The client has no future of these tasks any more."""
        for i in ids:
            task = self.tasks.get(i)
            if task is not None:
                task.released = True
                if task.state in FINAL:
                    self._forget(task)

    def client_left(self, client: int, now: float) -> None:
        """Cancel what only this client could run, and release what only it could ask for."""
        mine = [t for t in self.tasks.values() if t.client == client]
        self.cancel([t.id for t in mine if t.kind != TaskKind.remote], now, also_threads=True)
        for task in mine:
            awaited = task.dependents is not None or (task.call is not None and task.call.awaited)
            if awaited and task.state is TaskState.exec_done:
                self.unshippable(task, Failure("CancelledError: the notebook that had its value has gone"), now)
        self.judged_by(None, (client,), now)
        self.release([t.id for t in mine])

    # ----- what workers and clients report

    def sent(self, task: Task, now: float, worker: str) -> None:
        """A ready task was given to a worker."""
        self._move(task, Signal.sent, now, worker)

    def begun(self, task: Task, now: float, worker: str = "", attempt: int | None = None) -> None:
        """Its body runs."""
        if task.state is TaskState.launched and (attempt is None or attempt == task.attempt):
            self._move(task, Signal.begun, now, worker)

    def returned(self, task: Task, now: float) -> None:
        """A worker gave it back, not begun; it is ready again (its queue has it already)."""
        task.worker = None
        if task.state is TaskState.launched:
            self._close(task)
            self._move(task, Signal.returned, now)

    def succeeded(
        self,
        task: Task,
        value: StoredValue | None,
        started: float,
        ended: float,
        worker: str = "",
        attempt: int | None = None,
    ) -> None:
        """It returned a value; None when the value stays at the client.

        ``attempt`` is the one that did, where the reporter knows (None: the current one).
        """
        if task.state in DEAF or (attempt is not None and attempt != task.attempt):
            self.dropped += 1
            return
        if task.state is TaskState.launched and task.kind != TaskKind.external:
            self._move(task, Signal.begun, started, worker)
        task.value = value
        self._move(task, Signal.succeeded, ended, worker)
        if task.wanted and value is None:
            self.out.replies.append((task.client, RequestValue(task.id), []))
        self._end(task, ended)

    def failed(
        self,
        task: Task,
        failure: Failure,
        started: float,
        ended: float,
        worker: str = "",
        attempt: int | None = None,
    ) -> None:
        """It raised, or its worker died; it is tried again while its retries last.

        ``attempt`` is the one that did, where the reporter knows (None: the current one).
        """
        if task.state in DEAF or (attempt is not None and attempt != task.attempt):
            self.dropped += 1
            return
        if task.state is TaskState.launched and started:
            self._move(task, Signal.begun, started, worker)
        self._tell_failure(task, failure, ended, started, worker)
        if (task.state is TaskState.launched or task.state is TaskState.running) and task.kind != TaskKind.external:
            judged = task.client in self.judges
            if judged or self.allowed(task):
                trial = self.trials.setdefault(task.id, RetryState())
                trial.note(failure, worker)
                if judged:
                    self._ask(task, trial, failure, ended)
                    return
                if self._go_on(task, trial, 1.0, ended):
                    return
        self._fail(task, failure, Signal.failed, ended, worker)

    def _tell_failure(self, task: Task, failure: Failure, now: float, started: float = 0.0, worker: str = "") -> None:
        self._close(task)
        event = TaskFailed(
            now, task.id, task.attempt, failure.error, failure.traceback, failure.reason, started, worker
        )
        self.out.events.append(event)

    def _fail(self, task: Task, failure: Failure, signal: Signal, now: float, worker: str = "") -> None:
        task.failure = failure
        self._move(task, signal, now, worker)
        self._end(task, now)

    def value_arrived(self, task: Task, value: StoredValue, now: float) -> None:
        """A client sent the value of a local task that a remote one needs."""
        if task.state is TaskState.exec_done and task.value is None:
            task.value = value
            if task.call is not None and task.call.key is not None:
                self._share(task, now)
            self._ended.append(task)
            self._wake_all(now)

    def unshippable(self, task: Task, failure: Failure, now: float) -> None:
        """The value of a local task cannot be pickled: its remote dependents fail with that."""
        if task.state is not TaskState.exec_done or task.value is not None:
            return
        dependents, task.dependents = task.dependents, None
        task.wanted = False  # the next dependent asks again, rather than wait for ever
        for dependent in dependents or ():
            if dependent.state is TaskState.pending:
                dependent.waiting = 0
                self._fail_unrun(dependent, unshipped(task, failure), now)
        if self.memo.leads(task):
            self._share(task, now, failure)
            self._wake_all(now)
        if task.released:
            self._forget(task)

    def fetch(self, client: int, task_id: int) -> None:
        """Send a value that was too large to come with Resolved."""
        task = self.tasks.get(task_id)
        if task is not None and task.state not in FINAL:
            return  # its value was lost with another DataFlowKernel and is made again: it is asked for then
        if task is None or task.value is None:
            raise InternalError(f"client {client} asked for the value of task {task_id}, which has none")
        frames: list[Buffer] = []
        packed = task.value.packed(frames)
        message = ValueMessage(task_id, packed.inline, packed.frames, packed.parts)
        self.out.replies.append((client, message, frames))

    # ----- how tasks end

    def _move(self, task: Task, signal: Signal, now: float, worker: str = "") -> None:
        state = TASK.get((task.state, signal))
        if state is None:
            state = step(task.state, signal, task.story())
        task.state = state
        life = task.life
        if life is None or not life.open:
            self.out.events.append(TaskMoved(now, task.id, state, task.attempt, worker))
            return
        life.state = state
        if worker:
            life.worker = worker
        if state is TaskState.launched:
            life.launched = now
        elif state is TaskState.running:
            life.started = now
        elif state is TaskState.ready:
            life.ready = now
        elif state is TaskState.joining:
            life.joining = now
        else:
            life.ended = now
            task.life = None

    @staticmethod
    def _close(task: Task) -> None:
        """What comes next is no simple step forward: monitoring is told of it by events of their own."""
        if task.life is not None:
            task.life.open = False
            task.life = None

    def _end(self, task: Task, now: float) -> None:
        """A task has just entered a final state: tell its client, wake its dependents."""
        self.unfinished -= 1
        self.ended += 1
        if self.trials:
            self.trials.pop(task.id, None)
        if task.state in SUCCESSES:
            task.args = b""
            task.frames, task.needs, task.joins = [], [], None
        if task.kind == TaskKind.join:
            self._called.pop(task.id, None)
        self.tell_end(task)
        if task.call is not None and task.state is not TaskState.memo_done:
            self._share(task, now)
        if task.dependents is not None:
            self._ended.append(task)
            self._wake_all(now)
        elif task.released:
            self._forget(task)

    def tell_end(self, task: Task) -> None:
        """Tell its client how a task has ended."""
        resolved = self.resolved(task)
        if resolved.size and task.value is not None:
            self.out.large.append((task.id, task.value))
        self.out.replies.append((task.client, resolved, []))

    @staticmethod
    def resolved(task: Task) -> TaskResolved:
        """How it has ended, as its client is told."""
        value, size = task.value, 0
        if value is None or (task.kind != TaskKind.remote and task.state is not TaskState.memo_done):
            inline = b""  # it lies at the client, in itself or in the futures it joined
        elif value.frames or value.parts is not None or len(value.inline) > INLINE:
            inline, size = b"", value.size or 1
        else:
            inline = value.inline
        return TaskResolved(task.id, task.state, inline, size, task.failure)

    def _wake_all(self, now: float) -> None:
        """Wake the dependents of everything that ended; a loop, because a chain may be longer than Python's stack."""
        if self._waking:
            return
        self._waking = True
        try:
            while self._ended or self._freed:
                if self._ended:
                    self._wake(self._ended.pop(), now)
                else:
                    task = self._freed.pop()
                    if task.state is TaskState.pending and not task.waiting:
                        self.needs_met(task, now)
        finally:
            self._waking = False

    def _wake(self, task: Task, now: float) -> None:
        """Count a need as met for every dependent that can use it now."""
        lies_at_client = task.state is TaskState.exec_done and task.value is None
        still: list[Task] = []
        for dependent in task.dependents or ():
            if dependent.state in FINAL:
                continue
            if lies_at_client and dependent.kind == TaskKind.remote:
                still.append(dependent)
                continue
            dependent.waiting -= 1
            if dependent.waiting:
                continue
            if dependent.state is TaskState.joining:
                self._join_ended(dependent, now)
            else:
                self.needs_met(dependent, now)
        task.dependents = still or None
        if task.released:
            self._forget(task)

    def needs_met(self, task: Task, now: float) -> None:
        """A pending task has all that it needs."""
        call = task.call
        if call is not None and call.leader is not None:
            return
        if any(need.state not in SUCCESSES for need in task.needs):
            self._dependency_failed(task, now)
            return
        found = self.memo.ask(task, task.needs, True) if call is not None else None
        if found is not None:
            self._take_remembered(task, found, now)
        elif call is None or call.leader is None:
            self._move(task, Signal.needs_met, now)
            self._may_run(task, now)

    def _dependency_failed(self, task: Task, now: float) -> None:
        bad = [t for t in task.needs if t.state not in SUCCESSES]
        self._fail_unrun(task, passed_on("DependencyError", bad), now)

    def _fail_unrun(self, task: Task, failure: Failure, now: float) -> None:
        if task.state is TaskState.ready:
            task.state = TaskState.pending
        self._tell_failure(task, failure, now)
        if task.client in self.judges:
            self._ask(task, self.trials.setdefault(task.id, RetryState()), failure, now)
        else:
            self._fail(task, failure, Signal.need_failed, now)

    def _forget(self, task: Task) -> None:
        if task.dependents is None and (task.call is None or not task.call.awaited):
            task.value = task.value or NOTHING
            self.tasks.pop(task.id, None)
            if task.alias:
                self.tasks.pop(task.alias, None)

    def substitute(self, old: Task, new: Task) -> None:
        """Have everything that waits for one task wait for another one, which has not ended."""
        dependents, old.dependents = old.dependents, None
        for task in dependents or ():
            if task.state is not TaskState.pending:
                continue
            task.needs = [new if need is old else need for need in task.needs]
            if new.dependents is None:
                new.dependents = []
            new.dependents.append(task)
            if task.kind == TaskKind.remote:
                self._want(new)

    def check(self) -> None:
        """Verify what is always true; for tests."""
        from parslab.dataflow.graph.invariants import check

        check(self)
