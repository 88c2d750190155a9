"""Blocks of Slurm follow the work, and the commands of the user."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import cloudpickle
import pytest

from parslab import python_app
from tests.process.sandbox import until
from tests.schedulers.runs.cluster import blocks, htex, loaded, no_jobs, slurm_jobs, slurm_provider, wait_blocks

if TYPE_CHECKING:
    from pathlib import Path

    from parslab import DataFlowKernel
    from tests.process.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("nodes")
cloudpickle.register_pickle_by_value(sys.modules[__name__])

SLACK = 10.0
"""Seconds beyond max_idletime in which an idle block must be given back."""


@python_app
def block_of(gate: Path) -> str:
    """The block that it runs in, once the gate is open."""
    import os
    import time

    deadline = time.monotonic() + 90
    while not gate.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return os.environ["PARSLAB_WORKER_BLOCK_ID"]


@python_app
def quick_block() -> str:
    """The block that it runs in; calls of what is known to be quick are sent ahead of workers."""
    import os

    return os.environ["PARSLAB_WORKER_BLOCK_ID"]


def busy(dfk: DataFlowKernel) -> int:
    """How many workers have a task."""
    return sum(block.busy for block in blocks(dfk))


def test_blocks_come_with_the_work_and_go_with_it(sandbox: Sandbox, tmp_path: Path) -> None:
    """From none to three, and back to one within ``max_idletime`` and ten seconds: all idle ones at once."""
    gate = tmp_path / "gate"
    provider = slurm_provider(init_blocks=0, min_blocks=1, max_blocks=3)
    with loaded(sandbox, htex(provider), strategy="htex_auto_scale", max_idletime=2) as dfk:
        tasks = [block_of(gate) for _ in range(9)]
        wait_blocks(dfk, 3)
        until(lambda: busy(dfk) == 3)
        gate.touch()
        assert len({task.result(30) for task in tasks}) == 3
        idle = time.monotonic()
        wait_blocks(dfk, 1, seconds=2 + SLACK)
        assert time.monotonic() - idle > 1.5, "a cool-down keeps blocks between two cells"
        until(lambda: len(slurm_jobs(dfk.run)) == 1)
        gone = wait_blocks(dfk, 2, "scaled_in")
        assert abs(gone[0].ended - gone[1].ended) < SLACK / 2  # type: ignore[operator]
        # The one that stayed, at least, works at once.
        assert block_of(gate).result(5) == blocks(dfk, "running")[0].block
    assert not any(block.state == "failed" for block in gone)


def test_a_busy_block_is_never_given_back(sandbox: Sandbox, tmp_path: Path) -> None:
    """Of two, the idle one goes; the other stays with its task for much longer than ``max_idletime``."""
    late = tmp_path / "late"
    provider = slurm_provider(init_blocks=2, max_blocks=2)
    with loaded(sandbox, htex(provider), strategy="htex_auto_scale", max_idletime=1) as dfk:
        wait_blocks(dfk, 2)
        long = block_of(late)
        (stayed,) = wait_blocks(dfk, 1, seconds=1 + SLACK)
        time.sleep(2)
        assert [block.block for block in blocks(dfk, "running")] == [stayed.block]
        late.touch()
        assert long.result(10) == stayed.block


def test_blocks_that_wait_in_the_queue_are_cancelled_when_the_work_is_done(sandbox: Sandbox, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with loaded(sandbox, htex(slurm_provider(init_blocks=0, max_blocks=6)), max_idletime=1) as dfk:
        tasks = [block_of(gate) for _ in range(6)]
        wait_blocks(dfk, 4)
        wait_blocks(dfk, 2, "queued")
        gate.touch()
        assert len({task.result(30) for task in tasks}) == 4
        no_jobs(lambda: slurm_jobs(dfk.run), 1 + SLACK)
        until(lambda: len(blocks(dfk, "scaled_in")) == 6)
        assert [block.started for block in blocks(dfk)].count(None) == 2


def test_the_user_commands_blocks(sandbox: Sandbox, tmp_path: Path) -> None:
    """Scale, hold, release, drain and cancel, on real jobs."""
    gate = tmp_path / "gate"
    with loaded(sandbox, htex(slurm_provider(init_blocks=1, max_blocks=3)), retries=1) as dfk:
        wait_blocks(dfk, 1)
        assert "2 blocks" in dfk.scale("htex", 2)
        first, second = (block.block for block in wait_blocks(dfk, 2))

        assert "no new tasks" in dfk.hold(f"htex/{first}")
        assert {quick_block().result(10) for _ in range(6)} == {second}
        dfk.hold(f"htex/{second}")
        waiting = quick_block()
        time.sleep(0.5)
        assert not waiting.done()
        dfk.release(f"htex/{first}")
        assert waiting.result(10) == first
        dfk.release(f"htex/{second}")

        # A block that is drained ends its task first.
        long = [block_of(gate) for _ in range(2)]
        until(lambda: busy(dfk) == 2)
        assert "when it has finished" in dfk.drain(f"htex/{second}")
        until(lambda: {block.block: block.state for block in blocks(dfk)}[second] == "draining")
        assert len(slurm_jobs(dfk.run)) == 2
        gate.touch()
        assert {task.result(15) for task in long} == {first, second}
        until(lambda: len(slurm_jobs(dfk.run)) == 1, 15)

        assert "0 blocks" in dfk.scale("htex", 0)
        no_jobs(lambda: slurm_jobs(dfk.run), 15)
        assert {block.block for block in wait_blocks(dfk, 2, "scaled_in")} == {first, second}
