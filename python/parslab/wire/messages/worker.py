"""Messages between a worker and the process that owns it: the DataFlowKernel or a manager.

Each worker has two links.  The data link carries tasks and their outcomes.  A thread serves the control link, also
while a task runs.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from parslab.records.software import Software
from parslab.wire.messages.base import (
    DefineFunction,
    Failure,
    ForgetFunctions,
    OutputPrinted,
    PackedValue,
    Refused,
    WireMessage,
)

__all__ = [
    "CLOSED_DESCRIPTORS",
    "NOT_RESTORED",
    "STATE_NOT_RESTORED",
    "ControlMessage",
    "Demand",
    "InterruptTask",
    "LeaveWhenDone",
    "Outcome",
    "ProbeWorker",
    "RunTask",
    "WorkerControlMessage",
    "WorkerHello",
    "WorkerMessage",
    "WorkerReport",
]

CLOSED_DESCRIPTORS = 120
"""Exit status of a worker whose task closed its descriptors.

Python exits with the same status when it cannot flush ``stdout``, which usually has the same cause.
"""

STATE_NOT_RESTORED = 121
"""Exit status of a worker whose task has changed the process for good; the last line of its stderr says how."""
NOT_RESTORED = "a task changed its process in a way that cannot be undone"
"""The beginning of that line."""


class Demand(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What a call asks for, for an executor of another library that divides its resources itself."""

    cores: float = 0.0
    """0: as many as a worker has."""
    memory: int = 0
    """Bytes; 0: as much as a worker has."""
    gpus: int = 0
    priority: float = 0.0
    """The smallest number runs first."""


class RunTask(WireMessage, tag=64):
    """Run a task.  Its frames are those of the arguments, then those of ``values`` in order, depth first."""

    task: int
    attempt: int
    fn: int
    args: bytes
    frames: int
    values: tuple[PackedValue, ...] = ()
    slots: int = 1
    """How many of a manager's workers the task occupies."""
    limit: float = 0.0
    """Seconds that the task may run; 0: no limit."""
    software: Software | None = None
    """What the manager's worker needs; None: the software of the executor."""
    environment: dict[str, str] | None = None
    """Environment variables that only this task has; None for all tasks but those of MPI."""
    demand: Demand | None = None
    """What the call asks for; None where the manager has workers of its own."""


class LeaveWhenDone(WireMessage, tag=66):
    """Exit when the tasks that were sent earlier have ended."""


WorkerMessage: TypeAlias = RunTask | DefineFunction | ForgetFunctions | LeaveWhenDone | Refused


class ProbeWorker(WireMessage, tag=70):
    """(control) Ask which task runs.  The worker gives back tasks that have not begun, and sends output while busy."""


class InterruptTask(WireMessage, tag=71):
    """(control) Raise KeyboardInterrupt in this task if it runs; give it back if the worker has not begun it."""

    task: int


ControlMessage: TypeAlias = ProbeWorker | InterruptTask | Refused


class WorkerHello(WireMessage, tag=80):
    """First message of each link of a worker."""

    worker: str
    protocol: int
    package: str
    python: str
    pid: int
    host: str
    executor: int
    control: bool = False


class Outcome(WireMessage, tag=81):
    """A task ended on the worker, with a value or a failure."""

    task: int
    attempt: int
    inline: bytes
    frames: int
    started: float
    ended: float
    failure: Failure | None = None
    interrupted: bool = False


class WorkerReport(WireMessage, tag=82):
    """(control) Answer to ``ProbeWorker`` and ``InterruptTask``: the running task (-1: none), and returned tasks."""

    running: int
    since: float
    returned: tuple[int, ...] = ()


WorkerControlMessage: TypeAlias = WorkerHello | Outcome | WorkerReport | OutputPrinted
