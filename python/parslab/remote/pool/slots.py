"""What the queue of a pool knows of one task and of one worker [core]."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from parslab.records.software import Software
    from parslab.records.states import TaskState

__all__ = ["QueuedTask", "TaskT", "WorkerSlot", "is_free"]


class QueuedTask(Protocol):
    """A task as the queue sees it."""

    id: int
    attempt: int
    fn: int
    state: TaskState
    worker: object | None
    """The slot that holds the task; the queue sets it."""

    @property
    def spec(self) -> object | None:
        """None, or a specification of resources and limits, which the owner of the task interprets."""


TaskT = TypeVar("TaskT", bound=QueuedTask)


class WorkerSlot(Generic[TaskT]):
    """One worker.

    Parameters
    ----------
    name
        Its name.
    now
        The time.
    rank
        Its position among the workers of its host; -1 for a worker of another host.
    software
        The software that it was started with; None: that of the pool.
    """

    __slots__ = (
        "expected",
        "inflight",
        "last_seen",
        "name",
        "probed",
        "rank",
        "reserved",
        "running",
        "software",
        "usable",
    )

    def __init__(self, name: str, now: float, rank: int = -1, software: Software | None = None) -> None:
        self.name = name
        self.rank = rank
        self.software = software
        self.inflight: dict[int, TaskT] = {}
        self.expected = 0.0
        """Seconds that the tasks in flight should take together."""
        self.last_seen = now
        self.probed = False
        """Whether the pool has probed this worker since its last message."""
        self.running = -1
        self.usable = True
        """False while the pool stops this worker."""
        self.reserved = -1
        """The task in another slot that occupies this worker, too; -1: none."""


def is_free(slot: WorkerSlot[TaskT]) -> bool:
    """Return whether nobody has a task on the rank of a plain worker."""
    return slot.usable and not slot.inflight and slot.reserved < 0
