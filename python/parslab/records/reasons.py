"""Why an attempt of a task failed, in one word that programs can ask for; the error's sentence is for people.

Set where a failure is made: on the worker, by the pool that buried a worker, by the DataFlowKernel that lost a manager.
It decides how long the next attempt waits and whether a node is to blame, and is shown with each attempt.  Travels as
its text, so that one that a peer does not know does no harm.
"""

from __future__ import annotations

from enum import Enum

from parslab.errors import (
    AppTimeout,
    DataFlowKernelLost,
    DeserializationError,
    LostError,
    ManagerLost,
    PropagatedError,
    SerializationError,
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
    """The manager of its node went away, or was silent for too long."""
    walltime = "walltime"
    """It ran longer than it may."""
    out_of_memory = "out_of_memory"
    """It raised MemoryError, or the system's out-of-memory killer ended its worker."""
    serialization = "serialization"
    """Its arguments, its result or its function could not be pickled or unpickled."""
    dependency = "dependency"
    """A task that it needs failed."""
    cancelled = "cancelled"
    """Somebody cancelled it."""
    never_run = "never_run"
    """No worker will ever take it: its executor is stopped, or no node has what it asks for."""
    kernel_lost = "kernel_lost"
    """The DataFlowKernel of its run died."""
    retry_handler = "retry_handler"
    """The retry handler raised this, in place of the task's own error."""

    def __str__(self) -> str:
        return self.value


INFRASTRUCTURE = frozenset({Reason.worker_lost.value, Reason.node_lost.value, Reason.out_of_memory.value})
"""Reasons that lie with a machine rather than with the function: as texts, which is how failures carry them."""


def reason_of(error: BaseException) -> Reason:
    """The reason that an exception stands for, wherever it was caught.

    Examples
    --------
    >>> reason_of(MemoryError()).name
    'out_of_memory'
    >>> reason_of(ValueError("no")).name
    'app_error'
    """
    if isinstance(error, WorkerLost):
        if not error.pid:
            return Reason.never_run
        return Reason.out_of_memory if error.reason == Reason.out_of_memory.value else Reason.worker_lost
    for kind, reason in _KINDS:
        if isinstance(error, kind):
            return reason
    return Reason.app_error


_KINDS: tuple[tuple[type[BaseException], Reason], ...] = (
    (ManagerLost, Reason.node_lost),
    (AppTimeout, Reason.walltime),
    (MemoryError, Reason.out_of_memory),
    (SerializationError, Reason.serialization),
    (DeserializationError, Reason.serialization),
    (PropagatedError, Reason.dependency),
    (DataFlowKernelLost, Reason.kernel_lost),
    (LostError, Reason.worker_lost),
)
