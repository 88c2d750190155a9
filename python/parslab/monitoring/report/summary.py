"""The JSON summary of a run.  [core]

``parslab report RUN`` writes a :class:`Summary`, and ``parslab report --schema`` prints the JSON Schema that follows
from these classes.  Times are seconds since the epoch, durations are seconds.  Every list has a bounded length, and a
number beside it says what is left out.  New fields may come at any time; ``format`` changes when a field changes its
meaning.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = [
    "FORMAT",
    "AppUse",
    "BlockUse",
    "CriticalPath",
    "FailureGroup",
    "PathStep",
    "ReportedStatus",
    "RetrySummary",
    "RunFacts",
    "Summary",
    "TaskTime",
    "TaskTotals",
    "TimeTotals",
    "Utilisation",
    "WorkerUse",
]

FORMAT = "parslab-report/1"

ReportedStatus: TypeAlias = Literal["running", "ended", "lost", "imported"]
"""``lost``: the run has no recorded end and no process any more.  ``imported``: Parsl has run it."""


class RunFacts(msgspec.Struct, kw_only=True):
    """The run itself."""

    run: str
    status: ReportedStatus
    host: str
    run_dir: str
    version: str
    """Version of parslab that ran it; ``Parsl`` for an imported run."""
    executors: list[str]
    started: float
    ended: float | None
    """The recorded end; null while the run goes on, and for a run that was killed."""
    seconds: float
    """From the start to the end.  A run without an end counts until now, or until its last event if it is lost."""
    reason: str
    """Why it ended."""


class TaskTotals(msgspec.Struct, kw_only=True):
    """How many tasks there are, and what became of them."""

    total: int
    states: dict[str, int]
    """Number of tasks in each state; states without tasks are left out."""
    succeeded: int
    failed: int
    """Includes tasks that never ran because a task that they need failed."""
    cancelled: int
    memoized: int
    """Tasks that took the result of an earlier equal call."""
    unfinished: int


class TimeTotals(msgspec.Struct, kw_only=True):
    """Sums over tasks, by what the tasks did in that time."""

    waiting: float = 0.0
    """For the results of other tasks."""
    queue: float = 0.0
    """For a free worker."""
    transfer: float = 0.0
    """From being sent until the function began: on the way, or behind another task of the same worker."""
    run: float = 0.0
    """In the function, last attempts only."""
    joining: float = 0.0
    """For the futures that a join app returned."""
    failed_attempts: float = 0.0
    """In attempts that failed and were followed by another one."""


class AppUse(msgspec.Struct, kw_only=True):
    """The tasks of one app."""

    app: str
    tasks: int
    succeeded: int
    failed: int
    memoized: int
    run: float
    """Sum of the run times."""
    median: float | None
    """Median of the run times; null if no task has run."""
    p95: float | None
    longest: float | None
    waiting: float
    """Sum of the times that its tasks waited for results of other tasks."""
    queue: float
    """Sum of the times that its tasks waited for a worker."""
    transfer: float
    """Sum of the times from being sent until the function began."""


class Utilisation(msgspec.Struct, kw_only=True):
    """The run over time, in intervals of equal length.  Each value is the average over its interval."""

    start: float
    step: float
    running: list[float]
    """Tasks that ran."""
    waiting: list[float]
    """Tasks that waited for a free worker."""
    workers: list[float]
    """Workers that were there; empty if nothing is known about workers."""
    mean: float | None
    """Share of the workers' time in which they ran a task, from 0 to 1."""


class WorkerUse(msgspec.Struct, kw_only=True):
    """A worker, or the manager of several workers."""

    worker: str
    host: str
    workers: int
    """1, or the number of workers of the manager; 0 where it is not known."""
    tasks: int
    run: float
    """Seconds in which it ran tasks, summed over its workers."""


class BlockUse(msgspec.Struct, kw_only=True):
    """A block: one job of a scheduler."""

    executor: str
    block: str
    state: str
    nodes: int
    workers: int
    requested: float
    started: float | None
    ended: float | None
    queue: float | None
    """Seconds until the scheduler started the job; null if it never did."""
    reason: str


class TaskTime(msgspec.Struct, kw_only=True):
    """A task and its times."""

    task: int
    app: str
    state: str
    arguments: str
    worker: str
    attempts: int
    waiting: float
    queue: float
    transfer: float
    run: float


class PathStep(msgspec.Struct, kw_only=True):
    """A task of the critical path, and how the time since the end of the step before it was spent."""

    task: int
    app: str
    state: str
    program: float
    """Until the program called the app."""
    queue: float
    """Until the task was sent to a worker; earlier attempts included."""
    transfer: float
    run: float
    joining: float


class CriticalPath(msgspec.Struct, kw_only=True):
    """The chain of tasks that decided when the work was done.

    Its last task is the one that ended last.  The task before each one is the dependency of it that ended last.  The
    times of all steps add up to ``seconds``.
    """

    seconds: float = 0.0
    """From the start of the run to the end of the last task."""
    length: int = 0
    """Number of tasks in the chain."""
    whole: bool = True
    """False if the chain was too long to be followed to its beginning."""
    program: float = 0.0
    queue: float = 0.0
    transfer: float = 0.0
    run: float = 0.0
    joining: float = 0.0
    steps: list[PathStep] = []
    """The first and the last steps."""
    hidden: int = 0
    """Steps between them that are left out."""


class FailureGroup(msgspec.Struct, kw_only=True):
    """Tasks that failed for the same cause: the same reason, and the same error but for its numbers."""

    reason: str
    error: str
    """The error of the first of them."""
    tasks: int
    apps: list[str]
    examples: list[int]
    """Numbers of some of the tasks."""


class RetrySummary(msgspec.Struct, kw_only=True):
    """Attempts that failed."""

    attempts: int = 0
    """Failed attempts, with those after which the task ended."""
    tasks: int = 0
    """Tasks that were tried more than once."""
    rescued: int = 0
    """Such tasks that succeeded in the end."""
    seconds: float = 0.0
    """Time in failed attempts."""
    reasons: dict[str, int] = {}
    """Failed attempts by reason."""


class Summary(msgspec.Struct, kw_only=True):
    """All that a report says."""

    format: str = FORMAT
    written: float
    """When the report was written."""
    written_by: str
    """Version of parslab that wrote it."""
    run: RunFacts
    tasks: TaskTotals
    times: TimeTotals
    apps: list[AppUse]
    """By the sum of their run times."""
    apps_hidden: int
    utilisation: Utilisation
    workers: list[WorkerUse]
    """By the sum of their run times."""
    workers_hidden: int
    blocks: list[BlockUse]
    blocks_hidden: int
    critical_path: CriticalPath
    slowest: list[TaskTime]
    """Tasks by run time."""
    failures: list[FailureGroup]
    """By number of tasks."""
    failures_hidden: int
    """Failed tasks of other causes."""
    retries: RetrySummary
    notices: list[str]
    """Warnings and errors that the run has raised, the newest last."""
