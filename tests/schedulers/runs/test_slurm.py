"""The notebook that ran on this host runs on a cluster: on nodes that Slurm gives, by its configuration only."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

import parslab
from parslab import bash_app, join_app, python_app
from parslab.launchers import GnuParallelLauncher, SrunLauncher, SrunMPILauncher
from parslab.records import panel
from tests.schedulers.runs.cluster import blocks, htex, loaded, slurm_provider, wait_blocks

if TYPE_CHECKING:
    from parslab.launchers import Launcher
    from tests.process.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("nodes")
cloudpickle.register_pickle_by_value(sys.modules[__name__])

# --- a notebook ------------------------------------------------------------------------------------------------------


@python_app
def inverse(x: float) -> float:
    return 1 / x


@python_app
def total(values: list[float]) -> float:
    return sum(values)


@bash_app
def shout(word: str, stdout: Any = parslab.AUTO_LOGNAME) -> str:
    return f"echo {word} | tr a-z A-Z"


@join_app
def squares(count: int) -> Any:
    from parslab import python_app

    square = python_app(lambda x: x * x)
    return [square(n) for n in range(count)]


@python_app
def together(folder: Path, number: int) -> dict[str, str]:
    """Where this runs, when so many run at once."""
    import os
    import socket
    import time

    (folder / os.urandom(8).hex()).touch()
    while len(list(folder.iterdir())) < number:
        time.sleep(0.02)
    return {**os.environ, "host": socket.gethostname()}


@python_app
def surroundings() -> dict[str, str]:
    import os
    import socket

    return {**os.environ, "host": socket.gethostname()}


def notebook() -> list[Any]:
    """What the cells show."""
    parts = [inverse(x) for x in (1, 2, 4)]
    loud = shout("done")
    loud.result(60)
    return [
        total(parts).result(60),
        squares(5).result(60),
        Path(loud.stdout).read_text(),
        repr(inverse(0).exception(60)),
        str(total([inverse(0)]).exception(60)).partition("[")[0],
    ]


def test_the_same_cells_give_the_same_results(sandbox: Sandbox) -> None:
    with sandbox.load(workers=2):
        here = notebook()
    assert here[:3] == [1.75, [0, 1, 4, 9, 16], "DONE\n"]
    assert "ZeroDivisionError" in here[3]
    with loaded(sandbox, htex(slurm_provider(nodes_per_block=2, launcher=SrunLauncher()))):
        there = notebook()
    assert there == here


# --- where tasks run -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("launcher", "size"), [(SrunLauncher(), 2), (SrunMPILauncher(), 2), (GnuParallelLauncher(), 1)]
)
def test_workers_on_each_node_of_a_block(sandbox: Sandbox, tmp_path: Path, launcher: Launcher, size: int) -> None:
    if isinstance(launcher, GnuParallelLauncher) and not shutil.which("parallel"):
        pytest.skip("no GNU parallel")
    provider = slurm_provider(nodes_per_block=size, launcher=launcher)
    with loaded(sandbox, htex(provider, max_workers_per_node=2, manager_selector="round_robin")) as dfk:
        wait_blocks(dfk, 1)
        seen = [future.result(60) for future in [together(tmp_path, 2 * size) for _ in range(2 * size)]]
        (block,) = blocks(dfk)
    assert len({one["host"] for one in seen}) == size
    assert all(re.fullmatch(r"n\d", one["host"]) for one in seen)
    assert {one["PARSLAB_WORKER_BLOCK_ID"] for one in seen} == {"0"}
    assert {one["PARSLAB_WORKER_RANK"] for one in seen} == {"0", "1"}
    assert {one["PARSLAB_WORKER_COUNT"] for one in seen} == {"2"}
    assert len({one["PARSLAB_WORKER_POOL_ID"] for one in seen}) == size
    assert {one["SLURM_JOB_ID"] for one in seen} == {block.job}


def test_the_job_that_the_notebook_runs_in_is_not_its_blocks(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A notebook in a small job of its own gets whole nodes, and keeps what its user has set."""
    own = {
        "SLURM_JOB_ID": "1",
        "SLURM_JOBID": "1",
        "SLURM_NNODES": "4",
        "SLURM_NTASKS": "9",
        "SLURM_CPUS_PER_TASK": "3",
        "SLURM_CPU_BIND": "mask_cpu:0x1",
        "SLURM_MEM_PER_NODE": "100",
        "SBATCH_TIMELIMIT": "5",
        "SRUN_CPUS_PER_TASK": "3",
        "PBS_JOBID": "2.server",
        "OMP_WAIT_POLICY": "passive",
        "OF_THE_USER": "kept",
    }
    for name, text in own.items():
        monkeypatch.setenv(name, text)
    provider = slurm_provider(nodes_per_block=2, launcher=SrunLauncher())
    with loaded(sandbox, htex(provider)) as dfk:
        wait_blocks(dfk, 1)
        seen = surroundings().result(60)
        (block,) = blocks(dfk)
    assert seen["SLURM_JOB_ID"] == block.job != "1"
    assert (seen["SLURM_NNODES"], seen["SLURM_NTASKS"]) == ("2", "2")
    assert seen.get("SLURM_CPU_BIND") != "mask_cpu:0x1"
    assert seen.get("SLURM_MEM_PER_NODE") != "100"
    assert "PBS_JOBID" not in seen
    assert "SRUN_CPUS_PER_TASK" not in seen
    assert (seen["OF_THE_USER"], seen["OMP_WAIT_POLICY"]) == ("kept", "passive")


def test_what_a_block_prints_is_read_from_the_notebook(sandbox: Sandbox) -> None:
    provider = slurm_provider(worker_init="echo to read; echo of trouble >&2; export FOUND=by-tasks")
    with loaded(sandbox, htex(provider)) as dfk:
        assert surroundings().result(60)["FOUND"] == "by-tasks"
        (block,) = dfk.blocks()
        assert (Path(block.stdout).read_text(), block.state) == ("to read\n", "running")
        answer = dfk.ask(panel.BlockOutputRequest("", "htex", "0"))
        assert isinstance(answer, panel.BlockOutput)
        shown = str(answer)
        assert "to read" in shown
        assert "of trouble" in shown
    # And it is still there when the run is over.
    assert "of trouble" in Path(block.stderr).read_text()
    assert str(sandbox.runs) in os.path.realpath(block.stderr)
