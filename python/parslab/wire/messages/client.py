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
    "RequestDefinitions",
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
    """Path of the notebook that it runs for: what was called for it before is called for the same user again."""
    client: int = -1
    """The number that it had before its DataFlowKernel was lost."""
    notebook_place: NotebookPlace | None = None
    """Where the notebook is now, if this client knows better than the run."""


class SubmitTask(WireMessage, tag=3):
    """A call.  ``args`` is the inline pickle of (args, kwargs) in which futures are references into ``deps``."""

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
    """Shown instead of the function's name, and the name of tasks that have no function (local, join, external)."""
    follow: bool = False
    """Send the task's output to the client while it runs."""
    spec: TaskSpec | None = None
    identity: bytes = b""
    """The same in every process for the same arguments, where ``args`` is not; futures are counted by their place."""
    memo: bool = False
    """Its app remembers results: ask for one before it runs, keep the one that it gives."""
    parent: int = -1
    """The join app whose body made this call: it is cancelled with that."""
    unknown: str = ""
    """Why it has no identity although its pickle is not enough of one: no other call is taken for it."""


class CancelTasks(WireMessage, tag=4):
    """Cancel these tasks."""

    tasks: list[int]


class ReleaseTasks(WireMessage, tag=5):
    """Nobody at this client can ask for the results of these tasks any more."""

    tasks: list[int]


class FetchValue(WireMessage, tag=6):
    """Send the value of this task (too large to have come with Resolved)."""

    task: int


class LocalTaskFinished(WireMessage, tag=7):
    """A local or external task ended at the client, its value stays there until wanted."""

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
    """The value of this local task, asked for by Want, cannot be pickled."""

    task: int
    failure: Failure


class PanelRequest(WireMessage, tag=11):
    """A message of the panel protocol (JSON).  ``ask`` 0: from a panel, the answer comes as Fed; else as Answered."""

    ask: int
    text: bytes


class FollowOutput(WireMessage, tag=12):
    """Send the output of this task as it comes (and what there is already)."""

    task: int


class ShutDownRun(WireMessage, tag=13):
    """End the run: only from its owner."""

    reason: str


class LocalTaskStarted(WireMessage, tag=14):
    """A local task has left the pool's queue and runs."""

    task: int
    at: float


class SetLinger(WireMessage, tag=15):
    """(both ways) How many seconds the run outlives its last client; 0: it ends with it."""

    seconds: float


class RedefinedApp(msgspec.Struct, array_like=True, gc=False):
    """What the tasks of an app call from now on."""

    origin: str
    """As its ``DefineFunction`` says."""
    fn: int
    specs: tuple[TaskSpec | None, ...] = ()
    """What the app asked for until now: tasks that asked for just that ask for ``spec`` from now on."""
    spec: TaskSpec | None = None


class RetryTasks(WireMessage, tag=16):
    """Answer to Mend: run these ended tasks again, with all that failed because of them."""

    ask: int
    tasks: list[int]
    mended: tuple[RedefinedApp, ...] = ()
    bodies: tuple[int, ...] = ()
    """Joins whose body has been mended: it runs again, although only what it had returned failed."""
    problem: str = ""
    """Why it cannot be: a mended function cannot be sent."""


class RetryCost(WireMessage, tag=17):
    """What this failed attempt costs of the task's retries; a ``failure`` takes the place of the task's own."""

    task: int
    attempt: int
    cost: float
    failure: Failure | None = None


class RetryHandlerChanged(WireMessage, tag=19):
    """Whether it has a retry handler, which is to be asked what failed attempts of its tasks cost."""

    handler: bool


class ClientResumed(WireMessage, tag=18):
    """After a DataFlowKernel was lost: the tasks whose futures are unfinished here, and the last batch it had acked."""

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
    | ClientResumed
)


class PriorTasks(msgspec.Struct, array_like=True):
    """What earlier kernels of a client's notebook have left in the run: tasks by how they are."""

    away: float
    """Seconds since the last of them has gone; 0: none of them has."""
    results: int = 0
    failed: int = 0
    running: int = 0
    waiting: int = 0
    sharers: tuple[int, ...] = ()
    """Processes of the same notebook that are attached, too."""


class Welcome(WireMessage, tag=32):
    """The client is attached.  Its task ids count from ``first``: where the kernel before it stopped, or anew."""

    client: int
    run: str
    protocol: int
    package: str
    executors: tuple[tuple[str, int], ...]
    """(label, TaskKind) of each, in the order in which Submit names them."""
    first: int = -1
    """-1: ``client << 40``."""
    still: PriorTasks | None = None
    """For a kernel of a notebook that has been here before."""


class TaskResolved(WireMessage, tag=34):
    """A task reached a final state.  ``size`` > 0: its value of that many bytes waits for Fetch."""

    task: int
    state: TaskState
    inline: bytes = b""
    size: int = 0
    failure: Failure | None = None


class RunLocalTask(WireMessage, tag=35):
    """Everything that this local or join task needs is there: run it."""

    task: int
    again: bool = False
    """Another DataFlowKernel said so, too: it is to be run only if it is not running and has not ended."""


class RequestValue(WireMessage, tag=36):
    """A remote task needs the value of this local task: send Value or Unshippable."""

    task: int


class PanelReply(WireMessage, tag=37):
    """Answer to Asked with the same number."""

    ask: int
    text: bytes


class PanelUpdate(WireMessage, tag=38):
    """A message of the panel protocol for every panel of this client."""

    text: bytes


class BatchesAcknowledged(WireMessage, tag=40):
    """So many batches of this client are in the run's record: it need not keep them any more."""

    batches: int


class TasksReopened(WireMessage, tag=41):
    """These tasks had ended and run again: their futures are unfinished."""

    tasks: list[int]


class CallsMatched(WireMessage, tag=44):
    """These calls (a number, another one) are those that a lost kernel made by the second number: use that one."""

    tasks: list[tuple[int, int]]


class RequestRetryCost(WireMessage, tag=42):
    """Ask the retry handler what this failed attempt costs: Judged is awaited."""

    task: int
    attempt: int
    failure: Failure


class RequestDefinitions(WireMessage, tag=43):
    """These tasks are to be tried again: send Reopen, with the functions that their apps have now."""

    ask: int
    tasks: list[int]
    apps: list[str]
    """By their origins."""


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
    | SetLinger
)
