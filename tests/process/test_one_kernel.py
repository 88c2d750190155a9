"""However its processes are killed, a run has one DataFlowKernel at a time, and ``load()`` finds it."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.process.run_processes import DataFlowKernelWatch
from tests.process.sandbox import Sandbox, is_gone, until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.process.sandbox import Script

TASKS = 1500

_CELL = """
    def work(number):
        with open(LOG, "ab", 0) as file:
            file.write(b"%d\\n" % number)
        return number

    dfk = parslab.load(Config(executors=[LowLatencyExecutor(workers=1)], run_dir=RUNS))
    futures = [python_app(work)(number) for number in range(TASKS)]
    emit(run=dfk.run, dfk=dfk.pid)
    assert [future.result(60) for future in futures] == list(range(TASKS))
    emit(done=True)
    LAST or time.sleep(600)
    dfk.cleanup()
"""


def notebook(sandbox: Sandbox, log: Path, last: bool, before: str = "") -> Script:
    environment = {**os.environ, **sandbox.environment(), "PARSLAB_NOTEBOOK": "/books/one.ipynb"}
    return sandbox.script(f"    LOG, TASKS, LAST = {str(log)!r}, {TASKS}, {last}\n" + before + _CELL, env=environment)


_STOPPED = """
    import parslab.client.process.restart as restart
    launch = restart.launch
    def stop(*words):
        started = launch(*words)
        os.kill(started.pid, signal.SIGSTOP)
        emit(next=started.pid)
        time.sleep(600)
    restart.launch = stop
"""


def test_a_kernel_that_is_not_ready_when_its_starter_is_killed(sandbox: Sandbox, tmp_path: Path) -> None:
    """The next kernel of the notebook waits for it, says so, and attaches; it started another one beside it."""
    log = tmp_path / "log"
    with notebook(sandbox, log, last=False, before=_STOPPED) as first:
        facts = first.read_json()
        os.kill(facts["dfk"], signal.SIGKILL)
        while "next" not in (progress := first.read_json()):  # its tasks may have been done before the kill
            pass
        started = progress["next"]
        first.signal(signal.SIGKILL)
        first.wait()
    until(is_gone(facts["dfk"]))
    with DataFlowKernelWatch(sandbox) as watch, notebook(sandbox, log, last=True) as second:
        until(lambda: "Waiting for another process to start" in second.errors.read_text(), 20)
        assert watch.kernels() == [started]
        os.kill(started, signal.SIGCONT)
        second.line(30)  # that the run is still there
        found = second.read_json()
        assert (found["run"], found["dfk"]) == (facts["run"], started)
        assert second.read_json(60) == {"done": True}
        second.wait()
    assert watch.most == [started]
    sandbox.assert_empty()


@pytest.mark.parametrize("pause", [0.0, 0.1, 0.2, 0.3])
def test_notebook_is_killed_while_it_starts_the_run_again(sandbox: Sandbox, tmp_path: Path, pause: float) -> None:
    """The next kernel loads at once: it started a second DataFlowKernel, because the first was not ready yet."""
    log = tmp_path / "log"
    with notebook(sandbox, log, last=False) as first:
        facts = first.read_json()
        os.kill(facts["dfk"], signal.SIGKILL)
        time.sleep(pause)  # there is no event to wait for: any moment of the start may be the wrong one
        first.signal(signal.SIGKILL)
        first.wait()
    until(is_gone(facts["dfk"]))
    with DataFlowKernelWatch(sandbox) as watch, notebook(sandbox, log, last=True) as second:
        line = second.line(60)
        while not line.startswith("{"):
            line = second.line(60)
        assert f'"run": "{facts["run"]}"' in line
        assert second.read_json(60) == {"done": True}
        second.wait()
    assert len(watch.most) == 1
    text = (sandbox.runs / facts["run"][:3] / "dfk.log").read_text()
    assert text.count(" is up (pid ") == 2
    executions = log.read_text().split()
    assert set(executions) == set(map(str, range(TASKS)))
    assert len(executions) <= TASKS + 600  # what the killed worker had got ahead
    sandbox.assert_empty()
