"""The output under the cells: `%%parsl` cells while others run, and futures that turn to done."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Locator

    from tests.lab.browser import Cell, Lab, Notebook

WAITS = """
print('waiting')
while not gate.exists():
    time.sleep(0.01)
print('through')
answer = 42
"""


@pytest.fixture(scope="module")
def page(lab: Lab) -> Iterator[Notebook]:
    """A notebook with a run and the magics."""
    with lab.working() as notebook:
        notebook.load()
        notebook.run("%load_ext parslab")
        yield notebook


def shown(cell: Cell) -> Locator:
    """The output area of a cell as the page shows it."""
    cells = cell.notebook.lab.page.locator(".jp-Notebook:visible .jp-CodeCell")
    return cells.nth(cell.place).locator(".jp-Cell-outputArea")


def test_output_appears_under_its_cell_while_others_run(page: Notebook, gate: Path) -> None:
    page.run(f"gate = Path({str(gate)!r})")
    task = page.start(f"%%parsl --name waits\n{WAITS}")
    expect(shown(task)).to_contain_text("waiting")
    expect(shown(task)).to_contain_text("running")
    busy = page.start("print('busy')\nwhile not gate.exists():\n    pass")
    busy.says("busy")
    gate.touch()
    expect(shown(task)).to_contain_text("through")
    expect(shown(task)).to_contain_text("done")
    busy.wait()
    assert busy.output == "busy\n"
    assert page.run("type(answer).__name__, answer.result()") == "('NameFuture', 42)"


def test_error_is_shown_under_its_cell(page: Notebook) -> None:
    task = page.start("%%parsl\nnumbers = [1, 2]\nfourth = numbers[3]")
    expect(shown(task)).to_contain_text("failed")
    expect(shown(task)).to_contain_text("IndexError: list index out of range")
    shown(task).locator("summary").click()
    expect(shown(task).locator("details pre")).to_be_visible()
    expect(shown(task).locator("details pre")).to_contain_text("fourth = numbers[3]")
    waiting = page.start("fourth.result()")
    waiting.wait()
    assert waiting.error == "IndexError: list index out of range"


def test_mistake_in_the_magic_is_shown_under_the_cell(page: Notebook) -> None:
    cell = page.start("%%parsl --no-such-option\nx = 1")
    expect(shown(cell)).to_contain_text("unrecognized arguments: --no-such-option")
    cell = page.start("%%parsl\nprint(never_defined)")
    expect(shown(cell)).to_contain_text("NameError: name 'never_defined' is not defined")


def test_a_future_that_is_shown_turns_to_done(page: Notebook, gate: Path) -> None:
    cell = page.start(f"held({str(gate)!r})")
    expect(shown(cell)).to_contain_text("submitted")
    busy = page.start(f"while not os.path.exists({str(gate)!r}):\n    pass")
    gate.touch()
    expect(shown(cell)).to_contain_text("done")
    busy.wait()


def test_cells_are_named_in_the_panel(lab: Lab, page: Notebook) -> None:
    cell = page.start("%%parsl --name christened\nx = 1")
    expect(shown(cell)).to_contain_text("done")
    drawer = lab.panel.open_task("christened")
    number = page.run("len(In)")
    expect(drawer.locator("dl")).to_contain_text(f"In [{int(number) - 2}]")
    lab.panel.close_task()


def test_progress_below_a_cell(page: Notebook, gate: Path) -> None:
    """A bar that fills while the cell waits, and a button that runs what failed again."""
    again = str(gate) + "-again"
    page.run(
        "@python_app\n"
        "def strict(number, path):\n"
        "    if number == 3 and not os.path.exists(path):\n"
        "        raise ValueError(number)\n"
    )
    cell = page.start(
        f"futures = [held({str(gate)!r}), *(strict(n, {again!r}) for n in range(5))]\n"
        "shown = parslab.progress(futures, 'fits')\nparslab.wait_for_current_tasks()"
    )
    area = shown(cell)
    expect(area).to_contain_text("fits")
    expect(area).to_contain_text("5 of 6")
    expect(area).to_contain_text("1 failed")
    gate.touch()
    expect(area).to_contain_text("6 of 6")
    cell.wait()
    expect(area.get_by_role("button", name="Cancel")).to_be_hidden()
    with open(again, "w"):
        area.get_by_role("button", name="Retry failed").click()
        expect(area).not_to_contain_text("1 failed")
    expect(area).to_contain_text("6 of 6")
    expect(area.get_by_role("button", name="Retry failed")).to_be_hidden()
    assert page.run("[future.done() for future in futures]") == str([True] * 6)
