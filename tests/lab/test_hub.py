"""Behind a base URL, as JupyterHub serves: the same as anywhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.lab.browser import Desk
from tests.lab.server import served

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser


@pytest.mark.usefixtures("lab")
def test_the_panel_works_behind_a_base_url(browser: Browser, root: Path, gate: Path) -> None:
    with served(root / "h", base_url="/user/a/") as server:
        assert server.url.endswith("/user/a/")
        desk = Desk.at(browser, server)
        lab = desk.lab()
        with lab.working() as book:
            book.load()
            cell = book.start(f"stamp().result()\nheld({str(gate)!r}).result()")
            lab.panel.show("Overview")
            lab.panel.counts(running=1, exec_done=1)
            expect(lab.panel.node.locator(".parslab-RunLine")).to_have_attribute("data-route", "server")
            lab.panel.open_task("held").get_by_role("button", name="Cancel task").click()
            cell.wait()
            assert cell.error.startswith("CancelledError")
        assert desk.complaints == []
        desk.context.close()
