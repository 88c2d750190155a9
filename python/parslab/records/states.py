"""The states of tasks, blocks and managers, and what each means (paper sections 4.1, 4.2; names are Parsl's where it
has them, and so are the numbers of task states)."""

from __future__ import annotations

from enum import Enum, IntEnum

__all__ = ["ENDED", "FAILURES", "FINAL", "SUCCESSES", "BlockState", "ManagerState", "TaskState"]


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
    fail_retryable = 8
    """Its attempt failed; it waits for its next one."""
    memo_done = 9
    """Ended with the result that an equal call gave before; it did not run."""
    joining = 10
    """The body of a join app has returned; waits for the futures it returned."""
    cancelled = 12
    """Ended because somebody cancelled it."""

    def __str__(self) -> str:
        return self.name


SUCCESSES = frozenset({TaskState.exec_done, TaskState.memo_done})
"""Final states that carry a result."""

FAILURES = frozenset({TaskState.failed, TaskState.dep_fail})
"""Final states that carry an error."""

FINAL = SUCCESSES | FAILURES | {TaskState.cancelled}
"""A task in one of these states does not move any more, unless it is reopened."""


class BlockState(str, Enum):
    """Where a block (one batch job of one or more nodes, paper section 4.2.1) is in its life."""

    requested = "requested"
    """Asked of the provider, which has not given it a job number yet."""
    queued = "queued"
    """The scheduler has it and has not started it."""
    running = "running"
    """Its job runs; its managers may still be on their way."""
    draining = "draining"
    """It gets no more tasks and leaves when it has ended those it holds."""
    finished = "finished"
    """Its job ended by itself: walltime, or nothing to do any more."""
    failed = "failed"
    """It could not be submitted or started, or its job failed."""
    scaled_in = "scaled_in"
    """Ended by us because it was not needed, or because the run is over."""
    missing = "missing"
    """The scheduler does not know its job any more and nothing was heard of it."""

    def __str__(self) -> str:
        return self.value


ENDED = frozenset({BlockState.finished, BlockState.failed, BlockState.scaled_in, BlockState.missing})
"""A block in one of these states does not move any more."""


class ManagerState(str, Enum):
    """Where a manager (one for each node of a block, paper section 4.3.1) is in its life."""

    ready = "ready"
    """It takes tasks."""
    held = "held"
    """It keeps what it has and gets no new tasks until it is released."""
    draining = "draining"
    """It gets no new tasks and leaves when it has ended those it holds."""
    gone = "gone"
    """It has left in good order."""
    lost = "lost"
    """It was silent for too long, or its connection broke."""
    refused = "refused"
    """Its Python, package or protocol does not fit; the reason names the side to fix."""

    def __str__(self) -> str:
        return self.value
