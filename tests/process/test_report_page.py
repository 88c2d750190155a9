"""The page of a report in a browser: nothing is cut at any width or theme, and nothing is complained of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect, sync_playwright

from parslab.monitoring.report.writing import write_report
from tests.lab.browser import FLAGS
from tests.unit.monitoring.report.made_runs import MadeRun

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import Literal

    from playwright.sync_api import Browser

pytestmark = pytest.mark.leaves_behind("the browser of this module starts processes when it needs them")

LONG = "simulate_the_whole_of_a_large_and_very_patient_system"


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """A browser without JupyterLab."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        yield browser
        browser.close()


@pytest.fixture
def report(tmp_path: Path) -> Path:
    made = MadeRun(tmp_path)
    made.run(ended=200.0)
    made.block("0", 100.0, 105.0, 190.0)
    made.manager("htex/0/m0", "0", 4)
    for id in range(40):
        begin = 105.0 + id
        made.task(id, (101.0, 101.0, begin, begin, begin + 4), worker="htex/0/m0", app=LONG, shown="x=" + "9" * 150)
    made.task(40, (101.0, 148.0, 150.0, 150.0, 160.0), 39, state="failed", error="OSError: no file " + "/data" * 60)
    return write_report(made.file, tmp_path, alive=False).html


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1200])
def test_the_page_fits_and_is_calm(browser: Browser, report: Path, width: int, theme: Literal["light", "dark"]) -> None:
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=theme, offline=True)
    try:
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(report.as_uri())
        expect(page.get_by_role("heading", level=1)).to_have_text("Run 007-ab12cd")
        expect(page.get_by_role("heading", level=2)).to_have_count(8)
        page.locator("summary").click()
        expect(page.get_by_role("table", name="In the order of time")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        for picture in page.get_by_role("img").all():
            box = picture.bounding_box()
            assert box is not None
            assert box["width"] > 0.8 * (width - 40)
            assert box["height"] >= 20
        assert complaints == []
    finally:
        context.close()
