"""Makes the state that a strategy decides on, from the table of blocks and the load of the executor [core].

The controller owns the tracker.  It keeps two facts of the past: the time at which the last task ended, and the
largest number of blocks that tasks needed within the last ``max_idletime``.

The user may fix the number of blocks with ``%parsl scale``.  The number ``pinned`` replaces the strategy until so many
blocks have joined, no task is left, and one of them has been idle for ``max_idletime``.  A number below ``min_blocks``
stays in force until the user sets another one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from parslab.cores import usable_cores
from parslab.records.states import BlockState
from parslab.scaling.strategies.base import BlockLimits, BlockView, Decision, ScalingState

if TYPE_CHECKING:
    from parslab.records.executor_settings import HighThroughputSettings
    from parslab.scaling.block import Block
    from parslab.scaling.block_table import BlockTable
    from parslab.scaling.controller_owner import ExecutorLoad

__all__ = ["StateTracker", "expected_slots"]


class StateTracker:
    """Makes the states of one executor.

    Parameters
    ----------
    limits
        The limits of the executor's provider.
    slots_per_block
        The tasks that a block can run at a time according to the settings; 0 if the settings do not say.
    nodes_per_block
        The number of managers of a complete block.
    """

    def __init__(self, limits: BlockLimits, slots_per_block: int, nodes_per_block: int) -> None:
        self.limits = limits
        self.slots_per_block = slots_per_block
        self.pinned: int | None = None
        """The number of blocks that the user wants."""
        self.initial = limits.init_blocks
        """Blocks to keep until so many have joined or were needed; then 0."""
        self._nodes = nodes_per_block
        self._no_tasks_since: float | None = None
        # The numbers fall from left to right: a smaller number before a larger one can never be the maximum.
        self._peaks: deque[tuple[float, int]] = deque()

    def resume(self, blocks: int, pinned: int | None, now: float) -> None:
        """Continue with the blocks of a DataFlowKernel that was killed, as if the work had needed them now."""
        self.initial = 0
        self.pinned = pinned
        # Clients have not submitted their tasks again yet.  Without this entry, queued blocks would look unneeded.
        self._peaks.append((now, blocks))

    def state(self, table: BlockTable, load: ExecutorLoad, now: float) -> ScalingState:
        """Return the present state of the executor."""
        self._learn_slots(load)
        views = [self._view(block, load) for block in table.alive.values() if _stays(block)]
        ours = {view.id for view in views if not view.held}
        by_hand = [name for name in load.blocks if name not in table.blocks]
        taken = sum(load.blocks[name].tasks for name in load.blocks if name in ours)
        # Managers that the user started by hand take part of the work.
        free = sum(max(0, load.blocks[name].workers - load.blocks[name].tasks) for name in by_hand)
        waiting = max(0, load.waiting - free)
        self._no_tasks_since = None if load.tasks else (now if self._no_tasks_since is None else self._no_tasks_since)
        state = ScalingState(
            now=now,
            tasks=waiting + taken,
            waiting=waiting,
            blocks=tuple(views),
            limits=self.limits,
            slots_per_block=self.slots_per_block,
            no_tasks_since=self._no_tasks_since,
            ending=len(table.alive) - len(views),
        )
        # ``init_blocks`` is a start value and no minimum: once so many blocks have joined, idle ones may be released.
        if max(state.needed, sum(not view.starting for view in views)) >= self.initial:
            self.initial = 0
        minimum = max(self.initial, self.limits.min_blocks)
        return replace(state, minimum=minimum, recently_needed=self._recently_needed(state.needed, now))

    def pinned_decision(self, state: ScalingState) -> Decision | None:
        """Return the decision that brings the executor to the user's number; None when the strategy decides."""
        wanted = self.pinned
        if wanted is None:
            return None
        # A number below ``min_blocks`` never expires.  Otherwise the strategy would soon request again the blocks that
        # the user did not want.
        if wanted >= max(1, self.limits.min_blocks) or (wanted == 0 and self.limits.min_blocks == 0):
            joined = sum(not block.starting for block in state.blocks)
            quiet = state.quiet_for(self.limits.max_idletime)
            if quiet and joined >= wanted and (not wanted or state.idle(self.limits.max_idletime)):
                self.pinned = None
                return None
        spare = len(state.blocks) - wanted
        if spare <= 0:
            return Decision(add=-spare)
        # The blocks that lose least go first: those not started, then idle ones, then those with the fewest tasks.
        newest = list(reversed(state.blocks))
        order = sorted(newest, key=lambda block: (not block.starting, block.idle_since is None, block.tasks))
        return Decision(release=tuple(block.id for block in order[:spare]))

    def next_deadline(self, state: ScalingState) -> float | None:
        """Return the next time at which a decision may change although no event happens."""
        patience = self.limits.max_idletime
        times = [block.idle_since + patience for block in state.blocks if block.idle_since is not None]
        if state.no_tasks_since is not None:
            times.append(state.no_tasks_since + patience)
        if state.starting() and self._peaks:
            times.append(self._peaks[0][0] + patience)
        later = [when for when in times if when > state.now]
        return min(later) if later else None

    def _view(self, block: Block, load: ExecutorLoad) -> BlockView:
        starting = block.joined_at is None
        has = load.blocks.get(block.id)
        if has is None:
            return BlockView(block.id, starting, self.slots_per_block if starting else 0, held=block.held)
        return BlockView(
            block.id,
            starting=False,
            slots=has.workers,
            tasks=has.tasks,
            idle_since=has.idle_since,
            held=block.held or has.held or has.draining,
        )

    def _learn_slots(self, load: ExecutorLoad) -> None:
        """Learn from a complete block how many slots one more block will bring."""
        for has in load.blocks.values():
            if has.workers and has.managers >= self._nodes:
                self.slots_per_block = has.workers

    def _recently_needed(self, needed: int, now: float) -> int:
        peaks = self._peaks
        # A number that is not exceeded now was needed until this moment, so its time is now.
        while peaks and peaks[-1][1] <= needed:
            peaks.pop()
        peaks.append((now, needed))
        # With ``max_idletime=0`` even the newest entry has expired, but the last entry must stay.
        while peaks[0][0] + self.limits.max_idletime <= now and len(peaks) > 1:
            peaks.popleft()
        return peaks[0][1]


def _stays(block: Block) -> bool:
    """Return whether a block is not about to end, on request or because its managers have left."""
    return block.state is not BlockState.draining and block.empty_since is None


def expected_slots(settings: HighThroughputSettings) -> int:
    """Return the tasks that a block can run at a time according to the settings; 0 if the settings do not say."""
    provider, manager = settings.provider, settings.manager
    if manager.mpi_launcher:
        return 0  # the places of a block are the cores of its nodes, which the first manager counts
    counts = []
    cores = usable_cores() if provider.local else provider.cores_per_node
    if cores:
        counts.append(max(1, int(cores / manager.cores_per_worker)))
    if provider.mem_per_node and manager.mem_per_worker:
        counts.append(max(1, int(provider.mem_per_node / manager.mem_per_worker)))
    known = bool(counts)
    if manager.max_workers_per_node:
        counts.append(manager.max_workers_per_node)
    if manager.available_accelerators:
        counts.append(len(manager.available_accelerators))
    # Users often limit the number of workers to less than a node has, and rarely raise it above.
    return min(counts) * provider.nodes_per_block if known or manager.max_workers_per_node else 0
