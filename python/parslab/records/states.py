"""The states of a task and what each means (paper section 4.1; numbers and names are Parsl's where Parsl has them)."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["FAILURES", "FINAL", "TaskState"]


class TaskState(IntEnum):
    """Where a task is in its life."""

    pending = 0
    """Waits for other tasks whose results it needs."""
    running = 2
    """A worker is executing it."""
    exec_done = 3
    """Ended with a result."""
    failed = 4
    """Ended with an exception, or lost its worker."""
    dep_fail = 5
    """Never ran, because a task it needs failed."""
    ready = 6
    """Everything it needs is there; waits for a worker."""
    launched = 7
    """Sent to a worker (or to the notebook process) that has not begun it yet."""
    joining = 10
    """The body of a join app has returned; waits for the futures it returned."""
    cancelled = 12
    """Ended because somebody cancelled it."""

    def __str__(self) -> str:
        return self.name


FINAL = frozenset({TaskState.exec_done, TaskState.failed, TaskState.dep_fail, TaskState.cancelled})
"""A task in one of these states does not move any more."""

FAILURES = frozenset({TaskState.failed, TaskState.dep_fail})
"""Final states that carry an error."""
