"""Blocks in the panel: what the user sees of a scheduler, and how the blocks are steered."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.lab.test_appearance import LOOKS, NARROW, NARROWEST, USUAL, WIDE, focus, press_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Locator

    from tests.lab.browser import Lab, Notebook
    from tests.lab.panel import Panel

STAGE = Path(__file__).with_name("stage.py").read_text(encoding="utf-8").replace("from __future__", "# from __future__")
PLAY = '''
import time
from parslab.records.events import *
from parslab.records.states import TaskState

stage = Stage()
GB = 1 << 30
now = time.time()

def block(number, state, ago=0, **more):
    more = {"job": f"4711{number}", "nodes": 2, **more}
    paths = [str(stage.folder / f"block-{number}.{kind}") for kind in ("out", "err")]
    stage.happens(BlockMoved(now - ago, "htex", str(number), state, **more, stdout=paths[0], stderr=paths[1]))

def node(name, number, state="ready", cpu=None, used=0, **more):
    stage.happens(ManagerMoved(now - 200, name, "htex", str(number), state, name, 1234, 4, 8, 64 * GB, **more))
    if cpu is not None:
        stage.happens(NodeSampled(now, name, cpu, used * GB, cpu / 12.5))

def busy(manager, count):
    for n in range(4):
        state = "busy" if n < count else "idle"
        stage.happens(WorkerMoved(now, f"{manager}-{n}", "htex", state, manager, manager=manager))

WHY = """sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified.
Check the account of the provider: SlurmProvider(account=...)."""
for n in range(90):
    stage.happens(TaskSubmitted(now - 300, n, "fit", TaskState.ready, "htex", 1, shown=f"seed={n}", cell="In [3]"))
for number in (0, 1, 5, 6):
    block(number, "requested", 300); block(number, "queued", 299)
stage.was(now - 299)
block(4, "requested", 280, job=""); block(4, "failed", 279, job="", reason=WHY)
block(6, "running", 270)
stage.was(now - 270)
block(5, "running", 250)
stage.was(now - 250)
block(0, "running", 240); node("node1", 0, cpu=97.0, used=12); node("node2", 0, cpu=51.3, used=61)
busy("node1", 4); busy("node2", 2)
for n in range(40):
    stage.happens(TaskMoved(now - 240, n, TaskState.running, 0, "node1"))
stage.was(now - 240)
block(6, "scaled_in", 200)
stage.was(now - 200)
block(1, "running", 120); node("node3", 1, cpu=3.0, used=4); busy("node3", 0)
node("node4", 1, state="lost", reason="node4 was silent for 20 s: the node is down or the network is cut.")
stage.was(now - 120)
block(5, "finished", 100, reason="TIMEOUT")
block(2, "requested", 60); block(2, "queued", 59, reason="(Resources)")
block(3, "requested", 20, job="")
for n in range(34):
    stage.happens(TaskMoved(now - 30, n, TaskState.exec_done, 0, "node1"))
stage.happens(TaskSampled(now, 0, 0, 93.4, 3 * GB, 5 << 20, 1 << 20))
(stage.folder / "block-4.err").write_text("".join(f"line {n}\\n" for n in range(40)) + "module: command not found\\n")
stage.was(now)
stage.open()
'''


@pytest.fixture(scope="module")
def stage(lab: Lab) -> Iterator[Notebook]:
    """A notebook with a run that has blocks in every state."""
    with lab.working() as notebook:
        notebook.run(STAGE)
        notebook.run(PLAY)
        yield notebook
        notebook.run("stage.close(); import shutil; shutil.rmtree(stage.folder)")


@pytest.fixture
def blocks(lab: Lab, stage: Notebook) -> Iterator[Panel]:
    """The panel on the blocks, light and of usual width again afterwards."""
    stage.show()
    lab.panel.is_live()
    lab.panel.close_task()
    lab.panel.show("Blocks")
    yield lab.panel
    lab.panel.show("Blocks")
    opened = lab.panel.node.locator("[data-block] [aria-expanded=true]")
    for left in reversed(range(opened.count())):
        opened.last.click()
        expect(opened).to_have_count(left)
    lab.theme("JupyterLab Light")
    lab.panel.resize(USUAL)


def row(panel: Panel, block: int) -> Locator:
    return panel.node.locator(f"[data-block='htex/{block}']")


def opened(panel: Panel, block: int) -> Locator:
    row(panel, block).get_by_role("button").click()
    return panel.node.locator(f"#parslab-block-htex-{block}")


def test_a_run_without_blocks_has_no_such_tab(lab: Lab, loaded: Notebook) -> None:
    lab.panel.is_live()
    expect(lab.panel.node.get_by_role("tab")).to_have_text(["Overview", "Graph", "Timeline", "Tasks"])


def test_blocks_are_listed_with_state_workers_and_reason(blocks: Panel) -> None:
    rows = blocks.node.locator("[data-block]")
    expect(rows).to_have_count(7)
    states = [rows.nth(n).get_attribute("data-state") for n in range(7)]
    assert states == ["running", "running", "queued", "requested", "finished", "scaled_in", "failed"]
    expect(row(blocks, 0)).to_contain_text("2 / 2")
    expect(row(blocks, 0)).to_contain_text("6 / 8")
    expect(row(blocks, 1)).to_contain_text("1 / 2")
    expect(blocks.node.locator(".parslab-Blocks-reason[data-state=queued]")).to_have_text("(Resources)")
    expect(blocks.node.locator(".parslab-Blocks-reason[data-state=failed]")).to_contain_text("Invalid account")
    expect(blocks.node.get_by_role("img", name="Tasks waiting: 50 now, 90 at most")).to_be_visible()


def test_nodes_show_how_busy_they_are(blocks: Panel) -> None:
    expect(blocks.node.locator("[data-manager]")).to_have_count(3)
    expect(blocks.node.get_by_role("meter", name="CPU of node2")).to_have_attribute("aria-valuetext", "51 %")
    expect(blocks.node.get_by_role("meter", name="Memory of node2")).to_have_attribute(
        "aria-valuetext", "61 GiB / 64 GiB"
    )


def test_a_block_that_failed_says_why_in_full(blocks: Panel) -> None:
    details = opened(blocks, 4)
    expect(details).to_contain_text("SlurmProvider(account=...)")
    errors = details.get_by_label("Error output of the job", exact=True)
    expect(errors).to_contain_text("module: command not found")
    blocks.page.wait_for_function("pre => pre.scrollTop > 0", arg=errors.element_handle())
    expect(opened(blocks, 1)).to_contain_text("node4 lost: node4 was silent for 20 s")


def test_resource_use_of_a_task_is_reported(blocks: Panel) -> None:
    blocks.show("Tasks")
    blocks.node.get_by_placeholder("Filter tasks").fill("seed=0")
    blocks.node.locator("[role=row][data-task='0']").click()
    expect(blocks.drawer).to_contain_text("CPU time1 min 33 s")
    expect(blocks.drawer).to_contain_text("Peak memory3 GiB")
    blocks.node.get_by_placeholder("Filter tasks").fill("")


def test_commands_reach_the_run(blocks: Panel, stage: Notebook) -> None:
    def sent_commands() -> str:
        return stage.run("print(stage.commands.pop())")

    details = opened(blocks, 1)
    details.get_by_role("button", name="Hold").click()
    expect(blocks.page.get_by_text("It was done.").last).to_be_visible()
    assert "block='1', action='hold'" in sent_commands()
    details.get_by_role("button", name="Cancel block").click()  # nothing runs there
    blocks.page.wait_for_timeout(0)
    expect(blocks.page.get_by_role("dialog")).to_have_count(0)
    blocks.node.get_by_role("button", name="One block more for htex").click()
    stage.run("while not any(type(c).__name__ == 'ScaleRequest' for c in stage.commands): time.sleep(0.01)")
    assert "executor='htex', blocks=5" in sent_commands()
    assert "action='cancel'" in sent_commands()


def test_a_block_with_work_is_cancelled_only_after_a_question(blocks: Panel, stage: Notebook) -> None:
    opened(blocks, 0).get_by_role("button", name="Cancel block").click()
    dialog = blocks.page.get_by_role("dialog")
    expect(dialog).to_contain_text("6 workers of it are busy")
    dialog.get_by_role("button", name="Keep it").click()
    expect(dialog).to_have_count(0)
    assert "[]" in stage.run("print(stage.commands)")


def test_blocks_come_and_go_while_one_looks(blocks: Panel, stage: Notebook) -> None:
    stage.run("block(7, 'requested'); block(7, 'queued'); block(7, 'running'); node('node9', 7, cpu=10.0, used=1)")
    expect(row(blocks, 7)).to_have_attribute("data-state", "running")
    expect(blocks.node.locator("[data-manager=node9]")).to_be_visible()
    expect(blocks.node.get_by_role("img", name="Workers: 16 now, 16 at most")).to_be_visible()
    stage.run("node('node9', 7, state='gone'); block(7, 'scaled_in')")
    expect(row(blocks, 7)).to_have_attribute("data-state", "scaled_in")
    expect(blocks.node.locator("[data-manager=node9]")).to_have_count(0)


def test_all_is_there_again_after_a_reload(blocks: Panel, lab: Lab, stage: Notebook) -> None:
    lab.reload(stage)
    lab.panel.open()
    lab.panel.is_live()
    lab.panel.show("Blocks")
    expect(row(blocks, 0)).to_contain_text("6 / 8")
    expect(blocks.node.get_by_role("img", name="Tasks waiting: 50 now, 90 at most")).to_be_visible()


@pytest.mark.parametrize("width", [NARROWEST, NARROW, USUAL, WIDE])
@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_blocks_can_be_read_and_nothing_sticks_out(blocks: Panel, lab: Lab, theme: str, width: int) -> None:
    lab.theme(theme)
    blocks.resize(width)
    assert lab.page.evaluate(LOOKS) == []
    for number in (0, 1, 4):
        expect(opened(blocks, number)).to_be_visible()
    expect(blocks.node.locator("pre[data-text=stderr]").first).to_be_visible()
    assert lab.page.evaluate(LOOKS) == []


def test_blocks_can_be_steered_by_the_keyboard(blocks: Panel) -> None:
    blocks.node.get_by_role("tab", name="Blocks").focus()
    press_until(blocks, "Tab", "button One block more for htex")
    press_until(blocks, "Tab", "button 0Running")
    blocks.page.keyboard.press("Enter")
    expect(blocks.node.locator("#parslab-block-htex-0")).to_be_visible()
    press_until(blocks, "Tab", "button Hold")
    press_until(blocks, "Tab", "button Cancel block")
    press_until(blocks, "Shift+Tab", "button 0Running")
    blocks.page.keyboard.press("Space")
    expect(blocks.node.locator("#parslab-block-htex-0")).to_have_count(0)
    assert focus(blocks) == "button 0Running"
