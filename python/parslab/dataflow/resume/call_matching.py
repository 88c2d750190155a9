"""Matches the calls of a kernel with those that a lost kernel of its notebook made [core].

A kernel was restarted or killed, its notebook runs again, and its calls repeat earlier ones.  A call is recognized by
its lineage: its function, its arguments, and the lineage of every call that its inputs come from.  Each earlier call is
matched once, in the order in which the calls were made.  The lineage is computed here from the event log, when a kernel
has returned: ordinary calls pay nothing for it.

Failed calls are not matched: they run again.  Bodies that run in the kernel (joins, threads) run again, too; tasks that
waited for an earlier one then wait for the new one.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING

from parslab.dataflow.graph.task import Task
from parslab.dataflow.operations.explain import changed_parts
from parslab.records.events import TaskAdopted, TaskMoved, TaskSubmitted
from parslab.records.states import FINAL, SUCCESSES, TASK_STATES, TaskState
from parslab.serialize.shared.values import unshared
from parslab.wire.messages.base import TaskKind
from parslab.wire.messages.client import CallsMatched
from parslab.wire.shared_memory import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.dataflow.graph.function_registry import FunctionRegistry
    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.graph.values import StoredValue
    from parslab.dataflow.persistence.log_format import Position
    from parslab.wire.messages.client import SubmitTask
    from parslab.wire.stream import Buffer

__all__ = ["CallMatching", "PriorCall"]

_EXPLAINED = 10_000
"""The most calls that ran again, and the most that did not, that can be explained later."""


class PriorCall:
    """A call that a lost kernel made.

    Parameters
    ----------
    task, kind, app, shown
        The number, the kind, the app and the shown arguments of the call.
    fingerprint, parts
        The fingerprint of its function, and what that was made of.
    run
        0 for a call of this run, else the number of an earlier run whose results this one inherits.

    Attributes
    ----------
    key
        The lineage of the call; None if the call cannot be recognized.
    state
        The state in which it ended; None while it has not ended.
    place
        The place of its value in the event log.
    """

    __slots__ = ("app", "fingerprint", "key", "kind", "parts", "place", "run", "shown", "state", "task")

    def __init__(
        self,
        *,
        task: int,
        kind: int,
        app: str,
        shown: str,
        fingerprint: bytes,
        parts: dict[str, bytes],
        run: int = 0,
    ) -> None:
        self.task = task
        self.kind = kind
        self.app = app
        self.shown = shown
        self.fingerprint = fingerprint
        self.parts = parts
        self.run = run
        self.key: bytes | None = None
        self.state: TaskState | None = None
        self.place: Position | None = None


class CallMatching:
    """The calls of lost kernels of one notebook that no later call has matched yet.

    Parameters
    ----------
    table, functions
        The task table and the functions of this run.
    read_value
        Reads the result of an ended call; None if it cannot be read any more.

    Attributes
    ----------
    adopted
        How many calls were matched: their result was there, or the task was still running.
    anew
        How many calls were not matched.
    keys
        The lineage of each call of the next kernel, by task.
    matched
        The app of each task that was matched.
    reasons
        The reason why a task runs again, in one sentence.
    """

    def __init__(
        self, table: TaskTable, functions: FunctionRegistry, read_value: Callable[[PriorCall], StoredValue | None]
    ) -> None:
        self.table = table
        self.functions = functions
        self._read_value = read_value
        self._calls: dict[tuple[int, int], PriorCall] = {}
        self._offers: dict[bytes, deque[PriorCall]] = {}
        self._apps: dict[str, deque[PriorCall]] = {}
        self.keys: dict[int, bytes | None] = {}
        self.reasons: dict[int, str] = {}
        self.matched: dict[int, str] = {}
        self.adopted = 0
        self.anew = 0

    # ----- the earlier calls

    def called(self, call: PriorCall, submit: SubmitTask, frames: Sequence[Buffer]) -> None:
        """Note that a lost kernel made this call; the caller keeps their order."""
        deps: list[bytes | None] = []
        for dep in submit.deps:
            need = self._calls.get((call.run, dep))
            # A trimmed log may lack the input: then the call has no lineage and runs again.
            deps.append(need.key if need is not None else None)
        # A short call with large arguments, which the log does not have.
        lacking = len(frames) < submit.frames and not submit.identity
        call.key = None if lacking else _key(submit, frames, call.fingerprint, deps)
        self._calls[call.run, submit.task] = call

    def renamed(self, task: int, alias: int, run: int = 0) -> None:
        """Note a second number of a call: a later kernel, which is lost, too, took the call over as ``alias``."""
        call = self._calls.get((run, task))
        if call is not None:
            self._calls[run, alias] = call

    def ended(self, task: int, state: TaskState, place: Position, run: int = 0) -> None:
        """Note how a call ended, and where its value is."""
        call = self._calls.get((run, task))
        if call is not None:
            call.state, call.place = state, place

    def reopened(self, task: int, run: int = 0) -> None:
        """Note that a call that had ended ran again."""
        call = self._calls.get((run, task))
        if call is not None:
            call.state = call.place = None

    def offer(self, calls: Sequence[PriorCall]) -> None:
        """Let later calls match these, in this order."""
        for call in calls:
            self._apps.setdefault(call.app, deque()).append(call)
            if call.key is not None:
                self._offers.setdefault(call.key, deque()).append(call)

    def waiting(self) -> tuple[int, int]:
        """Return how many unmatched calls have a result, and how many are still running."""
        done = running = 0
        for calls in self._offers.values():
            for call in calls:
                if call.state in SUCCESSES:
                    done += 1
                elif call.state is None and not call.run and call.kind == TaskKind.remote:
                    running += 1
        return done, running

    # ----- the calls of the next kernel

    def submit(self, client: int, message: SubmitTask, frames: list[Buffer], app: str) -> bool:
        """Serve a call with the result of an earlier one; False if the caller has to submit it to the table."""
        fn = message.fn
        fingerprint = self.functions.fingerprints[fn] if fn >= 0 else b""
        key = _key(message, frames, fingerprint, [self.keys.get(dep) for dep in message.deps])
        self.keys[message.task] = key
        call = self._match(key)
        if call is not None:
            if message.kind != TaskKind.remote:
                self._replace(call, client, message, frames, app)
                return True
            if self._adopt(call, client, message, app):
                self.adopted += 1
                if len(self.matched) < _EXPLAINED:
                    self.matched[call.task if not call.run else message.task] = app
                return True
        self.anew += 1
        if len(self.reasons) < _EXPLAINED:
            reason = self._reason(message, app, fingerprint, call)
            self.reasons[message.task] = f"Task {message.task} ({app}) runs anew: {reason}."
        return False

    @property
    def done(self) -> bool:
        """Return whether every earlier call is matched."""
        return not self._offers

    def follow(self, before: CallMatching) -> None:
        """Take over what an earlier matching knows: the kernels that it served are still attached."""
        self.keys.update(before.keys)
        self.reasons.update(before.reasons)
        self.matched.update(before.matched)

    def forget(self, tasks: Sequence[int]) -> None:
        """Forget calls whose futures are gone: no later call can have them as inputs."""
        for task in tasks:
            self.keys.pop(task, None)

    def why(self, task: int) -> str | None:
        """Say in one sentence why a call ran again or did not; None if that is unknown."""
        app = self.matched.get(task)
        if app is not None:
            return f"Task {task} ({app}) was called by the kernel before the restart, and was taken over: it ran once."
        return self.reasons.get(task)

    def _match(self, key: bytes | None) -> PriorCall | None:
        """Remove and return the first earlier call of this lineage that did not fail."""
        calls = self._offers.get(key) if key is not None else None
        while calls:
            call = calls.popleft()
            # An empty queue is removed, because ``done`` reads whether any is left.
            if not calls and key is not None:
                del self._offers[key]
            # A failed call runs again, as it would in a notebook that never lost its kernel.
            if call.state is None or call.state in SUCCESSES:
                return call
        return None

    def _adopt(self, call: PriorCall, client: int, message: SubmitTask, app: str) -> bool:
        """Give the task of an earlier call, or its result, to a client; False if the result cannot be read."""
        task = self.table.tasks.get(call.task) if not call.run else None
        if task is not None and task.state not in FINAL:
            self._adopt_unfinished(task, client, message)
            return True
        if task is not None and task.state in SUCCESSES and task.value is not None:
            value: StoredValue | None = task.value
        else:
            # A released task has no value in memory any more, but the event log still has it.
            value = self._read_value(call) if call.state is not None else None
        if value is None:
            return False
        self._adopt_result(call, client, message, app, value)
        return True

    def _adopt_unfinished(self, task: Task, client: int, message: SubmitTask) -> None:
        """Give an unfinished task to another client; the task keeps its number."""
        table = self.table
        task.client, task.released = client, False
        if message.follow:
            task.followers = (task.followers or set()) | {client}
        self._rename(task, message)
        needs = [table.tasks[dep] for dep in message.deps]
        # Inputs that ran in the lost kernel run again in this one, as other tasks.
        if task.state is TaskState.pending and needs != task.needs:
            for need in task.needs:
                if need.dependents is not None and task in need.dependents:
                    need.dependents.remove(task)
            task.needs, task.waiting = [], 0
            table.dependencies.add_needs(task, message.deps)
            if not task.waiting:
                table.needs_met(task, message.at)

    def _rename(self, task: Task, message: SubmitTask) -> None:
        """Have the client use the task's old number; the new number is an alias until the client knows the old one."""
        # After a second restart nobody uses the alias of the kernel in between.
        if task.alias:
            self.table.tasks.pop(task.alias, None)
        task.alias = message.task
        self.table.tasks[message.task] = task
        self.keys[task.id] = self.keys[message.task]
        self.table.out.replies.append((task.client, CallsMatched([(message.task, task.id)]), []))
        self.table.out.events.append(TaskAdopted(message.at, task.id, task.client, message.cell))

    def _adopt_result(self, call: PriorCall, client: int, message: SubmitTask, app: str, value: StoredValue) -> None:
        """Give the result of an ended task to a client."""
        table = self.table
        task = table.tasks.get(call.task) if not call.run else None
        if task is None:
            task = Task(client, message, [], app)
            if not call.run:
                task.id = call.task
            else:
                self._emit_ended(message, client, app)
            # No ended task with a result keeps its arguments (``operations.invariants``).
            task.args = b""
            # Without events: monitoring knows the task of this run, and ``_emit_ended`` reports that of another.
            table.transitions.restore(task, TaskState.exec_done)
            table.tasks[task.id] = task
        task.client, task.released, task.value = client, False, value
        if message.memo and task.call is None:
            table.memo.adopt(task, message, [table.dependencies.need(task, dep) for dep in message.deps])
        if not call.run:
            self._rename(task, message)
        table.resolve(task)

    def _emit_ended(self, message: SubmitTask, client: int, app: str) -> None:
        """Report a task that an earlier run has computed to monitoring."""
        events = self.table.out.events
        events.append(
            TaskSubmitted(
                time=message.at,
                task=message.task,
                app=app,
                state=TaskState.ready,
                executor=self.table.labels[message.executor],
                client=client,
                deps=tuple(message.deps),
                shown=message.shown,
                cell=message.cell,
            )
        )
        events.append(TaskMoved(message.at, message.task, TaskState.exec_done, 0, ""))

    def _replace(self, call: PriorCall, client: int, message: SubmitTask, frames: list[Buffer], app: str) -> None:
        """Run a body again that ran in the lost kernel; tasks that wait for the old task wait for the new one."""
        table = self.table
        table.submit(client, message, frames, app)
        old = table.tasks.get(call.task) if not call.run else None
        if old is None:
            return
        table.dependencies.substitute(old, table.tasks[message.task])
        if old.state not in FINAL:
            table.cancel([old.id], message.at)

    # ----- explanations

    def _reason(self, message: SubmitTask, app: str, fingerprint: bytes, unreadable: PriorCall | None) -> str:
        """Say why a call runs again, as part of a sentence; the result of the call ``unreadable`` is lost."""
        if unreadable is not None:
            return f"the result of the earlier call (task {unreadable.task}) cannot be read any more"
        earlier = self._apps.get(app)
        if not earlier:
            return f"no call of {app} was made before the restart"
        if message.unknown:
            return f"it cannot be known again in another kernel: {message.unknown}"
        for dep in message.deps:
            if self.keys.get(dep) is None:
                return f"its input, task {dep}, cannot be known again in another kernel"
            if dep in self.reasons:
                return f"its input, task {dep}, runs anew"
        same = [call for call in earlier if call.fingerprint == fingerprint]
        if not same:
            parts = self.functions.parts[message.fn] if message.fn >= 0 else {}
            return f"its function has changed since the restart: {changed_parts(earlier[-1].parts, parts)}"
        alike = [call for call in same if call.shown == message.shown]
        if not alike:
            return f"it was not called with these arguments before the restart, but so: {app}({same[0].shown})"
        ended = [call for call in alike if call.state is not None and call.state not in SUCCESSES]
        if ended:
            return (
                f"the earlier call, task {ended[0].task}, {TASK_STATES[ended[0].state or TaskState.failed].predicate}"
            )
        times = "once" if len(alike) == 1 else f"{len(alike)} times"
        return (
            f"it was called {times} before the restart, and what that gave is taken already, or an argument differs in "
            "what is not shown"
        )


def _key(
    submit: SubmitTask, frames: Sequence[Buffer], fingerprint: bytes, deps: Sequence[bytes | None]
) -> bytes | None:
    """Compute the lineage of a call; None if an input has none, or the call cannot be recognized."""
    # A foreign future, an argument without identity, or arguments that only the lost kernel had.
    if submit.kind == TaskKind.external or submit.unknown or (submit.fn < 0 and not submit.identity):
        return None
    made = hashlib.blake2b(fingerprint, digest_size=16)
    made.update(b"%d %d " % (submit.kind, len(deps)))
    for dep in deps:
        if dep is None:
            return None
        made.update(dep)
    if submit.identity:
        made.update(submit.identity)
    else:
        args, buffers = unshared(submit.args, frames)
        made.update(args)
        for buffer in buffers:
            # The lengths distinguish lists of buffers that have the same bytes in a row.
            made.update(b"%d " % size_of(buffer))
            made.update(buffer)
    return made.digest()
