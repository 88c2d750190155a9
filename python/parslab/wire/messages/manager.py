"""Messages between the manager of a node and the DataFlowKernel."""

from __future__ import annotations

from typing import TypeAlias

from parslab.records.states import WorkerState
from parslab.wire.messages.base import DefineFunction, ForgetFunctions, OutputPrinted, Refused, WireMessage
from parslab.wire.messages.worker import InterruptTask, LeaveWhenDone, Outcome, RunTask, WorkerReport

__all__ = [
    "LinkHeartbeat",
    "ManagerAccepted",
    "ManagerBroken",
    "ManagerDraining",
    "ManagerHello",
    "ManagerLeft",
    "ManagerMessage",
    "NodeSample",
    "TaskSample",
    "ToManagerMessage",
    "WorkerStateChanged",
]


class LinkHeartbeat(WireMessage, tag=90):
    """(both ways) I am here."""


class ManagerHello(WireMessage, tag=91):
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


class ManagerDraining(WireMessage, tag=92):
    """(manager) Send no more tasks: I leave when those I have are done.  ``reason`` says why."""

    reason: str


class ManagerLeft(WireMessage, tag=93):
    """(manager) I leave, and hold no task."""

    reason: str


class WorkerStateChanged(WireMessage, tag=94):
    """(manager) One of its workers is starting, idle, busy or dead."""

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
    """(manager) What a task has used; see ``TaskSampled``."""

    task: int
    attempt: int
    cpu: float
    memory: int
    read: int
    written: int


class ManagerBroken(WireMessage, tag=97):
    """(manager) No worker can be started here; I leave."""

    reason: str


class ManagerAccepted(WireMessage, tag=98):
    """(DataFlowKernel) Welcome; tasks will come."""


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
)
"""What a manager sends."""


ToManagerMessage: TypeAlias = (
    ManagerAccepted
    | Refused
    | LinkHeartbeat
    | RunTask
    | DefineFunction
    | ForgetFunctions
    | InterruptTask
    | LeaveWhenDone
)
"""What is sent to a manager."""
