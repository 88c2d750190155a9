"""MPI tasks on the virtual Slurm: ``srun`` starts their ranks on the nodes that parslab has given them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

from parslab import MPIExecutor, bash_app
from parslab.launchers import SimpleLauncher
from tests.process.sandbox import patience, until
from tests.schedulers.conftest import mpi_lines
from tests.schedulers.runs.cluster import loaded, slurm_provider

if TYPE_CHECKING:
    from pathlib import Path

    from tests.process.sandbox import Sandbox

pytestmark = pytest.mark.usefixtures("nodes")
cloudpickle.register_pickle_by_value(sys.modules[__name__])

RANK = """#!/bin/sh
# Says where it runs, and how many ranks of all tasks run there now.
node=$(hostname)
touch "$1/$node-$$-$SLURM_STEP_ID"
echo "$node $(ls "$1" | grep -c "^$node-")"
sleep 0.3
rm "$1/$node-$$-$SLURM_STEP_ID"
"""


@bash_app
def ranks(rank: Path, folder: Path, stdout: str, **options: Any) -> str:
    return f"$PARSL_MPI_PREFIX {rank} {folder}"


def test_ranks_run_where_their_task_was_placed_and_never_too_many(sandbox: Sandbox, tmp_path: Path) -> None:
    rank, folder = sandbox.root / "rank", sandbox.root / "ranks"
    rank.write_text(RANK)
    rank.chmod(0o755)
    folder.mkdir()
    provider = slurm_provider(nodes_per_block=2, max_blocks=1, cores_per_node=4, launcher=SimpleLauncher())
    asked: list[dict[str, int]] = [
        *[{"num_ranks": 2}] * 6,
        {"num_nodes": 2, "ranks_per_node": 2},
        {"num_nodes": 1, "ranks_per_node": 4},
        *[{"num_ranks": 1, "cores": 3}] * 3,
        {"num_nodes": 2, "num_ranks": 8},
    ]
    with loaded(sandbox, MPIExecutor(label="mpi", provider=provider, mpi_launcher="srun")):
        outputs = [sandbox.root / f"out{number}" for number in range(len(asked))]
        tasks = [
            ranks(rank, folder, stdout=str(output), parsl_resource_specification=keys)
            for keys, output in zip(asked, outputs, strict=True)
        ]
        assert [task.result(60 * patience()) for task in tasks] == [0] * len(tasks)
        never = ranks(rank, folder, stdout=str(outputs[0]), parsl_resource_specification={"num_nodes": 3})
        assert "no block of executor mpi has that: the largest block has 2 nodes" in str(
            never.exception(30 * patience())
        )
    for keys, output in zip(asked, outputs, strict=True):
        lines = [line.split() for line in output.read_text().splitlines()]
        nodes = {node for node, _ in lines}
        assert len(nodes) == keys.get("num_nodes", 1), (keys, lines)
        assert len(lines) == keys.get("num_ranks", keys.get("num_nodes", 1) * keys.get("ranks_per_node", 1))
        assert max(int(alive) for _, alive in lines) <= 4, (keys, lines)


@bash_app
def waits(folder: Path, **options: Any) -> str:
    return f"$PARSL_MPI_PREFIX sh -c 'touch {folder}/$SLURM_PROCID; sleep 600'"


def test_a_cancelled_task_frees_its_nodes(sandbox: Sandbox, tmp_path: Path) -> None:
    rank, folder, others = sandbox.root / "rank", sandbox.root / "ranks", sandbox.root / "others"
    rank.write_text(RANK)
    rank.chmod(0o755)
    for path in (folder, others):
        path.mkdir()
    provider = slurm_provider(nodes_per_block=2, max_blocks=1, cores_per_node=4, launcher=SimpleLauncher())
    keys = {"num_nodes": 2, "ranks_per_node": 4}
    with loaded(sandbox, MPIExecutor(label="mpi", provider=provider, mpi_launcher="srun")):
        first = waits(folder, parsl_resource_specification=keys)
        until(lambda: len(list(folder.iterdir())) == 8, 60, "its ranks run")
        first.cancel()
        # Slurm starts these ranks only when those of the first task have ended.
        second = ranks(rank, others, stdout=str(sandbox.root / "out"), parsl_resource_specification=keys)
        assert second.result(60 * patience()) == 0
    assert len((sandbox.root / "out").read_text().splitlines()) == 8


PROGRAM = """
import socket
from mpi4py import MPI
world = MPI.COMM_WORLD
hosts = world.gather(socket.gethostname())
total = world.allreduce(world.rank)
if world.rank == 0:
    print(total, *hosts)
"""


@bash_app
def program(path: Path, stdout: str, stderr: str, **options: Any) -> str:
    return f"$PARSL_MPI_PREFIX $TESTBED_MPI_PYTHON {path}"


@pytest.mark.parametrize(("launcher", "options"), [("srun", "--mpi=pmi2"), ("mpiexec", "")])
def test_mpich_reaches_both_nodes(sandbox: Sandbox, launcher: str, options: str) -> None:
    path = sandbox.root / "program.py"
    path.write_text(PROGRAM)
    provider = slurm_provider(
        nodes_per_block=2,
        max_blocks=1,
        cores_per_node=4,
        launcher=SimpleLauncher(),
        worker_init=mpi_lines("mpich"),
    )
    executor = MPIExecutor(label="mpi", provider=provider, mpi_launcher=launcher)
    with loaded(sandbox, executor):
        keys = {"num_nodes": 2, "ranks_per_node": 2, "launcher_options": options}
        files = [(sandbox.root / f"out{number}", sandbox.root / f"err{number}") for number in range(3)]
        tasks = [
            program(path, stdout=str(out), stderr=str(err), parsl_resource_specification=keys) for out, err in files
        ]
        for task, (_, err) in zip(tasks, files, strict=True):
            assert task.exception(60 * patience()) is None, err.read_text()
    for out, _ in files:
        total, *hosts = out.read_text().split()
        assert int(total) == 6
        assert len(hosts) == 4
        assert [hosts.count(host) for host in sorted(set(hosts))] == [2, 2]
