"""Restores the task table of a lost DataFlowKernel from its event log [core].

:class:`Replay` reads the items of the log in their order, and keeps only the tasks that a client can still ask for.
:func:`restore` puts those into an empty table:

- tasks that had ended keep their results;
- tasks that waited still wait;
- tasks that were at a worker run again, as another attempt;
- tasks that were at a manager which keeps them wait for that manager;
- tasks that ran in a client continue there, when the client has returned.

Invariant: a task is kept while it is unfinished, or not released, or needed by an unfinished one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from parslab.dataflow.graph.task import Task
from parslab.dataflow.graph.values import StoredValue, joined
from parslab.dataflow.persistence.log_format import (
    BatchEnd,
    CallItem,
    CallsTakenOver,
    ClientGone,
    ClientJoined,
    DamageItem,
    EndItem,
    FunctionItem,
    LingerSet,
    MessageItem,
    MoveItem,
    Position,
    ReleaseItem,
    ReopenedTasks,
    RunClosed,
    RunOpened,
)
from parslab.records.events import FailureRecalled, TaskMoved, TaskSubmitted
from parslab.records.reasons import Reason
from parslab.records.states import FINAL, TaskState
from parslab.wire.messages.base import Failure, ForgetFunctions, TaskKind
from parslab.wire.messages.base import TaskValue as ValueMessage
from parslab.wire.messages.client import FollowOutput, JoinBodyReturned

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.persistence.log_format import LogItem
    from parslab.wire.messages.base import DefineFunction
    from parslab.wire.messages.client import SubmitTask, TaskResolved
    from parslab.wire.stream import Buffer

__all__ = ["Replay", "ReplayedTask", "Restored", "restore"]

_INPUT_LOST = "it was called, but an input of it was in a damaged part of the run's event log: call it again"


class ReplayedTask:
    """One task, as the event log describes it.

    Attributes
    ----------
    position
        The place of the call in the log.
    resolved, value, place
        How the task ended, its value, and the place of a value that is not in memory.
    sent
        Whether a worker had the task.
    alias
        Another number of the task, namely that of a later call that took the task over.
    users
        How many unfinished tasks need this one.
    inner
        The tasks that the body of a join returned; ``many`` says whether it returned a list.
    holds_inner
        Whether an ended join needs its inner tasks, because a value of theirs is lost.
    lost
        How the task ended, if its value is in no place: it runs again if somebody needs the value.
    reopened
        Whether the task ran again after it had ended: its arguments must be read from the log again.
    """

    __slots__ = (
        "alias",
        "app",
        "attempt",
        "client",
        "followers",
        "frames",
        "holds_inner",
        "inner",
        "lost",
        "many",
        "needs",
        "place",
        "position",
        "released",
        "reopened",
        "resolved",
        "sent",
        "submit",
        "task",
        "users",
        "value",
    )

    def __init__(self, position: Position, call: CallItem, app: str) -> None:
        self.task = call.submit.task
        self.position = position
        self.client = call.client
        self.submit: SubmitTask = call.submit
        self.frames: list[Buffer] = call.frames
        self.app = app
        self.resolved: TaskResolved | None = None
        self.value: StoredValue | None = None
        self.place: Position | None = None
        self.released = False
        self.sent = False
        self.attempt = 0
        self.alias = 0
        self.needs: list[ReplayedTask] = []
        self.users = 0
        self.inner: list[ReplayedTask] | None = None
        self.many = False
        self.followers: set[int] = set()
        self.reopened = False
        self.lost: TaskResolved | None = None
        self.holds_inner = False


def _is_lost(past: ReplayedTask) -> bool:
    """Return whether a task has ended, and its value is in no place."""
    return past.lost is not None or past.holds_inner


class Replay:
    """The state of a run, read from its event log.

    Attributes
    ----------
    tasks
        All tasks that a client can still ask for, by number, in the order of their calls.
    clients
        The clients that had attached, by number; ``gone`` are those that cannot return.
    batches
        How many batches of each client the log has.
    codes, functions
        The functions by the run's numbers, and the run's numbers by the clients' numbers.
    newest
        The newest task of each client's range of numbers.
    linger
        The seconds that a client has set; None if none has.
    processes
        How many DataFlowKernel processes have written the log.
    damaged
        How many parts of the log could not be read.
    closed
        Why the run ended; empty if it did not end in order.
    over
        Tasks that ended and that no client can ask for: monitoring still counts them.
    """

    def __init__(self) -> None:
        self.tasks: dict[int, ReplayedTask] = {}
        self.clients: dict[int, ClientJoined] = {}
        self.gone: set[int] = set()
        self.batches: dict[int, int] = {}
        self.codes: dict[int, tuple[DefineFunction, Buffer]] = {}
        self.functions: dict[int, dict[int, int]] = {}
        self.newest: dict[int, int] = {}
        self.linger: float | None = None
        self.processes = 0
        self.damaged = 0
        self.closed = ""
        self.over: list[ReplayedTask] = []
        self._pids: set[int] = set()
        self._aliases: dict[int, int] = {}
        self._cut: set[int] = set()
        """Clients with a missing batch: they send all later batches again."""
        self._handlers: dict[type, Callable[[Position, Any], None]] = {
            CallItem: self._called,
            EndItem: self._ended,
            ReleaseItem: self._released,
            FunctionItem: self._function_defined,
            MoveItem: self._moved,
            MessageItem: self._message,
            BatchEnd: self._batch_end,
            ClientJoined: self._client_joined,
            ClientGone: self._client_gone,
            CallsTakenOver: self._calls_taken_over,
            LingerSet: self._linger_set,
            ReopenedTasks: self._tasks_reopened,
            RunOpened: self._run_opened,
            RunClosed: self._run_closed,
            DamageItem: self._damage,
        }

    def read(self, items: Iterable[tuple[Position, LogItem]]) -> None:
        """Read items of the log, in order."""
        handlers = self._handlers
        for position, item in items:
            handlers[type(item)](position, item)

    def function_count(self) -> int:
        """Return how many functions the run has had, including those that cannot be read."""
        named = [*self.codes, *(past.submit.fn for past in self.tasks.values())]
        return max([*named, *(fn for own in self.functions.values() for fn in own.values()), -1]) + 1

    def find(self, task: int) -> ReplayedTask | None:
        """Return a task by any of its numbers."""
        return self.tasks.get(self._aliases.get(task, task))

    # ----- items

    def _called(self, position: Position, call: CallItem) -> None:
        submit = call.submit
        # The client repeats all batches from the missing one on, and a call must not count twice.
        if call.client in self._cut or submit.task in self.tasks:
            return
        code = self.codes.get(submit.fn)
        past = ReplayedTask(position, call, submit.name or (code[0].name if code is not None else "?"))
        self.tasks[past.task] = past
        # The upper bits are the number of the client.
        self.newest[past.task >> 40] = max(past.task, self.newest.get(past.task >> 40, 0))
        if submit.follow:
            past.followers.add(call.client)
        self._take_needs(past)

    def _take_needs(self, past: ReplayedTask) -> None:
        for dep in past.submit.deps:
            need = self.find(dep)
            if need is not None:
                need.users += 1
                past.needs.append(need)

    def _ended(self, _: Position, end: EndItem) -> None:
        past = self.find(end.task)
        if past is None:
            return
        resolved = end.resolved
        if resolved.size and end.place is None and past.submit.kind == TaskKind.remote:
            # It keeps its needs, because it may have to run again.
            past.lost = resolved
            self._drop_if_unreachable(past)
            return
        past.lost = None  # the value of an earlier end may have been written since
        # Only at the first end: the log has it again after another kernel has taken the result over.
        if past.resolved is None and resolved.failure is None:
            past.submit.args, past.frames = b"", []  # a failed task keeps them: it may be retried
            past.holds_inner = any(_is_lost(inner) for inner in past.inner or ())
            self._drop_needs(past)
        past.resolved, past.place = resolved, end.place
        # The client sends the value of a local task in a message of its own, before or after the end.
        if past.value is None or end.value is not None:
            past.value = end.value
        self._drop_if_unreachable(past)

    def _released(self, _: Position, release: ReleaseItem) -> None:
        for task in release.tasks:
            past = self.find(task)
            if past is not None:
                past.released = True
                self._drop_if_unreachable(past)

    def _drop_needs(self, past: ReplayedTask) -> None:
        inner = () if past.holds_inner else past.inner or ()
        needs, past.needs = [*past.needs, *inner], []
        for need in needs:
            need.users -= 1
            self._drop_if_unreachable(need)

    def _drop_if_unreachable(self, past: ReplayedTask) -> None:
        """Drop a task that ended, that no client can ask for, and that no unfinished task needs."""
        resolved = past.resolved or past.lost
        if past.released and resolved is not None and not past.users and past.task in self.tasks:
            del self.tasks[past.task]
            self.over.append(past)
            self._aliases.pop(past.alias, None)
            if past.resolved is None or resolved.failure is not None or past.holds_inner:
                past.resolved, past.holds_inner = resolved, False
                self._drop_needs(past)

    def _function_defined(self, _: Position, function: FunctionItem) -> None:
        self.codes[function.fn] = function.code, function.payload
        if function.client >= 0:
            self.functions.setdefault(function.client, {})[function.code.fn] = function.fn

    def _moved(self, _: Position, moved: MoveItem) -> None:
        for task in moved.tasks:
            past = self.find(task if task >= 0 else ~task)
            if past is not None:
                past.sent = task >= 0
        for task, attempt in moved.attempts.items():
            past = self.find(task)
            if past is not None:
                past.attempt = attempt

    def _message(self, _: Position, item: MessageItem) -> None:
        message = item.message
        match message:
            case ForgetFunctions():
                for fn in message.fns:
                    self.functions.get(item.client, {}).pop(fn, None)
            case FollowOutput() | JoinBodyReturned() | ValueMessage():
                past = self.find(message.task)
                if past is not None:
                    self._task_message(past, item)

    def _task_message(self, past: ReplayedTask, item: MessageItem) -> None:
        message = item.message
        match message:
            case FollowOutput():
                past.followers.add(item.client)
            case JoinBodyReturned():
                self._join(past, message)
            case ValueMessage():
                past.value = StoredValue(message.inline, item.frames)

    def _join(self, past: ReplayedTask, message: JoinBodyReturned) -> None:
        found = [inner for task in message.tasks if (inner := self.find(task)) is not None]
        if past.resolved is not None or len(found) < len(message.tasks):
            return  # in the second case the body runs again
        for inner in past.inner or ():
            inner.users -= 1
        for inner in found:
            inner.users += 1
        past.many, past.inner = message.many, found

    def _batch_end(self, _: Position, end: BatchEnd) -> None:
        if end.client not in self._cut:
            self.batches[end.client] = max(end.batch, self.batches.get(end.client, 0))

    def _client_joined(self, _: Position, client: ClientJoined) -> None:
        self.clients[client.client] = client
        self.gone.discard(client.client)

    def _client_gone(self, _: Position, left: ClientGone) -> None:
        self.gone.add(left.client)
        for past in [past for past in self.tasks.values() if past.client == left.client]:
            past.released = True
            self._drop_if_unreachable(past)

    def _calls_taken_over(self, _: Position, calls: CallsTakenOver) -> None:
        for new, old in calls.tasks:
            fresh = self.tasks.pop(new, None)
            past = self.tasks.get(old)
            if past is None:
                if fresh is None:
                    continue
                past, past.task = fresh, old  # the earlier task had been dropped
                self.tasks[old] = past
            elif fresh is not None:
                # The later call runs nowhere, so it needs no inputs.
                for need in fresh.needs:
                    need.users -= 1
            past.client, past.released, past.alias = calls.client, False, new
            self._aliases[new] = old

    def _tasks_reopened(self, _: Position, reopened: ReopenedTasks) -> None:
        changed = dict(reopened.changed)
        for task in reopened.tasks:
            past = self.find(task)
            if past is not None and past.lost is not None:
                past.lost, past.sent = None, False
            if past is None or past.resolved is None:
                continue
            if past.resolved.failure is None:
                past.reopened = True
                self._take_needs(past)
            else:
                for inner in past.inner or ():
                    inner.users -= 1
            past.resolved = past.value = past.place = past.inner = None
            past.sent = False
            # The user has redefined the app: the task calls the new function from now on.
            past.submit.fn = changed.get(task, past.submit.fn)

    def _run_opened(self, _: Position, opened: RunOpened) -> None:
        # Each segment begins so; only another process means another start.
        if opened.pid not in self._pids:
            self._pids.add(opened.pid)
            self.processes += 1
            self._cut.clear()  # the clients have sent all batches after a missing one again

    def _linger_set(self, _: Position, linger: LingerSet) -> None:
        self.linger = linger.seconds

    def _run_closed(self, _: Position, closed: RunClosed) -> None:
        self.closed = closed.reason or "it ended"

    def _damage(self, _: Position, damage: DamageItem) -> None:
        self.damaged += 1
        if damage.client >= 0:
            self._cut.add(damage.client)
            # The client sends again what is not counted, so the count ends before the missing batch.
            self.batches[damage.client] = min(self.batches.get(damage.client, 0), damage.batch - 1)


# ----- into the table


class Restored(NamedTuple):
    """The restored tasks that were at workers, in the order of their calls."""

    rerun: list[Task]
    """Those that run again."""
    at_managers: list[Task]
    """Those that their managers may still have."""


def restore(
    table: TaskTable,
    replay: Replay,
    now: float,
    read_value: Callable[[Position], StoredValue | None],
    read_call: Callable[[Position], LogItem | None],
    *,
    kept_by: Collection[int] = (),
) -> Restored:
    """Put the tasks of an event log into an empty table.

    Parameters
    ----------
    table
        The table of the DataFlowKernel that replaces the lost one.
    replay
        The state of the run, read from the log.
    now
        The present time.
    read_value
        Reads a large value from the log.
    read_call
        Reads a call from the log again.
    kept_by
        The executors whose managers keep their tasks while the DataFlowKernel is lost.
    """
    return _Restoration(table, replay, now, read_value, read_call).run(kept_by)


class _Restoration:
    """Restores one table; the parameters are those of :func:`restore`."""

    def __init__(
        self,
        table: TaskTable,
        replay: Replay,
        now: float,
        read_value: Callable[[Position], StoredValue | None],
        read_call: Callable[[Position], LogItem | None],
    ) -> None:
        self._table = table
        self._replay = replay
        self._now = now
        self._read_value = read_value
        self._read_call = read_call
        self._pasts = list(replay.tasks.values())
        self._tasks: dict[int, Task] = {}

    def run(self, kept_by: Collection[int]) -> Restored:
        """Restore the table; return the tasks that were at workers."""
        table = self._table
        # Monitoring starts from zero with this process, and its counts include ended tasks.
        self._recall(self._replay.over)
        self._make_tasks()
        ended = [past for past in self._pasts if self._tasks[past.task].state in FINAL]
        self._recall(ended)
        unfinished = [(past, task) for past in self._pasts if (task := self._tasks[past.task]).state not in FINAL]
        table.unfinished += len(unfinished)
        restored = Restored([], [])
        for past, task in unfinished:
            held = past.sent and task.kind == TaskKind.remote and task.executor in kept_by
            if held:
                restored.at_managers.append(task)
            elif past.sent and task.kind == TaskKind.remote:
                # The attempt at the worker counts: it may have run in part.
                task.attempt += 1
                restored.rerun.append(task)
            self._connect(past, task)
            self._emit(past, task, ready=past.submit.at if held else self._now)
        for past, task in unfinished:
            # In a second pass: a task that continues may end, and its dependents must be connected by then.
            self._go_on(past, task)
        self._drop_unreachable()
        return restored

    def _make_tasks(self) -> None:
        """Make all tasks; none waits for anything yet."""
        table = self._table
        for past in self._pasts:
            self._tasks[past.task] = table.tasks[past.task] = task = self._make_task(past)
            if past.alias:
                table.tasks[past.alias] = task
        for past in self._pasts:
            if past.resolved is not None and past.resolved.failure is not None:
                # A failed task keeps its needs, so that the user can retry the whole branch.
                needs = [self._tasks[need.task] for need in past.needs if need.task in self._tasks]
                self._tasks[past.task].needs = needs

    def _make_task(self, past: ReplayedTask) -> Task:
        if past.resolved is not None:
            lost = self._value_of(past) is None and past.resolved.size and past.submit.kind == TaskKind.remote
            if past.holds_inner:  # the join waits again
                past.resolved, lost = None, False
            if lost:  # the disk has lost the value since: the task has to run again
                past.resolved, past.reopened, past.sent = None, True, False
        if past.reopened and past.resolved is None:
            call = self._read_call(past.position)  # the arguments of ended tasks are not kept in memory
            if isinstance(call, CallItem):
                past.submit.args, past.frames = call.submit.args, call.frames
        task = Task(past.client, past.submit, past.frames, past.app)
        task.id, task.alias, task.attempt, task.released = past.task, past.alias, past.attempt, past.released
        task.followers = past.followers or None
        resolved = past.resolved
        if resolved is not None:
            self._table.transitions.restore(task, resolved.state)
            task.failure, task.value = resolved.failure, past.value
        return task

    def _connect(self, past: ReplayedTask, task: Task) -> None:
        """Make a task wait for the tasks that it waited for."""
        table = self._table
        if past.inner is not None:
            table.transitions.restore(task, TaskState.joining)
            task.many = past.many
            task.joins = [self._tasks[inner.task] for inner in past.inner]
            table.dependencies.wait_for_joined(task)
        elif not self._lacks_input(past, task):
            table.dependencies.add_needs(task, tuple(need.task for need in past.needs))
            if table.may_run(task):
                table.transitions.restore(task, TaskState.ready)
        # A join that was cancelled takes its calls along, also after a failover.
        if past.submit.parent >= 0:
            table.add_call(task, past.submit.parent, past.submit.at)

    def _lacks_input(self, past: ReplayedTask, task: Task) -> bool:
        """Return whether the log has lost the function of a task, or tasks that it needs."""
        function_lost = task.fn >= 0 and task.fn not in self._replay.codes
        return function_lost or len(past.needs) < len(past.submit.deps) or len(task.frames) < past.submit.frames

    def _go_on(self, past: ReplayedTask, task: Task) -> None:
        """Let a task run that waits for nothing, and fail one whose function or inputs the log has lost."""
        if task.state in FINAL:  # cancelled with the join that called it
            return
        if task.state is TaskState.pending and self._lacks_input(past, task):
            failure = Failure(f"CallLost: {_INPUT_LOST}", reason=Reason.dependency.value)
            self._table.fail_pending(task, failure, self._now)
        elif not task.waiting:
            self._table.resume(task, self._now)

    def _drop_unreachable(self) -> None:
        """Drop ended tasks that no client can ask for: the tasks that need their values hold them."""
        table = self._table
        for past in self._pasts:
            task = self._tasks[past.task]
            if task.state in FINAL and task.released and task.dependents is None:
                table.tasks.pop(task.id, None)
                if task.alias:
                    table.tasks.pop(task.alias, None)

    # ----- events

    def _recall(self, ended: Iterable[ReplayedTask]) -> None:
        """Report the tasks that ended under the lost DataFlowKernel to monitoring."""
        events = self._table.out.events
        for past in ended:
            submitted = self._recalled(past)
            events.append(submitted)
            if past.resolved is not None and submitted.state is TaskState.failed and past.resolved.failure is not None:
                error = past.resolved.failure.error
                events.append(FailureRecalled(submitted.time, past.task, submitted.app, submitted.executor, error))

    def _recalled(self, past: ReplayedTask) -> TaskSubmitted:
        """Make the event of a task that ended under the lost DataFlowKernel."""
        submit, resolved = past.submit, past.resolved
        assert resolved is not None
        return TaskSubmitted(
            time=submit.at,
            task=past.task,
            app=past.app,
            state=resolved.state,
            executor=self._label(submit.kind, submit.executor),
            client=past.client,
            deps=submit.deps,
            shown=submit.shown,
            cell=submit.cell,
            recalled=True,
        )

    def _emit(self, past: ReplayedTask, task: Task, ready: float) -> None:
        """Report an unfinished task to monitoring; ``ready`` is since when it is ready, if it is."""
        submit, events = past.submit, self._table.out.events
        is_ready = task.state is TaskState.ready
        events.append(
            TaskSubmitted(
                time=submit.at,
                task=task.id,
                app=task.app,
                state=TaskState.ready if is_ready else TaskState.pending,
                executor=self._label(task.kind, task.executor),
                client=task.client,
                deps=submit.deps,
                shown=submit.shown,
                cell=submit.cell,
                ready=ready if is_ready else 0.0,
            )
        )
        if task.state is TaskState.joining:
            events.append(TaskMoved(self._now, task.id, task.state, task.attempt))

    def _label(self, kind: int, executor: int) -> str:
        return self._table.labels[executor] if kind < TaskKind.join else ""

    # ----- values

    def _value_of(self, past: ReplayedTask) -> StoredValue | None:
        """Return the value of an ended task, read from the log if need be; None if it is lost."""
        if past.value is None and past.place is not None:
            past.value = self._read_value(past.place)
        if past.value is None and past.inner and past.resolved is not None and past.resolved.failure is None:
            inner = [self._value_of(one) for one in past.inner]
            if all(one is not None for one in inner):
                past.value = joined([one for one in inner if one is not None]) if past.many else inner[0]
        return past.value
