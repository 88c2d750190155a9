"""From the table of blocks and the load to the picture that a strategy decides on, and what a user has pinned.

[core]  Owned by ``controller``.  It remembers what a single moment does not show: since when there is no task, and the
most blocks needed within the last ``max_idletime``.  ``pinned`` is the number of blocks that a user asked for by
``%parsl scale``: it holds in place of the strategy until so many have come, the work is done and one of them has been
idle for ``max_idletime``; a number below ``min_blocks`` holds until the user says another one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from parslab.cores import usable_cores
from parslab.records.states import BlockState
from parslab.scaling.strategies.base import BlockLimits, BlockView, Decision, ScalingState

if TYPE_CHECKING:
    from parslab.scaling.block_table import Block, BlockTable
    from parslab.scaling.controller_owner import ExecutorLoad

__all__ = ["StateTracker", "slots_of"]


class StateTracker:
    """Makes pictures of one executor.

    Parameters
    ----------
    limits
        Of its provider.
    slots_per_block
        What a block will bring, as far as the settings tell; 0: unknown.
    nodes_per_block
        How many managers a whole block has.
    """

    def __init__(self, limits: BlockLimits, slots_per_block: int, nodes_per_block: int) -> None:
        self.limits = limits
        self.slots_per_block = slots_per_block
        self.pinned: int | None = None
        self.floor = limits.init_blocks
        """Kept until so many blocks have come or were needed."""
        self._nodes = nodes_per_block
        self._quiet_since: float | None = None
        self._peaks: deque[tuple[float, int]] = deque()  # falling numbers: only what may be the most later

    def resume(self, blocks: int, pinned: int | None, now: float) -> None:
        """So many blocks are there from before the DataFlowKernel was started again: as if they had been needed now."""
        self.floor = 0
        self.pinned = pinned
        self._peaks.append((now, blocks))

    def picture(self, blocks: BlockTable, load: ExecutorLoad, now: float) -> ScalingState:
        """The picture of this moment."""
        self._learn(load)
        views = [self._view(block, load) for block in blocks.alive.values() if _stays(block)]
        ours = {view.id for view in views if not view.held}
        by_hand = [name for name in load.blocks if name not in blocks.blocks]
        taken = sum(load.blocks[name].tasks for name in load.blocks if name in ours)
        # Managers that somebody started by hand take part of the work.
        free = sum(max(0, load.blocks[name].workers - load.blocks[name].tasks) for name in by_hand)
        waiting = max(0, load.waiting - free)
        self._quiet_since = None if load.tasks else (now if self._quiet_since is None else self._quiet_since)
        picture = ScalingState(
            now=now,
            tasks=waiting + taken,
            waiting=waiting,
            blocks=tuple(views),
            limits=self.limits,
            slots_per_block=self.slots_per_block,
            quiet_since=self._quiet_since,
            leaving=len(blocks.alive) - len(views),
        )
        if max(picture.needed, sum(not view.starting for view in views)) >= self.floor:
            self.floor = 0
        floor = max(self.floor, self.limits.min_blocks)
        return replace(picture, floor=floor, needed_lately=self._lately(picture.needed, now))

    def pin(self, picture: ScalingState) -> Decision | None:
        """What the user's number asks for; None when the strategy is to decide."""
        wanted = self.pinned
        if wanted is None:
            return None
        if wanted >= max(1, self.limits.min_blocks) or (wanted == 0 and self.limits.min_blocks == 0):
            come = sum(not block.starting for block in picture.blocks)
            idle = picture.quiet_since is not None and picture.now >= picture.quiet_since + self.limits.max_idletime
            if idle and come >= wanted and (not wanted or picture.idle(self.limits.max_idletime)):
                self.pinned = None
                return None
        spare = len(picture.blocks) - wanted
        if spare <= 0:
            return Decision(add=-spare)
        # Those that lose least first: not yet there, then idle, then with the fewest tasks.
        newest = list(reversed(picture.blocks))
        order = sorted(newest, key=lambda block: (not block.starting, block.idle_since is None, block.tasks))
        return Decision(release=tuple(block.id for block in order[:spare]))

    def next_deadline(self, picture: ScalingState) -> float | None:
        """When the passing of time alone may change a decision."""
        patience = self.limits.max_idletime
        times = [block.idle_since + patience for block in picture.blocks if block.idle_since is not None]
        if picture.quiet_since is not None:
            times.append(picture.quiet_since + patience)
        if picture.starting() and self._peaks:
            times.append(self._peaks[0][0] + patience)
        later = [when for when in times if when > picture.now]
        return min(later) if later else None

    def _view(self, block: Block, load: ExecutorLoad) -> BlockView:
        has = load.blocks.get(block.id)
        if has is None:
            return BlockView(block.id, block.came is None, 0 if block.came else self.slots_per_block, held=block.held)
        return BlockView(
            block.id, False, has.workers, has.tasks, has.idle_since, block.held or has.held or has.draining
        )

    def _learn(self, load: ExecutorLoad) -> None:
        """A whole block tells what one more will bring."""
        for has in load.blocks.values():
            if has.workers and has.managers >= self._nodes:
                self.slots_per_block = has.workers

    def _lately(self, needed: int, now: float) -> int:
        peaks = self._peaks
        # The number that held until now counts from now: it was needed up to this moment.
        while peaks and peaks[-1][1] <= needed:
            peaks.pop()
        peaks.append((now, needed))
        while peaks[0][0] + self.limits.max_idletime <= now and len(peaks) > 1:
            peaks.popleft()
        return peaks[0][1]


def _stays(block: Block) -> bool:
    """Not one that is about to end, by our wish or because its managers have gone."""
    return block.state is not BlockState.draining and block.left is None


def slots_of(settings: dict[str, Any]) -> int:
    """Tasks that a block of this executor will run at a time, as far as its settings tell; 0: only a block can tell."""
    manager = settings["manager"]
    options = settings["provider"].get("options", {})
    counts = []
    cores = usable_cores() if settings.get("local") else options.get("cores_per_node")
    if cores:
        counts.append(max(1, int(cores / manager["cores_per_worker"])))
    memory = options.get("mem_per_node")
    if memory and manager["mem_per_worker"]:
        counts.append(max(1, int(memory / manager["mem_per_worker"])))
    known = bool(counts)
    if manager["max_workers"]:
        counts.append(manager["max_workers"])
    if manager["accelerators"]:
        counts.append(len(manager["accelerators"]))
    # The number of workers is often given to use less of a node than it has, rarely more.
    return min(counts) * settings.get("nodes_per_block", 1) if known or manager["max_workers"] else 0
