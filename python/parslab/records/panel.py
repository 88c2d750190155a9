"""The panel protocol: what a front end asks of a run and what it is told (JSON, one tagged object a message).

``monitoring.feed`` answers, the JupyterLab panel and the ``%parsl`` magic ask; relays carry the text unread.  A
front end starts with :class:`Attach`, gets a :class:`Snapshot`, then :class:`Delta` s whose ``seq`` counts up by one;
when a number is missing it attaches again.  Nobody who has not been heard of for ``LEASE`` seconds is told more.
States travel as names.  ``labextension/src/protocol.ts`` is generated from this file.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

__all__ = [
    "GRAPH_LIMIT",
    "LEASE",
    "Answer",
    "Ask",
    "Attach",
    "Cancel",
    "Delta",
    "Detail",
    "Done",
    "Heartbeat",
    "Node",
    "Notice",
    "Overview",
    "Page",
    "Problem",
    "RunInfo",
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
    """Cancel these tasks, or all unfinished ones when ``everything``: answered with Done."""

    ask: str
    tasks: list[int] = []
    everything: bool = False


Ask: TypeAlias = Attach | Heartbeat | Page | Detail | Cancel


# ----- what it is told


class RunInfo(msgspec.Struct, gc=False):
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


class Done(_Message):
    """A command has been carried out; ``text`` says what was done."""

    ask: str
    text: str


class Problem(_Message):
    """An ask could not be answered; one sentence."""

    ask: str
    text: str


Answer: TypeAlias = Snapshot | Delta | TaskPage | TaskDetail | Done | Problem
