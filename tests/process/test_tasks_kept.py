"""The DataFlowKernel is killed, and the tasks of its blocks go on: the next one takes them over as they are."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING

import cloudpickle
import psutil
import pytest

from parslab import python_app
from tests.process.blocks import blocks_run, managers, managers_here, workers, written
from tests.process.panel import notices, picture
from tests.process.sandbox import is_gone, until, workers_of

if TYPE_CHECKING:
    from pathlib import Path

    from parslab import DataFlowKernel
    from tests.process.sandbox import Sandbox

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@python_app
def stay(number: int, log: Path, gate: Path) -> int:
    """Leave a line for each execution, and wait until the gate is there."""
    with log.open("ab", 0) as file:
        file.write(b"%d\n" % number)
        while not gate.exists():
            time.sleep(0.01)
    return number


@python_app
def square(number: int) -> int:
    return number * number


def executions(log: Path) -> Counter[int]:
    return Counter(map(int, log.read_text().split())) if log.exists() else Counter()


def busy(worker: int, log: Path) -> bool:
    """Whether a worker has the log open, because it runs ``stay``."""
    return any(file.path == str(log) for file in psutil.Process(worker).open_files())


def kill(dfk: DataFlowKernel) -> None:
    pid = dfk.pid
    os.kill(pid, signal.SIGKILL)
    until(is_gone(pid))


@pytest.mark.parametrize("address", [None, "127.0.0.1"])
@pytest.mark.parametrize("end", ["before", "after"])
def test_what_blocks_run_goes_on(sandbox: Sandbox, tmp_path: Path, address: str | None, end: str) -> None:
    """By the unix socket and by the port; whether a task ends while there is no DataFlowKernel, or later."""
    log, gate = tmp_path / "log", tmp_path / "gate"
    with blocks_run(sandbox, address=address) as dfk:
        going = [stay(number, log, gate) for number in range(2)]
        until(lambda: len(executions(log)) == 2 and written(dfk, *going))
        more = [square(number) for number in range(50)]
        processes = workers(dfk.pid)
        for _ in range(2):
            kill(dfk)
            if end == "before":
                gate.touch()
            until(lambda: managers_here(dfk), 30)
        gate.touch()
        assert [future.result(60) for future in going] == [0, 1]
        assert [future.result(60) for future in more] == [number * number for number in range(50)]
        assert executions(log) == Counter([0, 1])
        assert set(processes) == {row.pid for row in picture(dfk).workers if row.state != "dead"}
    sandbox.assert_empty()


def test_what_no_manager_brings_back_runs_again(sandbox: Sandbox, tmp_path: Path) -> None:
    """The manager is killed with the DataFlowKernel; its tasks cost no retry."""
    log, gate = tmp_path / "log", tmp_path / "gate"
    with blocks_run(sandbox) as dfk:
        future = stay(7, log, gate)
        until(lambda: executions(log) == Counter([7]) and written(dfk, future))
        found = managers(dfk.pid)
        for manager in found:
            os.kill(manager, signal.SIGSTOP)
        kill(dfk)
        for manager in found:
            os.kill(manager, signal.SIGKILL)
        until(lambda: executions(log) == Counter([7, 7]), 60)
        gate.touch()
        assert future.result(60) == 7
        expected = "1 task that managers had runs again: no manager has come back with it; 0 go on where they were."
        until(lambda: expected in notices(dfk))
    sandbox.assert_empty()


@pytest.mark.parametrize("blocks", [1, 2])
def test_a_manager_that_comes_back_too_late_stops_its_task(sandbox: Sandbox, tmp_path: Path, blocks: int) -> None:
    """The next attempt runs on the other block, or on the same one."""
    log, gate = tmp_path / "log", tmp_path / "gate"
    with blocks_run(sandbox, blocks=blocks, workers=1, heartbeat_period=5.0, heartbeat_threshold=60.0) as dfk:
        until(lambda: len(managers_here(dfk)) == blocks)
        future = stay(7, log, gate)
        until(lambda: executions(log) == Counter([7]) and written(dfk, future))
        # Not the other one, which has no task.
        (late,) = [pid for pid in managers(dfk.pid) if any(busy(worker, log) for worker in workers_of(pid))]
        os.kill(late, signal.SIGSTOP)
        kill(dfk)
        expected = "1 task that managers had runs again: no manager has come back with it; 0 go on where they were."
        until(lambda: expected in notices(dfk), 30)
        os.kill(late, signal.SIGCONT)
        until(lambda: executions(log) == Counter([7, 7]), 30)
        gate.touch()
        assert future.result(60) == 7
        assert [square(number).result(60) for number in range(4)] == [0, 1, 4, 9]
        assert executions(log) == Counter([7, 7])
    sandbox.assert_empty()


def test_a_task_that_is_cancelled_meanwhile_is_stopped(sandbox: Sandbox, tmp_path: Path) -> None:
    log, gate = tmp_path / "log", tmp_path / "gate"
    with blocks_run(sandbox, workers=1) as dfk:
        future = stay(7, log, gate)
        until(lambda: executions(log) == Counter([7]) and written(dfk, future))
        kill(dfk)
        assert future.cancel()
        # The only worker is free again, although nobody has opened the gate.
        assert square(3).result(60) == 9
        assert future.cancelled()
        assert executions(log) == Counter([7])
    sandbox.assert_empty()
