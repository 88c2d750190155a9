"""Defines the events of a run, from which the monitoring builds its view and fills its store.

Each event is a struct with a name in the past tense.  Times are seconds since the epoch, taken on the machine where the
event happened.  Only the loop of the DataFlowKernel makes events, and only ``monitoring`` reads them.  A run may have
millions of task events, so these are small.
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
    "FailureRecalled",
    "LeaseMoved",
    "ManagerMoved",
    "NodeSampled",
    "NoticeRaised",
    "OutputWritten",
    "OwnJobFound",
    "RunEnded",
    "RunStarted",
    "TaskAdopted",
    "TaskFailed",
    "TaskMoved",
    "TaskPlaced",
    "TaskReopened",
    "TaskSampled",
    "TaskSubmitted",
    "WorkerMoved",
]


# gc=False: events are in no reference cycle, and a burst of them would slow each garbage collection.
class _Event(msgspec.Struct, frozen=True, gc=False, tag=True, tag_field="event"):
    time: float


class RunStarted(_Event, frozen=True):
    """The DataFlowKernel process of a run has started."""

    run: str
    host: str
    pid: int
    run_dir: str
    executors: tuple[str, ...]
    version: str
    notebook: str = ""


class RunEnded(_Event, frozen=True):
    """The DataFlowKernel process ends, for this reason."""

    reason: str


class OwnJobFound(_Event, frozen=True):
    """The DataFlowKernel itself runs in a batch job."""

    job: str
    """The job, as people read it: ``Slurm job 1234``."""
    ends: float | None
    """When it ends; None: nobody knows."""


class ClientAttached(_Event, frozen=True):
    """A notebook or script attached to the run; the first one owns it."""

    client: int
    pid: int
    host: str
    owner: bool
    notebook: str = ""


class ClientLeft(_Event, frozen=True):
    """A client disconnected."""

    client: int
    reason: str


class LeaseMoved(_Event, frozen=True):
    """The lease of the run changed.

    The run stays ``linger`` seconds without clients.  It has had none since ``away`` and ends at ``ends`` unless one
    attaches.
    """

    linger: float
    away: float | None
    ends: float | None


class TaskSubmitted(msgspec.Struct, gc=False, tag=True, tag_field="event"):
    """A task entered the graph, in state pending or ready.

    Until the monitoring reads this event it is ``open``, and the loop writes the first moves of the task into it.  That
    saves three events for most tasks, and is why this struct is not frozen.  ``state`` is then the state that the task
    has reached, and ``worker`` the last worker that had it.  The times are those at which it entered the states, or 0.0
    for a state that it did not enter.
    """

    time: float

    task: int
    app: str
    state: TaskState
    executor: str
    client: int
    deps: tuple[int, ...] = ()
    shown: str = ""
    """The arguments as a short text."""
    cell: str = ""
    """The notebook cell that called the task, such as ``In [3]``."""
    open: bool = False
    ready: float = 0.0
    launched: float = 0.0
    started: float = 0.0
    joining: float = 0.0
    ended: float = 0.0
    worker: str = ""
    recalled: bool = False
    """Whether the task ended under a lost DataFlowKernel: the store knows more about it than this event."""


class TaskAdopted(_Event, frozen=True):
    """An equal call of the next notebook kernel adopted the task."""

    task: int
    client: int
    cell: str = ""


class TaskMoved(_Event, frozen=True):
    """A task entered ``state`` at ``time``, by the clock of the machine where that happened."""

    task: int
    state: TaskState
    attempt: int = 0
    worker: str = ""


class TaskFailed(_Event, frozen=True):
    """An attempt failed; the move to a final state or to the next attempt follows."""

    task: int
    attempt: int
    error: str
    """``Type: message``, one line."""
    traceback: str
    """The remote traceback, bounded."""
    reason: str = ""
    """The name of a ``Reason``; empty: the function raised."""
    started: float = 0.0
    """When the body began; 0: it never did, or only the time of sending is known."""
    worker: str = ""


class FailureRecalled(_Event, frozen=True):
    """A task failed under a lost DataFlowKernel; ``TaskSubmitted`` has announced it before."""

    task: int
    app: str
    executor: str
    error: str


class TaskReopened(_Event, frozen=True):
    """A client retries a task that had ended without a result; the numbers of its attempts continue."""

    task: int
    state: TaskState
    """Pending or joining."""
    was: TaskState
    attempt: int
    app: str
    executor: str
    client: int


class OutputWritten(_Event, frozen=True):
    """A task that runs or has just ended printed something."""

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
    """A block entered a state, or the DataFlowKernel learned more about it."""

    executor: str
    block: str
    """The number of the block in its executor: ``0``, ``1``, ..."""
    state: str
    """The name of a ``BlockState``."""
    job: str = ""
    """The job number of the scheduler."""
    nodes: int = 1
    reason: str = ""
    """Why it entered the state, in the words of the scheduler or the shell where there are any."""
    stdout: str = ""
    """The path of the file with the output of the job."""
    stderr: str = ""
    price: float | None = None
    """The price of the job per hour; None if nobody says."""


class ManagerMoved(_Event, frozen=True):
    """A manager entered a state."""

    manager: str
    executor: str
    block: str
    state: str
    """The name of a ``ManagerState``."""
    host: str
    pid: int
    workers: int
    cores: int = 0
    memory: int = 0
    """The node's memory in bytes."""
    reason: str = ""


class NodeSampled(_Event, frozen=True):
    """A manager measured how busy its node is."""

    manager: str
    cpu: float
    """Percent of all cores, since the last sample."""
    memory: int
    """Bytes in use."""
    load: float
    """The load average of the last minute."""


class TaskSampled(_Event, frozen=True):
    """A manager measured what a task and all of its processes have used, while it ran or when it ended."""

    task: int
    attempt: int
    cpu: float
    """Seconds of CPU time."""
    memory: int
    """The largest number of resident bytes in any sample."""
    read: int
    """Bytes read from files and devices."""
    written: int


class TaskPlaced(_Event, frozen=True):
    """An MPI task got nodes, or cores of a node, and was sent to their manager."""

    task: int
    attempt: int
    nodes: str
    """The names of its nodes, with commas between them."""
    cores: str
    """The cores that its ranks are bound to, with commas between them; empty where they are not bound."""
    launch: str
    """The command that starts its ranks (``PARSL_MPI_PREFIX``)."""


class ExecutorStopped(_Event, frozen=True):
    """An executor takes no more tasks and gets no more blocks, for this reason."""

    executor: str
    reason: str


class NoticeRaised(_Event, frozen=True):
    """Something happened that the user should see: one sentence says what, where, and what to do."""

    level: str
    """``info``, ``warning`` or ``error``."""
    text: str


Event: TypeAlias = (
    RunStarted
    | OwnJobFound
    | RunEnded
    | ClientAttached
    | ClientLeft
    | LeaseMoved
    | TaskSubmitted
    | TaskAdopted
    | TaskMoved
    | TaskReopened
    | TaskFailed
    | FailureRecalled
    | OutputWritten
    | WorkerMoved
    | BlockMoved
    | ManagerMoved
    | NodeSampled
    | TaskSampled
    | TaskPlaced
    | ExecutorStopped
    | NoticeRaised
)
