"""MPI tasks with real MPIs: MPICH and Open MPI under ``mpiexec`` on this host.

A script of the testbed makes their environments (``mpi-env.sh``); without it these tests are skipped.
"""

from __future__ import annotations

import ast
import sys
from typing import TYPE_CHECKING, Any

import cloudpickle
import pytest

import parslab
from parslab import Config, LocalProvider, MPIExecutor, bash_app
from parslab.cores import usable_cores
from tests.process.sandbox import Sandbox, patience
from tests.schedulers.conftest import mpi_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

cloudpickle.register_pickle_by_value(sys.modules[__name__])

PROGRAM = """
import os, time
from mpi4py import MPI
world = MPI.COMM_WORLD
total = world.allreduce(world.rank)
cores = world.gather(sorted(os.sched_getaffinity(0)))
began = time.time()
world.barrier()
time.sleep(0.3)
if world.rank == 0:
    print((world.size, total, cores, began, time.time()))
"""


@bash_app
def program(path: str, stdout: str, **options: Any) -> str:
    return f"$PARSL_MPI_PREFIX $TESTBED_MPI_PYTHON {path}"


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    with Sandbox().entered() as sandbox:
        yield sandbox


@pytest.fixture(params=["mpich", "openmpi"])
def worker_init(request: pytest.FixtureRequest) -> str:
    """Shell text that makes this MPI the one of the block."""
    return mpi_lines(request.param)


def test_ranks_of_real_mpis_meet_on_cores_of_their_own(sandbox: Sandbox, worker_init: str) -> None:
    path = sandbox.root / "program.py"
    path.write_text(PROGRAM)
    cores = usable_cores()
    asked: list[dict[str, int]] = [*[{"num_ranks": 1}] * (2 * cores), {"num_nodes": 1, "ranks_per_node": cores}]
    executor = MPIExecutor(label="mpi", provider=LocalProvider(worker_init=worker_init))
    with parslab.load(Config(executors=[executor], run_dir=sandbox.runs)):
        outputs = [sandbox.root / f"out{number}" for number in range(len(asked))]
        tasks = [
            program(str(path), stdout=str(output), parsl_resource_specification=keys)
            for keys, output in zip(asked, outputs, strict=True)
        ]
        assert [task.result(60 * patience()) for task in tasks] == [0] * len(tasks)
    parslab.clear()
    *small, whole = [ast.literal_eval(output.read_text()) for output in outputs]
    assert whole[:2] == (cores, sum(range(cores)))
    assert {one[:2] for one in small} == {(1, 0)}
    for one in small:
        (own,) = one[2]
        assert len(own) == 1
        # Tasks that ran at the same time had other cores.
        meanwhile = [other for other in small if other is not one and other[3] < one[4] and one[3] < other[4]]
        assert all(other[2] != one[2] for other in meanwhile)
