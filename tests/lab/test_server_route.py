"""The panel through the Jupyter server: live and in command while the kernel cannot say a word, or is dead."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import psutil
import pytest
from playwright.sync_api import expect

from tests.lab.browser import Desk, until
from tests.lab.server import served
from tests.lab.test_appearance import LOOKS, NARROWEST, USUAL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser

    from tests.lab.browser import Cell, Lab, Notebook

HOLD = """
import ctypes
reading = os.open({pipe!r}, os.O_RDWR)
futures = [stamp(), held({gate!r})]
futures[0].result()
while not futures[1].running():
    time.sleep(0.01)
Path({mark!r}).touch()
# A call through PyDLL keeps the interpreter's lock: no thread of the kernel runs until the test writes.
ctypes.PyDLL(None).read(reading, ctypes.create_string_buffer(1), 1)
"""


class Pipe:
    """A pipe that a cell reads while it holds the interpreter's lock."""

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        # Open from now on, so that a byte is not lost when the test writes before the cell reads.
        self._descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)

    def write(self) -> None:
        """Let the cell go on."""
        os.write(self._descriptor, b"1")

    def close(self) -> None:
        """Close it; a cell that still waits goes on."""
        self.write()
        os.close(self._descriptor)


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[Pipe]:
    """What holds a cell up until the test writes."""
    pipe = Pipe(tmp_path / "pipe")
    yield pipe
    pipe.close()


def by_server(lab: Lab) -> None:
    """Wait until the panel uses the route through the server."""
    expect(lab.panel.node.locator(".parslab-RunLine")).to_have_attribute("data-route", "server")


def hold(notebook: Notebook, gate: Path, pipe: Pipe) -> Cell:
    """Start a cell with one ended and one running task, and wait until it holds the interpreter's lock."""
    mark = pipe.path.with_name("mark")
    cell = notebook.start(HOLD.format(pipe=str(pipe.path), gate=str(gate), mark=str(mark)))
    until(mark.exists, "the cell holds the lock")
    return cell


def test_the_panel_acts_while_a_cell_holds_the_interpreter_lock(
    lab: Lab, loaded: Notebook, gate: Path, pipe: Pipe
) -> None:
    lab.panel.show("Overview")
    cell = hold(loaded, gate, pipe)
    by_server(lab)
    lab.panel.counts(running=1, exec_done=1)
    lab.panel.open_task("held").get_by_role("button", name="Cancel task").click()
    lab.panel.show("Overview")
    lab.panel.counts(running=0, cancelled=1)
    lab.panel.close_task()
    assert cell.ended is None
    pipe.write()
    cell.wait()
    assert loaded.run("futures[1].cancelled()") == "True"


def test_a_panel_that_is_opened_later_acts_as_well(lab: Lab, gate: Path, pipe: Pipe) -> None:
    """A panel that has never looked for a run sees the kernel's first, and must not stay with that."""
    lab.panel.sidebar.click()
    expect(lab.panel.node).to_be_hidden()
    with lab.working() as book:
        book.start_run()
        hold(book, gate, pipe)
        lab.panel.open()
        by_server(lab)
        lab.panel.show("Overview")
        lab.panel.counts(running=1, exec_done=1)
        gate.touch()
        lab.panel.counts(running=0, exec_done=2)
        pipe.write()
        assert book.run("futures[1].result()") == "'through'"


def test_a_page_that_is_reloaded_meanwhile_is_live(lab: Lab, loaded: Notebook, gate: Path, pipe: Pipe) -> None:
    loaded.save()
    hold(loaded, gate, pipe)
    lab.reload(loaded)
    lab.panel.open()
    lab.panel.is_live()
    by_server(lab)
    lab.panel.show("Overview")
    lab.panel.counts(running=1, exec_done=1)
    gate.touch()
    lab.panel.counts(running=0, exec_done=2)
    pipe.write()
    assert loaded.run("futures[1].result()") == "'through'"


def test_the_panel_acts_when_the_kernel_is_dead(lab: Lab, loaded: Notebook, gate: Path) -> None:
    loaded.run(f"dfk.keep(600)\nfutures = [held({str(gate)!r}), stamp(held({str(gate)!r}))]")
    kernel = int(loaded.run("os.getpid()"))
    run = int(loaded.run("dfk.pid"))
    lab.panel.show("Overview")
    lab.panel.counts(running=2, pending=1)
    by_server(lab)
    psutil.Process(kernel).kill()
    lab.page.get_by_role("dialog").get_by_role("button", name="Ok").click()
    lab.panel.says(" exists until ")
    lab.panel.is_live()
    lab.panel.node.get_by_role("button", name="Cancel all").click()
    lab.page.get_by_role("dialog").get_by_role("button", name="Cancel all").click()
    lab.panel.counts(running=0, cancelled=3)
    choice = lab.panel.node.get_by_role("combobox", name="Without its notebook, the run")
    choice.select_option("ends with its kernel")
    until(lambda: not psutil.pid_exists(run), "the run has ended")


@pytest.mark.timeout(300)  # another server, and another browser that loads JupyterLab
@pytest.mark.usefixtures("lab")
def test_a_server_without_the_extension_is_named(browser: Browser, root: Path, gate: Path) -> None:
    without = "--ServerApp.jpserver_extensions={'parslab': False}"
    with served(root / "w", "/", without) as server:
        desk = Desk.at(browser, server)
        lab = desk.lab()
        with lab.working() as book:
            book.load()
            cell = book.start(f"held({str(gate)!r}).result()")
            expect(lab.panel.node.locator(".parslab-RunLine")).to_have_attribute("data-route", "kernel")
            sentence = lab.panel.node.locator(".parslab-MissingHalf")
            expect(sentence).to_contain_text("run pip install parslab where the server runs, and restart it")
            for theme in ("JupyterLab Dark", "JupyterLab Light"):
                lab.theme(theme)
                for width in (NARROWEST, USUAL):
                    lab.panel.resize(width)
                    assert lab.page.evaluate(LOOKS) == []
            lab.panel.show("Overview")
            lab.panel.counts(running=1)
            lab.panel.open_task("held").get_by_role("button", name="Cancel task").click()
            cell.wait()
        assert desk.complaints == []
        desk.context.close()
