"""What the record of a lost DataFlowKernel says, as the task table of the next one needs it [core].

:class:`Replay` takes the items of the record in their order and keeps only what somebody can still ask for;
:func:`restore` puts that into an empty table.  Tasks that had ended keep their results, those that waited wait on,
and exactly those that a worker had are run again, as another attempt.  What ran in a client goes on there: it is told
when it comes back (:func:`Replay.clients` says who was there).

Invariant: a task is kept while it is unfinished, or not released, or needed by an unfinished one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parslab.dataflow.graph.task import Task
from parslab.dataflow.graph.values import StoredValue, joined
from parslab.dataflow.persistence.log_format import (
    BatchEnd,
    CallItem,
    CallsTaken,
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
from parslab.records.events import TaskMoved, TaskSubmitted
from parslab.records.reasons import Reason
from parslab.records.states import FINAL, TaskState
from parslab.wire.messages.base import Failure, ForgetFunctions, TaskKind
from parslab.wire.messages.base import TaskValue as ValueMessage
from parslab.wire.messages.client import FollowOutput, JoinBodyReturned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.persistence.log_format import LogItem
    from parslab.wire.messages.base import DefineFunction
    from parslab.wire.messages.client import SubmitTask, TaskResolved
    from parslab.wire.stream import Buffer

__all__ = ["Replay", "ReplayedTasks", "restore"]

_LOST = "it was called, but what it needs lay in a damaged part of the run's record: call it again"


class ReplayedTasks:
    """What the record says of one task."""

    __slots__ = (
        "again",
        "alias",
        "app",
        "attempt",
        "client",
        "followers",
        "frames",
        "inner",
        "many",
        "needs",
        "place",
        "position",
        "released",
        "resolved",
        "sent",
        "submit",
        "task",
        "users",
        "value",
    )

    def __init__(self, position: Position, called: CallItem, app: str) -> None:
        self.task = called.submit.task
        self.position = position
        self.client = called.client
        self.submit: SubmitTask = called.submit
        self.frames: list[Buffer] = called.frames
        self.app = app
        self.resolved: TaskResolved | None = None
        self.value: StoredValue | None = None
        self.place: Position | None = None
        self.released = False
        self.sent = False
        """A worker had it."""
        self.attempt = 0
        self.alias = 0
        self.needs: list[ReplayedTasks] = []
        self.users = 0
        """Unfinished tasks that need it."""
        self.inner: list[ReplayedTasks] | None = None
        """What the body of a join returned."""
        self.many = False
        self.followers: set[int] = set()
        self.again = False
        """It was reopened: its arguments have to be read again."""


class Replay:
    """The state of a run, made from its record.

    Attributes
    ----------
    tasks
        All that somebody can still ask for, by number, in the order of their calls.
    clients
        Those that had come, by number; ``gone`` are those that nobody waits for.
    batches
        How many batches of each client the record has.
    codes, fns
        The functions by the run's numbers, and the run's numbers by the clients'.
    newest
        The newest task of each range of numbers.
    linger
        What was said last about how long the run outlives its clients.
    lives
        DataFlowKernel processes that have written the record.
    damaged
        Stretches that cannot be read.
    closed
        Why the run ended in order; empty when it did not.
    over
        Tasks that ended and that nobody can ask for: monitoring counts them still.
    """

    def __init__(self) -> None:
        self.tasks: dict[int, ReplayedTasks] = {}
        self.clients: dict[int, ClientJoined] = {}
        self.gone: set[int] = set()
        self.batches: dict[int, int] = {}
        self.codes: dict[int, tuple[DefineFunction, Buffer]] = {}
        self.fns: dict[int, dict[int, int]] = {}
        self.newest: dict[int, int] = {}
        self.linger: float | None = None
        self.lives = 0
        self.damaged = 0
        self.closed = ""
        self.over: list[ReplayedTasks] = []
        self._pids: set[int] = set()
        self._aliases: dict[int, int] = {}
        self._cut: set[int] = set()
        """Clients of which a batch is missing: they send all that follow again."""
        self._handlers: dict[type, Callable[[Position, Any], None]] = {
            CallItem: self._called,
            EndItem: self._ended,
            ReleaseItem: self._released,
            FunctionItem: self._coded,
            MoveItem: self._moved,
            MessageItem: self._said,
            BatchEnd: self._batch_end,
            ClientJoined: self._joined,
            ClientGone: self._left,
            CallsTaken: self._took,
            LingerSet: self._lingers,
            ReopenedTasks: self._reopened,
            RunOpened: self._opened,
            RunClosed: self._closed,
            DamageItem: self._damage,
        }

    def read(self, items: Iterable[tuple[Position, LogItem]]) -> None:
        """Take what the record says, in order."""
        handlers = self._handlers
        for position, item in items:
            handlers[type(item)](position, item)

    def functions(self) -> int:
        """How many functions the run has had, those included that cannot be read."""
        named = [*self.codes, *(past.submit.fn for past in self.tasks.values())]
        return max([*named, *(fn for fns in self.fns.values() for fn in fns.values()), -1]) + 1

    def find(self, task: int) -> ReplayedTasks | None:
        """A task by any number that it had."""
        return self.tasks.get(self._aliases.get(task, task))

    # ----- items

    def _called(self, position: Position, called: CallItem) -> None:
        submit = called.submit
        if called.client in self._cut or submit.task in self.tasks:
            return
        code = self.codes.get(submit.fn)
        past = ReplayedTasks(position, called, submit.name or (code[0].name if code is not None else "?"))
        self.tasks[past.task] = past
        self.newest[past.task >> 40] = max(past.task, self.newest.get(past.task >> 40, 0))
        if submit.follow:
            past.followers.add(called.client)
        self._take_needs(past)

    def _take_needs(self, past: ReplayedTasks) -> None:
        for dep in past.submit.deps:
            need = self.find(dep)
            if need is not None:
                need.users += 1
                past.needs.append(need)

    def _ended(self, _: Position, ended: EndItem) -> None:
        past = self.find(ended.task)
        if past is None:
            return
        resolved = ended.resolved
        if resolved.size and ended.place is None and past.submit.kind == TaskKind.remote:
            return  # its value was not written as a whole: it has to be made again
        if past.resolved is None and resolved.failure is None:
            past.submit.args, past.frames = b"", []  # one that failed may be tried again
            self._drop_needs(past)
        past.resolved, past.place = resolved, ended.place
        if past.value is None or ended.value is not None:
            past.value = ended.value
        self._let_go(past)

    def _released(self, _: Position, released: ReleaseItem) -> None:
        for task in released.tasks:
            past = self.find(task)
            if past is not None:
                past.released = True
                self._let_go(past)

    def _drop_needs(self, past: ReplayedTasks) -> None:
        needs, past.needs = [*past.needs, *(past.inner or ())], []
        for need in needs:
            need.users -= 1
            self._let_go(need)

    def _let_go(self, past: ReplayedTasks) -> None:
        if past.released and past.resolved is not None and not past.users and past.task in self.tasks:
            del self.tasks[past.task]
            self.over.append(past)
            self._aliases.pop(past.alias, None)
            if past.resolved.failure is not None:
                self._drop_needs(past)

    def _coded(self, _: Position, coded: FunctionItem) -> None:
        self.codes[coded.fn] = coded.code, coded.payload
        if coded.client >= 0:
            self.fns.setdefault(coded.client, {})[coded.code.fn] = coded.fn

    def _moved(self, _: Position, moved: MoveItem) -> None:
        for task in moved.tasks:
            past = self.find(task if task >= 0 else ~task)
            if past is not None:
                past.sent = task >= 0
        for task, attempt in moved.attempts.items():
            past = self.find(task)
            if past is not None:
                past.attempt = attempt

    def _said(self, _: Position, said: MessageItem) -> None:
        message = said.message
        if isinstance(message, ForgetFunctions):
            for fn in message.fns:
                self.fns.get(said.client, {}).pop(fn, None)
        elif isinstance(message, (FollowOutput, JoinBodyReturned, ValueMessage)):
            past = self.find(message.task)
            if past is None:
                return
            if isinstance(message, FollowOutput):
                past.followers.add(said.client)
            elif isinstance(message, JoinBodyReturned):
                self._join(past, message)
            else:
                past.value = StoredValue(message.inline, said.frames)

    def _join(self, past: ReplayedTasks, message: JoinBodyReturned) -> None:
        found = [inner for task in message.tasks if (inner := self.find(task)) is not None]
        if past.resolved is not None or len(found) < len(message.tasks):
            return  # in the second case its body is called again
        for inner in past.inner or ():
            inner.users -= 1
        for inner in found:
            inner.users += 1
        past.many, past.inner = message.many, found

    def _batch_end(self, _: Position, end: BatchEnd) -> None:
        if end.client not in self._cut:
            self.batches[end.client] = max(end.batch, self.batches.get(end.client, 0))

    def _joined(self, _: Position, client: ClientJoined) -> None:
        self.clients[client.client] = client
        self.gone.discard(client.client)

    def _left(self, _: Position, left: ClientGone) -> None:
        self.gone.add(left.client)
        for past in [past for past in self.tasks.values() if past.client == left.client]:
            past.released = True
            self._let_go(past)

    def _took(self, _: Position, took: CallsTaken) -> None:
        for new, old in took.tasks:
            fresh = self.tasks.pop(new, None)
            past = self.tasks.get(old)
            if past is None:
                if fresh is None:
                    continue
                past, past.task = fresh, old  # it had been let go
                self.tasks[old] = past
            elif fresh is not None:
                for need in fresh.needs:
                    need.users -= 1
            past.client, past.released, past.alias = took.client, False, new
            self._aliases[new] = old

    def _reopened(self, _: Position, reopened: ReopenedTasks) -> None:
        mended = dict(reopened.mended)
        for task in reopened.tasks:
            past = self.find(task)
            if past is None or past.resolved is None:
                continue
            if past.resolved.failure is None:
                past.again = True
                self._take_needs(past)
            else:
                for inner in past.inner or ():
                    inner.users -= 1
            past.resolved = past.value = past.place = past.inner = None
            past.sent = False
            past.submit.fn = mended.get(task, past.submit.fn)

    def _opened(self, _: Position, opened: RunOpened) -> None:
        if opened.pid not in self._pids:
            self._pids.add(opened.pid)
            self.lives += 1
            self._cut.clear()  # what came after the missing batch has been sent again

    def _lingers(self, _: Position, lingers: LingerSet) -> None:
        self.linger = lingers.seconds

    def _closed(self, _: Position, closed: RunClosed) -> None:
        self.closed = closed.reason or "it ended"

    def _damage(self, _: Position, damaged: DamageItem) -> None:
        self.damaged += 1
        if damaged.client >= 0:
            self._cut.add(damaged.client)
            self.batches[damaged.client] = min(self.batches.get(damaged.client, 0), damaged.batch - 1)


# ----- into the table


def restore(
    table: TaskTable,
    recovery: Replay,
    now: float,
    value: Callable[[Position], StoredValue | None],
    call: Callable[[Position], LogItem | None],
) -> list[Task]:
    """Put what a record says into an empty table.

    Parameters
    ----------
    table
        Of the DataFlowKernel that takes the place of the lost one.
    recovery
        What the record says.
    now
        The time.
    value
        Reads a large value from the record.
    call
        Reads a call from the record again.

    Returns
    -------
    list of Task
        Those that a worker had, which run again.
    """
    nodes: dict[int, Task] = {}
    pasts = list(recovery.tasks.values())
    table.out.events += [_recalled(table, past) for past in recovery.over]
    for past in pasts:
        nodes[past.task] = table.tasks[past.task] = task = _node(past, value, call)
        if past.alias:
            table.tasks[past.alias] = task
    for past in pasts:
        if past.resolved is not None and past.resolved.failure is not None:
            nodes[past.task].needs = [nodes[need.task] for need in past.needs if need.task in nodes]
    table.out.events += [_recalled(table, past) for past in pasts if nodes[past.task].state in FINAL]
    unfinished = [(past, nodes[past.task]) for past in pasts if nodes[past.task].state not in FINAL]
    table.unfinished += len(unfinished)
    running: list[Task] = []
    for past, task in unfinished:
        if past.sent and task.kind == TaskKind.remote:
            task.attempt += 1
            running.append(task)
        _connect(table, past, task, nodes)
        _tell(table, past, task, now)
    for past, task in unfinished:
        lost = task.state is TaskState.pending and len(past.needs) < len(past.submit.deps)
        if lost or (task.fn >= 0 and task.fn not in recovery.codes):
            table.lose(task, Failure(f"CallLost: {_LOST}", reason=Reason.dependency.value), now)
        elif not task.waiting and task.state not in FINAL:
            table.go_on(task, now)
    for past in pasts:
        task = nodes[past.task]
        if task.state in FINAL and task.released and task.dependents is None:
            table.tasks.pop(task.id, None)  # its value is held by those that need it
            if task.alias:
                table.tasks.pop(task.alias, None)
    return running


def _node(
    past: ReplayedTasks, value: Callable[[Position], StoredValue | None], call: Callable[[Position], LogItem | None]
) -> Task:
    """A task that waits for nothing yet."""
    if past.resolved is not None:
        lost = _value_of(past, value) is None and past.resolved.size and past.submit.kind == TaskKind.remote
        if lost:  # the disk has lost it since: it has to be made again
            past.resolved, past.again, past.sent = None, True, False
    if past.again and past.resolved is None:
        called = call(past.position)  # the arguments of ended tasks are not kept in memory
        if isinstance(called, CallItem):
            past.submit.args, past.frames = called.submit.args, called.frames
    task = Task(past.client, past.submit, past.frames, past.app)
    task.id, task.alias, task.attempt, task.released = past.task, past.alias, past.attempt, past.released
    task.followers = past.followers or None
    resolved = past.resolved
    if resolved is not None:
        task.state, task.failure, task.value = resolved.state, resolved.failure, past.value
    return task


def _connect(table: TaskTable, past: ReplayedTasks, task: Task, nodes: dict[int, Task]) -> None:
    """Have it wait for what it waited for."""
    if past.inner is not None:
        task.state, task.many = TaskState.joining, past.many
        task.joins = [nodes[inner.task] for inner in past.inner]
        for inner in dict.fromkeys(task.joins):
            if inner.state not in FINAL:
                task.waiting += 1
                if inner.dependents is None:
                    inner.dependents = []
                inner.dependents.append(task)
    elif len(past.needs) == len(past.submit.deps):
        table.take_needs(task, tuple(need.task for need in past.needs))
        if not task.waiting:
            task.state = TaskState.ready
    if past.submit.parent >= 0:
        table.called_by(task, past.submit.parent, past.submit.at)


def _recalled(table: TaskTable, past: ReplayedTasks) -> TaskSubmitted:
    """What monitoring is told of a task that ended before."""
    submit, resolved = past.submit, past.resolved
    assert resolved is not None
    label = table.labels[submit.executor] if submit.kind < TaskKind.join else ""
    return TaskSubmitted(
        submit.at, past.task, past.app, resolved.state, label, past.client, submit.deps, submit.shown, submit.cell,
        recalled=True,
    )  # fmt: skip


def _tell(table: TaskTable, past: ReplayedTasks, task: Task, now: float) -> None:
    """Tell monitoring of a task that goes on."""
    submit = past.submit
    born = TaskState.ready if task.state is TaskState.ready else TaskState.pending
    label = table.labels[task.executor] if task.kind < TaskKind.join else ""
    ready = now if born is TaskState.ready else 0.0
    told = TaskSubmitted(
        submit.at, task.id, task.app, born, label, task.client, submit.deps, submit.shown, submit.cell, False, ready
    )
    table.out.events.append(told)
    if task.state is TaskState.joining:
        table.out.events.append(TaskMoved(now, task.id, task.state, task.attempt))


def _value_of(past: ReplayedTasks, value: Callable[[Position], StoredValue | None]) -> StoredValue | None:
    if past.value is None and past.place is not None:
        past.value = value(past.place)
    if past.value is None and past.inner and past.resolved is not None and past.resolved.failure is None:
        inner = [_value_of(one, value) for one in past.inner]
        if all(one is not None for one in inner):
            past.value = joined([one for one in inner if one is not None]) if past.many else inner[0]
    return past.value
