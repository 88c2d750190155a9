"""Light and dark, narrow and wide, and by the keyboard alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.browser import Lab, Notebook
    from tests.lab.panel import Panel

LOOKS = Path(__file__).with_name("looks.js").read_text(encoding="utf-8")
NARROWEST, NARROW, USUAL, WIDE = 250, 300, 420, 800
"""Widths of the panel in pixels; JupyterLab makes no side bar narrower than the first."""


@pytest.fixture
def plain(lab: Lab) -> Iterator[Lab]:
    """The page, light and of usual width again afterwards."""
    yield lab
    lab.theme("JupyterLab Light")
    lab.panel.resize(USUAL)


@pytest.mark.parametrize("width", [NARROWEST, NARROW, USUAL, WIDE])
@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_all_can_be_read_and_nothing_sticks_out(plain: Lab, panel: Panel, theme: str, width: int) -> None:
    plain.theme(theme)
    panel.resize(width)
    found = {}
    for view in ("Overview", "Graph", "Tasks"):
        panel.show(view)
        expect(panel.node.get_by_role("tabpanel", name=view)).to_be_visible()
        found[view] = plain.page.evaluate(LOOKS)
    for app in ("broken", "held", "after"):
        panel.open_task(app)
        expect(panel.drawer.get_by_role("table")).to_be_visible()
        found[app] = plain.page.evaluate(LOOKS)
    assert {view: what for view, what in found.items() if what} == {}


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_a_panel_without_tasks_can_be_read(plain: Lab, book: Notebook, theme: str) -> None:
    plain.theme(theme)
    plain.panel.resize(NARROWEST)
    plain.panel.says("parslab.load()")
    assert plain.page.evaluate(LOOKS) == []
    book.load(more="resume=False")
    for view in ("Overview", "Graph", "Tasks"):
        plain.panel.show(view)
        assert plain.page.evaluate(LOOKS) == []
    book.run("import signal\nos.kill(dfk.pid, signal.SIGKILL)")
    plain.panel.says("killed by SIGKILL")
    assert plain.page.evaluate(LOOKS) == []


def test_the_drawer_is_beside_the_view_where_there_is_room(plain: Lab, panel: Panel) -> None:
    panel.open_task("broken")
    for width, beside in ((NARROW, False), (WIDE, True), (USUAL, False)):
        panel.resize(width)
        rows = panel.node.get_by_role("tabpanel", name="Tasks")
        panel.page.wait_for_function(
            "([rows, drawer, beside]) => (drawer.getBoundingClientRect().left > rows.getBoundingClientRect().right - 2)"
            " === beside",
            arg=[rows.element_handle(), panel.drawer.element_handle(), beside],
        )


def focus(panel: Panel) -> str:
    """Role and name of what has the focus."""
    return str(
        panel.page.evaluate(
            """() => {
              const node = document.activeElement;
              const name = node.getAttribute('aria-label') || node.textContent.trim().slice(0, 60);
              const place = node.closest('#parslab-panel') ? '' : 'outside: ';
              return `${place}${node.getAttribute('role') || node.tagName.toLowerCase()} ${name}`;
            }"""
        )
    )


def press_until(panel: Panel, key: str, wanted: str, times: int = 30) -> None:
    """Press a key until the focus is on something."""
    seen = []
    for _ in range(times):
        panel.page.keyboard.press(key)
        seen.append(focus(panel))
        if seen[-1].startswith(wanted):
            return
    pytest.fail(f"{key} does not lead to {wanted!r} but to:\n  " + "\n  ".join(seen))


def test_all_can_be_reached_by_the_keyboard(panel: Panel) -> None:
    keyboard = panel.page.keyboard
    panel.show("Overview")
    panel.page.locator(".jp-Notebook:visible").first.click(position={"x": 5, "y": 5})
    keyboard.press("Control+Shift+C")
    keyboard.type("Open the Parsl Panel")
    keyboard.press("Enter")
    panel.page.wait_for_function("document.activeElement.closest('#parslab-panel') !== null")
    assert focus(panel) == "tab Overview"
    keyboard.press("ArrowRight")
    assert focus(panel) == "tab Graph"
    keyboard.press("ArrowRight")
    assert focus(panel) == "tab Timeline"
    keyboard.press("ArrowRight")
    assert focus(panel) == "tab Tasks"
    press_until(panel, "Tab", "input Filter tasks")
    press_until(panel, "Tab", "rowgroup")
    keyboard.press("Home")
    keyboard.press("ArrowDown")
    keyboard.press("ArrowDown")
    keyboard.press("Enter")
    expect(panel.drawer).to_be_visible()
    third = panel.rows.nth(2).get_attribute("data-task")
    expect(panel.drawer.locator("header")).to_have_attribute("data-task", str(third))
    press_until(panel, "Tab", "button Close task details")
    keyboard.press("Escape")
    expect(panel.drawer).to_be_hidden()
    assert focus(panel).startswith("rowgroup")
