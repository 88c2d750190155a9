"""The nodes of a block, as each scheduler lists them."""

from __future__ import annotations

from typing import NoReturn

import pytest

from parslab.errors import ConfigurationError
from parslab.records.executor_settings import ManagerSettings
from parslab.records.mpi import MpiNode
from parslab.remote.manager.mpi_nodes import block_nodes, for_mpi, kind_of_mpiexec, slurm_names


def found(environ: dict[str, str], file: str = "", host: str = "n1", whole: bool = False) -> list[tuple[str, int]]:
    nodes = block_nodes(environ, host, 4, (0, 1, 2, 3), whole=whole, read=lambda path: file)
    return [(node.name, node.cores) for node in nodes]


@pytest.mark.parametrize(
    ("environ", "file", "nodes"),
    [
        ({}, "", [("n1", 4)]),
        ({"SLURM_JOB_NODELIST": "n[1-2]"}, "", [("n1", 4), ("n2", 4)]),
        ({"SLURM_NODELIST": "n1,n2", "SLURM_JOB_CPUS_PER_NODE": "2(x2)"}, "", [("n1", 2), ("n2", 2)]),
        (
            {"SLURM_JOB_NODELIST": "n[1-3]", "SLURM_JOB_CPUS_PER_NODE": "8,16(x2)"},
            "",
            [("n1", 4), ("n2", 16), ("n3", 16)],
        ),
        ({"PBS_NODEFILE": "f"}, "n1.site\nn2.site\n", [("n1.site", 4), ("n2.site", 4)]),
        ({"PBS_NODEFILE": "f"}, "n1\nn1\nn2\nn2\n", [("n1", 2), ("n2", 2)]),
        ({"COBALT_NODEFILE": "f"}, "n1\nn2\n", [("n1", 4), ("n2", 4)]),
        ({"PE_HOSTFILE": "f"}, "n1 2 all.q@n1 UNDEFINED\nn2 3 all.q@n2 UNDEFINED\n", [("n1", 2), ("n2", 3)]),
        ({"LSB_MCPU_HOSTS": "n1 3 n2 8"}, "", [("n1", 3), ("n2", 8)]),
        ({"LSB_HOSTS": "n1 n1 n2"}, "", [("n1", 2), ("n2", 1)]),
    ],
)
def test_each_scheduler_lists_its_nodes(environ: dict[str, str], file: str, nodes: list[tuple[str, int]]) -> None:
    assert found(environ, file) == nodes


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        ("n1", ["n1"]),
        ("n1,m2", ["n1", "m2"]),
        ("n[1-3,7],m2", ["n1", "n2", "n3", "n7", "m2"]),
        ("r[1-2]n[08-10]x", ["r1n08x", "r1n09x", "r1n10x", "r2n08x", "r2n09x", "r2n10x"]),
    ],
)
def test_node_lists_of_slurm_are_expanded(listed: str, names: list[str]) -> None:
    assert slurm_names(listed) == names


def test_ranks_are_bound_where_the_numbers_of_the_cores_are_known() -> None:
    environ = {"SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_CPUS_PER_NODE": "2(x2)"}

    def nodes(cores: int, ids: tuple[int, ...], whole: bool) -> list[MpiNode]:
        return block_nodes(environ, "n1.site", cores, ids, whole=whole, read=str)

    assert nodes(2, (4, 5), False) == [MpiNode("n1", 2, (4, 5)), MpiNode("n2", 2)]
    assert nodes(2, (0, 1), True) == [MpiNode("n1", 2, (0, 1)), MpiNode("n2", 2, (0, 1))]
    # PARSLAB_CORES may say another number than there are cores: then nobody knows which are meant.
    assert nodes(3, (0, 1), True) == [MpiNode("n1", 2), MpiNode("n2", 2)]


def test_a_list_that_cannot_be_read_is_an_error_of_one_sentence() -> None:
    def read(path: str) -> NoReturn:
        raise FileNotFoundError(2, "No such file or directory", path)

    with pytest.raises(ConfigurationError, match=r"The nodes of this block cannot be found: .*No such file"):
        block_nodes({"PBS_NODEFILE": "gone"}, "n1", 4, (), whole=False, read=read)
    with pytest.raises(ConfigurationError, match="cannot be found"):
        block_nodes({"SLURM_JOB_NODELIST": "n[a-b]"}, "n1", 4, (), whole=False, read=str)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("mpiexec (OpenRTE) 4.1.4\n", "openmpi"),
        ("mpiexec (Open MPI) 5.0.11\n", "openmpi"),
        ("HYDRA build details:\n    Version: 5.0.2\n", "mpich"),
        ("Intel(R) MPI Library for Linux* OS, Version 2021.11\n", "mpich"),
        ("mpiexec version 1.2.12\n", ""),
    ],
)
def test_whose_mpiexec_it_is(answer: str, kind: str) -> None:
    assert kind_of_mpiexec(answer) == kind


def test_a_block_runs_as_many_tasks_as_it_has_cores_unless_the_user_says_otherwise() -> None:
    nodes = [MpiNode("n1", 4), MpiNode("n2", 4)]
    assert for_mpi(ManagerSettings(), nodes).max_workers_per_node == 8
    assert for_mpi(ManagerSettings(max_workers_per_node=3), nodes).max_workers_per_node == 3
    assert for_mpi(ManagerSettings(), [MpiNode("n", 128)] * 100).max_workers_per_node == 100
    assert for_mpi(ManagerSettings(), [MpiNode("n", 128)]).max_workers_per_node == 64
