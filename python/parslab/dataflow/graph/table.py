"""Holds the task graph and decides which tasks wait, run and end [core].

The input is messages of clients and outcomes of attempts; the output is :class:`~parslab.dataflow.graph.task.Effects`.
Time is an argument and values are opaque.  Only the loop of the DataFlowKernel calls the table.

The table takes every task from its call to its end and asks its components about what only some tasks need:

- ``transitions`` moves a task from state to state,
- ``dependencies`` holds the edges of the graph,
- ``dispatch`` hands ready tasks over,
- ``retries``, ``joins`` and ``memoized`` know about failed attempts, join apps and cached calls,
- ``recovery`` makes temporary files again whose only copy was lost.

A component never calls the table back: it returns a decision, and the table carries it out.  What always holds is in
``invariants``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.dataflow.graph.dependencies import Dependencies
from parslab.dataflow.graph.dispatch import Dispatch
from parslab.dataflow.graph.failure_propagation import CANCELLED, passed_on, unshipped
from parslab.dataflow.graph.function_registry import FunctionRegistry
from parslab.dataflow.graph.joins import Joins
from parslab.dataflow.graph.memoization.memo import Memo
from parslab.dataflow.graph.memoization.memoized_calls import MemoizedCalls
from parslab.dataflow.graph.recovery.file_recovery import FileRecovery
from parslab.dataflow.graph.resolution import resolution
from parslab.dataflow.graph.retrying import Retries
from parslab.dataflow.graph.task import NO_ACTIVE_ATTEMPT, Effects, Task
from parslab.dataflow.graph.transitions import Transitions
from parslab.dataflow.graph.values import NOTHING, StoredValue
from parslab.errors import InternalError
from parslab.records.machine import Signal
from parslab.records.reasons import Reason
from parslab.records.states import EXECUTING, FINAL, SUCCESSES, TaskState
from parslab.wire.messages.base import Failure, TaskKind
from parslab.wire.messages.base import TaskValue as ValueMessage
from parslab.wire.messages.client import RequestValue

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parslab.dataflow.graph.recovery.file_recovery import LostFile, RecoveryAnswer
    from parslab.wire.messages.client import JoinBodyReturned, RetryCost, SubmitTask
    from parslab.wire.messages.worker import Outcome
    from parslab.wire.stream import Buffer

__all__ = ["TaskTable"]

# Python 3.11 needs 70 ns to look up a member of an enum, and these are looked up for every task.
_PENDING = TaskState.pending
_READY = TaskState.ready
_LAUNCHED = TaskState.launched
_JOINING = TaskState.joining
_EXEC_DONE = TaskState.exec_done
_MEMO_DONE = TaskState.memo_done
_NEEDS_MET = Signal.needs_met
_SENT = Signal.sent
_STARTED = Signal.started
_STAGED = Signal.staged
_SUCCEEDED = Signal.succeeded
_FILE_LOST = Reason.file_lost.value


def _begun(task: Task) -> Signal:
    """Return what the begin of a task's body means: nearly always that the task runs."""
    return _STAGED if task.spec is not None and task.spec.staging else _STARTED


class TaskTable:
    """All tasks that somebody can still ask for.

    Parameters
    ----------
    labels
        Executor labels, in the order in which ``SubmitTask`` numbers them.
    retries
        How often a task that fails is tried again when its call does not say.
    memo
        Recognizes equal calls and keeps results.
    fold_moves
        Whether the first moves of a task reach monitoring in the event that announces the task.

    Attributes
    ----------
    tasks
        The tasks by number; a task can have two numbers for a while.
    unfinished
        How many of them have not ended.
    ended
        How many tasks have ended so far.
    dropped
        How many outcomes the table ignored: they arrived late or twice, or belonged to an earlier attempt.
    out
        The effects that the loop has to carry out.
    """

    def __init__(
        self, labels: tuple[str, ...], retries: int = 0, memo: Memo | None = None, fold_moves: bool = False
    ) -> None:
        self.labels = labels
        self.memo = Memo(FunctionRegistry()) if memo is None else memo
        self.tasks: dict[int, Task] = {}
        self.unfinished = 0
        self.ended = 0
        self.dropped = 0
        self.out = Effects()
        self.transitions = Transitions(self.out, fold_moves)
        self.dependencies = Dependencies(self.tasks, self.out)
        self.dispatch = Dispatch(self.out, self.transitions)
        self.retries = Retries(self.out, self.transitions, self.dispatch, retries)
        self.joins = Joins(self.tasks, self.out, self.transitions, self.dependencies)
        self.memoized = MemoizedCalls(self.memo, self.dependencies)
        self.recovery = FileRecovery(self.tasks)
        self._move = self.transitions.move
        self._to_wake: list[Task] = []
        """Ended tasks whose dependents have not been updated yet."""
        self._to_continue: list[Task] = []
        """Tasks that no longer wait for an equal call; the table takes them from the end of the list."""
        self._waking = False

    # ----- what clients ask

    def submit(self, client: int, message: SubmitTask, frames: list[Buffer], app: str) -> None:
        """Put a call into the graph."""
        task = Task(client, message, frames, app)
        if task.id in self.tasks:
            raise InternalError(f"client {client} submitted a second {self.tasks[task.id].story()}")
        self.tasks[task.id] = task
        self.unfinished += 1
        # Before the needs: a call with a known result need not wait for its inputs.
        found = self.memoized.look_up(task, message) if message.memo else None
        if found is None and message.deps:
            self.dependencies.add_needs(task, message.deps)
        ready = found is None and self.may_run(task)
        self.transitions.announce(task, message, self.labels[task.executor] if task.kind < TaskKind.join else "", ready)
        if ready:
            self.dispatch.run(task, message.at)
        elif found is not None:
            self._take_result(task, found, message.at)
        elif not task.waiting:
            self.needs_met(task, message.at)
        # Last, because this may cancel the task, which must be a complete node by then.
        if message.parent >= 0:
            self.add_call(task, message.parent, message.at)

    @staticmethod
    def may_run(task: Task) -> bool:
        """Return whether a pending task has all that it needs, and follows no equal call."""
        if task.waiting or (task.call is not None and task.call.leader is not None):
            return False
        return not task.needs or all(need.state in SUCCESSES for need in task.needs)

    def add_call(self, task: Task, parent: int, now: float) -> None:
        """The body of a join called a task: the task is cancelled with the join."""
        if not self.joins.add_call(task, parent):
            self.cancel((task.id,), now)

    def resume(self, task: Task, now: float) -> None:
        """Continue a task from the event log that waits for no other one."""
        if task.state is _JOINING:
            self.finish_join(task, now)
        elif task.state is _READY:
            self.dispatch.run(task, now)
        else:
            self.needs_met(task, now)

    def fail_pending(self, task: Task, failure: Failure, now: float) -> None:
        """End a pending task, which will never have what it needs."""
        self.transitions.attempt_failed(task, failure, now)
        self._fail(task, failure, Signal.need_failed, now)

    def cancel(self, ids: Iterable[int] | None, now: float, also_threads: bool = False) -> int:
        """Cancel tasks, and with a join what its body called.

        Parameters
        ----------
        ids
            Their numbers; None: all unfinished tasks.
        also_threads
            Whether to give up tasks that run in a thread of the client.  Nobody can stop a thread, so by default they
            are not cancelled.

        Returns
        -------
        int
            How many tasks were cancelled.
        """
        chosen: list[Task] = []
        # A list and no recursion: the body of a join may call joins, to any depth.
        left = list(self.tasks) if ids is None else list(ids)
        while left:
            task = self.tasks.get(left.pop())
            if task is None or task.state in FINAL or (self.in_thread(task) and not also_threads):
                continue
            # All of them move before the first one ends: a task that depends on another of them is cancelled as well,
            # and must not count as one whose need failed.
            chosen.append(task)
            if task.worker is not None:
                self.out.stops.append(task)
            task.failure = CANCELLED
            self._move(task, Signal.cancelled, now)
            if task.kind == TaskKind.join:
                left += self.joins.take_calls(task.id)
        for task in chosen:
            self._end(task, now)
        return len(chosen)

    @staticmethod
    def in_thread(task: Task) -> bool:
        """Return whether a task runs in a thread of the client, where nobody can stop it."""
        return task.kind == TaskKind.local and task.state in EXECUTING

    def release(self, ids: Iterable[int]) -> None:
        """Note that the client has dropped the futures of these tasks."""
        tasks = self.tasks
        for i in ids:
            task = tasks.get(i)
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
            # Only the client had the value: tasks that wait for it would wait for ever.
            if awaited and task.state is _EXEC_DONE:
                self.value_not_picklable(task, Failure("CancelledError: the notebook that had its value has gone"), now)
        # Nobody answers the open questions any more: each of these attempts costs 1 now.
        self.set_retry_handler(None, (client,), now)
        self.release([t.id for t in mine])

    def set_retry_handler(self, handler: int | None, clients: Iterable[int], now: float) -> None:
        """Have the retry handler of the client ``handler`` decide about the failures of these clients."""
        for end in self.retries.set_handler(handler, clients, now):
            self._fail(end.task, end.failure, end.signal, now)

    # ----- what workers and clients report

    def sent(self, task: Task, now: float, worker: str) -> None:
        """The loop gave a ready task to a worker."""
        self._move(task, _SENT, now, worker)

    def started(self, task: Task, now: float, worker: str = "", attempt: int | None = None) -> None:
        """The body of a task runs; ``attempt`` is None where the reporter does not count attempts."""
        if task.state is _LAUNCHED and (attempt is None or attempt == task.attempt):
            self._move(task, _begun(task), now, worker)

    def returned(self, task: Task, now: float) -> None:
        """A worker gave a task back before it began; the queue has it again already."""
        task.worker = None
        if task.state is _LAUNCHED:
            # The folded event has one time for each state, and the task enters this state a second time.
            self.transitions.unfold(task)
            self._move(task, Signal.returned, now)

    def attempt_ended(self, task: Task, outcome: Outcome, value: StoredValue | None = None, worker: str = "") -> None:
        """An attempt returned a value, raised, or was lost with its worker.

        Parameters
        ----------
        outcome
            How and when; ``started`` is 0 when the body never began, or nobody knows when.
        value
            What it returned; None: it failed, or the client keeps the value.
        worker
            Who ran it.
        """
        # Outcomes of cancelled tasks and of attempts that were given up are normal: they cross our messages.
        if task.state in NO_ACTIVE_ATTEMPT or outcome.attempt != task.attempt:
            self.dropped += 1
            return
        failure = outcome.failure
        if failure is not None:
            self._attempt_failed(task, outcome, failure, worker)
            return
        # A short task reports its start with its end: two messages would cost as much as the task.
        if task.state is _LAUNCHED and task.kind != TaskKind.external:
            self._move(task, _STARTED if task.spec is None else _begun(task), outcome.started, worker)
        task.value = value
        self._move(task, _SUCCEEDED, outcome.ended, worker)
        if value is None and task.wanted:
            self.out.replies.append((task.client, RequestValue(task.id), []))
        self._end(task, outcome.ended)

    def _attempt_failed(self, task: Task, outcome: Outcome, failure: Failure, worker: str) -> None:
        """Try a task again while its retries last, or else end it."""
        now, started = outcome.ended, outcome.started
        if task.state is _LAUNCHED and started:
            self._move(task, _begun(task), started, worker)
        self.transitions.attempt_failed(task, failure, now, started=started, worker=worker)
        # The task is not to blame, so this attempt costs none of its retries.
        if failure.reason == _FILE_LOST and self._await_recovery(task, now):
            return
        # A task that did not run in this attempt, or a foreign future, cannot be run again.
        ran = (task.state is _LAUNCHED or task.state in EXECUTING) and task.kind != TaskKind.external
        if not (ran and self.retries.attempt_failed(task, failure, worker, now)):
            self._fail(task, failure, Signal.failed, now, worker)

    def _await_recovery(self, task: Task, now: float) -> bool:
        """Have the next attempt of a task wait until its lost inputs are made again; return False if none is."""
        awaited = self.recovery.awaited(task)
        if awaited is None:
            return False
        self.retries.wait_for_files(task, now)
        task.waiting = len(awaited)
        for recovery in awaited:
            if recovery.dependents is None:
                recovery.dependents = []
            recovery.dependents.append(task)
        if not awaited:  # all of them have ended since the attempt asked for its files
            self.try_again(task, task.attempt, now)
        return True

    def file_lost(self, lost: LostFile, now: float) -> RecoveryAnswer:
        """A running task needs a temporary file whose only copy was lost: make it again if that is possible."""
        answer = self.recovery.request(lost, now)
        if answer.started is not None:
            task, call = answer.started
            self.tasks[task.id] = task
            self.unfinished += 1
            self.transitions.announce(task, call, self.labels[task.executor], ready=True)
            self.dispatch.run(task, now)
        return answer

    def try_again(self, task: Task, attempt: int, now: float) -> None:
        """Begin the next attempt of a task that ``Effects.later`` named."""
        self.retries.try_again(task, attempt, now)

    def retry_cost_received(self, task: Task, answer: RetryCost, now: float) -> None:
        """Charge a failed attempt with the cost that a retry handler has returned, and end the task if it must end."""
        if not self.retries.expects_cost(task, answer.attempt):
            self.dropped += 1
        elif end := self.retries.cost_received(task, answer, now):
            self._fail(end.task, end.failure, end.signal, now)

    def join_body_returned(self, task: Task, message: JoinBodyReturned, now: float) -> None:
        """The body of a join app returned futures, for which the join waits."""
        if task.state in NO_ACTIVE_ATTEMPT:
            self.dropped += 1
            return
        self.joins.body_returned(task, message, now)
        self.finish_join(task, now)

    def finish_join(self, task: Task, now: float) -> None:
        """End a join if it waits for nothing any more."""
        if not task.waiting:
            self.joins.finish(task, now)
            self._end(task, now)

    def value_arrived(self, task: Task, value: StoredValue, now: float) -> None:
        """A client sent the value of a local task that a remote one needs."""
        if task.state is _EXEC_DONE and task.value is None:
            task.value = value
            if task.call is not None and task.call.key is not None:
                self._share(task, now)
            self._to_wake.append(task)
            self._wake_all(now)

    def value_not_picklable(self, task: Task, failure: Failure, now: float) -> None:
        """A client cannot send the value of a local task: the remote tasks that need it fail."""
        if task.state is not _EXEC_DONE or task.value is not None:
            return
        # Taken first: a dependent that ends may reach this task again through its own end.
        dependents, task.dependents = task.dependents, None
        task.wanted = False  # the next dependent asks again instead of waiting for ever
        for dependent in dependents or ():
            if dependent.state is _PENDING:
                dependent.waiting = 0
                self._need_failed(dependent, unshipped(task, failure), now)
        self._share(task, now, failure)
        if task.released:
            self._forget(task)

    def fetch(self, client: int, task_id: int) -> None:
        """Send a value that was too large for the message that resolved its task."""
        task = self.tasks.get(task_id)
        if task is not None and task.state not in FINAL:
            return  # the value was lost with another DataFlowKernel, and the client asks again when it is there
        if task is None or task.value is None:
            raise InternalError(f"client {client} asked for the value of task {task_id}, which has none")
        frames: list[Buffer] = []
        packed = task.value.packed(frames)
        message = ValueMessage(task_id, packed.inline, packed.frames, packed.parts)
        self.out.replies.append((client, message, frames))

    # ----- how tasks end

    def _fail(self, task: Task, failure: Failure, signal: Signal, now: float, worker: str = "") -> None:
        task.failure = failure
        self._move(task, signal, now, worker)
        self._end(task, now)

    def _end(self, task: Task, now: float) -> None:
        """Report a task that has just entered a final state to its client, and wake its dependents."""
        self.unfinished -= 1
        self.ended += 1
        # Empty in most runs, and this line runs for every task.
        if self.retries.states:
            self.retries.forget(task)
        if task.state in SUCCESSES:
            # A task without a result keeps these, so that the user can retry it.
            task.args = b""
            task.frames, task.needs, task.joins = [], [], None
        if task.kind == TaskKind.join:
            self.joins.take_calls(task.id)
        self.resolve(task)
        if task.call is not None and task.state is not _MEMO_DONE:
            self._share(task, now)
        if task.dependents is not None:
            self._to_wake.append(task)
            self._wake_all(now)
        elif task.released:
            self._forget(task)

    def resolve(self, task: Task) -> None:
        """Report to the client how a task has ended."""
        message = resolution(task)
        if message.size and task.value is not None:
            # The reply has no room for the value, so the event log gets it here.
            self.out.large.append((task.id, task.value))
        self.out.replies.append((task.client, message, []))

    def _share(self, task: Task, now: float, unshippable: Failure | None = None) -> None:
        """Carry out what the end of a cached call means for the calls that follow it."""
        shared = self.memoized.share(task, unshippable)
        if shared is None:
            return
        if shared.value is not None:
            for follower in shared.followers:
                self._take_result(follower, shared.value, now)
        elif shared.failure is not None:
            for follower in shared.followers:
                self.transitions.attempt_failed(follower, shared.failure, now)
                self._fail(follower, shared.failure, Signal.leader_failed, now)
        else:
            # Reversed, because the list is emptied from its end, and calls run in their order.
            self._to_continue += reversed(shared.followers)
            self._wake_all(now)

    def _take_result(self, task: Task, value: StoredValue, now: float) -> None:
        """Give a pending task the result of an equal call."""
        task.value, task.wanted = value, False
        self._move(task, Signal.memo_hit, now)
        self._end(task, now)

    def _wake_all(self, now: float) -> None:
        """Wake the dependents of all ended tasks; in a loop, because a chain may be longer than Python's stack."""
        # A call from inside the loop below only adds to the lists; the loop takes it from there.
        if self._waking:
            return
        self._waking = True
        try:
            while self._to_wake or self._to_continue:
                if self._to_wake:
                    self._wake(self._to_wake.pop(), now)
                else:
                    task = self._to_continue.pop()
                    if task.state is _PENDING and not task.waiting:
                        self.needs_met(task, now)
        finally:
            self._waking = False

    def _wake(self, task: Task, now: float) -> None:
        """Count a need as met for every dependent that can use it now."""
        at_client = task.value is None and task.state is _EXEC_DONE
        still: list[Task] = []
        for dependent in task.dependents or ():
            if dependent.state in FINAL:
                continue
            # A worker needs the value itself, which the client has not sent yet (``value_arrived``).
            if at_client and dependent.kind == TaskKind.remote:
                still.append(dependent)
                continue
            dependent.waiting -= 1
            if dependent.waiting:
                continue
            if dependent.state is _PENDING:
                self.needs_met(dependent, now)
            elif dependent.state is _JOINING:
                self.finish_join(dependent, now)
            else:  # its lost inputs are there again
                self.try_again(dependent, dependent.attempt, now)
        task.dependents = still or None
        if task.released:
            self._forget(task)

    def needs_met(self, task: Task, now: float) -> None:
        """Continue a pending task whose needs have all ended: it runs, takes a known result, or fails."""
        call = task.call
        if call is not None and call.leader is not None:
            return
        for need in task.needs:
            if need.state not in SUCCESSES:
                # All needs have ended by now, so the failure names every root, not only the first to fail.
                bad = [one for one in task.needs if one.state not in SUCCESSES]
                self._need_failed(task, passed_on("DependencyError", bad), now)
                return
        found = self.memoized.look_up_again(task) if call is not None else None
        if found is not None:
            self._take_result(task, found, now)
        elif call is None or call.leader is None:
            self._move(task, _NEEDS_MET, now)
            self.dispatch.run(task, now)

    def _need_failed(self, task: Task, failure: Failure, now: float) -> None:
        """End a pending task, or ask its retry handler, because a need has no result."""
        self.transitions.attempt_failed(task, failure, now)
        if not self.retries.need_failed(task, failure, now):
            self._fail(task, failure, Signal.need_failed, now)

    def _forget(self, task: Task) -> None:
        """Drop a task that ended and was released, unless somebody awaits its value."""
        if task.dependents is None and (task.call is None or not task.call.awaited):
            # Dependents that may be retried still refer to the task: ``NOTHING`` shows them that its value is gone.
            task.value = task.value or NOTHING
            self.tasks.pop(task.id, None)
            if task.alias:
                self.tasks.pop(task.alias, None)
