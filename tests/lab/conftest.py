"""One server, one browser and one page for the whole ring; each test opens notebooks of its own and ends their kernels.

After every test the extension must not have complained, and no kernel, run or worker may be left that was not there
before. Browsers start and end helper processes as they like, so the census of `tests/conftest.py` does not fit here.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from playwright.sync_api import sync_playwright

from tests.lab.browser import FLAGS, Desk, Lab, Notebook
from tests.lab.measure import measured
from tests.lab.server import Server, served
from tests.lab.story import COUNTS, STORY

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from tests.lab.panel import Panel

OURS = ("ipykernel_launcher", "parslab.dataflow", "parslab.remote")
GRACE = 8.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests of this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.lab)
            item.add_marker(pytest.mark.leaves_behind("a browser comes and goes with its processes"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was measured."""
    if measured:
        terminalreporter.section("measured in the browser")
        terminalreporter.write("\n".join(measured) + "\n")


@pytest.fixture(scope="package")
def root() -> Iterator[Path]:
    """A folder with a short name."""
    path = Path(tempfile.mkdtemp(prefix="pl-lab-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="package")
def server(root: Path) -> Iterator[Server]:
    """The Jupyter server."""
    with served(root / "s") as server:
        yield server


@pytest.fixture(scope="package")
def browser(chromium: str) -> Iterator[Browser]:
    """The browser."""
    with sync_playwright() as playwright:
        # Scroll bars take room on most desktops, and are seen where there should be none.
        hidden = ["--hide-scrollbars"]
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS), ignore_default_args=hidden)
        yield browser
        browser.close()


@pytest.fixture(scope="package")
def lab(browser: Browser, server: Server) -> Iterator[Lab]:
    """The page that most tests share."""
    desk = Desk.at(browser, server)
    yield desk.lab()
    desk.context.close()


@pytest.fixture
def book(lab: Lab) -> Iterator[Notebook]:
    """A new notebook whose kernel has not loaded anything."""
    with lab.working() as notebook:
        yield notebook


@pytest.fixture
def loaded(book: Notebook) -> Notebook:
    """A new notebook with a run on two workers."""
    book.load()
    return book


@pytest.fixture(scope="module")
def story(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Notebook]:
    """A notebook with a run that stands still in the middle."""
    gate = tmp_path_factory.mktemp("gate") / "gate"
    with lab.working() as notebook:
        notebook.load()
        notebook.run(STORY.format(gate=str(gate)))
        lab.panel.show("Overview")
        lab.panel.counts(**COUNTS)
        yield notebook
        gate.touch()


@pytest.fixture
def panel(lab: Lab, story: Notebook) -> Panel:
    """The panel on the story's run, with no task open."""
    story.show()
    lab.panel.is_live()
    lab.panel.close_task()
    return lab.panel


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A file that is not there yet: what `held` tasks wait for."""
    return tmp_path / "gate"


@pytest.fixture(autouse=True)
def no_complaints(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test in which the extension complained on the console, or anything was thrown and not caught."""
    lab = request.getfixturevalue("lab")
    lab.desk.complaints.clear()
    yield
    assert lab.desk.complaints == []


@pytest.fixture(autouse=True)
def no_kernels_left(lab: Lab) -> Iterator[None]:
    """Fail a test that leaves a kernel or a run, with all that belongs to it."""
    before = {process.pid for process in workshop(lab.desk.server.pid)}
    yield
    deadline = time.monotonic() + GRACE
    while left := [process for process in workshop(lab.desk.server.pid) if process.pid not in before]:
        if time.monotonic() > deadline:
            pytest.fail("left behind:\n  " + "\n  ".join(map(command, left)), pytrace=False)
        time.sleep(0.05)


def workshop(server: int) -> list[psutil.Process]:
    """The kernels, runs and workers that there are because of a server."""
    token = psutil.Process(server).environ().get("PARSLAB_TEST_SESSION", "")
    found = []
    for process in psutil.process_iter():
        try:
            ours = process.pid != os.getpid() and any(word in command(process) for word in OURS)
            if ours and process.environ().get("PARSLAB_TEST_SESSION") == token:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def command(process: psutil.Process) -> str:
    """The command line of a process; empty when it is gone."""
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
