"""Keeps the nodes of the graph panel: the first ``GRAPH_LIMIT`` tasks, and their changes that no delta holds yet.

[core]  The view owns the nodes.  Invariants: at most ``limit`` nodes, and ``EDGES`` edges per node on average; every
dependency of a node is a node; each node is new in one delta, and later deltas hold only its changes.
"""

from __future__ import annotations

from parslab.records.panel import GraphNode, StateChange

__all__ = ["EDGES", "GraphView"]

EDGES = 8
"""Edges per node, on average, that panels receive, because a panel cannot draw more.  The store has all edges."""


class GraphView:
    """Nodes by task id.

    Parameters
    ----------
    limit
        The largest number of nodes.
    """

    __slots__ = ("_changed", "_edges_left", "_new", "full", "limit", "nodes")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.full = limit <= 0
        self.nodes: dict[int, GraphNode] = {}
        self._edges_left = limit * EDGES
        self._new: list[GraphNode] = []
        self._changed: set[int] = set()

    def add(self, task: int, app: str, state: str, deps: tuple[int, ...]) -> GraphNode:
        """Make a node; only while the graph is not ``full``."""
        shown = [dep for dep in deps[: self._edges_left] if dep in self.nodes]
        self._edges_left -= len(shown)
        node = self.nodes[task] = GraphNode(task, app, state, shown)
        self._new.append(node)
        self.full = len(self.nodes) >= self.limit
        return node

    def move(self, node: GraphNode, state: str) -> None:
        """Note the new state of a node."""
        node.state = state
        self._changed.add(node.id)

    def all_nodes(self) -> list[GraphNode]:
        """Copies of all nodes."""
        return [_copy(node) for node in self.nodes.values()]

    def take(self) -> tuple[list[GraphNode], list[StateChange]]:
        """New nodes and changed states since the last call."""
        new = [_copy(node) for node in self._new]
        # A new node carries its present state already.
        changed = self._changed.difference(node.id for node in new)
        changes = [StateChange(task, self.nodes[task].state) for task in sorted(changed)]
        self._new = []
        self._changed.clear()
        return new, changes


def _copy(node: GraphNode) -> GraphNode:
    # The copies share ``deps``, which never changes.
    return GraphNode(node.id, node.app, node.state, node.deps)
