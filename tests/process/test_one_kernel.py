"""However its processes are killed, a run has one DataFlowKernel at a time, and ``load()`` finds it."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.process.house import House, is_gone, until
from tests.process.run_processes import DataFlowKernelWatch

if TYPE_CHECKING:
    from pathlib import Path

    from tests.process.house import Script

TASKS = 1500

_CELL = """
    def work(number):
        with open(LOG, "ab", 0) as file:
            file.write(b"%d\\n" % number)
        return number

    dfk = parslab.load(Config(executors=[LowLatencyExecutor(workers=1)], run_dir=RUNS))
    futures = [python_app(work)(number) for number in range(TASKS)]
    tell(run=dfk.run, dfk=dfk.pid)
    assert [future.result(60) for future in futures] == list(range(TASKS))
    tell(done=True)
    LAST or time.sleep(600)
    dfk.cleanup()
"""


def notebook(house: House, log: Path, last: bool, before: str = "") -> Script:
    environment = {**os.environ, **house.environment(), "PARSLAB_NOTEBOOK": "/books/one.ipynb"}
    return house.script(f"    LOG, TASKS, LAST = {str(log)!r}, {TASKS}, {last}\n" + before + _CELL, env=environment)


_STOPPED = """
    import parslab.client.process.restart as restart
    launch = restart.launch
    def stop(*words):
        started = launch(*words)
        os.kill(started.pid, signal.SIGSTOP)
        tell(next=started.pid)
        time.sleep(600)
    restart.launch = stop
"""


def test_a_kernel_that_is_not_ready_when_its_starter_is_killed(house: House, tmp_path: Path) -> None:
    """The next kernel of the notebook waits for it, says so, and attaches; it started another one beside it."""
    log = tmp_path / "log"
    with notebook(house, log, last=False, before=_STOPPED) as first:
        facts = first.hear()
        os.kill(facts["dfk"], signal.SIGKILL)
        while "next" not in (told := first.hear()):  # its tasks may have been done before the kill
            pass
        started = told["next"]
        first.signal(signal.SIGKILL)
        first.wait()
    until(is_gone(facts["dfk"]))
    with DataFlowKernelWatch(house) as watch, notebook(house, log, last=True) as second:
        until(lambda: "Waiting for another process to start" in second.errors.read_text(), 20)
        assert watch.kernels() == [started]
        os.kill(started, signal.SIGCONT)
        second.line(30)  # that the run is still there
        found = second.hear()
        assert (found["run"], found["dfk"]) == (facts["run"], started)
        assert second.hear(60) == {"done": True}
        second.wait()
    assert watch.most == [started]
    house.must_be_empty()


@pytest.mark.parametrize("pause", [0.0, 0.1, 0.2, 0.3])
def test_a_notebook_that_is_killed_while_it_starts_the_run_again(house: House, tmp_path: Path, pause: float) -> None:
    """The next kernel loads at once: it started a second DataFlowKernel, because the first was not ready yet."""
    log = tmp_path / "log"
    with notebook(house, log, last=False) as first:
        facts = first.hear()
        os.kill(facts["dfk"], signal.SIGKILL)
        time.sleep(pause)  # there is no event to wait for: any moment of the start may be the wrong one
        first.signal(signal.SIGKILL)
        first.wait()
    until(is_gone(facts["dfk"]))
    with DataFlowKernelWatch(house) as watch, notebook(house, log, last=True) as second:
        line = second.line(60)
        while not line.startswith("{"):
            line = second.line(60)
        assert f'"run": "{facts["run"]}"' in line
        assert second.hear(60) == {"done": True}
        second.wait()
    assert len(watch.most) == 1
    text = (house.runs / facts["run"][:3] / "dfk.log").read_text()
    assert text.count(" is up (pid ") == 2
    executions = log.read_text().split()
    assert set(executions) == set(map(str, range(TASKS)))
    assert len(executions) <= TASKS + 600  # what the killed worker had got ahead
    house.must_be_empty()
