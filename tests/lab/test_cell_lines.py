"""The line below each cell: how far its tasks are, what its buttons do, and what the notebook keeps of it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.lab.browser import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Locator

    from tests.lab.browser import Cell, Lab, Notebook

MENDED = """
@python_app
def bad(number):
    return number
"""
DONE = re.compile(r"^5 tasks · [\d.]+ m?s")


@pytest.fixture
def page(lab: Lab, loaded: Notebook) -> Iterator[Notebook]:
    """A notebook with a run; the table of tasks shows all of them again afterwards."""
    yield loaded
    lab.command("parslab:show-tasks", states=[], apps=[])
    lab.theme("JupyterLab Light")


def line(cell: Cell) -> Locator:
    """The line below a cell."""
    cells = cell.notebook.lab.page.locator(".jp-Notebook:visible .jp-CodeCell")
    return cells.nth(cell.place).locator(".parslab-CellLine")


def kept(cell: Cell) -> str:
    """The text of the line in the saved notebook."""
    saved = json.loads(cell.notebook.file.read_text())["cells"][cell.place]
    return str(saved["metadata"].get("parslab", {}).get("tasks", ""))


def test_a_cell_shows_how_far_its_tasks_are(page: Notebook, gate: Path) -> None:
    cell = page.start(f"futures = [held({str(gate)!r})] + [stamp() for _ in range(4)]\nfutures[0].result()")
    other = page.start("1 + 1")
    # The kernel waits in the cell all the time.
    expect(line(cell)).to_contain_text("4 of 5 tasks")
    assert cell.ended is None
    gate.touch()
    expect(line(cell)).to_have_text(re.compile(DONE.pattern))
    other.wait()
    expect(line(other)).to_have_count(0)


def test_failed_tasks_of_a_cell_are_retried_and_listed(page: Notebook, lab: Lab) -> None:
    first = page.start("failing = [bad(n) for n in range(3)]")
    page.run("stamp().result()")
    expect(line(first)).to_contain_text("3 tasks")
    expect(line(first)).to_contain_text("3 failed")
    line(first).get_by_role("button", name="Open").click()
    chosen = lab.panel.node.locator(".parslab-Filters-cell")
    expect(chosen).to_have_text(re.compile(r"^In \[\d+\]"))
    expect(lab.panel.node.get_by_text("3 tasks", exact=False).first).to_be_visible()
    page.run(MENDED)
    line(first).get_by_role("button", name="Retry failed").click()
    expect(line(first)).not_to_contain_text("failed")
    assert page.run("[future.result() for future in failing]") == "[0, 1, 2]"
    chosen.click()
    expect(chosen).to_have_count(0)


def test_a_cell_is_cancelled_where_it_stands(page: Notebook, gate: Path) -> None:
    cell = page.start(f"waiting = [held({str(gate)!r}) for _ in range(4)]")
    cell.wait()
    expect(line(cell)).to_contain_text("0 of 4 tasks")
    line(cell).get_by_role("button", name="Cancel").click()
    expect(line(cell)).to_contain_text("4 cancelled")
    assert page.run("[future.cancelled() for future in waiting]") == "[True, True, True, True]"


def test_the_notebook_keeps_the_line(page: Notebook, lab: Lab, gate: Path) -> None:
    cell = page.start("done = [stamp() for _ in range(5)]")
    waits = page.start(f"last = [stamp(), held({str(gate)!r})]")
    waits.wait()
    expect(line(cell)).to_have_text(re.compile(DONE.pattern))
    expect(line(waits)).to_contain_text("1 of 2 tasks")
    page.save()
    assert DONE.match(kept(cell))
    assert kept(waits) == "1 of 2 tasks"
    other = lab.desk.lab()
    try:
        other.reload(page)
        again = [type(one)(type(page)(other, page.path), one.place) for one in (cell, waits)]
        expect(line(again[0])).to_contain_text("5 tasks")
        expect(line(again[1])).to_contain_text("1 of 2 tasks")
        gate.touch()
        # The page that was loaded anew follows the run, although nothing ran in it.
        expect(line(again[1])).to_contain_text(re.compile(r"^2 tasks · "))
    finally:
        other.page.close()
    page.show()
    page.restart()
    expect(line(cell)).to_have_text(re.compile(DONE.pattern))
    expect(line(cell).get_by_role("button")).to_have_count(0)


def test_a_line_goes_when_its_cell_calls_no_tasks_any_more(page: Notebook) -> None:
    cell = page.start("many = [stamp() for _ in range(5)]")
    expect(line(cell)).to_have_text(re.compile(DONE.pattern))
    page.lab.page.evaluate(
        "([path, place]) => { const book = window.drive.book(path); book.content.activeCellIndex = place;"
        " book.content.activeCell.model.sharedModel.setSource('1 + 1');"
        " return window.jupyterapp.commands.execute('notebook:run-cell'); }",
        [page.path, cell.place],
    )
    expect(line(cell)).to_have_count(0)
    page.save()
    assert kept(cell) == ""


def test_a_line_goes_with_the_output_of_its_cell(page: Notebook, lab: Lab, gate: Path) -> None:
    ended = page.start("stamp().result()")
    ended.wait()
    expect(line(ended)).to_have_text(re.compile("^1 task · "))
    running = page.start(f"held({str(gate)!r}).result()")
    expect(line(running)).to_contain_text("0 of 1 tasks")
    lab.command("notebook:clear-all-cell-outputs")
    expect(line(ended)).to_have_count(0)
    expect(line(running)).to_contain_text("0 of 1 tasks")
    gate.touch()
    expect(line(running)).to_have_text(re.compile("^1 task · "))
    page.save()
    assert (kept(ended), kept(running)[:6]) == ("", "1 task")


def test_a_task_leads_to_its_cell(page: Notebook, lab: Lab) -> None:
    cell = page.start("here = stamp()")
    cell.wait()
    for number in range(30):
        page.run(f"{number}")
    task = int(page.run("here.tid"))
    lab.command("parslab:show-task", task=task)
    lab.panel.node.get_by_role("button", name=re.compile(r"^In \[\d+\]$")).click()
    until(
        lambda: lab.page.evaluate("path => window.drive.book(path).content.activeCellIndex", page.path) == cell.place,
        "the cell of the task is the active one",
    )
    active = lab.page.locator(".jp-Notebook:visible .jp-Cell.jp-mod-active")
    expect(active.locator(".parslab-CellLine")).to_be_in_viewport()
