"""The states of tasks, blocks, managers and workers, and what each state means.

``TASK_STATES`` says everything about a task state that is not a transition.  Counts, queries, sentences, the panel's
TypeScript and its colours derive from that table, so a new state is written down once.  The transitions are in
``records.machine``.  State names and numbers are Parsl's where Parsl has them [HPDC19 §4.1, §4.2].
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Literal, TypeAlias

import msgspec

__all__ = [
    "ACTIVE",
    "DEPARTED",
    "ENDED",
    "EXECUTING",
    "FAILURES",
    "FINAL",
    "RANK",
    "SUCCESSES",
    "TASK_STATES",
    "BlockState",
    "Hue",
    "ManagerState",
    "Shape",
    "TaskGroup",
    "TaskState",
    "TaskStateInfo",
    "WorkerState",
]


class TaskState(IntEnum):
    """Where a task is between its call and its end."""

    pending = 0
    running = 2
    exec_done = 3
    failed = 4
    dep_fail = 5
    ready = 6
    launched = 7
    fail_retryable = 8
    memo_done = 9
    joining = 10
    cancelled = 12
    staging = 13

    def __str__(self) -> str:
        return self.name


class TaskGroup(str, Enum):
    """A coarse view of task states, for counts and conditions that do not depend on the exact state."""

    waiting = "waiting"
    """The task needs something before a worker or the notebook process can take it."""
    active = "active"
    """A worker or the notebook process has the task, or the task waits for what its own body called."""
    succeeded = "succeeded"
    """The task ended with a result."""
    failed = "failed"
    """The task ended with an error."""
    cancelled = "cancelled"
    """Somebody cancelled the task."""

    def __str__(self) -> str:
        return self.value


Shape: TypeAlias = Literal["circle", "diamond", "triangle", "triangle_back", "hexagon", "square", "bar"]
"""Outline of a state's symbol, so that colour is never the only difference between two states."""

Hue: TypeAlias = Literal["neutral", "info", "brand", "success", "warning", "error"]
"""Colour of a state's symbol, by its role: each front end maps it to a colour of its theme."""


class TaskStateInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What one task state means, and how it looks.

    Attributes
    ----------
    group
        The coarse state.
    final
        Whether a task stays in this state unless it is reopened.
    has_run
        Whether the body of the task has begun when the task is in this state.  Symbols of such states are solid, those
        of the others hollow.
    label
        One or two words for legends, filters and cells.
    sentence
        What the state means: a sentence without its subject, which is "the task".
    shape, hue
        The symbol.
    column
        The column of the panel's task table that keeps when a task entered the state.  States that exclude each other
        can share a column.
    """

    group: TaskGroup
    final: bool
    has_run: bool
    label: str
    sentence: str
    shape: Shape
    hue: Hue
    column: str

    @property
    def predicate(self) -> str:
        """The sentence as it continues a text that names the task.

        Examples
        --------
        >>> f"task 7 {TASK_STATES[TaskState.exec_done].predicate}"
        'task 7 ended with a result'
        """
        return self.sentence[0].lower() + self.sentence[1:].removesuffix(".")


TASK_STATES: dict[TaskState, TaskStateInfo] = {
    TaskState.pending: TaskStateInfo(
        group=TaskGroup.waiting,
        final=False,
        has_run=False,
        label="Pending",
        sentence="Waits for other tasks whose results it needs.",
        shape="circle",
        hue="neutral",
        column="submitted",
    ),
    TaskState.ready: TaskStateInfo(
        group=TaskGroup.waiting,
        final=False,
        has_run=False,
        label="Ready",
        sentence="Has everything it needs and waits for a worker.",
        shape="diamond",
        hue="info",
        column="ready",
    ),
    TaskState.launched: TaskStateInfo(
        group=TaskGroup.active,
        final=False,
        has_run=False,
        label="Launched",
        sentence="Was sent to a worker, or to the notebook process, which has not begun it yet.",
        shape="triangle",
        hue="brand",
        column="launched",
    ),
    TaskState.running: TaskStateInfo(
        group=TaskGroup.active,
        final=False,
        has_run=True,
        label="Running",
        sentence="Runs on a worker, or in the notebook process.",
        shape="triangle",
        hue="brand",
        column="started",
    ),
    TaskState.staging: TaskStateInfo(
        group=TaskGroup.active,
        final=False,
        has_run=True,
        label="Staging",
        sentence="Fetches or stores a file for other tasks.",
        shape="hexagon",
        hue="brand",
        column="started",
    ),
    TaskState.fail_retryable: TaskStateInfo(
        group=TaskGroup.waiting,
        final=False,
        has_run=False,
        label="To be retried",
        sentence="Waits for its next attempt, because the last one failed.",
        shape="triangle_back",
        hue="warning",
        column="retrying",
    ),
    TaskState.joining: TaskStateInfo(
        group=TaskGroup.active,
        final=False,
        has_run=True,
        label="Joining",
        sentence="Waits for the futures that the body of its join app returned.",
        shape="diamond",
        hue="info",
        column="joining",
    ),
    TaskState.exec_done: TaskStateInfo(
        group=TaskGroup.succeeded,
        final=True,
        has_run=True,
        label="Done",
        sentence="Ended with a result.",
        shape="circle",
        hue="success",
        column="ended",
    ),
    TaskState.memo_done: TaskStateInfo(
        group=TaskGroup.succeeded,
        final=True,
        has_run=False,
        label="Memoized",
        sentence="Ended with the result of an earlier equal call and did not run itself.",
        shape="hexagon",
        hue="success",
        column="ended",
    ),
    TaskState.failed: TaskStateInfo(
        group=TaskGroup.failed,
        final=True,
        has_run=True,
        label="Failed",
        sentence="Failed with an exception, or lost its worker.",
        shape="square",
        hue="error",
        column="ended",
    ),
    TaskState.dep_fail: TaskStateInfo(
        group=TaskGroup.failed,
        final=True,
        has_run=False,
        label="Dep. failed",
        sentence="Never ran, because a task that it needs failed.",
        shape="square",
        hue="warning",
        column="ended",
    ),
    TaskState.cancelled: TaskStateInfo(
        group=TaskGroup.cancelled,
        final=True,
        has_run=True,
        label="Cancelled",
        sentence="Ended because somebody cancelled it.",
        shape="bar",
        hue="neutral",
        column="ended",
    ),
}
"""All task states in the order of a task's life, which legends and counters follow."""

FINAL = frozenset(state for state, info in TASK_STATES.items() if info.final)
"""A task in one of these states does not move any more, unless it is reopened."""

SUCCESSES = frozenset(state for state, info in TASK_STATES.items() if info.group is TaskGroup.succeeded)
"""Final states that carry a result."""

FAILURES = frozenset(state for state, info in TASK_STATES.items() if info.group is TaskGroup.failed)
"""Final states that carry an error."""

ACTIVE = frozenset(state for state, info in TASK_STATES.items() if info.group is TaskGroup.active)
"""States of tasks that have left the queue and have not ended."""

EXECUTING = frozenset(state for state in ACTIVE if TASK_STATES[state].column == "started")
"""States in which somebody executes the body of a task."""

_COLUMNS = list(dict.fromkeys(info.column for info in TASK_STATES.values() if not info.final))
RANK: dict[TaskState, int] = {
    # Iterates over the enum, so that a state without a row in the table fails at import.
    state: len(_COLUMNS) if TASK_STATES[state].final else _COLUMNS.index(TASK_STATES[state].column)
    for state in TaskState
}
"""How far a task is: a higher rank follows a lower one, and states of equal rank exclude each other."""


class BlockState(str, Enum):
    """Where a block is between its request and its end.  A block is one batch job of one or more nodes."""

    requested = "requested"
    """The provider has not answered yet with a job number."""
    queued = "queued"
    """The scheduler has the job and has not started it."""
    running = "running"
    """The job runs; some of its managers may not be connected yet."""
    draining = "draining"
    """The block gets no new tasks and leaves when its last task has ended."""
    finished = "finished"
    """The job ended by itself: its walltime was over, or it had nothing left to do."""
    failed = "failed"
    """The scheduler refused the job or could not start it, or the job failed."""
    scaled_in = "scaled_in"
    """parslab ended the job, because nobody needed it or because the run was over."""
    missing = "missing"
    """The scheduler does not know the job any more, and no manager of it is connected."""

    def __str__(self) -> str:
        return self.value


ENDED = frozenset({BlockState.finished, BlockState.failed, BlockState.scaled_in, BlockState.missing})
"""A block in one of these states does not move any more."""


class ManagerState(str, Enum):
    """Where a manager is between its handshake and its end.  Each node of a block has one manager."""

    ready = "ready"
    """The manager takes tasks."""
    held = "held"
    """The manager keeps its tasks and gets no new ones until somebody releases it."""
    draining = "draining"
    """The manager gets no new tasks and leaves when its last task has ended."""
    gone = "gone"
    """The manager left in good order."""
    lost = "lost"
    """The manager sent no heartbeat for too long, or its connection broke."""
    refused = "refused"
    """Its Python, its packages or its protocol do not fit; the reason names the side to fix."""

    def __str__(self) -> str:
        return self.value


DEPARTED = frozenset({ManagerState.gone, ManagerState.lost, ManagerState.refused})
"""A manager in one of these states is not connected and takes no tasks any more."""


class WorkerState(str, Enum):
    """Where a worker (a process that runs one task at a time) is in its life."""

    starting = "starting"
    """Its process was started and has not sent its hello yet."""
    idle = "idle"
    """It waits for a task."""
    busy = "busy"
    """It holds a task, which it runs or is about to run."""
    dead = "dead"
    """Its process has ended, or its connection broke."""

    def __str__(self) -> str:
        return self.value
