"""Blocks of this host where the process that owns them adopts and buries, as the DataFlowKernel does."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from parslab.providers import LocalProvider
from parslab.records.states import BlockState
from parslab.testing.conformance.executors import eventually
from parslab.testing.conformance.jobs import a_job

if TYPE_CHECKING:
    from pathlib import Path

    from parslab.providers.base import JobStatus, Runner


def ended(runner: Runner, job: str) -> JobStatus:
    return eventually(lambda: (s := runner.status([job])[job]).state is not BlockState.running and s)  # type: ignore[no-any-return]


@pytest.mark.parametrize(("command", "state"), [("exit 3", "failed"), ("exit 0", "finished"), ("kill -9 $$", "failed")])
def test_an_exit_status_that_somebody_else_has_collected(tmp_path: Path, command: str, state: str) -> None:
    runner = LocalProvider().runner(tmp_path)
    job = runner.submit(a_job(tmp_path, command=command))
    pid = int(job.partition("-")[0])
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)
    status = ended(runner, job)
    assert status.state.value == state
    if command == "exit 3":
        assert status.reason == "exit status 3"
    if "kill" in command:
        assert status.reason == "killed before its script ended"


def test_a_block_that_ignores_being_asked_is_killed(tmp_path: Path) -> None:
    runner = LocalProvider().runner(tmp_path)
    marked = tmp_path / "begun"
    job = runner.submit(a_job(tmp_path, command=f"bash -c \"trap '' TERM; touch {marked}; sleep 300; sleep 300\""))
    eventually(marked.exists)
    runner.cancel([job])
    assert runner.status([job])[job].state is BlockState.scaled_in


TIDY = """
import pathlib, signal, sys, time
def end(number, frame):
    time.sleep(0.3)
    pathlib.Path(sys.argv[2]).touch()
    sys.exit()
signal.signal(signal.SIGTERM, end)
pathlib.Path(sys.argv[1]).touch()
while True:
    signal.pause()
"""


def test_a_process_of_a_block_may_end_in_order_after_its_script(tmp_path: Path) -> None:
    """The watcher asks meanwhile: it killed a manager that was still removing its files."""
    runner = LocalProvider().runner(tmp_path)
    (tmp_path / "tidy.py").write_text(TIDY)
    begun, tidy = tmp_path / "begun", tmp_path / "tidy"
    job = runner.submit(a_job(tmp_path, command=f"{sys.executable} {tmp_path}/tidy.py {begun} {tidy}"))
    eventually(begun.exists)
    cancel = threading.Thread(target=runner.cancel, args=([job],))
    cancel.start()
    while cancel.is_alive():
        runner.status([job])
    assert tidy.exists()
    assert runner.status([job])[job].state is BlockState.scaled_in


def test_a_runner_that_is_closed_leaves_its_blocks_alone(tmp_path: Path) -> None:
    provider = LocalProvider()
    runner = provider.runner(tmp_path)
    gate, through = tmp_path / "gate", tmp_path / "through"
    job = runner.submit(a_job(tmp_path, command=f"until [ -e {gate} ]; do sleep 0.02; done; touch {through}"))
    runner.close()
    gate.touch()
    eventually(through.exists)
    with suppress(ChildProcessError):
        os.waitpid(int(job.partition("-")[0]), 0)


def test_a_block_sees_the_notebooks_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "5")
    runner = LocalProvider().runner(tmp_path)
    job = a_job(tmp_path, command="echo $SLURM_JOB_ID")
    ended(runner, runner.submit(job))
    with open(job.stdout) as file:
        assert file.read() == "5\n"


@pytest.mark.skipif(sys.platform != "linux", reason="counts descriptors of Linux")
def test_descriptors_are_given_back(tmp_path: Path) -> None:
    runner = LocalProvider().runner(tmp_path)
    before = len(os.listdir("/proc/self/fd"))
    job = runner.submit(a_job(tmp_path, command="true"))
    ended(runner, job)
    assert len(os.listdir("/proc/self/fd")) == before
