"""How long a run stays: chosen in the panel, and what the panel offers when the kernel was restarted."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import psutil
import pytest
from playwright.sync_api import expect

from tests.lab.browser import until
from tests.lab.test_appearance import LOOKS, NARROW, USUAL
from tests.lab.test_retry_and_cancel import assert_shown

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.browser import Lab, Notebook


def test_a_run_is_kept_as_long_as_is_chosen(lab: Lab, loaded: Notebook) -> None:
    choice = lab.panel.node.get_by_role("combobox", name="Without its notebook, the run")
    expect(choice).to_have_value("0")
    choice.select_option("stays for 1 h")
    assert_shown(lab, "The run stays for 1 h after the last notebook or script has left it.")
    expect(choice).to_have_value("3600")
    assert loaded.run("dfk.linger") == "3600.0"
    loaded.run("dfk.keep(5400)")
    expect(choice.locator("option:checked")).to_have_text("stays for 1 h 30 min")
    choice.select_option("ends with its kernel")
    assert_shown(lab, "The run ends when its notebook's kernel does.")
    assert loaded.run("dfk.linger") == "0.0"


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_a_restarted_kernel_goes_on_with_its_run(lab: Lab, loaded: Notebook, gate: Path, theme: str) -> None:
    loaded.run(f"dfk.keep(600)\nfutures = [stamp(), held({str(gate)!r})]\nfutures[0].result()")
    before = loaded.run("dfk.pid")
    lab.panel.show("Overview")
    lab.panel.counts(running=1, exec_done=1)
    loaded.restart()
    try:
        lab.panel.says(" exists until ")
        lab.panel.says("Continue it here or with parslab.load().")
        lab.theme(theme)
        lab.panel.resize(NARROW)
        assert lab.page.evaluate(LOOKS) == []
        lab.panel.node.get_by_role("button", name="Continue the run").click()
        assert_shown(lab, "continues. Cells that you run again adopt the tasks that they called before.")
        lab.panel.is_live()
        lab.panel.counts(running=1, exec_done=1)
    finally:
        lab.theme("JupyterLab Light")
        lab.panel.resize(USUAL)
        loaded.load()
        assert loaded.run("dfk.pid") == before
        loaded.run("dfk.keep(0)")
    assert loaded.run("len(In)") == "5"  # what the button did is none of them
    gate.touch()
    lab.panel.counts(exec_done=2)


def test_a_run_that_has_ended_meanwhile_is_not_replaced(lab: Lab, loaded: Notebook) -> None:
    loaded.run("dfk.keep(600)")
    pid = int(loaded.run("dfk.pid"))
    loaded.restart()
    lab.panel.says(" exists until ")
    os.kill(pid, signal.SIGTERM)
    until(lambda: not psutil.pid_exists(pid), "the run has ended")
    lab.panel.node.get_by_role("button", name="Continue the run").click()
    assert_shown(lab, "There is no live run")
    cell = loaded.start("import parslab\nparslab.dfk()")
    cell.wait()
    assert cell.error.startswith("NoDataFlowKernelError")
