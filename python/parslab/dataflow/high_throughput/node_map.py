"""The nodes of one block, and which MPI tasks have them or some of their cores [core].

A task has either whole nodes, or some cores of one node, which it may share with others.  No core ever belongs to two
tasks.  A shared task goes to the node with the fewest free cores that are enough for it, so that whole nodes stay free.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from parslab.records.mpi import MpiPlacement

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from parslab.records.mpi import MpiNode, MpiSpec

__all__ = ["Claim", "NodeMap"]


class Claim(NamedTuple):
    """The nodes that become free first for a task which has to wait."""

    missing: int
    """Cores of these nodes that other tasks still have."""
    nodes: frozenset[int]
    """The positions of the nodes."""


class NodeMap:
    """The nodes of one block.

    Parameters
    ----------
    nodes
        The nodes, in the order in which the scheduler lists them.
    """

    def __init__(self, nodes: Sequence[MpiNode]) -> None:
        self.nodes = tuple(nodes)
        self.cores = sum(node.cores for node in nodes)
        """The cores of all nodes."""
        self._free: list[list[int]] = [list(range(node.cores)) for node in nodes]
        """The positions of the free cores of each node."""
        self._held: dict[int, dict[int, list[int]]] = {}
        """The cores of each task: node and positions."""

    @property
    def busy(self) -> int:
        """The cores that tasks have."""
        return self.cores - sum(map(len, self._free))

    def wants(self, spec: MpiSpec) -> int:
        """Return how many cores a task takes; more than there are if it can never run here."""
        if not self.fits(spec):
            return self.cores + 1
        if spec.cores:
            return spec.cores
        return sum(sorted(node.cores for node in self.nodes if node.cores >= spec.ranks_per_node)[: spec.nodes])

    def fits(self, spec: MpiSpec) -> bool:
        """Return whether a task could run here if it were alone."""
        return len(self._large_enough(spec)) >= spec.nodes

    def _large_enough(self, spec: MpiSpec) -> list[int]:
        # Never more ranks than cores: the ranks of a task wait for each other, so one slow rank delays all.
        least = max(spec.cores, spec.ranks_per_node)
        return [place for place, node in enumerate(self.nodes) if node.cores >= least]

    # ----- tasks come and go

    def take(self, task: int, spec: MpiSpec, closed: Collection[int] = ()) -> MpiPlacement | None:
        """Give a task the nodes or cores that it asks for; None if they are not free now.

        Parameters
        ----------
        closed
            Nodes that are kept for another task.
        """
        open_nodes = [place for place in self._large_enough(spec) if place not in closed]
        if spec.cores:
            fitting = [place for place in open_nodes if len(self._free[place]) >= spec.cores]
            chosen = [min(fitting, key=lambda place: len(self._free[place]))] if fitting else []
        else:
            chosen = [place for place in open_nodes if len(self._free[place]) == self.nodes[place].cores]
        if len(chosen) < spec.nodes:
            return None
        held: dict[int, list[int]] = {}
        for place in chosen[: spec.nodes]:
            count = spec.cores or self.nodes[place].cores
            held[place], self._free[place] = self._free[place][:count], self._free[place][count:]
        self._held[task] = held
        return self._placement(held, bool(spec.cores))

    def _placement(self, held: dict[int, list[int]], shared: bool) -> MpiPlacement:
        ids: tuple[int, ...] = ()
        if shared:
            for place, cores in held.items():
                numbers = self.nodes[place].core_ids
                ids = tuple(numbers[core] for core in cores) if numbers else ()
        names = tuple(self.nodes[place].name for place in held)
        return MpiPlacement(names, min(map(len, held.values())), core_ids=ids, shared=shared)

    def release(self, task: int) -> None:
        """Free what a task had; nothing happens if it had nothing here."""
        for place, cores in self._held.pop(task, {}).items():
            self._free[place] = sorted(self._free[place] + cores)

    def claim(self, spec: MpiSpec, before: Collection[int] = ()) -> Claim | None:
        """Return the nodes that a waiting task should get; None if it can never run here.

        They are those with the fewest busy cores.  While they are closed to other tasks this number only falls, so the
        task runs as soon as the tasks on these nodes have ended.

        Parameters
        ----------
        before
            The nodes of its last claim.  They stay unless another node misses fewer cores: a claim that moved between
            equal nodes would leave each of them to other tasks again, and might never be fulfilled.
        """
        if not self.fits(spec):
            return None
        missing = {}
        for place in self._large_enough(spec):
            wanted = spec.cores or self.nodes[place].cores
            missing[place] = max(0, wanted - len(self._free[place]))
        nearest = sorted(missing, key=lambda place: (missing[place], place not in before, place))[: spec.nodes]
        return Claim(sum(missing[place] for place in nearest), frozenset(nearest))

    # ----- for people and tests

    def names(self, places: Collection[int]) -> list[str]:
        """Return the names of some nodes."""
        return [self.nodes[place].name for place in sorted(places)]

    def check(self) -> None:
        """Check the invariants; for tests."""
        for place, node in enumerate(self.nodes):
            all_cores = list(self._free[place])
            for held in self._held.values():
                all_cores += held.get(place, [])
            assert sorted(all_cores) == list(range(node.cores)), node.name
