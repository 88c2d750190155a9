"""The nodes and ranks of a resource specification: two numbers give the third, and contradictions are refused."""

from __future__ import annotations

from typing import Any

import pytest

from parslab.app.resources import specification
from parslab.errors import InvalidResourceSpecification
from parslab.records.mpi import MpiSpec
from parslab.wire.messages.base import TaskSpec


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"num_nodes": 2, "ranks_per_node": 3}, MpiSpec(2, 6, 3)),
        ({"num_nodes": 2, "num_ranks": 6}, MpiSpec(2, 6, 3)),
        ({"num_ranks": 6, "ranks_per_node": 3}, MpiSpec(2, 6, 3)),
        ({"num_nodes": 2, "num_ranks": 6, "ranks_per_node": 3}, MpiSpec(2, 6, 3)),
        ({"num_nodes": "2", "ranks_per_node": "3"}, MpiSpec(2, 6, 3)),
        ({"num_nodes": 3}, MpiSpec(3, 3, 1)),
        ({"num_nodes": 1, "num_ranks": 4}, MpiSpec(1, 4, 4)),
        ({"num_ranks": 4}, MpiSpec(1, 4, 4, cores=4)),
        ({"ranks_per_node": 4}, MpiSpec(1, 4, 4, cores=4)),
        ({"num_ranks": 4, "cores": 8}, MpiSpec(1, 4, 4, cores=8)),
        ({"num_nodes": 1, "num_ranks": 2, "cores": 2}, MpiSpec(1, 2, 2, cores=2)),
        ({"num_nodes": 2, "launcher_options": " --bind-to core "}, MpiSpec(2, 2, 1, launcher_options="--bind-to core")),
    ],
)
def test_two_numbers_give_the_third(asked: dict[str, Any], found: MpiSpec) -> None:
    assert specification("run", asked) == TaskSpec(mpi=found)


def test_limits_and_priorities_stand_beside_them() -> None:
    asked = {"num_nodes": 2, "priority": 1, "retries": 3}
    assert specification("run", asked, 60) == TaskSpec(priority=1.0, retries=3, max_run_time=60.0, mpi=MpiSpec(2, 2, 1))


def test_one_rank_may_also_run_where_there_is_no_mpi_mode() -> None:
    found = specification("run", {"num_nodes": 1, "num_ranks": 1, "cores": 2})
    assert found == TaskSpec(cores=2.0, mpi=MpiSpec(1, 1, 1, cores=2))


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"num_nodes": 0}, "num_nodes must be a whole number of at least 1, not 0"),
        ({"num_nodes": 1.5}, "num_nodes must be a whole number of at least 1, not 1.5"),
        ({"num_nodes": True}, "num_nodes must be a whole number of at least 1, not True"),
        ({"num_ranks": "many"}, "num_ranks must be a whole number of at least 1, not 'many'"),
        ({"ranks_per_node": float("inf")}, "ranks_per_node must be a whole number of at least 1, not inf"),
        (
            {"num_nodes": 2, "ranks_per_node": 3, "num_ranks": 5},
            "2 nodes with 3 ranks each have 6 ranks, and num_ranks",
        ),
        ({"num_nodes": 2, "num_ranks": 3}, "2 nodes with 2 ranks each have 4 ranks, and num_ranks is 3"),
        ({"num_nodes": 2, "cores": 4}, "a task on 2 nodes has all cores of each: leave cores out"),
        ({"num_ranks": 4, "cores": 2}, "4 ranks need at least 4 cores, and cores is 2"),
        ({"num_ranks": 1, "cores": 1.5}, "cores of an MPI task must be a whole number, not 1.5"),
        ({"num_nodes": 2, "memory": 100}, "memory cannot be used together with num_nodes"),
        ({"num_ranks": 2, "gpus": 1}, "gpus cannot be used together with num_ranks"),
        ({"launcher_options": "-v"}, "launcher_options needs num_nodes or num_ranks beside it"),
        ({"num_nodes": 2, "launcher_options": ["-v"]}, "launcher_options must be a text"),
    ],
)
def test_contradictions_are_refused_with_a_sentence(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidResourceSpecification) as raised:
        specification("run", asked)
    assert str(raised.value).startswith("App run: ")
    assert words in str(raised.value)
