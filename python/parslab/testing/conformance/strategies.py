"""The test suite that every scaling strategy must pass, in virtual time.

A member of the family makes a subclass in a test file of its own; pytest finds the rest::

    class TestMine(StrategySuite):
        name = "my_module:ByDay"

This module needs pytest.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from parslab.scaling.strategies import BlockLimits, BlockView, Decision, ScalingState, bounded, strategy_named
from parslab.testing.simulated_cluster import Cluster

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["StrategySuite"]

_LONG = 100_000.0
"""Virtual seconds in which any reasonable strategy finishes the work of a test."""


class StrategySuite:
    """The suite of a strategy.

    Attributes
    ----------
    name : str
        The name of the strategy, as ``Config(strategy=...)`` takes it.
    limits : dict
        Options of the provider: ``init_blocks``, ``min_blocks``, ``max_blocks``, ``parallelism``.
    """

    name: ClassVar[str]
    limits: ClassVar[dict[str, Any]] = {"init_blocks": 1, "min_blocks": 0, "max_blocks": 4}

    def cluster(self, folder: Path) -> Cluster:
        """Return an executor and its scheduler, in virtual time."""
        return Cluster(folder, strategy=self.name, slots=2, queue=30.0, **self.limits)

    def state(self, dice: random.Random) -> ScalingState:
        """Make a random state that a controller may show to the strategy."""
        now = 1000.0
        blocks = []
        for number in range(dice.randrange(6)):
            tasks = dice.randrange(3)
            starting = dice.random() < 0.3
            idle = None if tasks or starting else now - dice.choice((0.0, 1.0, 1000.0))
            view = BlockView(str(number), starting=starting, slots=2, tasks=tasks, idle_since=idle)
            blocks.append(view)
        waiting = dice.choice((0, 0, 1, 50))
        tasks = waiting + sum(block.tasks for block in blocks)
        return ScalingState(
            now=now,
            tasks=tasks,
            waiting=waiting,
            blocks=tuple(blocks),
            limits=BlockLimits(**{**self.limits, "max_idletime": 60.0}),
            slots_per_block=dice.choice((0, 2)),
            no_tasks_since=None if tasks else now - dice.choice((0.0, 1000.0)),
            minimum=dice.randrange(3),
            recently_needed=dice.randrange(4),
        )

    def test_it_is_found_by_its_name(self) -> None:
        """Each executor gets an instance of its own."""
        assert strategy_named(self.name) is not strategy_named(self.name)

    @pytest.mark.parametrize("seed", range(50))
    def test_any_state_gives_a_decision(self, seed: int) -> None:
        """The decision keeps the limits after ``bounded`` has been applied."""
        dice = random.Random(seed)
        strategy = strategy_named(self.name)
        for _ in range(20):
            state = self.state(dice)
            decision = strategy.decide(state)
            assert isinstance(decision, Decision)
            kept = bounded(decision, state)
            assert 0 <= kept.add <= state.limits.max_blocks
            assert set(kept.release) <= {block.id for block in state.blocks}

    def test_all_tasks_end_within_the_limits(self, tmp_path: Path) -> None:
        """All tasks of a burst end, and so does one more task after a pause."""
        cluster = self.cluster(tmp_path)
        cluster.submit([10.0] * 20)
        assert cluster.finish(_LONG) < _LONG
        # Long enough for a strategy to release all blocks, so that the next task needs a new one.
        cluster.play(1000.0)
        cluster.submit([10.0])
        assert cluster.finish(_LONG) < _LONG
        assert cluster.ended == 21
        assert cluster.most <= self.limits["max_blocks"]

    def test_no_task_is_lost(self, tmp_path: Path) -> None:
        """A block finishes its tasks before it ends."""
        cluster = self.cluster(tmp_path)
        cluster.stages([1.0, 300.0, 5.0], [200.0], [10.0] * 9)
        assert cluster.finish(_LONG) < _LONG
        assert cluster.lost == 0
