"""What a user does about tasks that failed, or that are not wanted any more: try again, ask why, cancel a cell."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.lab.test_appearance import LOOKS, NARROW, USUAL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Locator

    from tests.lab.browser import Lab, Notebook
    from tests.lab.panel import Panel

FRAGILE = """
@python_app
def fragile(number):
    raise ValueError(f'number {number} is bad')

@python_app
def after(number):
    return number + 1
"""
MENDED = """
@python_app
def fragile(number):
    return number
"""
STAGE = Path(__file__).with_name("stage.py").read_text(encoding="utf-8").replace("from __future__", "# from __future__")
EVERY_STATE = """
from parslab.records.events import *
from parslab.records.states import TaskState

stage = Stage()
now = time.time()
for n, state in enumerate(TaskState):
    ready = TaskState.pending if state in (TaskState.pending, TaskState.dep_fail) else TaskState.ready
    stage.happens(TaskSubmitted(now - 60, n, state.name, ready, "htex", 1, shown=f"seed={n}", cell="In [3]"))
    if state in (TaskState.failed, TaskState.fail_retryable):
        stage.happens(TaskMoved(now - 50, n, TaskState.running, 0, "node1"))
        why = "WorkerLost: the worker of this task on node1 was killed by SIGKILL (often the out-of-memory killer)"
        stage.happens(TaskFailed(now - 40, n, 0, why, "", "worker_lost", now - 50, "node1"))
    if state is TaskState.failed:
        stage.happens(TaskMoved(now - 40, n, TaskState.fail_retryable, 0))
        stage.happens(TaskMoved(now - 30, n, TaskState.running, 1, "node2"))
        stage.happens(TaskFailed(now - 20, n, 1, "ValueError: a bad number", "", "app_error", now - 30, "node2"))
    if state not in (TaskState.pending, TaskState.ready):
        stage.happens(TaskMoved(now - 10, n, state, int(state is TaskState.failed)))
stage.was(now)
stage.open()
"""


def assert_shown(lab: Lab, text: str) -> None:
    """Wait for a notification, and close it."""
    notice = lab.page.locator(".Toastify__toast", has_text=text)
    expect(notice).to_be_visible()
    notice.get_by_role("button").first.click()
    expect(notice).to_have_count(0)


def answer(drawer: Locator, question: str) -> Locator:
    return drawer.locator(f"[data-result={question}]")


def test_a_failed_task_runs_again_as_its_app_is_defined_now(lab: Lab, loaded: Notebook) -> None:
    loaded.run(FRAGILE)
    loaded.run("first = fragile(1)\nlast = after(first)\nlast.exception()")
    drawer = lab.panel.open_task("fragile")
    head = drawer.locator("header")
    expect(head).to_have_attribute("data-state", "failed")
    drawer.get_by_role("button", name="Retry").click()
    expect(answer(drawer, "retry")).to_contain_text("2 tasks run again")
    expect(head).to_have_attribute("data-state", "failed")
    loaded.run(MENDED)
    drawer.get_by_role("button", name="Retry").click()
    expect(answer(drawer, "retry")).to_contain_text("fragile as now defined")
    expect(head).to_have_attribute("data-state", "exec_done")
    expect(drawer.get_by_role("button", name="Retry")).to_have_count(0)
    expect(drawer.get_by_role("list", name="Attempts").get_by_role("listitem")).to_have_count(3)
    expect(drawer.locator(".parslab-Attempts-why").first).to_have_text("ValueError: number 1 is bad")
    assert loaded.run("last.result()") == "2"
    drawer.get_by_role("button", name="Why did this run?").click()
    expect(answer(drawer, "explain")).to_contain_text("does not cache results")
    lab.panel.close_task()


def test_all_that_failed_runs_again_or_what_failed_of_an_app(lab: Lab, loaded: Notebook) -> None:
    loaded.run(FRAGILE + "futures = [after(fragile(n)) for n in range(3)] + [bad(1)]")
    loaded.run("[future.exception() for future in futures]" + MENDED)
    lab.panel.show("Overview")
    lab.panel.counts(failed=4, dep_fail=3)
    lab.panel.node.locator("[data-app=fragile] button").click()
    lab.panel.node.get_by_role("button", name="Retry failed of fragile").click()
    assert_shown(lab, "6 tasks run again")
    lab.panel.node.get_by_role("combobox", name="App").select_option("")
    lab.panel.show("Overview")
    lab.panel.counts(exec_done=6, failed=1, dep_fail=0)
    lab.panel.node.get_by_role("button", name="Retry failed").click()
    assert_shown(lab, "1 task runs again")
    lab.panel.counts(exec_done=6, failed=1)


def test_many_failed_tasks_run_again_only_after_a_question(lab: Lab, loaded: Notebook) -> None:
    loaded.run(FRAGILE)
    loaded.run("futures = [fragile(n) for n in range(101)]\n[future.exception() for future in futures]" + MENDED)
    lab.panel.show("Overview")
    lab.panel.counts(failed=101)
    dialog = lab.page.get_by_role("dialog")
    for button in ("Cancel", "Retry failed"):
        lab.panel.node.get_by_role("button", name="Retry failed").click()
        expect(dialog).to_contain_text("Retry 101 failed tasks?")
        dialog.get_by_role("button", name=button).click()
        expect(dialog).to_have_count(0)
    assert_shown(lab, "101 tasks run again; fragile as now defined.")
    lab.panel.counts(failed=0, exec_done=101)


def test_what_a_cell_has_called_is_cancelled_from_a_task_of_it(lab: Lab, loaded: Notebook, gate: Path) -> None:
    loaded.run(f"mine = [held({str(gate)!r}, n) for n in range(3)]")
    loaded.run(f"other = nap(0, held({str(gate)!r}))")
    lab.panel.show("Tasks")
    lab.panel.row("held").last.click()
    lab.panel.drawer.get_by_role("button", name="Cancel the tasks of In [2]").click()
    assert_shown(lab, "3 tasks cancelled (In [2]).")
    lab.panel.close_task()
    lab.panel.show("Overview")
    lab.panel.counts(cancelled=3, running=1, pending=1)
    gate.touch()
    lab.panel.counts(cancelled=3, exec_done=2)


def test_a_cell_that_waits_is_cancelled_from_its_menu(lab: Lab, loaded: Notebook, gate: Path) -> None:
    loaded.run(f"other = held({str(gate)!r})")
    cell = loaded.start(f"mine = [held({str(gate)!r}, n) for n in range(2)]\nmine[0].result()")
    lab.panel.show("Overview")
    lab.panel.counts(running=2, ready=1)
    cells = lab.page.locator(".jp-Notebook:visible .jp-CodeCell")
    cells.nth(cell.place).locator(".jp-InputPrompt").click(button="right")
    lab.page.get_by_role("menuitem", name="Cancel This Cell's Tasks").click()
    assert_shown(lab, "2 tasks cancelled (In [3]).")
    cell.wait()
    assert cell.error.startswith("CancelledError")
    lab.panel.counts(running=1, cancelled=2)
    lab.command("parslab:cancel-cell")
    assert_shown(lab, "Nothing to cancel: no task that cell In [3] has called is unfinished.")
    gate.touch()
    lab.panel.counts(exec_done=1)


def test_the_menu_of_a_cell_is_as_ever_where_there_is_no_run(lab: Lab, book: Notebook) -> None:
    cell = book.start("1 + 1")
    cell.wait()
    lab.page.locator(".jp-Notebook:visible .jp-InputPrompt").first.click(button="right")
    expect(lab.page.get_by_role("menuitem", name="Cut Cell", exact=False).first).to_be_visible()
    expect(lab.page.get_by_role("menuitem", name="Cancel This Cell's Tasks")).to_have_count(0)
    lab.page.keyboard.press("Escape")


def test_a_cell_is_cancelled_by_the_button_of_its_notebook(lab: Lab, loaded: Notebook, gate: Path) -> None:
    """Which is there while there is a run, and for cells that have run."""
    bar = lab.page.locator(".jp-NotebookPanel:visible .jp-NotebookPanel-toolbar")
    button = bar.get_by_role("button", name="Cancel all tasks that the cell has called")
    loaded.run(f"mine = [held({str(gate)!r}, n) for n in range(2)]")
    lab.page.locator(".jp-Notebook:visible .jp-CodeCell .jp-InputPrompt").last.click()
    expect(button).to_have_attribute("aria-disabled", "false")
    bar.get_by_role("button", name="Insert a cell below").click()
    expect(button).to_have_attribute("aria-disabled", "true")
    lab.page.locator(".jp-Notebook:visible .jp-CodeCell .jp-InputPrompt").nth(-2).click()
    button.click()
    assert_shown(lab, "2 tasks cancelled (In [2]).")
    loaded.run("parslab.dfk().cleanup()")
    expect(button).to_be_hidden()


@pytest.fixture(scope="module")
def states(lab: Lab) -> Iterator[Notebook]:
    """A notebook with a run that has a task in every state."""
    with lab.working() as notebook:
        notebook.run(STAGE)
        notebook.run(EVERY_STATE)
        yield notebook
        notebook.run("stage.close(); import shutil; shutil.rmtree(stage.folder)")


@pytest.fixture
def narrow(lab: Lab, states: Notebook) -> Iterator[Panel]:
    """The panel on it, as narrow as it may be; light and of usual width again afterwards."""
    states.show()
    lab.panel.is_live()
    lab.panel.resize(NARROW)
    yield lab.panel
    lab.panel.close_task()
    lab.theme("JupyterLab Light")
    lab.panel.resize(USUAL)


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_every_state_and_each_attempt_can_be_read(lab: Lab, narrow: Panel, theme: str) -> None:
    lab.theme(theme)
    found = {}
    for view in ("Overview", "Graph", "Tasks"):
        narrow.show(view)
        expect(narrow.node.get_by_role("tabpanel", name=view)).to_be_visible()
        found[view] = lab.page.evaluate(LOOKS)
    for app in ("failed", "fail_retryable", "memo_done"):
        drawer = narrow.open_task(app)
        drawer.get_by_role("button", name="Why d").click()
        expect(answer(drawer, "explain")).to_have_text("It was done.")
        if app == "failed":
            drawer.get_by_role("button", name="Retry").click()
            expect(answer(drawer, "retry")).to_have_text("It was done.")
        found[app] = lab.page.evaluate(LOOKS)
    assert {view: what for view, what in found.items() if what} == {}


def test_attempts_are_reported_with_their_reasons(narrow: Panel) -> None:
    drawer = narrow.open_task("failed")
    first, second = drawer.get_by_role("list", name="Attempts").get_by_role("listitem").all()
    expect(first).to_contain_text("Worker lost")
    expect(first).to_contain_text("WorkerLost: the worker of this task on node1 was killed by SIGKILL")
    expect(first).to_contain_text("10 s")
    expect(second).to_contain_text("Exception")
    expect(drawer.locator(".parslab-Drawer-error")).to_have_text("ValueError: a bad number")
