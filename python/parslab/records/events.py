"""What happens in a run, told once: the events that the store writes down and the view is made of.

Past tense, one struct each.  Times are seconds since the epoch, taken where the thing happened.  Made by the
DataFlowKernel loop only; ``monitoring`` is their only reader.  Hot events (the task ones) stay small.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from parslab.records.states import TaskState

__all__ = [
    "ClientAttached",
    "ClientLeft",
    "Event",
    "NoticeRaised",
    "OutputWritten",
    "RunEnded",
    "RunStarted",
    "TaskFailed",
    "TaskMoved",
    "TaskSubmitted",
    "WorkerMoved",
]


class _Event(msgspec.Struct, frozen=True, gc=False, tag=True, tag_field="event"):
    time: float


class RunStarted(_Event, frozen=True):
    """The DataFlowKernel process of a run is up."""

    run: str
    host: str
    pid: int
    run_dir: str
    executors: tuple[str, ...]
    version: str


class RunEnded(_Event, frozen=True):
    """The DataFlowKernel leaves, for this reason."""

    reason: str


class ClientAttached(_Event, frozen=True):
    """A notebook or script has attached to the run; the first one owns it."""

    client: int
    pid: int
    host: str
    owner: bool


class ClientLeft(_Event, frozen=True):
    """A client has gone."""

    client: int
    reason: str


class TaskSubmitted(_Event, frozen=True):
    """A task entered the graph, in state pending or ready."""

    task: int
    app: str
    state: TaskState
    executor: str
    client: int
    deps: tuple[int, ...] = ()
    shown: str = ""
    """Its arguments as a short text."""
    cell: str = ""
    """Which notebook cell made it, e.g. ``In [3]``."""


class TaskMoved(_Event, frozen=True):
    """A task changed its state.  ``time`` is when it entered ``state``, by the clock of the place where that was."""

    task: int
    state: TaskState
    attempt: int = 0
    worker: str = ""


class TaskFailed(_Event, frozen=True):
    """Told just before the move to failed or dep_fail: the error of the task."""

    task: int
    attempt: int
    error: str
    """``Type: message``, one line."""
    traceback: str
    """The remote traceback, bounded."""


class OutputWritten(_Event, frozen=True):
    """A running or just ended task printed something."""

    task: int
    stream: str
    """``stdout`` or ``stderr``."""
    text: str


class WorkerMoved(_Event, frozen=True):
    """A worker is starting, idle, busy or dead."""

    worker: str
    executor: str
    state: str
    host: str = ""
    pid: int = 0
    reason: str = ""


class NoticeRaised(_Event, frozen=True):
    """Something the user should see: one sentence, what happened, where, what to do."""

    level: str
    """``info``, ``warning`` or ``error``."""
    text: str


Event: TypeAlias = (
    RunStarted
    | RunEnded
    | ClientAttached
    | ClientLeft
    | TaskSubmitted
    | TaskMoved
    | TaskFailed
    | OutputWritten
    | WorkerMoved
    | NoticeRaised
)
