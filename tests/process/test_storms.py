"""Storms of kills, with ``load()`` in a new process at once: the small sister of ``python -m tests.bench.storms``."""

from __future__ import annotations

import random

import pytest

from tests.process.random_storms import Storm
from tests.process.sandbox import Sandbox


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(10))
def test_a_storm_breaks_no_promise(seed: int) -> None:
    with Sandbox().checked_at_end() as sandbox:
        storm = Storm(sandbox, random.Random(seed), tasks=90)
        storm.run()
        assert storm.kills
