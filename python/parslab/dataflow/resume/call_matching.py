"""What the calls of a lost kernel gave, handed to equal calls of the next one [core].

A kernel was restarted or killed, its notebook is run again, and calls come that were made before.  A call is known
again by its lineage: what its function is, what its arguments are, and the same of every call that they come from.
Each earlier call is handed on once, in the order in which they were made.  Lineage is worked out only here, from the
run's record, when a kernel has come back: calls of every day pay nothing for it.

Calls that failed are made again.  Bodies that run in the kernel (joins, threads) are, too; what waits for them then
waits for the new one.
"""

from __future__ import annotations

import hashlib
from collections import deque
from typing import TYPE_CHECKING, Any

from parslab.dataflow.graph.explain import changed_parts
from parslab.dataflow.graph.task import Task
from parslab.records.events import TaskAdopted, TaskMoved, TaskSubmitted
from parslab.records.states import FINAL, SUCCESSES, TASK_STATES, TaskState
from parslab.wire.messages.base import TaskKind
from parslab.wire.messages.client import CallsMatched

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.dataflow.graph.function_registry import FunctionRegistry
    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.graph.values import StoredValue
    from parslab.wire.messages.client import SubmitTask
    from parslab.wire.stream import Buffer

__all__ = ["CallMatching", "PriorCall"]

_EXPLAINED = 10_000
"""Calls that ran anew whose reason is kept, and as many that did not."""


class PriorCall:
    """A call that a lost kernel made.

    Parameters
    ----------
    task, kind, app, shown
        As in the call.
    fingerprint, parts
        Of its function.
    run
        0: made in this run; else the number of an earlier run whose results this one inherits.

    Attributes
    ----------
    key
        Its lineage; None if it cannot be recognized.
    state
        How it ended; None while it has not.
    place
        Where its value is in the event log.
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
        self.place: Any = None


class CallMatching:
    """All calls of lost kernels of one notebook that nobody has made again yet.

    Parameters
    ----------
    table, codes
        Of this run.
    value
        Reads the value of an ended call; None when it cannot be read any more.
    """

    def __init__(
        self, table: TaskTable, codes: FunctionRegistry, value: Callable[[PriorCall], StoredValue | None]
    ) -> None:
        self.table = table
        self.codes = codes
        self._value = value
        self._calls: dict[tuple[int, int], PriorCall] = {}
        self._offers: dict[bytes, deque[PriorCall]] = {}
        self._apps: dict[str, deque[PriorCall]] = {}
        self._keys: dict[int, bytes | None] = {}
        self._anew: dict[int, str] = {}
        self._taken: dict[int, str] = {}
        self.adopted = 0
        """Calls whose result was there, or was still being made."""
        self.anew = 0
        """Calls that had to be made again, or are new."""

    # ----- what there was

    def called(self, call: PriorCall, submit: SubmitTask, frames: Sequence[Buffer]) -> None:
        """A lost kernel made this call; calls come in their order."""
        deps: list[bytes | None] = []
        for dep in submit.deps:
            need = self._calls.get((call.run, dep))
            deps.append(need.key if need is not None else None)
        call.key = _key(submit, frames, call.fingerprint, deps)
        self._calls[call.run, submit.task] = call

    def renamed(self, task: int, alias: int, run: int = 0) -> None:
        """A kernel that was lost, too, had taken this call over and knew it by another number for a while."""
        call = self._calls.get((run, task))
        if call is not None:
            self._calls[run, alias] = call

    def ended(self, task: int, state: TaskState, place: Any, run: int = 0) -> None:
        """How it ended, and where its value is."""
        call = self._calls.get((run, task))
        if call is not None:
            call.state, call.place = state, place

    def reopened(self, task: int, run: int = 0) -> None:
        """It ran again."""
        call = self._calls.get((run, task))
        if call is not None:
            call.state = call.place = None

    def offer(self, calls: Sequence[PriorCall]) -> None:
        """These may be taken over, in this order."""
        for call in calls:
            self._apps.setdefault(call.app, deque()).append(call)
            if call.key is not None:
                self._offers.setdefault(call.key, deque()).append(call)

    def waiting(self) -> tuple[int, int]:
        """How many offered calls have a result, and how many are still being worked on."""
        done = going = 0
        for calls in self._offers.values():
            for call in calls:
                if call.state in SUCCESSES:
                    done += 1
                elif call.state is None and not call.run and call.kind == TaskKind.remote:
                    going += 1
        return done, going

    # ----- what comes

    def submit(self, client: int, message: SubmitTask, frames: list[Buffer], app: str) -> bool:
        """Serve a call of the next kernel; False when it has to be made anew (by whoever asks)."""
        fn = message.fn
        fingerprint = self.codes.fingerprints[fn] if fn >= 0 else b""
        key = _key(message, frames, fingerprint, [self._keys.get(dep) for dep in message.deps])
        self._keys[message.task] = key
        call = self._take(key)
        if call is not None:
            if message.kind != TaskKind.remote:
                self._replace(call, client, message, frames, app)
                return True
            if self._hand_on(call, client, message, app):
                self.adopted += 1
                if len(self._taken) < _EXPLAINED:
                    self._taken[call.task if not call.run else message.task] = app
                return True
        self.anew += 1
        if len(self._anew) < _EXPLAINED:
            reason = self._reason(message, app, fingerprint, call)
            self._anew[message.task] = f"Task {message.task} ({app}) runs anew: {reason}."
        return False

    @property
    def done(self) -> bool:
        """Nothing is left to be taken over."""
        return not self._offers

    def follow(self, before: CallMatching) -> None:
        """Take the place of an adoption that began earlier, for kernels that are still there."""
        self._keys.update(before._keys)
        self._anew.update(before._anew)
        self._taken.update(before._taken)

    def forget(self, tasks: Sequence[int]) -> None:
        """Nobody can pass these calls on any more."""
        for task in tasks:
            self._keys.pop(task, None)

    def why(self, task: int) -> str | None:
        """Why a call was made anew, or that it was not, in one sentence; None when that is not known (any more)."""
        taken = self._taken.get(task)
        if taken is not None:
            return (
                f"Task {task} ({taken}) was called by the kernel before the restart, and was taken over: it ran once."
            )
        return self._anew.get(task)

    def _take(self, key: bytes | None) -> PriorCall | None:
        calls = self._offers.get(key) if key is not None else None
        while calls:
            call = calls.popleft()
            if not calls and key is not None:
                del self._offers[key]
            if call.state is None or call.state in SUCCESSES:
                return call
        return None

    def _hand_on(self, call: PriorCall, client: int, message: SubmitTask, app: str) -> bool:
        task = self.table.tasks.get(call.task) if not call.run else None
        if task is not None and task.state not in FINAL:
            self._take_over(task, client, message)
            return True
        if task is not None and task.state in SUCCESSES and task.value is not None:
            value: StoredValue | None = task.value
        else:
            value = self._value(call) if call.state is not None else None
        if value is None:
            return False
        self._give(call, client, message, app, value)
        return True

    def _take_over(self, task: Task, client: int, message: SubmitTask) -> None:
        """A task that goes on belongs to another client now, which keeps its number."""
        table = self.table
        task.client, task.released = client, False
        if message.follow:
            task.followers = (task.followers or set()) | {client}
        self._name(task, message)
        needs = [table.tasks[dep] for dep in message.deps]
        if task.state is TaskState.pending and needs != task.needs:
            for need in task.needs:
                if need.dependents is not None and task in need.dependents:
                    need.dependents.remove(task)
            task.needs, task.waiting = [], 0
            table.take_needs(task, message.deps)
            if not task.waiting:
                table.needs_met(task, message.at)

    def _name(self, task: Task, message: SubmitTask) -> None:
        """Both sides call it by its old number from now on; the new one means it until everybody knows."""
        if task.alias:
            self.table.tasks.pop(task.alias, None)
        task.alias = message.task
        self.table.tasks[message.task] = task
        self._keys[task.id] = self._keys[message.task]
        self.table.out.replies.append((task.client, CallsMatched([(message.task, task.id)]), []))
        self.table.out.events.append(TaskAdopted(message.at, task.id, task.client, message.cell))

    def _give(self, call: PriorCall, client: int, message: SubmitTask, app: str, value: StoredValue) -> None:
        """A task that has ended, with a value that was kept."""
        table, number = self.table, message.task
        old = table.tasks.get(call.task) if not call.run else None
        if old is None:
            old = Task(client, message, [], app)
            if not call.run:
                old.id = call.task
            else:
                deps = tuple(message.deps)
                label = table.labels[message.executor]
                table.out.events.append(
                    TaskSubmitted(
                        message.at, number, app, TaskState.ready, label, client, deps, message.shown, message.cell
                    )
                )
                table.out.events.append(TaskMoved(message.at, number, TaskState.exec_done, 0, ""))
            old.args, old.state = b"", TaskState.exec_done
            table.tasks[old.id] = old
        old.client, old.released, old.value = client, False, value
        if message.memo and old.call is None:
            table.memo.adopt(old, message, [table.need(old, dep) for dep in message.deps])
        if not call.run:
            self._name(old, message)
        table.tell_end(old)

    def _replace(self, call: PriorCall, client: int, message: SubmitTask, frames: list[Buffer], app: str) -> None:
        """A body that ran in the lost kernel runs in this one; what waits for it waits for the new one."""
        table = self.table
        table.submit(client, message, frames, app)
        old = table.tasks.get(call.task) if not call.run else None
        if old is None:
            return
        table.substitute(old, table.tasks[message.task])
        if old.state not in FINAL:
            table.cancel([old.id], message.at)

    # ----- why not

    def _reason(self, message: SubmitTask, app: str, fingerprint: bytes, taken: PriorCall | None) -> str:
        """Why a call has to be made anew, as the rest of a sentence."""
        if taken is not None:
            return f"the result of the earlier call (task {taken.task}) cannot be read any more"
        earlier = self._apps.get(app)
        if not earlier:
            return f"no call of {app} was made before the restart"
        if message.unknown:
            return f"it cannot be known again in another kernel: {message.unknown}"
        for dep in message.deps:
            if self._keys.get(dep) is None:
                return f"its input, task {dep}, cannot be known again in another kernel"
            if dep in self._anew:
                return f"its input, task {dep}, runs anew"
        same = [call for call in earlier if call.fingerprint == fingerprint]
        if not same:
            parts = self.codes.parts[message.fn] if message.fn >= 0 else {}
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
    """The lineage of a call; None where a call that it comes from has none."""
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
        made.update(submit.args)
        for frame in frames:
            made.update(b"%d " % memoryview(frame).nbytes)
            made.update(frame)
    return made.digest()
