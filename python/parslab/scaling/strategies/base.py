"""What a strategy sees and what it answers: a pure function from a picture of one executor to a decision.

[core]  ``controller`` asks when work comes, when something is due and every ``strategy_period``; ``bounded`` keeps any
decision within the limits of the provider, so a strategy cannot break them.  One of your own is a class like this one,
named in ``Config(strategy="my_module:ByDay")`` or by an entry point of the group ``parslab.strategies``::

    class ByDay(Strategy):
        \"\"\"Two blocks by day, as many as the work needs by night.\"\"\"

        def decide(self, picture: Picture) -> Decision:
            day = 8 <= time.localtime(picture.now).tm_hour < 18
            wanted = min(2, picture.needed) if day else picture.needed
            return Decision(add=wanted - len(picture.usable), release=picture.idle()[wanted:])
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
    """What the provider and ``Config`` allow."""

    init_blocks: int = 1
    min_blocks: int = 0
    max_blocks: int = 1
    parallelism: float = 1.0
    max_idletime: float = 120.0


@dataclass(frozen=True, slots=True)
class BlockView:
    """One block that has not ended and is not about to."""

    id: str
    starting: bool
    """No manager of it has come yet: its job waits, or has just begun."""
    slots: int
    """Tasks that it can run at a time; those that it will have, as far as is known, while it is starting."""
    tasks: int = 0
    """Slots taken, by running tasks and those that it holds in advance."""
    idle_since: float | None = None
    """Since when its managers hold no task; None while they do or none has come."""
    held: bool = False
    """Somebody has said that it is to get no more tasks."""


@dataclass(frozen=True, slots=True)
class ScalingState:
    """One executor at one moment."""

    now: float
    tasks: int
    """Slots wanted: by tasks that wait, and by those that usable blocks hold."""
    waiting: int
    """Those of them that no block holds."""
    blocks: tuple[BlockView, ...]
    """In the order in which they were asked for."""
    limits: BlockLimits
    slots_per_block: int = 0
    """Slots that one more block brings; 0: unknown until the first has come."""
    quiet_since: float | None = None
    """Since when there has been no task; None while there is one."""
    floor: int = 0
    """Blocks to be kept though nothing needs them: ``min_blocks``, and ``init_blocks`` until so many have come."""
    needed_lately: int = 0
    """The most that ``needed`` has been within the last ``max_idletime``."""
    leaving: int = 0
    """Blocks that are about to end, and still count against ``max_blocks``."""

    @property
    def usable(self) -> tuple[BlockView, ...]:
        """Blocks that take tasks, or will."""
        return tuple(block for block in self.blocks if not block.held)

    @property
    def needed(self) -> int:
        """Blocks that the tasks of now need, by ``parallelism``: slots for each task at 1, half as many at 0.5, a
        single block for all at 0.  While it is not known what a block brings, one is enough to find out."""
        if not self.tasks:
            return 0
        if not self.slots_per_block:
            return 1
        return max(1, math.ceil(round(self.tasks * self.limits.parallelism, 6) / self.slots_per_block))

    def idle(self, least: float = 0.0) -> tuple[str, ...]:
        """Ids of usable blocks that have been idle for at least so many seconds, the longest idle first."""
        found = [
            (block.idle_since, block.id)
            for block in self.usable
            if block.idle_since is not None and self.now >= block.idle_since + least
        ]
        return tuple(name for _, name in sorted(found, key=lambda pair: pair[0]))

    def starting(self) -> tuple[str, ...]:
        """Ids of blocks of which no manager has come, the newest first: the last in the scheduler's queue."""
        return tuple(block.id for block in reversed(self.usable) if block.starting)


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done now."""

    add: int = 0
    """Blocks to ask for; less than 1: none."""
    release: Sequence[str] = field(default=())
    """Blocks to give back: those that hold tasks finish them first, those that are queued are cancelled."""


class Strategy:
    """Base of strategies; one instance is made for each executor, without arguments."""

    def decide(self, picture: ScalingState) -> Decision:
        """What to do.  Called often, in the DataFlowKernel's own thread: it must not wait for anything."""
        raise NotImplementedError


def bounded(decision: Decision, picture: ScalingState) -> Decision:
    """The decision within the limits: no more than ``max_blocks``, nothing twice, no block that is not there."""
    here = {block.id for block in picture.blocks}
    release = tuple(name for name in dict.fromkeys(decision.release) if name in here)
    room = picture.limits.max_blocks - len(here) - picture.leaving
    return Decision(max(0, min(decision.add, room)), release)
