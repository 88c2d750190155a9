"""What the rooms of ``scaling`` tell each other and the DataFlowKernel: the load of an executor, what a strategy
decides, and what a controller needs of its owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.records.events import Event

__all__ = ["BlockLoad", "ExecutorLoad", "ScalingOwner"]


class BlockLoad(msgspec.Struct, frozen=True):
    """What the managers of one block are doing."""

    managers: int
    """How many are connected."""
    workers: int
    tasks: int
    """Tasks that they hold."""
    idle_since: float | None
    """Since when they hold no task; None while they hold one or none has come."""
    held: bool = False
    draining: bool = False


class ExecutorLoad(msgspec.Struct, frozen=True):
    """The work of one executor now."""

    tasks: int
    """Tasks that wait for it or that it holds, each counted with the worker slots it takes."""
    waiting: int
    """Those of them that no manager holds."""
    blocks: dict[str, BlockLoad]
    """By block id; blocks without connected managers are left out."""


class ScalingOwner(Protocol):
    """What a controller needs of the DataFlowKernel; all calls come from the loop's thread."""

    run: dict[str, object]

    def event(self, event: Event) -> None:
        """Tell monitoring."""

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call at this time (seconds since the epoch), in the loop."""

    def post(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread; safe from any thread."""

    def load(self) -> ExecutorLoad:
        """The work of this executor now."""

    def release_block(self, block: str) -> None:
        """Its managers get no more tasks, end those they hold, and leave."""

    def hold_block(self, block: str, hold: bool) -> None:
        """Its managers get no new tasks (``hold``), or get them again."""

    def fail(self, why: str) -> None:
        """No block can be had: fail what waits for this executor, now and later, with this sentence."""
