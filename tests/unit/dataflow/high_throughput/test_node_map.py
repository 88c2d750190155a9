"""The nodes of a block: whole nodes, shared nodes, and the nodes that a waiting task claims."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parslab.dataflow.high_throughput.node_map import NodeMap
from parslab.records.mpi import MpiNode, MpiPlacement, MpiSpec

if TYPE_CHECKING:
    from collections.abc import Sequence


def block(*cores: int) -> NodeMap:
    return NodeMap([MpiNode(f"n{place}", count) for place, count in enumerate(cores)])


def whole(nodes: int, ranks_per_node: int = 1) -> MpiSpec:
    return MpiSpec(nodes, nodes * ranks_per_node, ranks_per_node)


def shared(cores: int) -> MpiSpec:
    return MpiSpec(1, cores, cores, cores=cores)


def test_a_task_gets_whole_nodes_and_gives_them_back() -> None:
    nodes = block(4, 4, 4)
    assert nodes.take(1, whole(2)) == MpiPlacement(("n0", "n1"), 4)
    assert nodes.take(2, whole(2)) is None
    assert nodes.busy == 8
    nodes.release(1)
    assert nodes.take(2, whole(3)) == MpiPlacement(("n0", "n1", "n2"), 4)
    nodes.check()


def test_small_tasks_share_a_node_on_cores_of_their_own() -> None:
    nodes = NodeMap([MpiNode("a", 4, (10, 11, 12, 13)), MpiNode("b", 4)])
    assert nodes.take(1, shared(2)) == MpiPlacement(("a",), 2, core_ids=(10, 11), shared=True)
    assert nodes.take(2, shared(1)) == MpiPlacement(("a",), 1, core_ids=(12,), shared=True)
    nodes.release(1)
    # The fuller node is taken first, so that whole nodes stay free.
    assert nodes.take(3, shared(3)) == MpiPlacement(("a",), 3, core_ids=(10, 11, 13), shared=True)
    assert nodes.take(4, whole(1)) == MpiPlacement(("b",), 4)
    assert nodes.take(5, shared(1)) is None
    nodes.check()


def test_a_node_with_fewer_cores_than_ranks_is_no_place_for_them() -> None:
    nodes = block(2, 8)
    assert nodes.take(1, whole(1, ranks_per_node=4)) == MpiPlacement(("n1",), 8)
    assert not nodes.fits(whole(2, ranks_per_node=4))
    assert not nodes.fits(shared(9))
    assert nodes.fits(whole(2, ranks_per_node=2))
    assert nodes.wants(whole(2)) == 10
    assert nodes.wants(shared(3)) == 3
    assert nodes.wants(shared(9)) == nodes.cores + 1


def test_a_claim_names_the_nodes_with_the_fewest_busy_cores() -> None:
    nodes = block(4, 4, 4)
    nodes.take(1, shared(4))
    nodes.take(2, shared(3))
    nodes.take(3, shared(2))
    claim = nodes.claim(whole(2))
    assert claim is not None
    assert (claim.missing, nodes.names(claim.nodes)) == (5, ["n1", "n2"])
    assert nodes.take(4, shared(1), claim.nodes) is None
    assert nodes.claim(whole(4)) is None


@st.composite
def stories(draw: st.DrawFn) -> tuple[list[int], list[MpiSpec], list[int]]:
    cores = draw(st.lists(st.integers(1, 6), min_size=1, max_size=5))
    specs = st.one_of(st.builds(whole, st.integers(1, 5), st.integers(1, 4)), st.builds(shared, st.integers(1, 6)))
    asked = draw(st.lists(specs, min_size=1, max_size=30))
    return cores, asked, draw(st.lists(st.integers(0, 29), max_size=30))


@given(stories())
def test_no_core_belongs_to_two_tasks(story: tuple[list[int], list[MpiSpec], Sequence[int]]) -> None:
    cores, asked, ends = story
    nodes = block(*cores)
    for task, spec in enumerate(asked):
        placement = nodes.take(task, spec)
        if placement is None:
            claim = nodes.claim(spec)
            assert (claim is None) == (not nodes.fits(spec))
            assert claim is None or (len(claim.nodes) == spec.nodes and claim.missing > 0)
        else:
            assert len(set(placement.nodes)) == spec.nodes
            assert placement.cores_per_node >= max(spec.cores, spec.ranks_per_node)
        if task < len(ends):
            nodes.release(ends[task])
        nodes.check()
    for task in range(len(asked)):
        nodes.release(task)
    assert nodes.busy == 0


@pytest.mark.parametrize("spec", [whole(2), shared(2)])
def test_to_release_twice_frees_nothing_of_another_task(spec: MpiSpec) -> None:
    nodes = block(2, 2)
    nodes.take(1, spec)
    nodes.release(1)
    nodes.take(2, spec)
    nodes.release(1)
    nodes.check()
    assert nodes.busy == (4 if spec == whole(2) else 2)
