"""The panel protocol: the messages between a front end and a run (JSON, one tagged object per message).

Front ends are the JupyterLab panel and the ``%parsl`` magic; ``monitoring.feed`` replies, and relays carry the text
unread.  A front end sends a :class:`SnapshotRequest` and receives a :class:`Snapshot`, then :class:`Delta` messages
whose ``seq`` counts up by one.  When a number is missing, the front end requests a new snapshot.  The run stops sending
deltas when it has received nothing for ``LEASE`` seconds.  States travel as names.

``labextension/src/protocol.ts`` is generated from this file, docstrings included.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = [
    "CLIENT_SHIFT",
    "GRAPH_LIMIT",
    "LEASE",
    "RELAY",
    "Attempt",
    "BlockActionRequest",
    "BlockOutput",
    "BlockOutputRequest",
    "BlockRow",
    "CancelRequest",
    "CellCounts",
    "CellCountsRequest",
    "CellCountsRow",
    "CheckpointRequest",
    "ClientRow",
    "ClockChange",
    "Command",
    "CommandReply",
    "Delta",
    "ErrorReply",
    "ExplainRequest",
    "FailureGroupRow",
    "GraphNode",
    "HandoverRequest",
    "Heartbeat",
    "LingerRequest",
    "ManagerRow",
    "Notice",
    "Overview",
    "RelayStatus",
    "Reply",
    "ReproducerRequest",
    "Request",
    "RetryRequest",
    "RunInfo",
    "ScalePoint",
    "ScaleRequest",
    "Snapshot",
    "SnapshotRequest",
    "StateChange",
    "TaskDetail",
    "TaskDetailRequest",
    "TaskPage",
    "TaskPageRequest",
    "TaskRow",
    "Timeline",
    "TimelineBar",
    "TimelineRequest",
    "TimelineRow",
    "UtilisationPoint",
    "WorkerRow",
]

LEASE = 30.0
"""Seconds after the last request or heartbeat at which the run stops sending deltas."""

GRAPH_LIMIT = 5000
"""Most tasks that the graph panel receives as nodes; later tasks are only counted."""


RELAY = 1
"""Version of the route through the Jupyter server; server and page must have the same one."""

CLIENT_SHIFT = 40
"""Bits of a task id that number the tasks of one client; the bits above them are the number of the client."""


# gc=False: a snapshot has thousands of these objects, which are in no reference cycle.
class _PanelMessage(msgspec.Struct, tag=True, tag_field="type", gc=False):
    pass


# ----- from the front end to the run


class SnapshotRequest(_PanelMessage):
    """Start or repair the stream of deltas.  The reply is a Snapshot."""

    request_id: str = ""
    subscribe: bool = True
    """Whether deltas should follow the snapshot."""


class Heartbeat(_PanelMessage):
    """Renew the lease of the stream; a visible panel sends one every 10 s."""


class TaskPageRequest(_PanelMessage):
    """Ask for rows of the task table.  The reply is a TaskPage."""

    request_id: str
    states: list[str] = []
    """Names of the wanted states; empty for all."""
    apps: list[str] = []
    """Names of the wanted apps; empty for all."""
    text: str = ""
    """Text that the app, the arguments, the error or the id must contain."""
    failures: int | None = None
    """Only failed tasks of this ``FailureGroupRow``; null for all tasks."""
    cell: str = ""
    """Only tasks that this cell of the notebook called, for example ``In [3]``; empty for all tasks."""
    client: int = -1
    """The client that ran the cell (``TaskDetail.client``); -1 for the notebook that sends the request."""
    workers: list[str] = []
    """Only tasks whose latest attempt ran on these workers or managers; empty for all."""
    between: tuple[float, float] | None = None
    """Only tasks whose latest attempt ran between these two times; null for all."""
    sort: str = "id"
    """A field of TaskRow."""
    descending: bool = True
    offset: int = 0
    limit: int = 100


class CellCountsRequest(_PanelMessage):
    """Ask how many tasks some cells of the notebook have called, by state.  The reply is a CellCounts."""

    request_id: str
    cells: list[str]
    """Names of the cells, for example ``In [3]``; at most 50 are counted."""
    client: int = -1
    """The client that ran the cells (``TaskDetail.client``); -1 for the notebook that sends the request."""


class TaskDetailRequest(_PanelMessage):
    """Ask for all details of one task.  The reply is a TaskDetail or an ErrorReply."""

    request_id: str
    task: int


class TimelineRequest(_PanelMessage):
    """Ask when the workers were busy, for a picture.  The reply is a Timeline or an ErrorReply."""

    request_id: str
    since: float | None = None
    """Begin of the picture; null: when the first task was called."""
    until: float | None = None
    """End of the picture; null: now, or when the last task ended if none is unfinished."""
    pixels: int = 600
    """Width of the picture.  Tasks that it would draw closer than two pixels share a bar."""
    rows: int = 100
    """Most rows.  Where there are more workers, those of a node, a block or an executor share a row."""


class CancelRequest(_PanelMessage):
    """Cancel the given tasks, or all unfinished tasks of an app, of a cell, or of the run (``everything``).

    The reply is a CommandReply.
    """

    request_id: str
    tasks: list[int] = []
    everything: bool = False
    app: str = ""
    cell: str = ""
    """Cancel the tasks that this cell called, for example ``In [3]``."""
    client: int = -1
    """The client that ran the cell (``TaskDetail.client``); -1 for the notebook that sends the request."""


class RetryRequest(_PanelMessage):
    """Retry the given tasks, or all failed tasks (``everything``), and the tasks that failed because of them.

    A cancelled task is retried only when it is named or needed.  Tasks call the current definition of their apps if
    the notebook can provide it.  The reply is a CommandReply or an ErrorReply.
    """

    request_id: str
    tasks: list[int] = []
    everything: bool = False
    app: str = ""
    """Retry only tasks of this app and the tasks that failed because of them."""
    failures: int | None = None
    """Retry all tasks of this ``FailureGroupRow``; null to name the tasks by the other fields."""


class BlockOutputRequest(_PanelMessage):
    """Ask for the last output of a block's job.  The reply is a BlockOutput or an ErrorReply."""

    request_id: str
    executor: str
    block: str


class ScaleRequest(_PanelMessage):
    """Scale an executor to this many blocks.  The reply is a CommandReply or an ErrorReply."""

    request_id: str
    executor: str
    """Label of the executor; empty for the only one that has blocks."""
    blocks: int


class BlockActionRequest(_PanelMessage):
    """Hold, release, drain or cancel one block.  The reply is a CommandReply or an ErrorReply."""

    request_id: str
    executor: str
    """Label of the executor; empty for the only one that has blocks."""
    block: str
    action: Literal["hold", "release", "drain", "cancel"]
    """``hold``: send no new tasks.  ``release``: send tasks again.  ``drain``: end when current tasks have finished.
    ``cancel``: end now."""


class LingerRequest(_PanelMessage):
    """Set how many seconds the run outlives its last client; 0 ends it with that client.

    The reply is a CommandReply.
    """

    request_id: str
    seconds: float


class ExplainRequest(_PanelMessage):
    """Ask why a task ran, or which call gave its result.  The reply is a CommandReply or an ErrorReply."""

    request_id: str
    task: int


class ReproducerRequest(_PanelMessage):
    """Ask for the text of a notebook cell that calls the function of a task with the arguments of the task.

    The reply is a CommandReply with the text of the cell, or an ErrorReply.
    """

    request_id: str
    task: int


class CheckpointRequest(_PanelMessage):
    """Write the memoized results to a checkpoint.  The reply is a CommandReply with the folder, or an ErrorReply."""

    request_id: str


class HandoverRequest(_PanelMessage):
    """End the DataFlowKernel so that another host can go on with the run.

    ``wait`` is how many seconds tasks on its host may take to finish, and ``keep`` how many seconds blocks go on
    without a DataFlowKernel.  The reply is a CommandReply or an ErrorReply.
    """

    request_id: str
    wait: float
    keep: float


Request: TypeAlias = (
    SnapshotRequest
    | Heartbeat
    | TaskPageRequest
    | CellCountsRequest
    | TaskDetailRequest
    | TimelineRequest
    | CancelRequest
    | RetryRequest
    | BlockOutputRequest
    | ScaleRequest
    | BlockActionRequest
    | LingerRequest
    | ExplainRequest
    | ReproducerRequest
    | CheckpointRequest
    | HandoverRequest
)


# ----- from the run to the front end


class ClientRow(msgspec.Struct, gc=False):
    """An attached client: a notebook or a script."""

    client: int
    pid: int
    host: str
    owner: bool
    """Whether it may end the run."""
    notebook: str
    """Path of its notebook; empty for a script."""
    since: float


class ClockChange(msgspec.Struct, array_like=True, gc=False):
    """A change of the wall clock, or a sleep of the machine: ``[since, offset]``.

    Times of the run never jump.  To show a time that is not before ``since``, add ``offset`` seconds.
    """

    since: float
    offset: float


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
    """Why the run ended."""
    notebook: str = ""
    """Path of the notebook that started the run; empty for a script."""
    linger: float = 0.0
    """Seconds that the run outlives its last client; 0 if it ends with its owner."""
    away: float | None = None
    """When the last client left; null while a client is attached."""
    ends: float | None = None
    """When the run ends if no client attaches."""
    job: str = ""
    """The batch job that the run's host belongs to, as ``Slurm job 1234``; empty outside of jobs."""
    job_ends: float | None = None
    """When that job ends, and everything on its host with it; null when nobody knows."""
    clients: list[ClientRow] = []
    stopped: dict[str, str] = {}
    """The reason for each executor that accepts no more tasks."""
    clock: list[ClockChange] = []
    """Changes of the wall clock, in the order of ``since``."""


class ScalePoint(msgspec.Struct, array_like=True, gc=False):
    """Size of the run at a time: ``[time, running blocks, their workers, tasks that wait for a worker]``."""

    time: float
    blocks: int
    workers: int
    waiting: int


class Overview(msgspec.Struct):
    """Totals at the time of the message."""

    now: float
    counts: dict[str, int]
    """Number of tasks in each state; states without tasks are left out."""
    apps: dict[str, dict[str, int]]
    """Number of tasks of each app in each state."""
    rate: float
    """Tasks that finished per second, averaged over the last few seconds."""
    workers_busy: int
    workers_total: int
    tasks_total: int
    clients: int
    scale: ScalePoint | None = None
    """Null if the run never had a block."""


class GraphNode(msgspec.Struct, array_like=True):
    """A task as a node of the graph: ``[id, app, state, dependencies]``."""

    id: int
    app: str
    state: str
    deps: list[int]


class StateChange(msgspec.Struct, array_like=True, gc=False):
    """A task and its state: ``[id, state]``."""

    id: int
    state: str


class WorkerRow(msgspec.Struct, gc=False):
    """A worker and its current task."""

    worker: str
    executor: str
    state: str
    host: str
    pid: int
    task: int | None
    done: int
    """Tasks that it has finished."""
    reason: str
    manager: str = ""
    """The manager that started it; empty for workers of the run's own host."""


class BlockRow(msgspec.Struct, gc=False):
    """A block: one job of a scheduler.  Times are seconds since the epoch, or null for states it has not reached."""

    executor: str
    block: str
    state: str
    """Name of a ``BlockState``."""
    job: str
    """The scheduler's id of the job."""
    nodes: int
    """Requested nodes."""
    managers: int
    """Connected managers, one per node."""
    workers: int
    busy: int
    done: int
    """Tasks that its workers have finished."""
    held: bool
    """Whether it gets no new tasks until it is released."""
    since: float
    """When it entered its current state."""
    requested: float
    started: float | None
    ended: float | None
    reason: str
    stdout: str
    """Path of the file with the job's standard output."""
    stderr: str
    price: float | None = None
    """The price of the job per hour; null if its provider does not say."""


class ManagerRow(msgspec.Struct, gc=False):
    """A manager (one per node of a block) and the load of its node; load fields are null before the first sample."""

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
    """Memory of the node, in bytes."""
    cpu: float | None
    """CPU use in percent of all cores of the node."""
    used: int | None
    """Memory in use on the node, in bytes."""
    load: float | None
    """The node's one-minute load average."""
    since: float
    """When it entered its current state."""
    reason: str


class Notice(msgspec.Struct, gc=False):
    """A notification for the user: one sentence."""

    time: float
    level: str
    text: str


class FailureGroupRow(msgspec.Struct, gc=False):
    """Failed tasks whose errors have the same pattern; a task that is retried leaves its group."""

    number: int
    """Identifies the pattern in all processes of the run; 0 for all failures beyond the bounded number of groups."""
    kind: str
    """The class of the exception; empty if the error names none."""
    message: str
    """The message; placeholders replace its numbers, addresses, paths and quoted values."""
    tasks: int
    """0 once all of them have been retried."""
    first: float | None
    """When the first task of the group failed, even if it was retried; null if only the database knows."""
    last: float | None
    apps: dict[str, int]
    """Number of tasks of each app."""
    executors: dict[str, int]
    hosts: dict[str, int]
    """Number of tasks that failed on each host; tasks that reached no host are left out."""
    example: int | None
    """The task of the group that failed first."""


class Snapshot(_PanelMessage):
    """The complete state of the run that a panel shows."""

    seq: int
    run: RunInfo
    overview: Overview
    nodes: list[GraphNode]
    hidden: int
    """Number of tasks that are not among the nodes because of ``GRAPH_LIMIT``."""
    workers: list[WorkerRow]
    notices: list[Notice]
    request_id: str = ""
    blocks: list[BlockRow] = []
    managers: list[ManagerRow] = []
    scaling: list[ScalePoint] = []
    """History of blocks, workers and waiting tasks: one point per change, thinned out with time."""
    failures: list[FailureGroupRow] = []
    """The groups that have tasks, in the order of their first failure."""


class Delta(_PanelMessage):
    """The changes since the message with number ``seq - 1``."""

    seq: int
    overview: Overview
    nodes: list[GraphNode] = []
    changes: list[StateChange] = []
    hidden: int = 0
    workers: list[WorkerRow] = []
    notices: list[Notice] = []
    run: RunInfo | None = None
    blocks: list[BlockRow] = []
    managers: list[ManagerRow] = []
    failures: list[FailureGroupRow] = []
    """The groups that have changed; a group with 0 tasks is gone."""


class TaskRow(msgspec.Struct, kw_only=True, gc=False):
    """A row of the task table.  Times are seconds since the epoch, or null for states it has not reached.

    Each field is a column of the database's table ``task``, too.
    """

    id: int
    app: str
    state: str
    executor: str
    submitted: float
    started: float | None = None
    ended: float | None = None
    worker: str = ""
    attempt: int = 0
    error: str = ""
    shown: str = ""
    """The arguments as a short text."""
    cell: str = ""
    """The notebook cell that called the task, for example ``In [3]``."""


class CellCountsRow(msgspec.Struct, gc=False):
    """The tasks that a cell has called."""

    cell: str
    counts: dict[str, int]
    """Number of tasks in each state; states without tasks are left out."""
    submitted: float
    """When it called the first of them."""
    ended: float | None
    """When the last of them ended; null while one is unfinished."""


class CellCounts(_PanelMessage):
    """The tasks of each requested cell that has called any, at the time ``now``."""

    request_id: str
    now: float
    rows: list[CellCountsRow]


class TaskPage(_PanelMessage):
    """The requested rows of the task table and the total number of matching rows."""

    request_id: str
    rows: list[TaskRow]
    total: int
    offset: int


class Attempt(msgspec.Struct, kw_only=True, gc=False):
    """One attempt to run a task.  Times are seconds since the epoch, or null if not reached."""

    attempt: int
    """Counts from 0."""
    state: str
    """``failed`` for an earlier attempt, the state of the task for the latest one."""
    started: float | None
    ended: float | None
    worker: str
    """The worker that ran it, or its manager if the worker is not known."""
    host: str
    reason: str
    """Name of a ``Reason``; empty unless it failed."""
    error: str


class TaskDetail(_PanelMessage):
    """All details of one task."""

    request_id: str
    row: TaskRow
    times: list[tuple[str, float]]
    """Pairs of a state and when the task entered it, in order."""
    deps: list[StateChange]
    dependents: list[StateChange]
    host: str
    pid: int
    traceback: str
    stdout: str
    stderr: str
    client: int
    cpu: float | None = None
    """CPU seconds of the task and its child processes.  This field and the next three are null without samples."""
    memory: int | None = None
    """Peak resident memory, in bytes."""
    read: int | None = None
    """Bytes read from files and devices."""
    written: int | None = None
    """Bytes written to files and devices."""
    attempts: list[Attempt] = []
    """All attempts, the latest one last; empty before the first attempt was sent."""
    nodes: str = ""
    """The nodes of an MPI task, with commas between them; empty for other tasks, and before it was sent."""
    cores: str = ""
    """The cores that its ranks are bound to; empty where they are not bound."""
    launch: str = ""
    """The command that starts its ranks."""
    source: tuple[str, str] | None = None
    """Place and text of the innermost line of the traceback that is in a cell: ``["In [3], line 4", "1 / 0"]``."""


class TimelineBar(msgspec.Struct, array_like=True, gc=False):
    """Tasks of a row: ``[start, end, tasks, task, app, state, failed, busy]``.

    Times are seconds since the ``origin`` of the Timeline.
    """

    start: float
    end: float
    tasks: int
    """How many attempts the bar stands for."""
    task: int
    """The task of the first attempt."""
    app: int
    """Place of the most frequent app in ``apps``; -1 for several apps."""
    state: str
    """State of the task; ``failed`` for several attempts of which any failed."""
    failed: int
    """How many of the attempts failed."""
    busy: float
    """Seconds that the attempts took together."""


class TimelineRow(msgspec.Struct, kw_only=True, gc=False):
    """A row of the picture: one worker, or all workers of a node, a block or an executor."""

    executor: str
    """Empty for bodies of join apps, which run in the notebook process."""
    block: str = ""
    node: str = ""
    """The manager; empty for workers of the run's own host, and for rows of more than one node."""
    host: str = ""
    worker: str = ""
    """The worker; empty if only its manager is known, and for rows of several workers."""
    workers: int = 1
    """How many workers share the row."""
    names: list[str] = []
    """What the tasks of the row name as their worker: for ``TaskPageRequest.workers``."""
    since: float | None = None
    """When the workers connected, as far as it is known."""
    until: float | None = None
    """When they left; null while they are connected."""
    busy: float = 0.0
    """Share of the time of the picture in which they were busy, from 0 to 1."""
    bars: list[TimelineBar] = []


class UtilisationPoint(msgspec.Struct, array_like=True, gc=False):
    """Averages from a time to the next point: ``[time, connected, busy, waiting]``."""

    time: float
    """Seconds since the ``origin`` of the Timeline."""
    connected: float
    """Workers that could run tasks."""
    busy: float
    """Workers that ran one."""
    waiting: float
    """Tasks that were ready and that no worker had begun."""


class Timeline(_PanelMessage):
    """When the workers of a run were busy, reduced to what a picture can show.

    Times are seconds since ``origin``.
    """

    request_id: str
    origin: float
    """When the run began, in seconds since the epoch."""
    since: float
    """Begin of this picture."""
    until: float
    first: float
    """Begin of the picture that shows the whole run."""
    last: float
    going_on: bool
    """Whether any task is unfinished and has begun or could."""
    by: Literal["worker", "node", "block", "executor"]
    """What a row stands for."""
    rows: list[TimelineRow]
    hidden: int
    """Rows that are left out."""
    apps: list[str]
    utilisation: list[UtilisationPoint]


class BlockOutput(_PanelMessage):
    """The last output lines of a block's job."""

    request_id: str
    executor: str
    block: str
    stdout: str
    stderr: str
    problem: str
    """One sentence if a file could not be read; empty otherwise."""


class CommandReply(_PanelMessage):
    """The result of a command; ``text`` is one sentence that says what the run did."""

    request_id: str
    text: str


class ErrorReply(_PanelMessage):
    """A request failed; ``text`` is one sentence that says why."""

    request_id: str
    text: str


class RelayStatus(_PanelMessage):
    """The Jupyter server itself reports about the route to the run; all other messages on it are those of the run."""

    state: Literal["live", "absent", "ended", "lost", "refused", "skipped"]
    """``live``: the run answers.  ``absent``: the server looks for a run.  ``ended``: the run has ended.  ``lost``: its
    process has gone without a word.  ``refused``: the run does not let the server in.  ``skipped``: the browser was too
    slow, so messages were left out, and a Snapshot is needed."""
    run: str = ""
    """The name of the run; empty while none is found."""
    text: str = ""
    """One sentence that says why; empty if the state needs none."""


Command: TypeAlias = (
    CancelRequest
    | RetryRequest
    | ScaleRequest
    | BlockActionRequest
    | LingerRequest
    | ExplainRequest
    | ReproducerRequest
    | CheckpointRequest
    | HandoverRequest
)
"""Requests that the DataFlowKernel itself carries out."""

Reply: TypeAlias = (
    Snapshot | Delta | TaskPage | CellCounts | TaskDetail | Timeline | BlockOutput | CommandReply | ErrorReply
)
