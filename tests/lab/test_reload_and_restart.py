"""What comes and goes while a run goes on: pages, tabs, kernels, the DataFlowKernel process, notebooks."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil
from playwright.sync_api import expect

from tests.lab.browser import Notebook, until
from tests.lab.test_retry_and_cancel import assert_shown

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.browser import Lab

EMPTY = "Run parslab.load() or %parsl load in this notebook to see its tasks here."
NO_KERNEL = "Open a notebook and start its kernel to see its Parsl tasks here."

HIDE = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name == 'parslab':
            raise ModuleNotFoundError("No module named 'parslab'", name=name)

hidden = Hidden()
sys.meta_path.insert(0, hidden)
for name in [name for name in sys.modules if name.partition('.')[0] == 'parslab']:
    del sys.modules[name]
"""
"""Makes a kernel look as if parslab was not installed."""


def shut_down(lab: Lab) -> None:
    """Shut the kernel of the notebook in front down by the menu."""
    lab.page.get_by_role("menuitem", name="Kernel", exact=True).click()
    lab.page.get_by_role("menuitem", name="Shut Down Kernel", exact=True).click()


def test_a_page_that_is_reloaded_finds_the_run_of_a_busy_cell(lab: Lab, loaded: Notebook, gate: Path) -> None:
    loaded.start(f"stamp().result()\nheld({str(gate)!r}).result()")
    lab.panel.show("Overview")
    lab.panel.counts(running=1, exec_done=1)
    loaded.save()
    lab.reload(loaded)
    lab.panel.open()
    lab.panel.is_live()
    lab.panel.show("Overview")
    lab.panel.counts(running=1, exec_done=1)
    gate.touch()
    lab.panel.counts(running=0, exec_done=2)


def test_two_tabs_show_the_same_run_and_either_cancels(lab: Lab, loaded: Notebook, gate: Path) -> None:
    loaded.save()
    other = lab.desk.lab()
    try:
        other.notebook(loaded.path)
        cell = loaded.start(f"stamp().result()\nheld({str(gate)!r}).result()")
        for panel in (lab.panel, other.panel):
            panel.is_live()
            panel.show("Overview")
            panel.counts(running=1, exec_done=1)
        drawer = other.panel.open_task("held")
        drawer.get_by_role("button", name="Cancel task").click()
        cell.wait()
        assert cell.error.startswith("CancelledError")
        for panel in (lab.panel, other.panel):
            panel.show("Overview")
            panel.counts(running=0, cancelled=1)
        assert loaded.run("stamp().result() > 0") == "True"
        for panel in (lab.panel, other.panel):
            panel.counts(exec_done=2)
    finally:
        other.page.close()


def test_a_restarted_kernel_has_no_run_until_the_next_load(lab: Lab, loaded: Notebook, gate: Path) -> None:
    loaded.run(f"run = dfk.run\nheld({str(gate)!r})")
    lab.panel.show("Overview")
    lab.panel.counts(running=1)
    before = loaded.run("dfk.pid")
    loaded.restart()
    lab.panel.says("The kernel was restarted: run parslab.load() to start another run.")
    expect(lab.panel.node.locator(".parslab-RunLine")).to_have_attribute("data-status", "lost")
    loaded.load()
    assert loaded.run("dfk.pid") != before
    lab.panel.counts(running=0, exec_done=0)
    loaded.run("stamp().result()")
    lab.panel.counts(exec_done=1)


def test_a_kernel_that_crashes_takes_its_run_along(lab: Lab, loaded: Notebook, gate: Path) -> None:
    run = int(loaded.run(f"future = held({str(gate)!r})\ndfk.pid"))
    lab.panel.show("Overview")
    lab.panel.counts(running=1)
    loaded.start("os._exit(1)")
    lab.page.get_by_role("dialog").get_by_role("button", name="Ok").click()
    lab.panel.says("The kernel was restarted: run parslab.load() to start another run.")
    until(lambda: not psutil.pid_exists(run), "the run of the crashed kernel is gone")
    loaded.load()
    loaded.run("stamp().result()")
    lab.panel.counts(running=0, exec_done=1)


def test_a_kernel_that_is_shut_down_leaves_a_sentence(lab: Lab, loaded: Notebook) -> None:
    loaded.run("stamp().result()")
    lab.panel.show("Overview")
    lab.panel.counts(exec_done=1)
    shut_down(lab)
    # The kernel may say that its run has ended before its connection closes, or not.
    lab.panel.says("parslab.load() to start another")
    lab.panel.counts(exec_done=1)


def test_a_run_outlives_its_kernel_and_is_continued_in_another(lab: Lab, loaded: Notebook, gate: Path) -> None:
    loaded.run(f"dfk.keep(600)\nfutures = [stamp(), held({str(gate)!r})]\nfutures[0].result()")
    before = loaded.run("dfk.pid")
    lab.panel.show("Overview")
    lab.panel.counts(running=1, exec_done=1)
    shut_down(lab)
    lab.panel.says("The kernel is gone.")
    lab.panel.says(" exists until ")
    lab.panel.counts(running=1, exec_done=1)
    lab.panel.node.get_by_role("button", name="Start a kernel and continue").click()
    assert_shown(lab, "continues. Cells that you run again adopt the tasks that they called before.")
    lab.panel.is_live()
    lab.panel.counts(running=1, exec_done=1)
    assert loaded.run("import parslab\ndfk = parslab.dfk()\ndfk.pid") == before
    loaded.run("dfk.keep(0)")
    gate.touch()
    lab.panel.counts(exec_done=2)


def test_a_new_page_offers_the_run_that_a_kernel_has_left(lab: Lab, loaded: Notebook, gate: Path) -> None:
    loaded.run(f"dfk.keep(600)\nfuture = held({str(gate)!r})")
    before = loaded.run("dfk.pid")
    loaded.save()
    loaded.close(shutdown=True)
    lab.panel.says(NO_KERNEL)
    again = lab.notebook(loaded.path)
    lab.panel.says(" of this notebook is still here: continue it now or with parslab.load().")
    lab.panel.node.get_by_role("button", name="Continue the run").click()
    lab.panel.is_live()
    lab.panel.show("Overview")
    lab.panel.counts(running=1)
    assert again.run("import parslab\ndfk = parslab.dfk()\ndfk.pid") == before
    again.run("dfk.keep(0)")
    gate.touch()
    lab.panel.counts(running=0, exec_done=1)


def test_a_kernel_without_parslab_is_told_how_to_install_it(lab: Lab, book: Notebook) -> None:
    book.run(HIDE)
    lab.panel.says("run %pip install parslab, then parslab.load().")
    assert book.run("len(In)") == "3"  # what the panel asked is no cell
    book.run("sys.meta_path.remove(hidden)")  # as if it was installed
    lab.panel.says(EMPTY)
    book.load()


def test_the_picture_goes_on_when_the_run_is_killed(lab: Lab, loaded: Notebook, gate: Path) -> None:
    loaded.run("failed = bad(1); stamp().result(), failed.exception()")
    loaded.run(f"future = nap(0, held({str(gate)!r}))")
    lab.panel.show("Overview")
    lab.panel.counts(exec_done=1, failed=1, running=1, pending=1)
    drawer = lab.panel.open_task("bad")
    pid = int(loaded.run("dfk.pid"))
    os.kill(pid, signal.SIGKILL)
    lab.panel.show("Overview")
    expect(lab.panel.node.locator(".parslab-Notices")).to_contain_text("was killed by SIGKILL; it was started again")
    lab.panel.is_live()
    lab.panel.counts(exec_done=1, failed=1, running=1, pending=1)
    lab.panel.show("Graph")
    expect(lab.panel.canvas).to_have_attribute("data-nodes", "4")
    expect(drawer.locator("header")).to_have_attribute("data-state", "failed")
    gate.touch()
    lab.panel.show("Overview")
    lab.panel.counts(exec_done=3, failed=1)
    drawer.get_by_role("button", name="Retry").click()
    expect(drawer.locator("[data-result=retry]")).to_contain_text("1 task runs again")
    lab.panel.close_task()
    assert loaded.run("future.done() and dfk.pid") != str(pid)


def test_the_panel_says_that_the_run_was_killed(lab: Lab, book: Notebook, gate: Path) -> None:
    book.load(more="resume=False")
    book.run("stamp().result()")
    cell = book.start(f"import signal\nf = held({str(gate)!r})\nos.kill(dfk.pid, signal.SIGKILL)\nf.result()")
    lab.panel.says("This run has ended (")
    lab.panel.says("killed by SIGKILL")
    lab.panel.says("Run parslab.load() to start another.")
    cell.wait()
    assert "SIGKILL" in cell.error
    book.load()
    lab.panel.show("Overview")
    book.run("stamp().result()")
    lab.panel.counts(exec_done=1)


def test_a_run_that_was_ended_stays_to_be_read(lab: Lab, loaded: Notebook) -> None:
    loaded.run("stamp().result()")
    lab.panel.show("Overview")
    lab.panel.counts(exec_done=1)
    loaded.run("%load_ext parslab\n%parsl shutdown")
    lab.panel.says("This run has ended")
    lab.panel.counts(exec_done=1)
    expect(lab.panel.node.get_by_role("button", name="Cancel all")).to_be_disabled()


def test_a_notebook_that_is_closed_and_opened_again(lab: Lab, loaded: Notebook, gate: Path) -> None:
    loaded.run(f"future = held({str(gate)!r})")
    lab.panel.show("Overview")
    lab.panel.counts(running=1)
    loaded.save()
    loaded.close()
    lab.panel.says(NO_KERNEL)
    again = lab.notebook(loaded.path)
    lab.panel.is_live()
    lab.panel.counts(running=1)
    gate.touch()
    assert again.run("future.result()") == "'through'"
    lab.panel.counts(running=0, exec_done=1)


def test_the_panel_follows_the_notebook_in_front(lab: Lab, loaded: Notebook) -> None:
    loaded.run("[stamp().result() for _ in range(3)]")
    lab.panel.show("Overview")
    lab.panel.counts(exec_done=3)
    with lab.working() as second:
        lab.panel.says(EMPTY)
        second.load(workers=1)
        second.run("stamp().result()")
        lab.panel.counts(exec_done=1)
        loaded.show()
        lab.panel.counts(exec_done=3)
        loaded.run("stamp().result()")
        lab.panel.counts(exec_done=4)
        second.show()
        lab.panel.counts(exec_done=1)
    lab.panel.counts(exec_done=4)
