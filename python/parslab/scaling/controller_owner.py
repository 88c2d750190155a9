"""The interface through which a scaling controller uses the DataFlowKernel, and the records of an executor's load."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.records.events import Event
    from parslab.wire.run_files import RunSettings

__all__ = ["BlockLoad", "ExecutorLoad", "ScalingOwner"]


class BlockLoad(msgspec.Struct, frozen=True):
    """The load of the managers of one block."""

    managers: int
    """Connected managers."""
    workers: int
    tasks: int
    """Tasks that the managers hold."""
    idle_since: float | None
    """The time from which the managers hold no task; None while they hold one, and before the first manager joins."""
    held: bool = False
    """The user holds the block, so it gets no new tasks."""
    draining: bool = False
    """The managers finish the tasks that they hold, and then leave."""


class ExecutorLoad(msgspec.Struct, frozen=True):
    """The load of one executor."""

    tasks: int
    """Tasks that wait for the executor or that its managers hold; each counts with the worker slots that it takes."""
    waiting: int
    """The part of ``tasks`` that no manager holds."""
    blocks: dict[str, BlockLoad]
    """The load of each block, by block id; a block without connected managers is missing."""


class ScalingOwner(Protocol):
    """The DataFlowKernel as a controller sees it; the controller calls from the loop's thread."""

    @property
    def run(self) -> RunSettings:
        """The settings of the run."""

    def event(self, event: Event) -> None:
        """Send an event to monitoring."""

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call ``call`` in the loop at the time ``when``, in seconds since the epoch."""

    def post(self, call: Callable[[], None]) -> None:
        """Call ``call`` in the loop's thread; safe from any thread."""

    def load(self) -> ExecutorLoad:
        """Return the present load of this executor."""

    def release_block(self, block: str) -> None:
        """Give the managers of a block no more tasks, and let them leave when their present tasks have ended."""

    def hold_block(self, block: str, hold: bool) -> None:
        """Give the managers of a block no new tasks (``hold`` is True), or give them tasks again."""

    def fail(self, why: str) -> None:
        """Fail all tasks of this executor, waiting ones and later ones, because it cannot get any block."""
