"""Messages between the manager of a node and the DataFlowKernel."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from parslab.records.mpi import MpiNode
from parslab.records.states import WorkerState
from parslab.wire.messages.base import DefineFunction, ForgetFunctions, OutputPrinted, Refused, WireMessage
from parslab.wire.messages.worker import InterruptTask, LeaveWhenDone, Outcome, RunTask, WorkerReport

__all__ = [
    "BlocksMade",
    "BlocksSent",
    "HeldTask",
    "KeepTasks",
    "LinkHeartbeat",
    "ManagerAccepted",
    "ManagerBroken",
    "ManagerDraining",
    "ManagerGivenUp",
    "ManagerHello",
    "ManagerLeft",
    "ManagerMessage",
    "NodeSample",
    "TaskSample",
    "ToManagerMessage",
    "WorkerStateChanged",
]


class LinkHeartbeat(WireMessage, tag=90):
    """(both ways) The sender is alive; each side sends this when it has nothing else to send."""


class HeldTask(NamedTuple):
    """A task that a manager has kept while it had no DataFlowKernel."""

    task: int
    attempt: int
    since: float
    """When its body began; 0 if it has not begun, or has ended meanwhile."""


class ManagerHello(WireMessage, tag=91):
    """First message of a manager.  It describes its node and its workers."""

    manager: str
    protocol: int
    package: str
    python: str
    pid: int
    host: str
    executor: int
    block: str
    workers: int
    prefetch: int
    cores: int
    memory: int
    """Bytes of memory that its workers may use."""
    accelerators: int = 0
    nonce: str = ""
    """Differs for each manager process: a manager that was removed must not return under its old name."""
    nodes: tuple[MpiNode, ...] = ()
    """The nodes of its block, of which its MPI tasks get their share; empty without MPI mode."""
    mpiexec: str = ""
    """Whose ``mpiexec`` it has found: ``openmpi``, ``mpich``, or empty."""
    held: tuple[HeldTask, ...] = ()
    """The tasks that it has kept since it lost an earlier DataFlowKernel of the run."""
    dashboard: str = ""
    """The address of the dashboard of the executor on which it runs its tasks; empty where there is none."""


class ManagerDraining(WireMessage, tag=92):
    """(manager) It accepts no more tasks, and leaves when it has finished those that it holds."""

    reason: str


class ManagerLeft(WireMessage, tag=93):
    """(manager) It leaves, and holds no task."""

    reason: str


class WorkerStateChanged(WireMessage, tag=94):
    """(manager) One of its workers entered a state."""

    worker: str
    state: WorkerState
    pid: int
    reason: str = ""


class NodeSample(WireMessage, tag=95):
    """(manager) How busy its node is; see ``NodeSampled``."""

    cpu: float
    memory: int
    load: float


class TaskSample(WireMessage, tag=96):
    """(manager) What a task has used so far; see ``TaskSampled``."""

    task: int
    attempt: int
    cpu: float
    memory: int
    read: int
    written: int


class ManagerBroken(WireMessage, tag=97):
    """(manager) It leaves, because no worker can be started on its node."""

    reason: str


class ManagerAccepted(WireMessage, tag=98):
    """(DataFlowKernel) The manager is accepted, and gets tasks from now on."""

    disowned: tuple[tuple[int, int], ...] = ()
    """Tasks of its hello, with their attempts, that nobody wants from it: it stops them, and does not report their
    ends."""


class KeepTasks(WireMessage, tag=102):
    """(DataFlowKernel) It will end, and another one goes on with the run: the manager keeps its tasks until then."""

    seconds: float


class ManagerGivenUp(WireMessage, tag=99):
    """(DataFlowKernel) The manager counts as lost: it ends its workers, and connects again under another name."""

    reason: str


class BlocksMade(WireMessage, tag=105):
    """(manager) Which large results in the frames of this batch it keeps; the first message of the batch."""

    kept: tuple[tuple[int, int], ...]
    """Places of frames in the batch, and the numbers under which they are kept, which are below 0."""


ManagerMessage: TypeAlias = (
    ManagerHello
    | LinkHeartbeat
    | Outcome
    | WorkerReport
    | OutputPrinted
    | ManagerDraining
    | ManagerLeft
    | WorkerStateChanged
    | NodeSample
    | TaskSample
    | ManagerBroken
    | BlocksMade
)
"""The messages that a manager sends."""


class BlocksSent(WireMessage, tag=101):
    """(DataFlowKernel) What the manager keeps of the large frames of this batch; the first message of the batch.

    The numbers are of this connection; those below 0 are of ``BlocksMade``.  A frame that the manager has already is
    empty in the batch.
    """

    kept: tuple[tuple[int, int], ...] = ()
    """Places of frames in the batch, and the numbers under which to keep them."""
    known: tuple[tuple[int, int], ...] = ()
    """Places of frames in the batch, and the numbers under which they were kept."""
    forgotten: tuple[int, ...] = ()
    """Numbers of frames that are not needed any more."""


ToManagerMessage: TypeAlias = (
    ManagerAccepted
    | BlocksSent
    | ManagerGivenUp
    | KeepTasks
    | Refused
    | LinkHeartbeat
    | RunTask
    | DefineFunction
    | ForgetFunctions
    | InterruptTask
    | LeaveWhenDone
)
"""The messages that a manager receives."""
