"""What the panel shows of a run in which everything happens that can happen to a task."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from tests.lab.story import COUNTS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.browser import Lab, Notebook
    from tests.lab.panel import Panel

EMPTY = "Run parslab.load() or %parsl load in this notebook to see its tasks here."


def test_the_palette_opens_a_panel_that_says_what_to_do(lab: Lab, book: Notebook) -> None:
    lab.panel.sidebar.click()
    expect(lab.panel.node).to_be_hidden()
    lab.page.keyboard.press("Control+Shift+C")
    lab.page.keyboard.type("Open the Parsl Panel")
    lab.page.keyboard.press("Enter")
    expect(lab.panel.node).to_be_visible()
    lab.panel.says(EMPTY)
    book.run("1 + 1")
    lab.panel.says(EMPTY)


def test_the_overview_counts(panel: Panel) -> None:
    panel.show("Overview")
    panel.counts(**COUNTS)
    expect(panel.node.get_by_text("6 of 8 ended")).to_be_visible()
    expect(panel.node.locator("[data-figure=workers]")).to_have_attribute("data-busy", "1")
    expect(panel.node.locator("[data-figure=workers]")).to_have_attribute("data-total", "2")
    assert set(panel.texts(".parslab-Apps-name")) == {
        "double", "add", "broken", "after", "unwanted", "held", "waiting",
    }  # fmt: skip
    expect(panel.node.locator("[data-app=broken]")).to_contain_text("1 failed")


def test_a_counter_leads_to_its_tasks(panel: Panel) -> None:
    panel.show("Overview")
    panel.node.locator(".parslab-Counters [data-state=failed] button").click()
    expect(panel.rows).to_have_count(1)
    expect(panel.row("broken")).to_have_attribute("data-state", "failed")
    panel.node.get_by_role("button", name="Failed", exact=True).click()
    expect(panel.rows).to_have_count(8)


def test_the_graph_has_the_tasks(panel: Panel) -> None:
    panel.show("Graph")
    expect(panel.canvas).to_have_attribute("data-nodes", "8")
    expect(panel.canvas).to_have_accessible_name(
        "Task graph: 1 pending, 1 running, 3 done, 1 failed, 1 dep. failed, 1 cancelled. "
        "Arrow keys move between tasks, Enter opens one."
    )
    panel.canvas.focus()
    panel.page.keyboard.press("ArrowDown")
    tooltip = panel.node.locator(".parslab-Tooltip")
    expect(tooltip).to_be_visible()
    panel.page.keyboard.press("Enter")
    expect(panel.drawer).to_be_visible()
    box = tooltip.bounding_box()
    assert box is not None
    panel.page.keyboard.press("Escape")
    expect(panel.drawer).to_be_hidden()


def test_the_table_filters(panel: Panel) -> None:
    panel.show("Tasks")
    total = panel.node.locator("[data-total]:not([data-figure])")
    expect(panel.rows).to_have_count(8)
    expect(total).to_have_attribute("data-total", "8")
    panel.node.get_by_role("button", name="Done", exact=True).click()
    expect(panel.rows).to_have_count(3)
    panel.node.get_by_role("combobox", name="App").select_option("double")
    expect(panel.rows).to_have_count(2)
    expect(total).to_have_text("2 matching tasks")
    panel.node.get_by_role("searchbox", name="Filter tasks").fill("3")
    expect(panel.rows).to_have_count(1)
    expect(panel.rows).to_contain_text("3")
    panel.node.get_by_role("searchbox", name="Filter tasks").fill("no such task")
    expect(panel.rows).to_have_count(0)
    panel.node.get_by_role("searchbox", name="Filter tasks").fill("")
    panel.node.get_by_role("combobox", name="App").select_option("")
    panel.node.get_by_role("button", name="Done", exact=True).click()
    expect(panel.rows).to_have_count(8)


def test_the_table_sorts(panel: Panel) -> None:
    panel.show("Tasks")
    head = panel.node.get_by_role("columnheader", name="App")
    expect(panel.rows).to_have_count(8)
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "ascending")
    expect(panel.rows.first).to_contain_text("add")
    head.get_by_role("button").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    expect(panel.rows.first).to_contain_text("waiting")
    panel.node.get_by_role("columnheader", name="Id").get_by_role("button").click()
    expect(panel.rows.last).to_contain_text("double")


def test_the_drawer_shows_all_details_of_a_failed_task(panel: Panel, story: Notebook) -> None:
    drawer = panel.open_task("broken")
    expect(drawer.locator(".parslab-Drawer-error")).to_have_text("IndexError: list index out of range")
    trace = drawer.locator("[data-text=traceback]")
    expect(trace).to_contain_text("return numbers[3]  # there is no fourth")
    expect(trace).to_contain_text("in broken")
    times = drawer.get_by_role("table", name="States and times")
    states = times.locator("tr").evaluate_all("rows => rows.map(row => row.dataset.state)")
    assert states[0] in ("pending", "ready")
    assert states[-2:] == ["running", "failed"]
    expect(drawer.get_by_role("list", name="Depends on").get_by_role("button")).to_have_count(1)
    expect(drawer.locator("dl")).to_contain_text("llex")
    drawer.get_by_role("list", name="Needed by").get_by_role("button").click()
    expect(drawer.get_by_role("heading", name="after")).to_be_visible()
    expect(drawer.locator(".parslab-Drawer-error")).to_contain_text("broken")
    drawer.get_by_role("list", name="Depends on").get_by_role("button").click()
    expect(drawer.get_by_role("heading", name="broken")).to_be_visible()


def test_the_drawer_shows_arguments_and_output(panel: Panel) -> None:
    panel.show("Tasks")
    panel.row("double").last.click()
    expect(panel.drawer.locator(".parslab-Drawer-shown")).to_contain_text("2")
    expect(panel.drawer.locator("[data-text=stdout]")).to_have_text("doubling 2\n")
    expect(panel.drawer.get_by_role("button", name="Cancel task")).to_be_hidden()


def test_the_drawer_follows_a_task_that_runs(panel: Panel, story: Notebook, gate: Path) -> None:
    story.run(f"watched = held({str(gate)!r})")
    panel.show("Tasks")
    expect(panel.row("held")).to_have_count(2)
    panel.row("held").first.click()
    head = panel.drawer.locator("header")
    expect(head).to_have_attribute("data-state", "running")
    expect(panel.drawer.get_by_role("button", name="Cancel task")).to_be_enabled()
    gate.touch()
    expect(head).to_have_attribute("data-state", "exec_done")
