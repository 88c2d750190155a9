"""The panel while a cell is busy: events are drawn, tasks are cancelled, an interrupt loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.lab.measure import BOUND, delays, measured, report

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.browser import Lab, Notebook
    from tests.lab.panel import Panel

EVENTS = 7

RESULT = f"""
import json
steps = [nap(0.4)]
for _ in range({EVENTS - 1}):
    steps.append(nap(0.4, steps[-1]))
held({{gate!r}}, steps[-1]).result()
print(json.dumps([step.result() for step in steps]))
"""
LOOP = f"""
import json
calls, futures = [], []
for _ in range({EVENTS}):
    calls.append(time.time())
    futures.append(stamp())
    end = time.monotonic() + 0.4
    while time.monotonic() < end:
        pass
print(json.dumps([{{events}}]))
"""


def test_events_are_drawn_while_result_blocks(lab: Lab, loaded: Notebook, gate: Path) -> None:
    lab.panel.show("Overview")
    lab.drive("watch", "done", lab.panel.COUNTER.format(state="exec_done"), "data-count")
    cell = loaded.start(RESULT.format(gate=str(gate)))
    # The panel may skip a number, but not this one: the cell waits for the gate.
    lab.panel.counts(exec_done=EVENTS)
    assert cell.ended is None
    gate.touch()
    cell.wait()
    report("task ended to counter drawn, cell in result()", delays(lab, "done", cell))


@pytest.mark.parametrize(
    ("view", "selector", "attribute", "events", "what"),
    [
        (
            "Overview",
            "COUNTER",
            "data-count",
            "future.result() for future in futures",
            "task ended to counter drawn, cell in a loop",
        ),
        ("Graph", "CANVAS", "data-nodes", "call for call in calls", "task called to node drawn, cell in a loop"),
    ],
)
def test_events_are_drawn_while_python_is_busy(
    lab: Lab, loaded: Notebook, view: str, selector: str, attribute: str, events: str, what: str
) -> None:
    lab.panel.show(view)
    lab.drive("watch", what, getattr(lab.panel, selector).format(state="exec_done"), attribute)
    cell = loaded.start(LOOP.format(events=events))
    cell.wait()
    expect(lab.page.locator(getattr(lab.panel, selector).format(state="exec_done"))).to_have_attribute(
        attribute, str(EVENTS)
    )
    report(what, delays(lab, what, cell))


def click_cancel(panel: Panel) -> float:
    """Click the button of the drawer and return the time of the click."""
    button = panel.drawer.get_by_role("button", name="Cancel task")
    button.evaluate("node => node.addEventListener('click', () => (window.clicked = Date.now() / 1000), true)")
    button.click()
    return float(panel.page.evaluate("window.clicked"))


def test_the_cancel_button_frees_a_cell_in_result(lab: Lab, loaded: Notebook, gate: Path) -> None:
    found = []
    for number in range(1, 6):
        cell = loaded.start(f"held({str(gate)!r}).result()")
        lab.panel.show("Tasks")
        expect(lab.panel.rows).to_have_count(number)
        lab.panel.rows.first.click()
        expect(lab.panel.drawer.locator("header")).to_have_attribute("data-state", "running")
        clicked = click_cancel(lab.panel)
        found.append(cell.wait() - clicked)
        assert cell.error.startswith("CancelledError")
        expect(lab.panel.drawer.locator("header")).to_have_attribute("data-state", "cancelled")
        lab.panel.close_task()
    report("cancel clicked to cell ended", found)
    assert max(found) <= BOUND


def test_cancel_all_asks_first(lab: Lab, loaded: Notebook, gate: Path) -> None:
    cell = loaded.start(f"tasks = [held({str(gate)!r}) for _ in range(6)]\nfor task in tasks:\n    task.exception()")
    lab.panel.show("Overview")
    lab.panel.counts(running=2)
    lab.panel.node.get_by_role("button", name="Cancel all").click()
    lab.page.get_by_role("dialog").get_by_role("button", name="Keep running").click()
    lab.panel.counts(running=2)
    assert cell.ended is None
    lab.panel.node.get_by_role("button", name="Cancel all").click()
    lab.page.get_by_role("dialog").get_by_role("button", name="Cancel all").click()
    cell.wait()
    assert cell.error.startswith("CancelledError")
    lab.panel.counts(running=0, cancelled=6)


def test_an_interrupt_of_result_loses_nothing(lab: Lab, loaded: Notebook, gate: Path) -> None:
    cell = loaded.start(f"future = held({str(gate)!r})\nfuture.result()")
    lab.panel.show("Overview")
    lab.panel.counts(running=1)
    loaded.interrupt()
    cell.wait()
    assert cell.error.startswith("KeyboardInterrupt")
    lab.panel.counts(running=1, exec_done=0)
    gate.touch()
    assert loaded.run("future.result()") == "'through'"
    lab.panel.counts(running=0, exec_done=1)


def test_ten_thousand_failures_leave_notebook_and_panel_usable(lab: Lab, loaded: Notebook) -> None:
    lab.panel.show("Overview")
    before = loaded.save()
    lab.drive("feel")
    cell = loaded.start("futures = [bad(i) for i in range(10_000)]\nfor f in futures: f.exception()\nfutures")
    expect(lab.panel.node.locator("[data-app=bad]")).to_be_visible()
    for view in ("Graph", "Tasks", "Overview"):
        lab.panel.show(view)
    cell.wait(60)
    lab.panel.counts(failed=10_000)
    lab.panel.show("Graph")
    expect(lab.panel.canvas).to_have_attribute("data-nodes", "5000")
    expect(lab.panel.node.get_by_text("5,000 newer tasks are not drawn")).to_be_visible()
    lab.panel.show("Tasks")
    expect(lab.panel.node.locator("[role=grid]")).to_have_attribute("aria-rowcount", "10001")
    assert lab.panel.rows.count() < 100
    lab.panel.rows.first.click()
    expect(lab.panel.drawer.locator(".parslab-Drawer-error")).to_contain_text("ValueError: number 9999 is bad")
    longest = float(lab.page.evaluate("window.longest")) / 1000
    grown = loaded.save() - before
    measured.append(f"10,000 failing tasks: notebook grows {grown / 1000:.0f} kB, longest frame {longest:.2f} s")
    assert grown < 200_000
    assert longest < BOUND
