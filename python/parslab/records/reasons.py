"""Defines the reasons why an attempt of a task may fail, one word each for programs; people read the error instead.

The process that notices the failure sets the reason: the worker, the pool that lost a worker, or the DataFlowKernel
that lost a manager.  The reason decides how long the next attempt waits and whether a node is to blame, and the panel
shows it.  Messages contain its text, so an unknown reason of a newer peer does no harm.
"""

from __future__ import annotations

from enum import Enum

from parslab.errors import (
    AppTimeout,
    DataFlowKernelLost,
    DeserializationError,
    FileLostError,
    LostError,
    ManagerLost,
    PropagatedError,
    SerializationError,
    SoftwareError,
    WorkerLost,
)

__all__ = ["INFRASTRUCTURE", "Reason", "reason_of"]


class Reason(str, Enum):
    """Why an attempt failed."""

    app_error = "app_error"
    """The function raised an exception."""
    worker_lost = "worker_lost"
    """Its worker process died."""
    node_lost = "node_lost"
    """The manager of its node disconnected, or sent no heartbeat for too long."""
    walltime = "walltime"
    """The task ran longer than its limit."""
    out_of_memory = "out_of_memory"
    """The function raised MemoryError, or the system's out-of-memory killer ended the worker."""
    serialization = "serialization"
    """Its arguments, its result or its function could not be pickled or unpickled."""
    dependency = "dependency"
    """A task that it needs failed."""
    cancelled = "cancelled"
    """Somebody cancelled it."""
    never_run = "never_run"
    """No worker can ever take the task: its executor is stopped, or no node has what the call asks for.

    Also: the software of the task cannot be had.
    """
    file_lost = "file_lost"
    """The only copy of a temporary file that it reads was lost with a node."""
    kernel_lost = "kernel_lost"
    """The DataFlowKernel of its run died."""
    retry_handler = "retry_handler"
    """The retry handler raised this error, which replaces the one of the task."""

    def __str__(self) -> str:
        return self.value


INFRASTRUCTURE = frozenset({Reason.worker_lost.value, Reason.node_lost.value, Reason.out_of_memory.value})
"""Reasons caused by a machine and not by the function, as texts, because failures contain texts."""


def reason_of(error: BaseException) -> Reason:
    """Find the reason for an exception, wherever it was caught.

    Examples
    --------
    >>> reason_of(MemoryError()).name
    'out_of_memory'
    >>> reason_of(ValueError("no")).name
    'app_error'
    """
    if isinstance(error, WorkerLost):
        # Without a process, the error says that no worker can take the task.
        if not error.pid:
            return Reason.never_run
        return Reason.out_of_memory if error.reason == Reason.out_of_memory.value else Reason.worker_lost
    for kind, reason in _KINDS:
        if isinstance(error, kind):
            return reason
    return Reason.app_error


# The first match counts, so subclasses are before their bases.
_KINDS: tuple[tuple[type[BaseException], Reason], ...] = (
    (ManagerLost, Reason.node_lost),
    (AppTimeout, Reason.walltime),
    (MemoryError, Reason.out_of_memory),
    (SerializationError, Reason.serialization),
    (DeserializationError, Reason.serialization),
    (PropagatedError, Reason.dependency),
    (SoftwareError, Reason.never_run),
    (FileLostError, Reason.file_lost),
    (DataFlowKernelLost, Reason.kernel_lost),
    (LostError, Reason.worker_lost),
)
