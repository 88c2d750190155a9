"""Behind a base URL and a proxy, as JupyterHub serves: the same as anywhere else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.lab.browser import Desk
from tests.lab.proxy import POLICY, proxied
from tests.lab.server import served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.lab.server import Server

pytestmark = pytest.mark.usefixtures("lab")


@pytest.fixture(scope="module")
def single(root: Path) -> Iterator[Server]:
    """A server below a base URL, as JupyterHub starts one for each user."""
    with served(root / "h", base_url="/user/a/") as server:
        assert server.url.endswith("/user/a/")
        yield server


def see_and_steer(desk: Desk, gate: Path) -> None:
    """Watch a task and cancel it through the server."""
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


def test_the_panel_works_behind_a_base_url(browser: Browser, single: Server, gate: Path) -> None:
    desk = Desk.at(browser, single)
    see_and_steer(desk, gate)
    desk.context.close()


@pytest.mark.timeout(300)  # a browser without anything in its cache loads JupyterLab through the proxy
def test_the_panel_works_behind_nginx_with_the_policy_of_a_hub(
    browser: Browser, single: Server, root: Path, gate: Path
) -> None:
    with proxied(single, root / "n") as url:
        desk = Desk.at(browser, replace(single, url=url))
        response = desk.context.request.get(f"{url}lab")
        assert response.headers["content-security-policy"] == POLICY
        see_and_steer(desk, gate)
        desk.context.close()
    requests = (root / "n/access.log").read_text(encoding="utf-8").splitlines()
    assert any("/user/a/parslab/panel?" in line and '" 101 ' in line for line in requests)
