"""The panel protocol: what a front end asks of a run and what it is told (JSON, one tagged object a message).

``monitoring.feed`` answers, the JupyterLab panel and the ``%parsl`` magic ask; relays carry the text unread.  A
front end starts with :class:`Attach`, gets a :class:`Snapshot`, then :class:`Delta` s whose ``seq`` counts up by one;
when a number is missing it attaches again.  Nobody who has not been heard of for ``LEASE`` seconds is told more.
States travel as names.  ``labextension/src/protocol.ts`` is generated from this file.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = [
    "GRAPH_LIMIT",
    "LEASE",
    "Answer",
    "Ask",
    "Attach",
    "Attempt",
    "BlockCommand",
    "BlockOutput",
    "BlockRow",
    "BlockText",
    "Cancel",
    "Checkpoint",
    "ClientRow",
    "Command",
    "Delta",
    "Detail",
    "Done",
    "Explain",
    "Heartbeat",
    "Keep",
    "ManagerRow",
    "Node",
    "Notice",
    "Overview",
    "Page",
    "Problem",
    "Retry",
    "RunInfo",
    "Scale",
    "ScalePoint",
    "Snapshot",
    "StateChange",
    "TaskDetail",
    "TaskPage",
    "TaskRow",
    "WorkerRow",
]

LEASE = 30.0
"""Seconds after the last ask or heartbeat at which deltas stop."""

GRAPH_LIMIT = 5000
"""Nodes that the graph panel is told of; the newest tasks beyond it are only counted."""


class _Message(msgspec.Struct, tag=True, tag_field="type", gc=False):
    pass


# ----- what a front end asks


class Attach(_Message):
    """Start (or repair) the stream: answered with a Snapshot."""

    ask: str = ""
    listen: bool = True
    """False: a Snapshot is all that is wanted, no stream."""


class Heartbeat(_Message):
    """Somebody is still looking (every 10 s)."""


class Page(_Message):
    """Rows of the task table: answered with a TaskPage."""

    ask: str
    states: list[str] = []
    """Only these states; empty: all."""
    apps: list[str] = []
    text: str = ""
    """Only tasks whose app, arguments, error or id contain this."""
    sort: str = "id"
    """A column of TaskRow."""
    descending: bool = True
    offset: int = 0
    limit: int = 100


class Detail(_Message):
    """Everything known of a task: answered with a TaskDetail, or a Problem."""

    ask: str
    task: int


class Cancel(_Message):
    """Cancel these tasks, or the unfinished ones of an app, of a cell, or all (``everything``): answered with Done."""

    ask: str
    tasks: list[int] = []
    everything: bool = False
    app: str = ""
    cell: str = ""
    """``In [n]``: what that cell has called."""
    client: int = -1
    """Whose cell it is (``TaskDetail.client``); -1: that of the notebook which asks."""


class Retry(_Message):
    """Try these tasks again, or all that failed (``everything``), with all that failed because of them.

    What was cancelled is tried again only where it is named, or needed.  Tasks call what their apps are defined as now,
    where the notebook can be asked.  Answered with Done or a Problem.
    """

    ask: str
    tasks: list[int] = []
    everything: bool = False
    app: str = ""
    """Only tasks of this app, and those that failed because of one."""


class BlockOutput(_Message):
    """What the job of a block has printed last: answered with a BlockText, or a Problem."""

    ask: str
    executor: str
    block: str


class Scale(_Message):
    """Bring an executor to this many blocks: answered with Done or a Problem."""

    ask: str
    executor: str
    """Its label; empty: the only one that has blocks."""
    blocks: int


class BlockCommand(_Message):
    """Do something to one block: answered with Done or a Problem."""

    ask: str
    executor: str
    """Its label; empty: the only one that has blocks."""
    block: str
    action: Literal["hold", "release", "drain", "cancel"]
    """Give it no new tasks, give it tasks again, let it end when it has finished those it holds, end it at once."""


class Keep(_Message):
    """Let the run outlive its last client by so many seconds, 0: end with it: answered with Done."""

    ask: str
    seconds: float


class Explain(_Message):
    """Why a task ran, or whose result it has: answered with Done or a Problem."""

    ask: str
    task: int


class Checkpoint(_Message):
    """Write the results that are remembered to a checkpoint: answered with Done (its folder) or a Problem."""

    ask: str


Ask: TypeAlias = (
    Attach
    | Heartbeat
    | Page
    | Detail
    | Cancel
    | Retry
    | BlockOutput
    | Scale
    | BlockCommand
    | Keep
    | Explain
    | Checkpoint
)


# ----- what it is told


class ClientRow(msgspec.Struct, gc=False):
    """A notebook or script that is attached."""

    client: int
    pid: int
    host: str
    owner: bool
    """It may end the run."""
    notebook: str
    """Path of its notebook; empty for a script."""
    since: float


class RunInfo(msgspec.Struct):
    """The run itself."""

    run: str
    host: str
    pid: int
    run_dir: str
    executors: list[str]
    started: float
    version: str
    ended: float | None = None
    reason: str = ""
    """Why it ended."""
    notebook: str = ""
    """Path of the notebook that it was started for; empty for a script."""
    linger: float = 0.0
    """Seconds that it outlives its last client; 0: it ends with its owner."""
    away: float | None = None
    """Since when no client is attached; null while one is."""
    ends: float | None = None
    """When it ends if none comes."""
    clients: list[ClientRow] = []
    stopped: dict[str, str] = {}
    """Executors that take no tasks any more, and why."""


class ScalePoint(msgspec.Struct, array_like=True, gc=False):
    """How many there were at a time: ``[time, blocks that run, their workers, tasks that wait for a worker]``."""

    time: float
    blocks: int
    workers: int
    waiting: int


class Overview(msgspec.Struct):
    """Totals at the time of the message."""

    now: float
    counts: dict[str, int]
    """Tasks by state; states without tasks are left out."""
    apps: dict[str, dict[str, int]]
    """Tasks by app and state."""
    rate: float
    """Tasks finished per second, over the last few seconds."""
    workers_busy: int
    workers_total: int
    tasks_total: int
    clients: int
    scale: ScalePoint | None = None
    """Null in a run that has had no block."""


class Node(msgspec.Struct, array_like=True):
    """A node of the graph: ``[id, app, state, dependencies]``."""

    id: int
    app: str
    state: str
    deps: list[int]


class StateChange(msgspec.Struct, array_like=True, gc=False):
    """``[id, state]`` of a node told before."""

    id: int
    state: str


class WorkerRow(msgspec.Struct, gc=False):
    """A worker and what it does."""

    worker: str
    executor: str
    state: str
    host: str
    pid: int
    task: int | None
    done: int
    """Tasks it has finished."""
    reason: str
    manager: str = ""
    """Who started it; empty for workers of the run's own host."""


class BlockRow(msgspec.Struct, gc=False):
    """A block, one job of a scheduler.  Times are seconds since the epoch, or null where the block has not been."""

    executor: str
    block: str
    state: str
    """Name of a ``BlockState``."""
    job: str
    """What the scheduler calls it."""
    nodes: int
    """Nodes that were asked for."""
    managers: int
    """Managers that are connected: nodes that work."""
    workers: int
    busy: int
    done: int
    """Tasks that its workers have finished."""
    held: bool
    """It gets no new tasks until it is released."""
    since: float
    """When it entered its state."""
    requested: float
    started: float | None
    ended: float | None
    reason: str
    stdout: str
    """Path of the file with the output of the job."""
    stderr: str


class ManagerRow(msgspec.Struct, gc=False):
    """A manager, one for each node of a block, and how busy its node is (null while no sample has come)."""

    manager: str
    executor: str
    block: str
    state: str
    """Name of a ``ManagerState``."""
    host: str
    pid: int
    workers: int
    busy: int
    done: int
    """Tasks that its workers have finished."""
    cores: int
    memory: int
    """Bytes of the node."""
    cpu: float | None
    """Percent of all cores of the node."""
    used: int | None
    """Bytes of its memory in use."""
    load: float | None
    """Processes that ran or wanted to, mean of the last minute."""
    since: float
    """When it entered its state."""
    reason: str


class Notice(msgspec.Struct, gc=False):
    """One sentence for the user."""

    time: float
    level: str
    text: str


class Snapshot(_Message):
    """The whole picture."""

    seq: int
    run: RunInfo
    overview: Overview
    nodes: list[Node]
    hidden: int
    """Tasks beyond ``GRAPH_LIMIT`` that are not among the nodes."""
    workers: list[WorkerRow]
    notices: list[Notice]
    ask: str = ""
    blocks: list[BlockRow] = []
    managers: list[ManagerRow] = []
    scaling: list[ScalePoint] = []
    """How the blocks grew and shrank since the run began, a point where something changed; thinned out with time."""


class Delta(_Message):
    """What changed since ``seq - 1``."""

    seq: int
    overview: Overview
    nodes: list[Node] = []
    changes: list[StateChange] = []
    hidden: int = 0
    workers: list[WorkerRow] = []
    notices: list[Notice] = []
    run: RunInfo | None = None
    blocks: list[BlockRow] = []
    managers: list[ManagerRow] = []


class TaskRow(msgspec.Struct, gc=False):
    """A row of the task table.  Times are seconds since the epoch, or null where the task has not been."""

    id: int
    app: str
    state: str
    executor: str
    submitted: float
    started: float | None
    ended: float | None
    worker: str
    attempt: int
    error: str
    shown: str
    cell: str


class TaskPage(_Message):
    """The rows asked for and how many there are in all."""

    ask: str
    rows: list[TaskRow]
    total: int
    offset: int


class Attempt(msgspec.Struct, gc=False):
    """One attempt to run a task.  Times are seconds since the epoch, or null where it has not been."""

    attempt: int
    """Counts from 0."""
    state: str
    """``failed``, or the state of the task whose last attempt it is."""
    started: float | None
    ended: float | None
    worker: str
    """Who had it; often only its manager is known."""
    host: str
    reason: str
    """Name of a ``Reason``; empty while it has not failed."""
    error: str


class TaskDetail(_Message):
    """Everything known of one task."""

    ask: str
    row: TaskRow
    times: list[tuple[str, float]]
    """(state, when entered), in order."""
    deps: list[StateChange]
    dependents: list[StateChange]
    host: str
    pid: int
    traceback: str
    stdout: str
    stderr: str
    client: int
    cpu: float | None = None
    """Seconds of CPU time that it and its child processes took; like the three below null where nothing was sampled."""
    memory: int | None = None
    """Most bytes resident at a time."""
    read: int | None = None
    """Bytes read from files and devices."""
    written: int | None = None
    attempts: list[Attempt] = []
    """Those that there have been, the present one last; empty before the first was sent."""


class BlockText(_Message):
    """The last lines that the job of a block has printed."""

    ask: str
    executor: str
    block: str
    stdout: str
    stderr: str
    problem: str
    """One sentence on what could not be read; empty when all is there."""


class Done(_Message):
    """A command has been carried out; ``text`` says what was done."""

    ask: str
    text: str


class Problem(_Message):
    """An ask could not be answered; one sentence."""

    ask: str
    text: str


Command: TypeAlias = Cancel | Retry | Scale | BlockCommand | Keep | Explain | Checkpoint
"""What the loop of the DataFlowKernel carries out or answers itself."""

Answer: TypeAlias = Snapshot | Delta | TaskPage | TaskDetail | BlockText | Done | Problem
