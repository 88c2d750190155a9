"""Messages between a client (a notebook kernel, a script) and the DataFlowKernel."""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from parslab.records.states import TaskState
from parslab.wire.messages.base import (
    DefineFunction,
    Failure,
    ForgetFunctions,
    OutputPrinted,
    Refused,
    TaskSpec,
    TaskValue,
    WireMessage,
)
from parslab.wire.notebooks import NotebookPlace

__all__ = [
    "BatchesAcknowledged",
    "CallsMatched",
    "CancelTasks",
    "ClientHello",
    "ClientMessage",
    "ClientResumed",
    "FetchValue",
    "FollowOutput",
    "JoinBodyReturned",
    "KernelMessage",
    "LocalTaskFinished",
    "LocalTaskStarted",
    "PanelReply",
    "PanelRequest",
    "PanelUpdate",
    "PriorTasks",
    "RedefinedApp",
    "ReleaseTasks",
    "ReproducerWritten",
    "RequestDefinitions",
    "RequestReproducer",
    "RequestRetryCost",
    "RequestValue",
    "RetryCost",
    "RetryHandlerChanged",
    "RetryTasks",
    "RunLocalTask",
    "SetLinger",
    "ShutDownRun",
    "SubmitTask",
    "TaskResolved",
    "TasksReopened",
    "ValueNotPicklable",
    "Welcome",
]


class ClientHello(WireMessage, tag=1):
    """First message of a client on the listening socket."""

    protocol: int
    package: str
    python: str
    pid: int
    host: str
    notebook: str = ""
    """Path of the notebook that the client runs for, by which earlier kernels are found; empty for a script."""
    client: int = -1
    """The number that the client had before its DataFlowKernel was lost; -1: none."""
    notebook_place: NotebookPlace | None = None
    """Where the notebook is now, if this client has newer information than the run."""
    panel: bool = False
    """Whether this is only a panel: it sends nothing but ``PanelRequest``, and does not keep the run alive."""


class SubmitTask(WireMessage, tag=3):
    """Call an app.  ``args`` is the pickle of (args, kwargs), in which futures are references into ``deps``."""

    task: int
    fn: int
    kind: int
    executor: int
    args: bytes
    frames: int
    deps: tuple[int, ...]
    at: float
    shown: str = ""
    cell: str = ""
    name: str = ""
    """Shown instead of the function's name; tasks without a function (local, join, external) have no other."""
    follow: bool = False
    """Send the task's output to the client while it runs."""
    spec: TaskSpec | None = None
    identity: bytes = b""
    """Hash of the arguments, the same in every process, where ``args`` is not; futures count by their position."""
    memo: bool = False
    """Whether the app caches results: the DataFlowKernel looks for one before the task runs, and stores the new one."""
    parent: int = -1
    """The task of the join app whose body made this call, and with which it is cancelled; -1: none."""
    unknown: str = ""
    """Why the call has no identity, although its pickle cannot replace one; such a call equals no other call."""


class CancelTasks(WireMessage, tag=4):
    """Cancel these tasks."""

    tasks: list[int]


class ReleaseTasks(WireMessage, tag=5):
    """Drop the results of these tasks: no future of this client can ask for them any more."""

    tasks: list[int]


class FetchValue(WireMessage, tag=6):
    """Request the value of this task, which was too large for ``TaskResolved``."""

    task: int


class LocalTaskFinished(WireMessage, tag=7):
    """A local or external task ended at the client, which keeps the value until ``RequestValue``."""

    task: int
    state: TaskState
    started: float
    ended: float
    failure: Failure | None = None


class JoinBodyReturned(WireMessage, tag=8):
    """The body of a join app returned these tasks (``many``: a list, else a single future)."""

    task: int
    tasks: tuple[int, ...]
    many: bool
    started: float


class ValueNotPicklable(WireMessage, tag=10):
    """The value of this local task, which ``RequestValue`` asked for, cannot be pickled."""

    task: int
    failure: Failure


class PanelRequest(WireMessage, tag=11):
    """A message of the panel protocol (JSON).  ``ask`` 0: the answer is a ``PanelUpdate``, else a ``PanelReply``."""

    ask: int
    text: bytes


class FollowOutput(WireMessage, tag=12):
    """Request the output of this task: what it has printed already, and later output when it is printed."""

    task: int


class ShutDownRun(WireMessage, tag=13):
    """End the run; only its owner may send this."""

    reason: str


class LocalTaskStarted(WireMessage, tag=14):
    """A local task runs: a thread of the client's pool took it."""

    task: int
    at: float


class SetLinger(WireMessage, tag=15):
    """(both ways) How many seconds the run outlives its last client; 0: the run ends with that client."""

    seconds: float


class RedefinedApp(msgspec.Struct, array_like=True, gc=False):
    """The function that the tasks of an app call from now on."""

    origin: str
    """The ``origin`` of its ``DefineFunction``."""
    fn: int
    specs: tuple[TaskSpec | None, ...] = ()
    """The specifications that the app had until now: tasks with one of these get ``spec``."""
    spec: TaskSpec | None = None


class RetryTasks(WireMessage, tag=16):
    """Answer to ``RequestDefinitions``: run these ended tasks again, with all tasks that failed because of them."""

    ask: int
    tasks: list[int]
    redefined: tuple[RedefinedApp, ...] = ()
    bodies: tuple[int, ...] = ()
    """Joins whose body was redefined: it runs again, although only the futures that it returned failed."""
    problem: str = ""
    """Why the tasks cannot run again, such as a redefined function that cannot be pickled; empty if they can."""


class RetryCost(WireMessage, tag=17):
    """What this failed attempt costs of the task's retries; a ``failure`` replaces that of the attempt."""

    task: int
    attempt: int
    cost: float
    failure: Failure | None = None


class ReproducerWritten(WireMessage, tag=20):
    """Answer to ``RequestReproducer``: the text of a cell that repeats the call of a task."""

    ask: int
    text: str
    problem: str = ""
    """Why there is no such text; empty if there is one."""


class RetryHandlerChanged(WireMessage, tag=19):
    """Whether the client has a retry handler, which says what failed attempts of its tasks cost."""

    handler: bool


class ClientResumed(WireMessage, tag=18):
    """After a restart of the DataFlowKernel: tasks with unfinished futures, and the last acknowledged batch."""

    pending: list[int]
    batches: int


ClientMessage: TypeAlias = (
    ClientHello
    | DefineFunction
    | SubmitTask
    | CancelTasks
    | ReleaseTasks
    | FetchValue
    | LocalTaskFinished
    | JoinBodyReturned
    | TaskValue
    | ValueNotPicklable
    | PanelRequest
    | FollowOutput
    | ShutDownRun
    | LocalTaskStarted
    | ForgetFunctions
    | SetLinger
    | RetryTasks
    | RetryCost
    | RetryHandlerChanged
    | ReproducerWritten
    | ClientResumed
)


class PriorTasks(msgspec.Struct, array_like=True):
    """The tasks that earlier kernels of a client's notebook left in the run, counted by state."""

    away: float
    """Seconds since the last of these kernels left; 0: none left."""
    results: int = 0
    failed: int = 0
    running: int = 0
    waiting: int = 0
    sharers: tuple[int, ...] = ()
    """Process ids of other attached clients of the same notebook."""


class Welcome(WireMessage, tag=32):
    """The client is attached.  Its task ids count from ``first``, where the kernel before it stopped."""

    client: int
    run: str
    protocol: int
    package: str
    executors: tuple[tuple[str, int], ...]
    """(label, TaskKind) of each; ``SubmitTask.executor`` is an index into this."""
    first: int = -1
    """-1: from ``client << 40``, so that clients number their tasks without asking (D3)."""
    still: PriorTasks | None = None
    """Set if the notebook of this kernel had another kernel in this run before."""
    mpi: tuple[int, ...] = ()
    """The numbers of the executors that run MPI tasks, and no others."""


class TaskResolved(WireMessage, tag=34):
    """A task reached a final state.  ``size`` > 0: its value has so many bytes, and waits for ``FetchValue``."""

    task: int
    state: TaskState
    inline: bytes = b""
    size: int = 0
    failure: Failure | None = None


class RunLocalTask(WireMessage, tag=35):
    """Run this local or join task: all its inputs are ready."""

    task: int
    again: bool = False
    """Whether an earlier DataFlowKernel may have sent this: the task runs unless it runs or has ended already."""


class RequestValue(WireMessage, tag=36):
    """A remote task needs the value of this local task: the client sends ``TaskValue`` or ``ValueNotPicklable``."""

    task: int


class PanelReply(WireMessage, tag=37):
    """Answer to the ``PanelRequest`` with the same number."""

    ask: int
    text: bytes


class PanelUpdate(WireMessage, tag=38):
    """A message of the panel protocol for every panel of this client."""

    text: bytes


class BatchesAcknowledged(WireMessage, tag=40):
    """So many batches of this client are in the event log: the client need not keep them any more."""

    batches: int


class TasksReopened(WireMessage, tag=41):
    """These tasks had ended and run again: their futures become unfinished."""

    tasks: list[int]


class CallsMatched(WireMessage, tag=44):
    """Each first task is the same call as the second, which a lost kernel made: the client uses the second number."""

    tasks: list[tuple[int, int]]


class RequestRetryCost(WireMessage, tag=42):
    """Ask the retry handler what this failed attempt costs; the client answers with ``RetryCost``."""

    task: int
    attempt: int
    failure: Failure


class RequestDefinitions(WireMessage, tag=43):
    """Ask for the current functions of these tasks' apps, in order to run the tasks again; see ``RetryTasks``."""

    ask: int
    tasks: list[int]
    apps: list[str]
    """The ``origin`` of each app."""


class RequestReproducer(WireMessage, tag=45):
    """Ask for the text of a cell that repeats the call of a task; see ``ReproducerWritten``.

    What is large is left out, so this message needs no frames.
    """

    ask: int
    task: int
    app: str
    error: str
    """``Type: message``; empty if the task did not fail."""
    function: bytes
    """The pickle of the function."""
    args: bytes = b""
    """The pickle of (args, kwargs); empty if it is too large."""
    buffers: tuple[bytes, ...] = ()
    """The buffers of ``args``."""
    deps: tuple[int, ...] = ()
    """The tasks whose results ``args`` refers to."""
    values: tuple[bytes, ...] = ()
    """The pickle of the result of each of ``deps``; empty for a result that is too large, or that does not exist."""


KernelMessage: TypeAlias = (
    Welcome
    | Refused
    | TaskResolved
    | RunLocalTask
    | RequestValue
    | TaskValue
    | PanelReply
    | PanelUpdate
    | OutputPrinted
    | BatchesAcknowledged
    | TasksReopened
    | CallsMatched
    | RequestRetryCost
    | RequestDefinitions
    | RequestReproducer
    | SetLinger
)
