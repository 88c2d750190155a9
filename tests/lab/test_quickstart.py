"""The quickstart in JupyterLab by "Run All Cells", as its reader does."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

if TYPE_CHECKING:
    from tests.lab.browser import Lab

QUICKSTART = Path(__file__).parents[2] / "notebooks/01-quickstart.ipynb"


@pytest.mark.slow
def test_run_all_shows_the_search(lab: Lab) -> None:
    shutil.copy(QUICKSTART, lab.desk.server.folder / "quickstart.ipynb")
    book = lab.notebook("quickstart.ipynb")
    try:
        lab.page.get_by_role("menuitem", name="Run", exact=True).click()
        lab.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        lab.panel.is_live()
        lab.panel.show("Overview")
        expect(lab.panel.node.locator("[data-app=fold_score]")).to_have_attribute("data-count", "65")
        lab.panel.says("This run has ended", 60)  # after all other cells of the notebook
        expect(lab.panel.node.locator("[data-app=fold_score]")).to_contain_text("65 / 65")
        lab.panel.counts(running=0, pending=0, failed=0)
        lab.panel.show("Graph")
        expect(lab.panel.canvas).to_have_attribute("data-nodes", re.compile(r"8[5-9]|9\d|1\d\d"))
        assert [cell.error for cell in book.cells() if cell.error] == []
    finally:
        book.close(shutdown=True)
