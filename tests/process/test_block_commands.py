"""Blocks of this host, scaled, held, released, drained and cancelled by their user's word."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import parslab
from parslab import Config, HighThroughputExecutor, LocalProvider, python_app
from parslab.errors import ConfigurationError
from tests.process.panel import picture
from tests.process.sandbox import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab import DataFlowKernel
    from tests.process.sandbox import Sandbox


@pytest.fixture
def blocks(sandbox: Sandbox) -> Iterator[DataFlowKernel]:
    """A run whose blocks come only when its user says so."""
    provider = LocalProvider(init_blocks=1, max_blocks=2)
    executor = HighThroughputExecutor(max_workers_per_node=1, provider=provider)
    dfk = parslab.load(Config(executors=[executor], strategy="none", run_dir=sandbox.runs))
    try:
        yield dfk
    finally:
        dfk.cleanup()
        parslab.clear()


@python_app
def block_id() -> str:
    import os

    return os.environ["PARSLAB_WORKER_BLOCK_ID"]


def states(dfk: DataFlowKernel) -> dict[str, str]:
    return {row.block: row.state for row in dfk.blocks()}


def connected(dfk: DataFlowKernel) -> list[str]:
    return sorted(row.block for row in dfk.blocks() if row.managers)


def test_blocks_carry_out_commands(blocks: DataFlowKernel) -> None:
    assert block_id().result(20) == "0"
    assert "2" in blocks.scale("htex", 2)
    until(lambda: connected(blocks) == ["0", "1"], 20)
    assert "gets no new tasks until it is released" in blocks.hold("htex/0")
    until(lambda: [row.block for row in blocks.blocks() if row.held] == ["0"])
    assert {block_id().result(20) for _ in range(6)} == {"1"}
    blocks.hold("1")
    waiting = block_id()
    assert "gets tasks again" in blocks.release("0")
    assert waiting.result(20) == "0"
    assert blocks.drain("htex/0").startswith("Block htex/0 ends")
    until(lambda: states(blocks)["0"] in ("scaled_in", "finished"), 20)
    assert blocks.cancel_block("1").startswith("Block htex/1 is cancelled")
    until(lambda: states(blocks)["1"] == "scaled_in", 20)


def test_impossible_commands_are_refused_with_a_reason(blocks: DataFlowKernel) -> None:
    assert block_id().result(20) == "0"
    with pytest.raises(ConfigurationError, match=r"^Executor htex has no block '7'"):
        blocks.hold("7")
    with pytest.raises(ConfigurationError, match=r"^Executor 'gpu' has no blocks: those that have blocks are htex\.$"):
        blocks.drain("gpu/0")
    with pytest.raises(ConfigurationError, match=r"^Executor 'gpu' has no blocks"):
        blocks.scale("gpu", 1)


def test_a_run_without_blocks_says_so(sandbox: Sandbox) -> None:
    with sandbox.load() as dfk:
        assert dfk.blocks() == []
        with pytest.raises(ConfigurationError, match=r"^No executor of this run has blocks: its workers are those"):
            dfk.scale("", 2)


def managers(dfk: DataFlowKernel) -> dict[str, str]:
    """The state of each manager that is here, by its name."""
    return {row.manager: row.state for row in picture(dfk).managers if row.state not in ("gone", "lost")}


def test_manager_carries_out_requests(blocks: DataFlowKernel) -> None:
    assert block_id().result(20) == "0"
    (name,) = managers(blocks)
    assert blocks.hold(name) == f"Manager {name} gets no new tasks until it is released."
    until(lambda: managers(blocks) == {name: "held"})
    waiting = block_id()
    with pytest.raises(ConfigurationError, match="its block 0 can be cancelled"):
        blocks.cancel_block(name)
    assert not waiting.done()
    assert "gets tasks again" in blocks.release(f"htex/{name}")
    assert waiting.result(20) == "0"
    assert "and leaves" in blocks.drain(name)
    until(lambda: not managers(blocks), 20)
