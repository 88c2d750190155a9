"""Real blocks of this host in the panel: they come with the work, can be steered, and show what they use."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.lab.test_appearance import LOOKS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.browser import Lab, Notebook

LOAD = """
import parslab
from parslab import Config, HighThroughputExecutor, LocalProvider, python_app

provider = LocalProvider(init_blocks=0, min_blocks=0, max_blocks=2, worker_init={worker_init!r})
executor = HighThroughputExecutor(label="htex", max_workers_per_node=2, provider=provider, sample_period=0.5)
dfk = parslab.load(Config(executors=[executor], strategy_period=0.5, max_idletime={idle}))

@python_app
def held(gate):
    '''Run until a file of this name is there.'''
    import os, time
    junk = bytearray(64 << 20)
    while not os.path.exists(gate):
        sum(range(10_000))
    return len(junk)
"""


@pytest.mark.timeout(180)
def test_a_block_comes_with_the_work_and_goes_after_it(lab: Lab, book: Notebook, gate: Path) -> None:
    panel = lab.panel
    book.run(LOAD.format(worker_init="echo welcome to the node", idle=2))
    panel.is_live()
    expect(panel.node.get_by_role("tab")).to_have_text(["Overview", "Graph", "Timeline", "Tasks"])
    book.run(f"futures = [held({str(gate)!r}) for _ in range(2)]")
    panel.show("Blocks")
    first = panel.node.locator("[data-block='htex/0']")
    expect(first).to_have_attribute("data-state", "running")
    expect(first).to_contain_text("2 / 2")
    expect(panel.node.get_by_role("meter", name="CPU of")).not_to_have_attribute("aria-valuetext", "0 %")
    first.get_by_role("button").click()
    expect(panel.node.get_by_label("Output of the job", exact=True)).to_contain_text("welcome to the node")

    panel.show("Tasks")
    panel.rows.first.click()
    expect(panel.drawer).to_contain_text("Peak memory")
    panel.close_task()
    gate.touch()
    assert str(64 << 20) in book.run("print(futures[0].result())")
    panel.show("Blocks")
    expect(first).to_have_attribute("data-state", "scaled_in")
    expect(panel.node.get_by_text("No blocks.")).to_be_visible()


@pytest.mark.timeout(180)
def test_blocks_are_asked_for_held_and_cancelled_from_the_panel(lab: Lab, book: Notebook, gate: Path) -> None:
    panel = lab.panel
    book.run(LOAD.format(worker_init="", idle=600))
    book.run(f"future = held({str(gate)!r})")
    panel.show("Blocks")
    first = panel.node.locator("[data-block='htex/0']")
    expect(first).to_have_attribute("data-state", "running")
    panel.node.get_by_role("button", name="One block more for htex").click()
    second = panel.node.locator("[data-block='htex/1']")
    expect(second).to_have_attribute("data-state", "running")
    expect(second).to_contain_text("0 / 2")
    second.get_by_role("button").click()
    panel.node.get_by_role("button", name="Hold").click()
    expect(second).to_have_attribute("data-state", "held")
    panel.node.get_by_role("button", name="Release").click()
    expect(second).to_have_attribute("data-state", "running")
    panel.node.get_by_role("button", name="Cancel block").click()
    expect(second).to_have_attribute("data-state", "scaled_in")
    expect(first).to_have_attribute("data-state", "running")
    gate.touch()
    book.run("future.result()")


@pytest.mark.timeout(180)
def test_a_block_that_cannot_start_says_why(lab: Lab, book: Notebook, gate: Path) -> None:
    panel = lab.panel
    book.run(LOAD.format(worker_init="module load python || exit 7", idle=600))
    book.run(f"future = held({str(gate)!r})")
    panel.show("Blocks")
    failed = panel.node.locator("[data-block='htex/0']")
    expect(failed).to_have_attribute("data-state", "failed", timeout=60_000)
    failed.get_by_role("button").click()
    expect(panel.node.locator("#parslab-block-htex-0")).to_contain_text("module: command not found")
    expect(panel.node.get_by_text("Stopped: 3 blocks in a row could not start")).to_be_visible(timeout=60_000)
    expect(panel.node.get_by_role("button", name="One block more for htex")).to_be_disabled()
    assert panel.page.evaluate(LOOKS) == []
