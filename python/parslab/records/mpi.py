"""Defines what an MPI task asks for, what a node has, and where a task was placed."""

from __future__ import annotations

import msgspec

__all__ = ["LAUNCHERS", "MpiNode", "MpiPlacement", "MpiSpec"]

LAUNCHERS = ("mpiexec", "srun", "aprun")
"""The programs that can start the ranks of a task."""


class MpiSpec(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """The nodes and ranks that one call asks for."""

    nodes: int
    ranks: int
    ranks_per_node: int
    cores: int = 0
    """Cores of one node that the task takes; 0: it takes whole nodes."""
    launcher_options: str = ""
    """Further options of the program that starts the ranks."""


class MpiNode(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """One node of a block, as its manager has found it."""

    name: str
    cores: int
    core_ids: tuple[int, ...] = ()
    """The number of each core, for ``taskset``; empty where ranks cannot be bound to cores."""


class MpiPlacement(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """The nodes, and on a shared node the cores, on which a task runs."""

    nodes: tuple[str, ...]
    cores_per_node: int
    """Cores that the task has on each of its nodes; the smallest number where the nodes differ."""
    core_ids: tuple[int, ...] = ()
    """The numbers of its cores on a shared node; empty for whole nodes, and where nothing is bound."""
    shared: bool = False
    """Whether other tasks may run on its node."""
