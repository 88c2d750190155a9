"""Blocks of Slurm that cannot start are explained to those who wait for them, within a minute and in plain words."""

from __future__ import annotations

import functools
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING

import cloudpickle
import pytest

from parslab import python_app
from parslab.errors import WorkerLost
from parslab.launchers import SrunLauncher
from tests.process.panel import notices, picture
from tests.process.sandbox import error_of, until
from tests.schedulers.runs.cluster import blocks, htex, loaded, slurm_jobs, slurm_provider

if TYPE_CHECKING:
    from pathlib import Path

    from parslab import AppFuture, HighThroughputExecutor
    from tests.process.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("nodes")
cloudpickle.register_pickle_by_value(sys.modules[__name__])

LIMIT = 60.0
"""Seconds in which a block that cannot start must be explained."""

PYTHON_OF_ANOTHER_KIND = """
import os, sys
if os.environ.get("SLURM_NODEID", "0") in "{nodes}":
    others = {{"major": 3, "minor": {minor}, "micro": 0, "releaselevel": "final", "serial": 0}}
    sys.version_info = type("version", (tuple,), others)(others.values())
"""

OTHER = sys.version_info.minor - 1

SBATCH = """\
#!/bin/bash
case "$(basename "$1")" in
hangs-*) sleep 120 ;;
accounts-*)
    echo 'sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified' >&2
    exit 1 ;;
full-0.sh) ;;
full-*)
    echo 'sbatch: error: QOSMaxSubmitJobPerUserLimit' >&2
    echo 'sbatch: error: Batch job submission failed: Job violates accounting/QOS policy' >&2
    exit 1 ;;
esac
exec {real} "$@"
"""


def fake_sbatch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An sbatch that hangs or refuses for executors of some names: what this Slurm, without accounting, does not."""
    folder.mkdir()
    program = folder / "sbatch"
    program.write_text(SBATCH.format(real=shutil.which("sbatch")))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def other_python(folder: Path, nodes: str) -> str:
    """A worker_init by which the Python of these nodes of a block is another one than the notebook's."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(PYTHON_OF_ANOTHER_KIND.format(nodes=nodes, minor=OTHER))
    return f"export PYTHONPATH={folder}"


def bare_python(folder: Path) -> str:
    """An interpreter for which nothing is installed."""
    folder.mkdir()
    program = folder / "python3"
    program.write_text(f'#!/bin/bash\nexec {sys.executable} -S "$@"\n')
    program.chmod(0o755)
    return str(program)


@python_app
def name_of_host() -> str:
    import socket

    return socket.gethostname()


@python_app(executors=["full"])
def wait_for(gate: Path, seconds: float = 60.0) -> str:
    """Run until a file is there."""
    import time

    deadline = time.monotonic() + seconds
    while not gate.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return "through"


def test_every_executor_is_stopped_with_the_words_of_slurm_or_of_the_shell(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each has something else wrong; none waits for another, and nothing stays in the queue."""
    fake_sbatch(tmp_path / "bin", monkeypatch)
    wrong = {
        "partition": htex(slurm_provider(partition="no-such"), "partition"),
        "accounts": htex(slurm_provider(account="mine"), "accounts"),
        "walltime": htex(slurm_provider(walltime="02:00:00"), "walltime"),
        "hangs": htex(slurm_provider(cmd_timeout=1), "hangs"),
        "init": htex(slurm_provider(worker_init="set -e\nactivate-science"), "init"),
        "modules": htex(slurm_provider(worker_init="set -e\nmodule load science"), "modules"),
        "path": htex(slurm_provider(), "path", python="/opt/science/bin/python3"),
        "package": htex(slurm_provider(), "package", python=bare_python(tmp_path / "bare")),
        "version": htex(slurm_provider(worker_init=other_python(tmp_path / "other", "0")), "version"),
    }
    said = {
        "partition": ["invalid partition specified", "partition or queue that exists"],
        "accounts": ["Invalid account or account/partition combination", "account that you may use"],
        "walltime": ["Slurm would never start it: Partition", "walltime"],
        "hangs": ["sbatch did not answer within 1 s"],
        "init": ["activate-science: command not found", "worker_init"],
        "modules": ["module: command not found", "Correct the module line in worker_init"],
        "path": ["/opt/science/bin/python3", "No such file or directory", "HighThroughputExecutor(python=...)"],
        "package": ["No module named '", "Install that package", "worker_init"],
        "version": [f"runs Python 3.{OTHER}", "worker_init"],
    }
    began, took = time.monotonic(), dict[str, float]()

    def ended(label: str, _: AppFuture) -> None:
        took[label] = time.monotonic() - began

    with loaded(sandbox, *wrong.values()) as dfk:
        tasks = {label: python_app(name_of_host.func, executors=[label])() for label in wrong}
        for label, task in tasks.items():
            task.add_done_callback(functools.partial(ended, label))
        errors = {label: error_of(task, LIMIT) for label, task in tasks.items()}
        until(lambda: not slurm_jobs(dfk.run), 10, "the queue is empty")
        raised = " ".join(notices(dfk))
        # What is called now does not wait, either.
        late = error_of(python_app(name_of_host.func, executors=["init"])(), 5)
    assert max(took.values()) < LIMIT, took
    for label, parts in said.items():
        words = str(errors[label])
        assert isinstance(errors[label], WorkerLost)
        assert f"executor {label} is stopped: 3 blocks in a row could not start" in words
        assert [part for part in parts if part not in words] == [], f"{label}: {words}"
        assert f"Executor {label} is stopped" in raised
    assert "activate-science" in str(late)


def test_a_node_with_another_python_is_refused_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    """The other node of its block works, and an error names the side to fix."""
    provider = slurm_provider(
        nodes_per_block=2, launcher=SrunLauncher(), worker_init=other_python(tmp_path / "other", "1")
    )
    with loaded(sandbox, htex(provider)) as dfk:
        hosts = {task.result(30) for task in [name_of_host() for _ in range(20)]}
        assert len(hosts) == 1
        until(lambda: any(manager.state == "refused" for manager in picture(dfk).managers))
        managers = {manager.state: manager for manager in picture(dfk).managers}
        assert set(managers) == {"ready", "refused"}
        assert managers["refused"].host not in hosts
        (words,) = [text for text in notices(dfk) if "refused" in text]
        assert f"host {managers['refused'].host} (block 0) runs Python 3.{OTHER}" in words
        assert "worker_init" in words
        assert [block.state for block in blocks(dfk)] == ["running"]


def test_no_sbatch_on_path(sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a notebook that runs on a node where no jobs can be submitted."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for program in ("bash", "env", "sh"):
        (tools / program).symlink_to(str(shutil.which(program)))
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tools))
        with loaded(sandbox, htex(slurm_provider())):
            words = str(error_of(name_of_host(), LIMIT))
    assert "command not found: sbatch on " in words
    assert "add its folder to PATH" in words
    assert "worker_init" not in words


def full_executor() -> HighThroughputExecutor:
    return htex(slurm_provider(max_blocks=4), "full")


def test_full_queue_does_not_stop_other_blocks(
    sandbox: Sandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The queue takes one job of ours only: three more are refused, and tasks go on where they can."""
    fake_sbatch(tmp_path / "bin", monkeypatch)
    gate = tmp_path / "gate"
    with loaded(sandbox, full_executor()) as dfk:
        tasks = [wait_for(gate) for _ in range(6)]
        until(lambda: len(blocks(dfk, "failed")) >= 3, 30, "three blocks are refused")
        assert [task.exception(0) for task in tasks if task.done()] == []
        gate.touch()
        assert [task.result(30) for task in tasks] == ["through"] * 6
        assert blocks(dfk)[0].state == "running"
        assert "QOSMaxSubmitJobPerUserLimit" in blocks(dfk, "failed")[0].reason
        refusals = [text for text in notices(dfk) if "QOSMaxSubmitJobPerUserLimit" in text]
        assert 1 <= len(refusals) <= 2, "once in a series: the first may be over when block 0 works"
        assert "Wait until fewer of your jobs are in the queue" in refusals[0]
