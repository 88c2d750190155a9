"""What a scaling controller asks of the DataFlowKernel, and the load of an executor that it gets as the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.records.events import Event

__all__ = ["BlockLoad", "ExecutorLoad", "ScalingOwner"]


class BlockLoad(msgspec.Struct, frozen=True):
    """What the managers of one block are doing now."""

    managers: int
    """Connected managers."""
    workers: int
    tasks: int
    """Tasks that the managers hold."""
    idle_since: float | None
    """Since when the managers hold no task; None while they hold one, and before the first manager joined."""
    held: bool = False
    """The user wants the block to get no new tasks."""
    draining: bool = False
    """The managers finish what they hold, and leave."""


class ExecutorLoad(msgspec.Struct, frozen=True):
    """The work of one executor now."""

    tasks: int
    """Tasks that wait for the executor or that its managers hold; each counts with the worker slots that it takes."""
    waiting: int
    """Those of ``tasks`` that no manager holds."""
    blocks: dict[str, BlockLoad]
    """The load of each block, by block id; a block without connected managers is missing."""


class ScalingOwner(Protocol):
    """The DataFlowKernel as a controller sees it; the controller calls from the loop's thread."""

    run: dict[str, object]

    def event(self, event: Event) -> None:
        """Send an event to monitoring."""

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call ``call`` in the loop at the time ``when``, in seconds since the epoch."""

    def post(self, call: Callable[[], None]) -> None:
        """Call ``call`` in the loop's thread; safe from any thread."""

    def load(self) -> ExecutorLoad:
        """The work of this executor now."""

    def release_block(self, block: str) -> None:
        """Give the managers of a block no more tasks, and let them leave when they have finished what they hold."""

    def hold_block(self, block: str, hold: bool) -> None:
        """Give the managers of a block no new tasks (``hold`` is True), or give them tasks again."""

    def fail(self, why: str) -> None:
        """Fail all tasks of this executor, waiting ones and later ones, because it cannot get any block."""
