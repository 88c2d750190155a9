"""What happens in a run, told once: the events that the store writes down and the view is made of.

Past tense, one struct each.  Times are seconds since the epoch, taken where the thing happened.  Made by the
DataFlowKernel loop only; ``monitoring`` is their only reader.  Hot events (the task ones) stay small.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from parslab.records.states import TaskState, WorkerState

__all__ = [
    "BlockMoved",
    "ClientAttached",
    "ClientLeft",
    "Event",
    "LeaseMoved",
    "ManagerMoved",
    "NodeSampled",
    "NoticeRaised",
    "OutputWritten",
    "RunEnded",
    "RunStarted",
    "TaskAdopted",
    "TaskFailed",
    "TaskMoved",
    "TaskReopened",
    "TaskSampled",
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
    notebook: str = ""


class RunEnded(_Event, frozen=True):
    """The DataFlowKernel leaves, for this reason."""

    reason: str


class ClientAttached(_Event, frozen=True):
    """A notebook or script has attached to the run; the first one owns it."""

    client: int
    pid: int
    host: str
    owner: bool
    notebook: str = ""


class ClientLeft(_Event, frozen=True):
    """A client has gone."""

    client: int
    reason: str


class LeaseMoved(_Event, frozen=True):
    """How long the run stays without clients, since when it is without any, and when it ends if nobody comes."""

    linger: float
    away: float | None
    ends: float | None


class TaskSubmitted(msgspec.Struct, gc=False, tag=True, tag_field="event"):
    """A task entered the graph, in state pending or ready.

    While it is ``open`` nobody has been told of it, and what the task does next is written here, which saves events:
    then ``state`` is where it has come, ``worker`` who had it last, and the times say when it was in the states between
    (0.0: it was not).  Only moves forward are written here.
    """

    time: float

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
    open: bool = False
    ready: float = 0.0
    launched: float = 0.0
    started: float = 0.0
    joining: float = 0.0
    ended: float = 0.0
    worker: str = ""
    recalled: bool = False
    """It ended under a DataFlowKernel that was lost: what the store knows of it is more than this."""


class TaskAdopted(_Event, frozen=True):
    """An equal call of the next kernel has taken a task over."""

    task: int
    client: int
    cell: str = ""


class TaskMoved(_Event, frozen=True):
    """A task changed its state.  ``time`` is when it entered ``state``, by the clock of the place where that was."""

    task: int
    state: TaskState
    attempt: int = 0
    worker: str = ""


class TaskFailed(_Event, frozen=True):
    """Told just before the move to failed or dep_fail, or on to another attempt: the error of this one."""

    task: int
    attempt: int
    error: str
    """``Type: message``, one line."""
    traceback: str
    """The remote traceback, bounded."""
    reason: str = ""
    """Name of a ``Reason``; empty: the function raised."""
    started: float = 0.0
    """When its body began; 0: when it was told to run, or never."""
    worker: str = ""


class TaskReopened(_Event, frozen=True):
    """A task that had ended without a result is to be tried again; its attempts go on counting."""

    task: int
    state: TaskState
    """Pending or joining."""
    was: TaskState
    attempt: int
    app: str
    executor: str
    client: int


class OutputWritten(_Event, frozen=True):
    """A running or just ended task printed something."""

    task: int
    stream: str
    """``stdout`` or ``stderr``."""
    text: str


class WorkerMoved(_Event, frozen=True):
    """A worker entered a state."""

    worker: str
    executor: str
    state: WorkerState
    host: str = ""
    pid: int = 0
    reason: str = ""
    manager: str = ""
    """The manager that started it; empty for workers of the DataFlowKernel itself."""


class BlockMoved(_Event, frozen=True):
    """A block entered a state, or something more is known of it."""

    executor: str
    block: str
    """Its id: ``0``, ``1``, ... in each executor."""
    state: str
    """Name of a ``BlockState``."""
    job: str = ""
    """What the scheduler calls it."""
    nodes: int = 1
    reason: str = ""
    """Why, in the scheduler's or the shell's own words where there are any."""
    stdout: str = ""
    """Path of the file with the output of the job."""
    stderr: str = ""


class ManagerMoved(_Event, frozen=True):
    """A manager entered a state."""

    manager: str
    executor: str
    block: str
    state: str
    """Name of a ``ManagerState``."""
    host: str
    pid: int
    workers: int
    cores: int = 0
    memory: int = 0
    """Bytes of the node."""
    reason: str = ""


class NodeSampled(_Event, frozen=True):
    """How busy the node of a manager is."""

    manager: str
    cpu: float
    """Percent of all its cores, since the sample before."""
    memory: int
    """Bytes in use."""
    load: float
    """Processes that ran or wanted to, mean of the last minute."""


class TaskSampled(_Event, frozen=True):
    """What a task has used, with all processes that it started; told while it runs and when it ends."""

    task: int
    attempt: int
    cpu: float
    """Seconds of CPU time."""
    memory: int
    """Most bytes resident at a time, as far as seen."""
    read: int
    """Bytes read from files and devices."""
    written: int


class ExecutorStopped(_Event, frozen=True):
    """An executor takes no tasks any more, and gets no blocks; why."""

    executor: str
    reason: str


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
    | LeaseMoved
    | TaskSubmitted
    | TaskAdopted
    | TaskMoved
    | TaskReopened
    | TaskFailed
    | OutputWritten
    | WorkerMoved
    | BlockMoved
    | ManagerMoved
    | NodeSampled
    | TaskSampled
    | ExecutorStopped
    | NoticeRaised
)
