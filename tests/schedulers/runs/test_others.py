"""Notebooks on Grid Engine and HTCondor: blocks come, tasks run there, nothing is left, and refusals are explained."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import psutil
import pytest

import parslab
from parslab import python_app
from tests.process.blocks import Ends
from tests.process.panel import notices
from tests.process.sandbox import error_of, until
from tests.schedulers.runs.cluster import blocks, htex, loaded, no_jobs, wait_blocks

if TYPE_CHECKING:
    from tests.process.sandbox import Sandbox
    from tests.schedulers.conftest import Scheduler

cloudpickle.register_pickle_by_value(sys.modules[__name__])

SUBMIT = """\
#!/bin/bash
# HTCondor takes no jobs of root: another user gets what the block's manager reads and writes.
blocks=$(dirname "$1"); run=$(dirname "$blocks")
chmod 711 "$run"
chown -R {user} "$blocks" "$run"/manager-*.json
exec {real} "$@"
"""


@python_app
def triple(x: int) -> tuple[int, str]:
    import os

    return 3 * x, os.environ["PARSLAB_WORKER_BLOCK_ID"]


@python_app
def wait_for(gate: Path) -> str:
    """Run until a file is there."""
    import os
    import time

    deadline = time.monotonic() + 90
    while not os.path.exists(gate) and time.monotonic() < deadline:
        time.sleep(0.05)
    return "through"


def listed(*command: str) -> set[str]:
    """The first words of what a command says."""
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {line.split()[0] for line in said.splitlines() if line.strip()}


def must_be_gone(sandbox: Sandbox, seconds: float = 15.0) -> None:
    """No manager or script of these runs is left, whoever runs it."""

    def left() -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if any(str(sandbox.root) in word for word in process.cmdline()) and process.status() != "zombie":
                    found.append(process)
            except psutil.Error:
                continue
        return found

    until(lambda: not left(), seconds, "its processes are gone")


# --- Grid Engine -----------------------------------------------------------------------------------------------------


def grid_engine(**options: Any) -> parslab.GridEngineProvider:
    return parslab.GridEngineProvider(**{"poll_interval": 1, "walltime": 300, **options})


@pytest.mark.usefixtures("sge")
def test_grid_engine(sandbox: Sandbox, tmp_path: Path) -> None:
    """Two blocks come with the work; one that is deleted by somebody is replaced; none stays."""
    gate, ends = tmp_path / "gate", Ends()
    provider = grid_engine(init_blocks=0, min_blocks=0, max_blocks=2)
    with loaded(sandbox, htex(provider), retries=1) as dfk:
        tasks = [ends.watch(wait_for(gate)) for _ in range(2)]
        first, _ = wait_blocks(dfk, 2, seconds=30)
        until(lambda: sum(block.busy for block in blocks(dfk)) == 2)
        subprocess.run(["qdel", first.job], check=True, capture_output=True)
        until(lambda: len(blocks(dfk)) == 3, 30, "another block is asked for")
        gate.touch()
        assert [task.result(30) for task in tasks] == ["through"] * 2
        results = [ends.watch(triple(n)) for n in range(50)]
        assert [task.result(30)[0] for task in results] == [3 * n for n in range(50)]
        jobs = {block.job for block in blocks(dfk)}
        ends.must_be_one_each(dfk)
    no_jobs(lambda: listed("qstat") & jobs)
    must_be_gone(sandbox)


@pytest.mark.usefixtures("sge")
def test_grid_engine_explains(sandbox: Sandbox) -> None:
    impossible = grid_engine(scheduler_options="-pe smp 99")
    broken = grid_engine(worker_init="set -e\nactivate-science")
    with loaded(sandbox, htex(impossible, "impossible"), htex(broken, "broken")) as dfk:
        tasks = [python_app(triple.func, executors=[label])(1) for label in ("impossible", "broken")]
        refused, failed = (str(error_of(task, 60)) for task in tasks)
        jobs = {block.job for block in blocks(dfk) if block.job}
    assert "no suitable queues" in refused
    assert "activate-science: command not found" in failed, failed
    no_jobs(lambda: listed("qstat") & jobs)
    must_be_gone(sandbox)


# --- HTCondor --------------------------------------------------------------------------------------------------------


def python_of_others() -> str | None:
    """An interpreter of our version that any user may run; a root's own often lies in its home."""
    for name in (sys.executable, "/usr/bin/python3"):
        path = Path(os.path.realpath(name))
        if path.exists() and all(folder.stat().st_mode & 0o001 for folder in (path, *path.parents)):
            said = subprocess.run([name, "--version"], capture_output=True, text=True, check=False).stdout
            if said.startswith("Python {}.{}.".format(*sys.version_info)):
                return name
    return None


@pytest.fixture
def pool(condor: Scheduler, sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HTCondor, and a sandbox that the user of its jobs can enter."""
    user = condor.variables["TESTBED_CONDOR_USER"]
    if python_of_others() is None:
        pytest.skip(f"{user}, whose jobs HTCondor takes, may not use {sys.executable}, and no other is like it")
    sandbox.root.chmod(0o711)
    (tools := tmp_path / "bin").mkdir()
    submit = tools / "condor_submit"
    submit.write_text(SUBMIT.format(user=user, real=shutil.which("condor_submit")))
    submit.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    monkeypatch.chdir(sandbox.root)


def condor_htex(label: str, **options: Any) -> parslab.HighThroughputExecutor:
    """Slots of one core, with what is installed for us."""
    init = f"export PYTHONPATH={sysconfig.get_path('platlib')}\n{options.pop('worker_init', '')}"
    provider = parslab.CondorProvider(poll_interval=1, walltime=300, cores_per_slot=1, worker_init=init, **options)
    return htex(provider, label, python=python_of_others())


@pytest.mark.usefixtures("pool")
def test_condor(sandbox: Sandbox) -> None:
    """A block of two slots; one that is removed by somebody is replaced; none stays."""
    gate, ends = sandbox.root / "gate", Ends()
    # HTCondor ends the two slots one after the other, so the task may be lost with the first and again with the second.
    with loaded(sandbox, condor_htex("htex", nodes_per_block=2), retries=2) as dfk:
        wait_blocks(dfk, 1, seconds=40)
        results = [ends.watch(triple(n)) for n in range(50)]
        assert [task.result(30) for task in results] == [(3 * n, "0") for n in range(50)]
        task = ends.watch(wait_for(gate))
        (first,) = blocks(dfk)
        until(lambda: blocks(dfk)[0].busy)
        subprocess.run(["condor_rm", first.job], check=True, capture_output=True)
        until(lambda: len(blocks(dfk)) == 2, 40, "another block is asked for")
        gate.touch()
        assert task.result(60) == "through"
        jobs = {block.job for block in blocks(dfk)}
        ends.must_be_one_each(dfk)
    no_jobs(lambda: listed("condor_q", "-af", "ClusterId") & jobs, 20)
    must_be_gone(sandbox, 30)


@pytest.mark.usefixtures("pool")
def test_condor_explains(sandbox: Sandbox) -> None:
    refused = condor_htex("refused", scheduler_options="universe = nowhere")
    broken = condor_htex("broken", worker_init="set -e\nactivate-science")
    with loaded(sandbox, refused, broken) as dfk:
        tasks = [python_app(triple.func, executors=[label])(1) for label in ("refused", "broken")]
        words, failed = (str(error_of(task, 90)) for task in tasks)
        jobs = {block.job for block in blocks(dfk) if block.job}
        text = " ".join(notices(dfk))
    assert "nowhere" in words
    assert "activate-science: command not found" in failed, failed
    assert "Executor refused is stopped" in text
    no_jobs(lambda: listed("condor_q", "-af", "ClusterId") & jobs, 20)
    must_be_gone(sandbox, 30)
