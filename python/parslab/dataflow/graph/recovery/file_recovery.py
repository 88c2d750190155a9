"""Makes temporary files again whose only copy was lost, by running the tasks that wrote them [core].

A temporary file stays on the node that wrote it.  When a task asks for one that no node has any more, the file service
asks this module.  It starts a *recovery task*, a copy of the call that wrote the file, unless one is on its way.  The
attempt that has asked fails, and the next attempt waits for the recovery task.  A recovery task whose own inputs are
lost asks in the same way, so exactly the tasks run again whose files somebody needs.

Invariants
----------
- One recovery task at most is on its way for each call, however many tasks ask for its files.
- Each call runs again ``most`` times at most, so no loss that repeats keeps a run busy for ever.
- No recovery task waits for itself, not even through others.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, NamedTuple

from parslab.dataflow.graph.task import Task
from parslab.records.panel import CLIENT_SHIFT
from parslab.records.states import FINAL, SUCCESSES
from parslab.wire.messages.base import TaskKind
from parslab.wire.messages.client import SubmitTask

if TYPE_CHECKING:
    from parslab.wire.messages.base import TaskSpec
    from parslab.wire.stream import Buffer

__all__ = ["MOST_RECOVERIES", "RECOVERY_CLIENT", "FileRecovery", "LostFile", "RecoveryAnswer"]

RECOVERY_CLIENT = (1 << 13) - 1
"""The client number of recovery tasks, which no client has: so nobody gets their results.

It is the largest whose task numbers a browser represents exactly.
"""
MOST_RECOVERIES = 5
"""How often a call runs again, before the loss of its files is an error."""


class LostFile(NamedTuple):
    """A task asks for a temporary file that no node has."""

    task: int
    path: str
    why: str
    """How the last copy was lost, as the end of a sentence: ``was lost with host h2``."""


class RecoveryAnswer(NamedTuple):
    """What becomes of a file that was lost."""

    recovers: bool
    """Whether a recovery task makes it, for which the next attempt of the asking task waits."""
    text: str
    """A sentence that says so, or why not."""
    started: tuple[Task, SubmitTask] | None = None
    """The recovery task that has to enter the graph, and its call; None: there is one, or none helps."""


class _Writer:
    """A call that has written temporary files, with all that it takes to run it again."""

    __slots__ = (
        "app",
        "args",
        "executor",
        "failure",
        "fn",
        "frames",
        "needs",
        "recovery",
        "spec",
        "starts",
        "task",
        "why",
    )

    def __init__(self, task: Task) -> None:
        self.task = task.id
        self.app = task.app
        self.fn = task.fn
        self.executor = task.executor
        self.spec: TaskSpec | None = task.spec
        # The task drops these when it has ended; the lists stay as they are.
        self.args = task.args
        self.frames: list[Buffer] = task.frames
        self.needs: list[Task] = task.needs
        self.recovery: Task | None = None
        """The recovery task that is on its way."""
        self.failure = ""
        """The error of the last recovery task; empty if it succeeded."""
        self.starts = 0
        self.why = ""
        """Why it ran again last."""

    @property
    def name(self) -> str:
        return f"task {self.task} ({self.app})"

    def update(self) -> None:
        """Take note of the end of the recovery task."""
        recovery = self.recovery
        if recovery is not None and recovery.state in FINAL:
            self.recovery = None
            succeeded = recovery.state in SUCCESSES
            self.failure = "" if succeeded or recovery.failure is None else recovery.failure.error


class FileRecovery:
    """The calls that have written temporary files.

    Parameters
    ----------
    tasks
        All tasks, by number; the table owns the dictionary.
    most
        How often a call may run again.

    Attributes
    ----------
    count
        How many recovery tasks were started.
    first
        The number of the first recovery task.
    """

    __slots__ = ("_numbers", "_tasks", "_waits", "_writers", "_written", "count", "first", "most")

    def __init__(self, tasks: dict[int, Task], most: int = MOST_RECOVERIES) -> None:
        self._tasks = tasks
        self.most = most
        self.count = 0
        self.first = RECOVERY_CLIENT << CLIENT_SHIFT
        self._numbers = itertools.count()
        self._written: dict[str, _Writer] = {}
        """By path of a temporary file: the call that wrote it last."""
        self._writers: dict[int, _Writer] = {}
        """By number of a task, also of a recovery task: its call."""
        self._waits: dict[int, set[int]] = {}
        """By number of a task that has asked for lost files: the recovery tasks that make them."""

    @property
    def functions(self) -> set[int]:
        """The functions of all calls that may run again."""
        return {writer.fn for writer in self._writers.values()}

    # ----- files are written and lost

    def wrote(self, task_id: int, path: str) -> None:
        """Note that a running task has written a temporary file."""
        writer = self._writers.get(task_id)
        if writer is None:
            task = self._tasks.get(task_id)
            # A node reports its files again after its connection broke; an ended task has dropped its arguments.
            if task is None or task.state in FINAL:
                return
            writer = self._writers[task_id] = _Writer(task)
        self._written[path] = writer

    def request(self, lost: LostFile, now: float) -> RecoveryAnswer:
        """Decide what becomes of a lost file that a task needs."""
        asking, writer = self._tasks.get(lost.task), self._written.get(lost.path)
        what = f"its only copy {lost.why}"
        if asking is None or asking.state in FINAL:
            return RecoveryAnswer(False, f"{what}; no task that runs needs it")
        if writer is None:
            return RecoveryAnswer(False, f"{what}; this run does not have the call that wrote it any more")
        writer.update()
        refusal = self._refusal(writer, asking)
        if refusal:
            return RecoveryAnswer(False, f"{what}, and {refusal}")
        started = None
        if writer.recovery is None:
            # The copy gets the whole reason: it is all that the panel shows of its arguments.
            writer.why = f"{lost.path} {lost.why}, and task {asking.id} ({asking.app}) needs it"
            started = self._start(writer, now)
        assert writer.recovery is not None
        waits = self._waits.setdefault(asking.id, set())
        waits.add(writer.recovery.id)
        return RecoveryAnswer(True, f"{what}; {writer.name}, which wrote it, runs again", started)

    def _refusal(self, writer: _Writer, asking: Task) -> str:
        """Say why a call does not run again; return nothing if it does, or is on its way."""
        if writer.recovery is not None:
            if self._waits_for(writer.recovery.id, asking.id):
                return f"{writer.name}, which wrote it, needs it itself: write to another path than you read from"
            return ""
        if writer.failure:
            return f"{writer.name}, which wrote it, ran again and failed: {writer.failure}"
        if writer.starts >= self.most:
            return (
                f"{writer.name}, which wrote it, has run again {writer.starts} times: keep the file on the host of the "
                "run (temporary=False), or use nodes that live longer"
            )
        return ""

    def _waits_for(self, waiting: int, task: int) -> bool:
        """Return whether a recovery task is this task, or waits for it."""
        left, seen = [waiting], {waiting}
        while left:
            number = left.pop()
            if number == task:
                return True
            new = self._unfinished(number) - seen
            seen |= new
            left += new
        return False

    def _unfinished(self, number: int) -> set[int]:
        """Return the recovery tasks that a task waits for and that have not ended."""
        waits = self._waits.get(number, set())
        # Recovery tasks leave the table with their end, because nobody has their futures.
        return {one for one in waits if (task := self._tasks.get(one)) is not None and task.state not in FINAL}

    def _start(self, writer: _Writer, now: float) -> tuple[Task, SubmitTask]:
        number = self.first + next(self._numbers)
        call = SubmitTask(
            task=number,
            fn=writer.fn,
            kind=TaskKind.remote,
            executor=writer.executor,
            args=writer.args,
            frames=len(writer.frames),
            deps=tuple(need.id for need in writer.needs),
            at=now,
            shown=f"again for task {writer.task}: {writer.why}",
            spec=writer.spec,
        )
        task = Task(RECOVERY_CLIENT, call, writer.frames, writer.app)
        # Their results are still there, also where a recovery task is making their files again.
        task.needs = list(writer.needs)
        task.released = True
        writer.recovery, writer.failure = task, ""
        writer.starts += 1
        self.count += 1
        self._writers[number] = writer
        return task, call

    # ----- tasks wait

    def awaited(self, task: Task) -> list[Task] | None:
        """Return the recovery tasks that a failed attempt has to wait for; None: it has asked for no lost file."""
        if task.id not in self._waits:
            return None
        unfinished = self._waits[task.id] = self._unfinished(task.id)
        return [self._tasks[number] for number in sorted(unfinished)]

    def why(self, number: int) -> str | None:
        """Say why a task ran again, for ``explain``; None if it did not."""
        writer = self._writers.get(number)
        if writer is None or not writer.starts:
            return None
        if number != writer.task:
            return f"This task runs {writer.name} again: {writer.why}."
        times = "once" if writer.starts == 1 else f"{writer.starts} times"
        return f"Task {number} ({writer.app}) ran, and {times} again as a recovery task: {writer.why}."
