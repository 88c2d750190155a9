"""Daemons that a task starts with a cleared environment, in a session of their own, end with their worker.

Only a control group finds them when the DataFlowKernel is killed, so some tests need a place where one can be made.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import cloudpickle
import pytest

import parslab
from parslab import python_app
from parslab.errors import WorkerLost
from parslab.remote.pool.control_group import ControlGroup, groups_of
from tests.process.blocks import executor, managers
from tests.process.sandbox import Sandbox, error_of, is_gone, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture
def grouped() -> None:
    """Skip the test where this user cannot make a control group."""
    with subprocess.Popen(["sleep", "600"]) as sleep:
        group = ControlGroup.make("probe", sleep.pid)
        if group is not None:
            group.kill()
        sleep.kill()
    if group is None:
        pytest.skip("no control group can be made here")


@pytest.fixture
def daemons(tmp_path: Path) -> Iterator[Path]:
    """A folder in which hidden daemons note their numbers; those that are left end with the test."""
    yield tmp_path
    for path in tmp_path.iterdir():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(path.name), signal.SIGKILL)


@python_app
def hide(folder: Path, fatal: bool = False) -> int:
    sleep = subprocess.Popen(["/bin/sleep", "600"], env={}, start_new_session=True)
    (folder / str(sleep.pid)).touch()
    if fatal:
        os._exit(1)
    return sleep.pid


@pytest.mark.usefixtures("grouped")
@pytest.mark.parametrize("resume", [False, True])
def test_it_ends_with_a_dataflowkernel_that_is_killed(sandbox: Sandbox, daemons: Path, resume: bool) -> None:
    """Also when the run goes on in another process; it ran until somebody found it by hand."""
    with sandbox.load(resume=resume) as dfk:
        daemon = hide(daemons).result(20)
        os.kill(dfk.pid, signal.SIGKILL)
        until(is_gone(daemon))
    until(lambda: not list(groups_of(dfk.run)), what="no group is left")


@pytest.mark.usefixtures("grouped")
def test_it_ends_with_its_worker(sandbox: Sandbox, daemons: Path) -> None:
    """The run goes on, and another worker takes its place."""
    with sandbox.load() as dfk:
        assert isinstance(error_of(hide(daemons, fatal=True), 20), WorkerLost)
        (path,) = daemons.iterdir()
        until(is_gone(int(path.name)))
        assert hide(daemons).result(20)
        assert len(list(groups_of(dfk.run))) == 1
    until(lambda: not list(groups_of(dfk.run)), what="no group is left")


@pytest.mark.usefixtures("grouped")
def test_it_ends_with_a_run_whose_processes_are_all_killed(sandbox: Sandbox, daemons: Path) -> None:
    """Its worker belongs to the manager of a block."""
    config = parslab.Config(executors=[executor(1, workers=1)], run_dir=sandbox.runs, resume=False)
    dfk = parslab.load(config)
    try:
        daemon = hide(daemons).result(30)
        pids = [*managers(dfk.pid), dfk.pid]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        until(is_gone(daemon))
    finally:
        dfk.cleanup()
        parslab.clear()
    until(lambda: not list(groups_of(dfk.run)), what="no group is left")


@pytest.mark.usefixtures("grouped")
def test_no_group_is_left_of_a_manager_that_was_killed(sandbox: Sandbox, daemons: Path) -> None:
    """Its folder stayed when the run ended in order."""
    dfk = parslab.load(parslab.Config(executors=[executor(1, workers=1)], run_dir=sandbox.runs, strategy_period=0.2))
    try:
        hide(daemons).result(30)
        (manager,) = managers(dfk.pid)
        os.kill(manager, signal.SIGKILL)
        until(is_gone(manager))
    finally:
        dfk.cleanup()
        parslab.clear()
    until(lambda: not list(groups_of(dfk.run)), what="no group is left")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives a process the orphans of its children")
def test_it_ends_with_a_run_that_ends_in_order(sandbox: Sandbox, daemons: Path) -> None:
    """Everywhere, because the DataFlowKernel becomes its parent."""
    with sandbox.load():
        daemon = hide(daemons).result(20)
    until(is_gone(daemon))
