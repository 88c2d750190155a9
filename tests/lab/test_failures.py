"""Failed tasks in groups: what failed, where, an example, all of a group again, and a cell that repeats the call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from tests.lab.browser import until
from tests.lab.test_appearance import LOOKS, NARROWEST, USUAL, press_until
from tests.lab.test_retry_and_cancel import MENDED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Locator

    from tests.lab.browser import Lab, Notebook

FAILING = """\
import json
from math import sqrt

LIMIT = 2

def checked(number):
    if number > LIMIT:
        raise KeyError(f'number {number}')
    return sqrt(number)

@python_app
def fragile(number):
    raise ValueError(f'number {number} is bad, see /data/{number}.csv')  # always

@python_app
def strict(numbers):
    return json.dumps([checked(number) for number in numbers])

@python_app
def after(number):
    return number
"""
CALLS = """
futures = [fragile(n) for n in range(12)] + [strict([1, 7])] + [after(fragile(12))]
[type(future.exception()).__name__ for future in futures][-3:]
"""


@pytest.fixture
def failing(lab: Lab, loaded: Notebook) -> Iterator[Notebook]:
    """A notebook with 14 failed tasks of two kinds; the page is light and of usual width again afterwards."""
    loaded.run(FAILING)
    loaded.run(CALLS)
    lab.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    lab.page.evaluate("navigator.clipboard.writeText('')")
    yield loaded
    lab.panel.close_task()
    lab.theme("JupyterLab Light")
    lab.panel.resize(USUAL)


def group(lab: Lab, kind: str) -> Locator:
    return lab.panel.node.locator(".parslab-FailureList > li", has=lab.page.get_by_text(kind, exact=True))


def clipboard(lab: Lab, part: str) -> str:
    """The text in the clipboard, once it contains this."""
    text = str(lab.page.evaluate("navigator.clipboard.readText()"))
    return text if part in text else ""


def test_failures_are_grouped_and_read(lab: Lab, failing: Notebook) -> None:
    lab.panel.show("Failures")
    view = lab.panel.node.get_by_role("tabpanel", name="Failures")
    expect(view.get_by_role("status")).to_contain_text("14 failed tasks of 2 kinds")
    expect(view.get_by_role("status")).to_contain_text("1 more did not run, because it needs one of these.")
    expect(group(lab, "ValueError")).to_have_attribute("data-tasks", "13")
    expect(group(lab, "ValueError")).to_contain_text("number N is bad, see /…")
    expect(group(lab, "KeyError")).to_have_attribute("data-tasks", "1")

    lab.panel.node.get_by_role("tab", name="Failures").focus()
    press_until(lab.panel, "Tab", "button KeyError")
    lab.page.keyboard.press("Enter")
    opened = group(lab, "KeyError")
    expect(opened.get_by_role("button", name="Copy as a cell")).to_be_visible()
    press_until(lab.panel, "Tab", "button Copy as a cell")
    expect(opened.locator("figure")).to_contain_text("In [2], line 8")
    expect(opened.locator("figure")).to_contain_text("raise KeyError(f'number {number}')")
    expect(opened.locator("[data-text=traceback]")).to_contain_text("in strict")
    for theme in ("JupyterLab Dark", "JupyterLab Light"):
        lab.theme(theme)
        for width in (NARROWEST, USUAL):
            lab.panel.resize(width)
            assert (theme, width, lab.page.evaluate(LOOKS)) == (theme, width, [])
    opened.get_by_role("button", name="task 12").click()
    expect(lab.panel.drawer.get_by_role("heading", name="strict")).to_be_visible()


def test_a_call_of_a_group_is_copied_and_a_group_is_retried(lab: Lab, failing: Notebook) -> None:
    lab.panel.show("Failures")
    opened = group(lab, "KeyError")
    opened.get_by_role("button").first.click()
    # Not the notification: it leaves by itself, on a busy machine before it is seen.
    opened.get_by_role("button", name="Copy as a cell").click()
    copied = until(lambda: clipboard(lab, "strict([1, 7])"), "the cell in the clipboard")
    cell = failing.start(copied)
    cell.wait()
    assert cell.error == "KeyError: 'number 7'", copied

    failing.run(MENDED)
    group(lab, "ValueError").get_by_role("button").first.click()
    group(lab, "ValueError").get_by_role("button", name="Retry 13 tasks").click()
    expect(group(lab, "ValueError")).to_have_count(0)
    view = lab.panel.node.get_by_role("tabpanel", name="Failures")
    expect(view.get_by_role("status")).to_have_text("1 failed task, all of one kind")
    assert failing.run("futures[-1].result()") == "12"
