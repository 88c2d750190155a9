"""The command that starts the ranks of a task, for each launcher, and the variables of the task."""

from __future__ import annotations

import pytest

from parslab.dataflow.high_throughput.mpi_launch import launch_variables, variables_of
from parslab.records.executor_settings import ManagerSettings
from parslab.records.mpi import MpiPlacement, MpiSpec

TWO_NODES = MpiSpec(2, 4, 2), MpiPlacement(("a", "b"), 8)
SHARED = MpiSpec(1, 2, 2, cores=4, launcher_options="-v"), MpiPlacement(("a",), 4, core_ids=(4, 5, 6, 7), shared=True)
UNBOUND = MpiSpec(1, 2, 2, cores=2), MpiPlacement(("a",), 2, shared=True)


@pytest.mark.parametrize(
    ("task", "mpiexec", "prefix"),
    [
        (TWO_NODES, "mpich", "mpiexec -n 4 -ppn 2 -hosts a,b"),
        (TWO_NODES, "openmpi", "mpiexec -n 4 --host a:2,b:2"),
        (TWO_NODES, "", "mpiexec -n 4 -ppn 2 -hosts a,b"),
        (SHARED, "mpich", "mpiexec -n 2 -ppn 2 -hosts a -v taskset -c 4,5,6,7"),
        (SHARED, "openmpi", "mpiexec -n 2 --host a:2 --bind-to none -v taskset -c 4,5,6,7"),
        (UNBOUND, "openmpi", "mpiexec -n 2 --host a:2 --bind-to none"),
    ],
)
def test_mpiexec_has_the_options_of_its_mpi(task: tuple[MpiSpec, MpiPlacement], mpiexec: str, prefix: str) -> None:
    found = launch_variables(*task, "mpiexec", mpiexec)
    assert found["PARSL_MPI_PREFIX"] == found["PARSL_MPIEXEC_PREFIX"] == found["PARSLAB_MPI_PREFIX"] == prefix


def test_srun_and_aprun() -> None:
    found = launch_variables(*TWO_NODES, "srun", "")
    assert found["PARSL_MPI_PREFIX"] == "srun --ntasks 4 --ntasks-per-node 2 --nodes 2 --nodelist a,b"
    assert found["PARSL_APRUN_PREFIX"] == "aprun -n 4 -N 2 -L a,b"
    shared = launch_variables(*SHARED, "aprun", "")
    assert shared["PARSL_SRUN_PREFIX"] == (
        "srun --ntasks 2 --ntasks-per-node 2 --nodes 1 --nodelist a --exact --mem=0 --cpus-per-task 2 -v"
    )
    assert shared["PARSL_MPI_PREFIX"] == "aprun -n 2 -N 2 -L a -cc 4,5,6,7 -v"


def test_the_variables_say_what_the_task_got() -> None:
    found = launch_variables(*TWO_NODES, "mpiexec", "")
    for name in ("PARSL", "PARSLAB"):
        assert found[f"{name}_MPI_NODELIST"] == "a,b"
        assert [found[f"{name}_{key}"] for key in ("NUM_NODES", "NUM_RANKS", "RANKS_PER_NODE")] == ["2", "4", "2"]
    # Two ranks on a node of eight cores may have four threads each.
    assert found["OMP_NUM_THREADS"] == "4"
    assert launch_variables(*SHARED, "mpiexec", "")["PARSL_MPI_CORES"] == "4,5,6,7"


def test_what_the_user_has_set_for_all_workers_stays() -> None:
    own = ManagerSettings(mpi_launcher="mpiexec", environment={"OMP_NUM_THREADS": "1", "PARSL_NUM_NODES": "x"})
    found = variables_of(own, *TWO_NODES, "")
    assert "OMP_NUM_THREADS" not in found
    assert "PARSL_NUM_NODES" not in found
    assert found["MKL_NUM_THREADS"] == "4"
    few = variables_of(ManagerSettings(mpi_launcher="mpiexec", threads_per_worker=2), *TWO_NODES, "")
    assert not [name for name in few if name.endswith("_NUM_THREADS")]
