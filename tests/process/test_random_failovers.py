"""Everything of a notebook's run is killed at random: each result arrives, and nothing is executed without need."""

from __future__ import annotations

import random

import pytest

from tests.process.random_failovers import RandomFailovers
from tests.process.sandbox import Sandbox


@pytest.mark.parametrize("seed", [2, 30])
def test_kills_of_everything_lose_nothing_and_repeat_nothing_without_need(seed: int) -> None:
    """The small sister of ``python -m tests.bench.kills --everything``: 200 kills over 20,000 tasks."""
    with Sandbox().checked_at_end() as sandbox:
        failovers = RandomFailovers(sandbox, tasks=300, kills=12, dice=random.Random(seed))
        failovers.run()
        assert failovers.kinds.total() == 12
        assert {"worker", "DataFlowKernel", "kernel and DataFlowKernel"} <= set(failovers.kinds)
        assert failovers.again > 0
