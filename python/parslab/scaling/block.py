"""One block: the state of its job and of its managers."""

from __future__ import annotations

from dataclasses import dataclass, field

from parslab.records.states import ENDED, BlockState

__all__ = ["STARTING", "Block"]

STARTING = frozenset({BlockState.requested, BlockState.queued})
"""States of a block whose job does not run yet."""


@dataclass(slots=True, eq=False)
class Block:
    """One block; a time is None until the event has happened."""

    id: str
    requested_at: float
    state: BlockState = BlockState.requested
    job: str = ""
    """The number that the scheduler has given to its job; empty while the number is unknown."""
    reason: str = ""
    """The reason for its state, in one sentence for the user."""
    price: float | None = None
    """The price of its job per hour; None if the provider does not say."""
    started_at: float | None = None
    """When its job began to run, as far as the scheduler or a manager shows it."""
    joined_at: float | None = None
    """When its first manager connected."""
    proven: bool = False
    """Its start is a success: a manager has held a task, or has stayed connected long enough."""
    managers: dict[str, str] = field(default_factory=dict)
    """The host of each connected manager."""
    last_departure: str = ""
    """The reason why its last manager left or was refused."""
    unknown_since: float | None = None
    """Since when the scheduler does not know its job."""
    empty_since: float | None = None
    """Since when its last manager has left."""
    adopted: bool = False
    """A DataFlowKernel that was killed requested it, and the scheduler has not confirmed its job since."""
    awaits_return: bool = False
    """Managers of it were connected to a DataFlowKernel that was killed, and none is connected to this one yet."""
    held: bool = False
    """The user holds the block, so it gets no new tasks."""
    unwanted: bool = False
    """The controller is ending the block."""
    cancel_at: float | None = None
    """When its job must be cancelled."""
    cancelling: bool = False
    """The scheduler is being asked to cancel its job."""
    end_journaled: bool = False
    """Its end is in the block journal."""
    late: bool = False
    """The user has read that its managers are late, or why one was refused."""
    ended_at: float | None = None
    count_at: float | None = None
    """The time at which its failed start counts although its output is not read."""

    @property
    def alive(self) -> bool:
        """Whether it has not ended."""
        return self.state not in ENDED

    @property
    def starting(self) -> bool:
        """Whether it was requested and no manager has connected yet."""
        return self.joined_at is None and self.state is not BlockState.draining and self.alive

    @property
    def may_come(self) -> bool:
        """Whether it works, or its managers may connect soon."""
        return bool(self.managers) or (self.starting and self.state is BlockState.running and not self.late)

    @property
    def in_queue(self) -> bool:
        """Whether its job waits in the scheduler's queue, or may still be accepted."""
        return self.starting and self.state in STARTING

    def story(self) -> str:
        """Describe the block and its past in one line, for an error."""
        return f"block {self.id}, job {self.job or '(none)'}, managers {len(self.managers)}, reason {self.reason!r}"
