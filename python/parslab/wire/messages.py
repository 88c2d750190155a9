"""Every message between the processes of a run: one tagged struct each, one union per link and direction.

A batch is a list of messages packed as one msgpack header, followed by the frames (large opaque buffers) that its
messages announce, in the order of the messages.  ``inline`` bytes are opaque too: only the process that called an app
and the worker that runs it unpickle.  New fields are optional and come last; removing or retyping one raises
``PROTOCOL``.

Links: client <-> DataFlowKernel; worker (data link, control link) <-> DataFlowKernel or manager; manager <->
DataFlowKernel.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from parslab.records.states import TaskState

__all__ = [
    "INLINE",
    "PARAMETERS",
    "PROTOCOL",
    "Accepted",
    "Acked",
    "Adopted",
    "Answered",
    "Asked",
    "Beat",
    "Broken",
    "Cancel",
    "ClientMessage",
    "Code",
    "ControlMessage",
    "Draining",
    "Failure",
    "Farewell",
    "Fed",
    "Fetch",
    "Finished",
    "Follow",
    "Forget",
    "Hello",
    "Interrupt",
    "Joins",
    "Judge",
    "Judged",
    "Judges",
    "Keep",
    "KernelMessage",
    "Leave",
    "Look",
    "ManagerHello",
    "ManagerMessage",
    "Mend",
    "Mended",
    "NodeSample",
    "Outcome",
    "Packed",
    "Printed",
    "Refused",
    "Release",
    "Reopen",
    "Reopened",
    "Report",
    "Resolved",
    "Resumed",
    "Run",
    "RunLocal",
    "Shutdown",
    "Spec",
    "Started",
    "Still",
    "Submit",
    "TaskKind",
    "TaskSample",
    "ToManagerMessage",
    "Unshippable",
    "Value",
    "Want",
    "Welcome",
    "WorkerControlMessage",
    "WorkerHello",
    "WorkerMessage",
    "WorkerTold",
    "frame_count",
]

PROTOCOL = 1
"""Major number of this wire; peers with another one are refused."""

INLINE = 16 * 1024
"""Pickles up to this many bytes ride in the header; larger ones, and all out-of-band buffers, are frames."""


PARAMETERS = "parameters"
"""Name of the part of a function that holds the names of its positional parameters, with commas between them."""


class _Wire(msgspec.Struct, array_like=True, gc=False):
    pass


class TaskKind:
    """Who executes a task (``Submit.kind``)."""

    remote = 0
    """A worker of an executor."""
    local = 1
    """The client's thread pool, arguments by reference."""
    join = 2
    """The client runs the body, which returns futures to wait for."""
    external = 3
    """A future of somebody else: the client only reports how it ended."""


class Packed(msgspec.Struct, array_like=True):
    """An opaque value: a pickle stream and how many frames carry its buffers (the first one the stream, if ``inline``
    is empty).  A join of several futures is a list of ``parts`` instead."""

    inline: bytes
    frames: int = 0
    parts: tuple[Packed, ...] | None = None


class Failure(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """Why a task failed."""

    error: str
    """``Type: message``, one line."""
    traceback: str = ""
    payload: bytes = b""
    """The exception itself, pickled."""
    roots: tuple[tuple[int, str, str], ...] = ()
    """For dependency and join failures: (task, description, error) of the tasks that really failed."""
    path: tuple[int, ...] = ()
    """The way from this task to the first root."""
    reason: str = ""
    """Name of a ``Reason``; empty: the function raised."""


class Spec(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What a call asks for beyond what every call gets; most calls have none."""

    cores: float = 0.0
    """0: as many as a worker has."""
    memory: int = 0
    """Bytes; 0: as much as a worker has."""
    gpus: int = 0
    priority: float | None = None
    """Smaller is sooner; those without one come last."""
    max_run_time: float = 0.0
    """Seconds; 0: no limit."""
    retries: int = -1
    """How often it may be tried again; -1: as often as the run allows."""


# ----- client -> DataFlowKernel


class Hello(_Wire, tag=1):
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


class Code(_Wire, tag=2):
    """A pickled function, known by number from now on.  Its pickle is always ``frames`` long."""

    fn: int
    digest: bytes
    name: str
    frames: int
    fingerprint: bytes = b""
    """The same in every process for a function with the same body, captured values and helpers (16 bytes)."""
    parts: dict[str, bytes] = {}
    """What the fingerprint is made of, by name, so that a change can be named."""
    origin: str = ""
    """``module:name`` of what it was made of; empty where that does not name one function."""


class Submit(_Wire, tag=3):
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
    spec: Spec | None = None
    identity: bytes = b""
    """The same in every process for the same arguments, where ``args`` is not; futures are counted by their place."""
    memo: bool = False
    """Its app remembers results: ask for one before it runs, keep the one that it gives."""
    parent: int = -1
    """The join app whose body made this call: it is cancelled with that."""
    unknown: str = ""
    """Why it has no identity although its pickle is not enough of one: no other call is taken for it."""


class Cancel(_Wire, tag=4):
    """Cancel these tasks."""

    tasks: list[int]


class Release(_Wire, tag=5):
    """Nobody at this client can ask for the results of these tasks any more."""

    tasks: list[int]


class Fetch(_Wire, tag=6):
    """Send the value of this task (too large to have come with Resolved)."""

    task: int


class Finished(_Wire, tag=7):
    """A local or external task ended at the client, its value stays there until wanted."""

    task: int
    state: TaskState
    started: float
    ended: float
    failure: Failure | None = None


class Joins(_Wire, tag=8):
    """The body of a join app returned these tasks (``many``: a list, else a single future)."""

    task: int
    tasks: tuple[int, ...]
    many: bool
    started: float


class Value(_Wire, tag=9):
    """A value on its way: from the client that was asked by Want, to the client that asked by Fetch."""

    task: int
    inline: bytes
    frames: int
    parts: tuple[Packed, ...] | None = None


class Unshippable(_Wire, tag=10):
    """The value of this local task, asked for by Want, cannot be pickled."""

    task: int
    failure: Failure


class Asked(_Wire, tag=11):
    """A message of the panel protocol (JSON).  ``ask`` 0: from a panel, the answer comes as Fed; else as Answered."""

    ask: int
    text: bytes


class Follow(_Wire, tag=12):
    """Send the output of this task as it comes (and what there is already)."""

    task: int


class Shutdown(_Wire, tag=13):
    """End the run: only from its owner."""

    reason: str


class Started(_Wire, tag=14):
    """A local task has left the pool's queue and runs."""

    task: int
    at: float


class Forget(_Wire, tag=65):
    """These functions are not called any more (by the numbers of the receiver's peer: client's, or the run's)."""

    fns: list[int]


class Keep(_Wire, tag=15):
    """(both ways) How many seconds the run outlives its last client; 0: it ends with it."""

    seconds: float


class Mended(msgspec.Struct, array_like=True, gc=False):
    """What the tasks of an app call from now on."""

    origin: str
    """As its ``Code`` says."""
    fn: int
    specs: tuple[Spec | None, ...] = ()
    """What the app asked for until now: tasks that asked for just that ask for ``spec`` from now on."""
    spec: Spec | None = None


class Reopen(_Wire, tag=16):
    """Answer to Mend: run these ended tasks again, with all that failed because of them."""

    ask: int
    tasks: list[int]
    mended: tuple[Mended, ...] = ()
    bodies: tuple[int, ...] = ()
    """Joins whose body has been mended: it runs again, although only what it had returned failed."""
    problem: str = ""
    """Why it cannot be: a mended function cannot be sent."""


class Judged(_Wire, tag=17):
    """What this failed attempt costs of the task's retries; a ``failure`` takes the place of the task's own."""

    task: int
    attempt: int
    cost: float
    failure: Failure | None = None


class Judges(_Wire, tag=19):
    """Whether it has a retry handler, which is to be asked what failed attempts of its tasks cost."""

    handler: bool


class Resumed(_Wire, tag=18):
    """After a DataFlowKernel was lost: the tasks whose futures are unfinished here, and the last batch it had acked."""

    pending: list[int]
    batches: int


ClientMessage: TypeAlias = (
    Hello
    | Code
    | Submit
    | Cancel
    | Release
    | Fetch
    | Finished
    | Joins
    | Value
    | Unshippable
    | Asked
    | Follow
    | Shutdown
    | Started
    | Forget
    | Keep
    | Reopen
    | Judged
    | Judges
    | Resumed
)


# ----- DataFlowKernel -> client


class Still(msgspec.Struct, array_like=True):
    """What earlier kernels of a client's notebook have left in the run: tasks by how they are."""

    away: float
    """Seconds since the last of them has gone; 0: none of them has."""
    results: int = 0
    failed: int = 0
    running: int = 0
    waiting: int = 0
    sharers: tuple[int, ...] = ()
    """Processes of the same notebook that are attached, too."""


class Welcome(_Wire, tag=32):
    """The client is attached.  Its task ids count from ``first``: where the kernel before it stopped, or anew."""

    client: int
    run: str
    protocol: int
    package: str
    executors: tuple[tuple[str, int], ...]
    """(label, TaskKind) of each, in the order in which Submit names them."""
    first: int = -1
    """-1: ``client << 40``."""
    still: Still | None = None
    """For a kernel of a notebook that has been here before."""


class Refused(_Wire, tag=33):
    """The peer is turned away; one sentence that names the side to fix."""

    reason: str


class Resolved(_Wire, tag=34):
    """A task reached a final state.  ``size`` > 0: its value of that many bytes waits for Fetch."""

    task: int
    state: TaskState
    inline: bytes = b""
    size: int = 0
    failure: Failure | None = None


class RunLocal(_Wire, tag=35):
    """Everything that this local or join task needs is there: run it."""

    task: int
    again: bool = False
    """Another DataFlowKernel said so, too: it is to be run only if it is not running and has not ended."""


class Want(_Wire, tag=36):
    """A remote task needs the value of this local task: send Value or Unshippable."""

    task: int


class Answered(_Wire, tag=37):
    """Answer to Asked with the same number."""

    ask: int
    text: bytes


class Fed(_Wire, tag=38):
    """A message of the panel protocol for every panel of this client."""

    text: bytes


class Printed(_Wire, tag=39):
    """Output of a task, to those who follow it; and from a worker's control link to the DataFlowKernel."""

    task: int
    stream: int
    """1 stdout, 2 stderr."""
    text: bytes


class Acked(_Wire, tag=40):
    """So many batches of this client are in the run's record: it need not keep them any more."""

    batches: int


class Reopened(_Wire, tag=41):
    """These tasks had ended and run again: their futures are unfinished."""

    tasks: list[int]


class Adopted(_Wire, tag=44):
    """These calls (a number, another one) are those that a lost kernel made by the second number: use that one."""

    tasks: list[tuple[int, int]]


class Judge(_Wire, tag=42):
    """Ask the retry handler what this failed attempt costs: Judged is awaited."""

    task: int
    attempt: int
    failure: Failure


class Mend(_Wire, tag=43):
    """These tasks are to be tried again: send Reopen, with the functions that their apps have now."""

    ask: int
    tasks: list[int]
    apps: list[str]
    """By their origins."""


KernelMessage: TypeAlias = (
    Welcome
    | Refused
    | Resolved
    | RunLocal
    | Want
    | Value
    | Answered
    | Fed
    | Printed
    | Acked
    | Reopened
    | Adopted
    | Judge
    | Mend
    | Keep
)


# ----- DataFlowKernel -> worker


class Run(_Wire, tag=64):
    """Run this; frames: those of the arguments, then those of ``values`` in order, depth first."""

    task: int
    attempt: int
    fn: int
    args: bytes
    frames: int
    values: tuple[Packed, ...] = ()
    slots: int = 1
    """How many of a manager's workers it takes the place of."""
    limit: float = 0.0
    """Seconds that it may run; 0: no limit."""


class Leave(_Wire, tag=66):
    """Exit when the tasks sent before are done."""


WorkerMessage: TypeAlias = Run | Code | Forget | Leave | Refused


class Look(_Wire, tag=70):
    """(control) What are you at?  Give back what you have not begun, and send output while you are busy."""


class Interrupt(_Wire, tag=71):
    """(control) Raise KeyboardInterrupt in this task, if it is the one running; give it back if it is not begun."""

    task: int


ControlMessage: TypeAlias = Look | Interrupt | Refused


# ----- worker -> DataFlowKernel


class WorkerHello(_Wire, tag=80):
    """First message of each link of a worker."""

    worker: str
    protocol: int
    package: str
    python: str
    pid: int
    host: str
    executor: int
    control: bool = False


class Outcome(_Wire, tag=81):
    """A task ended on the worker: a value, or a failure."""

    task: int
    attempt: int
    inline: bytes
    frames: int
    started: float
    ended: float
    failure: Failure | None = None
    interrupted: bool = False


class Report(_Wire, tag=82):
    """(control) Answer to Look and Interrupt: the task running since when (or -1), and those given back."""

    running: int
    since: float
    returned: tuple[int, ...] = ()


WorkerControlMessage: TypeAlias = WorkerHello | Outcome | Report | Printed


# ----- manager <-> DataFlowKernel


class Beat(_Wire, tag=90):
    """(both ways) I am here."""


class ManagerHello(_Wire, tag=91):
    """First message of a manager, sent again when its connection has been made anew."""

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
    """Bytes of its node that its workers may use."""
    accelerators: int = 0
    nonce: str = ""
    """Another one for each life of a manager: a manager that was given up may not come back under its name."""


class Draining(_Wire, tag=92):
    """(manager) Send no more tasks: I leave when those I have are done.  ``reason`` says why."""

    reason: str


class Farewell(_Wire, tag=93):
    """(manager) I leave, and hold no task."""

    reason: str


class WorkerTold(_Wire, tag=94):
    """(manager) One of its workers is starting, idle, busy or dead."""

    worker: str
    state: str
    pid: int
    reason: str = ""


class NodeSample(_Wire, tag=95):
    """(manager) How busy its node is; see ``NodeSampled``."""

    cpu: float
    memory: int
    load: float


class TaskSample(_Wire, tag=96):
    """(manager) What a task has used; see ``TaskSampled``."""

    task: int
    attempt: int
    cpu: float
    memory: int
    read: int
    written: int


class Broken(_Wire, tag=97):
    """(manager) No worker can be started here; I leave."""

    reason: str


class Accepted(_Wire, tag=98):
    """(DataFlowKernel) Welcome; tasks will come."""


ManagerMessage: TypeAlias = (
    ManagerHello
    | Beat
    | Outcome
    | Report
    | Printed
    | Draining
    | Farewell
    | WorkerTold
    | NodeSample
    | TaskSample
    | Broken
)
"""What a manager sends."""

ToManagerMessage: TypeAlias = Accepted | Refused | Beat | Run | Code | Forget | Interrupt | Leave
"""What is sent to a manager."""


def frame_count(packed: Packed) -> int:
    """How many frames belong to ``packed``, parts included."""
    return packed.frames if packed.parts is None else sum(map(frame_count, packed.parts))
