"""The base of strategies: a strategy is a pure function from the state of one executor to a decision [core].

The controller asks the strategy when work arrives, when something is due, and every ``strategy_period`` seconds.
``bounded`` keeps each decision within the limits of the provider, so a strategy cannot exceed them.

A strategy of your own is a class like the one below.  Name it in ``Config(strategy="my_module:ByDay")``, or give it a
name by an entry point of the group ``parslab.strategies`` (see :mod:`parslab.plugins`)::

    class ByDay(Strategy):
        \"\"\"Two blocks by day, as many as the work needs by night.\"\"\"

        def decide(self, state: ScalingState) -> Decision:
            day = 8 <= time.localtime(state.now).tm_hour < 18
            wanted = min(2, state.needed) if day else state.needed
            return Decision(add=wanted - len(state.usable), release=state.idle()[wanted:])

Test it with :class:`parslab.testing.conformance.StrategySuite`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["BlockLimits", "BlockView", "Decision", "ScalingState", "Strategy", "bounded"]


@dataclass(frozen=True, slots=True)
class BlockLimits:
    """The limits that the provider and ``Config`` set."""

    init_blocks: int = 1
    min_blocks: int = 0
    max_blocks: int = 1
    parallelism: float = 1.0
    max_idletime: float = 120.0


@dataclass(frozen=True, slots=True)
class BlockView:
    """A block that has not ended and is not about to end."""

    id: str
    starting: bool
    """Whether no manager of the block has joined yet: its job waits in a queue, or has just begun."""
    slots: int
    """Tasks that the block can run at a time; for a starting block, the expected number."""
    tasks: int = 0
    """Slots that running tasks take, and tasks that the block holds in advance."""
    idle_since: float | None = None
    """Since when its managers hold no task; None while they hold one, and before the first manager joined."""
    held: bool = False
    """Whether the user holds the block, so that it gets no more tasks."""


@dataclass(frozen=True, slots=True)
class ScalingState:
    """The state of one executor at one moment."""

    now: float
    tasks: int
    """Slots that tasks want: tasks that wait, and tasks that usable blocks hold."""
    waiting: int
    """The part of ``tasks`` that no block holds."""
    blocks: tuple[BlockView, ...]
    """In the order in which they were requested."""
    limits: BlockLimits
    slots_per_block: int = 0
    """Slots that one more block brings; 0 until the first block shows the number."""
    no_tasks_since: float | None = None
    """Since when there is no task; None while there is one."""
    minimum: int = 0
    """Blocks to keep although no task needs them: ``min_blocks``, or ``init_blocks`` until so many have joined."""
    recently_needed: int = 0
    """The largest value of ``needed`` within the last ``max_idletime``."""
    ending: int = 0
    """Blocks that are about to end, and still count against ``max_blocks``."""

    @property
    def usable(self) -> tuple[BlockView, ...]:
        """Blocks that take tasks, or will take tasks once they have started."""
        return tuple(block for block in self.blocks if not block.held)

    @property
    def needed(self) -> int:
        """Blocks that the present tasks need.

        ``parallelism`` sets the number: 1 means a slot for each task, 0.5 half as many slots, 0 one block for all
        tasks.  While the slots of a block are unknown, one block is enough to find out.
        """
        if not self.tasks:
            return 0
        if not self.slots_per_block:
            return 1
        # The product is rounded first: 0.07 * 100 is 7.000000000000001, which would need an eighth slot.
        return max(1, math.ceil(round(self.tasks * self.limits.parallelism, 6) / self.slots_per_block))

    def quiet_for(self, seconds: float) -> bool:
        """Return whether there has been no task for at least so many seconds."""
        return self.no_tasks_since is not None and self.now >= self.no_tasks_since + seconds

    def idle(self, least: float = 0.0) -> tuple[str, ...]:
        """Return ids of usable blocks that have been idle for at least ``least`` seconds, the longest idle first."""
        found = [
            (block.idle_since, block.id)
            for block in self.usable
            if block.idle_since is not None and self.now >= block.idle_since + least
        ]
        return tuple(name for _, name in sorted(found, key=lambda pair: pair[0]))

    def starting(self) -> tuple[str, ...]:
        """Return ids of starting blocks, the newest first: it is the last in the scheduler's queue."""
        return tuple(block.id for block in reversed(self.usable) if block.starting)


@dataclass(frozen=True, slots=True)
class Decision:
    """The changes that the controller makes now."""

    add: int = 0
    """Blocks to request; a number below 1 requests none."""
    release: Sequence[str] = field(default=())
    """Blocks to give back: a block that holds tasks finishes them first, a block in a queue is cancelled."""


class Strategy:
    """Base of strategies; each executor gets one instance, made without arguments."""

    def decide(self, state: ScalingState) -> Decision:
        """Decide what to do.  The DataFlowKernel's loop calls this often, so it must not wait for anything."""
        raise NotImplementedError


def bounded(decision: Decision, state: ScalingState) -> Decision:
    """Return the decision within the limits: at most ``max_blocks``, each block once, and only blocks that exist."""
    here = {block.id for block in state.blocks}
    release = tuple(name for name in dict.fromkeys(decision.release) if name in here)
    # Blocks that are about to end still occupy their nodes.
    room = state.limits.max_blocks - len(here) - state.ending
    return Decision(max(0, min(decision.add, room)), release)
