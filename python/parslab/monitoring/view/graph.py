"""The nodes of the graph panel: the first ``GRAPH_LIMIT`` tasks, and what changed among them since last told.

[core]  Owned by the view.  Invariants: never more than ``limit`` nodes and ``EDGES`` edges a node on average; every
dependency of a node is a node; a node is told once as new, afterwards only its changes; nodes told + changes told =
``everything()``.
"""

from __future__ import annotations

from parslab.records.panel import GraphNode, StateChange

__all__ = ["EDGES", "GraphView"]

EDGES = 8
"""Edges per node, on average, that are told; a graph with more could not be drawn.  The store has all of them."""


class GraphView:
    """Nodes by task id, and what has not been told yet."""

    __slots__ = ("_changed", "_edges", "_fresh", "full", "limit", "nodes")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.full = limit <= 0
        self.nodes: dict[int, GraphNode] = {}
        self._edges = limit * EDGES
        self._fresh: list[GraphNode] = []
        self._changed: set[int] = set()

    def add(self, task: int, app: str, state: str, deps: tuple[int, ...]) -> GraphNode:
        """Make a node; only while the graph is not ``full``."""
        shown = [dep for dep in deps[: self._edges] if dep in self.nodes]
        self._edges -= len(shown)
        node = self.nodes[task] = GraphNode(task, app, state, shown)
        self._fresh.append(node)
        self.full = len(self.nodes) >= self.limit
        return node

    def move(self, node: GraphNode, state: str) -> None:
        """Note the new state of a node."""
        node.state = state
        self._changed.add(node.id)

    def everything(self) -> list[GraphNode]:
        """All nodes as they are now."""
        return [GraphNode(node.id, node.app, node.state, node.deps) for node in self.nodes.values()]

    def take(self) -> tuple[list[GraphNode], list[StateChange]]:
        """New nodes and changed states since the last call."""
        fresh = [GraphNode(node.id, node.app, node.state, node.deps) for node in self._fresh]
        changed = self._changed.difference(node.id for node in fresh)
        changes = [StateChange(task, self.nodes[task].state) for task in sorted(changed)]
        self._fresh = []
        self._changed.clear()
        return fresh, changes
