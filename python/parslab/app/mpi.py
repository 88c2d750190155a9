"""Read the keys of a resource specification that make a call an MPI task.

``num_nodes``, ``num_ranks`` and ``ranks_per_node`` are those of Parsl: two of them give the third.  A call that names
``num_nodes`` gets whole nodes, as in Parsl.  A call on one node shares it with others if it says ``cores``, or if it
leaves ``num_nodes`` out: then each rank gets one core.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parslab.errors import InvalidResourceSpecification
from parslab.records.mpi import MpiSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MPI_KEYS", "mpi_specification"]

_COUNTS = ("num_nodes", "num_ranks", "ranks_per_node")
MPI_KEYS = frozenset((*_COUNTS, "launcher_options"))
"""The keys of an MPI task, all of them names of Parsl."""
_WITHOUT_EFFECT = ("memory", "gpus")


def mpi_specification(app: str, asked: Mapping[str, Any], others: Mapping[str, Any]) -> MpiSpec | None:
    """Return the MPI part of a specification; None if it has none of the keys.

    Parameters
    ----------
    app
        The name of the app, for messages.
    asked
        The whole specification.
    others
        Its keys that are not only for MPI tasks, such as ``cores``, after a check of their values.

    Raises
    ------
    InvalidResourceSpecification
        A value is wrong, or two values contradict each other.

    Examples
    --------
    >>> mpi_specification("run", {"num_nodes": 2, "ranks_per_node": 4}, {})
    MpiSpec(nodes=2, ranks=8, ranks_per_node=4, cores=0, launcher_options='')
    >>> mpi_specification("run", {"num_ranks": 2}, {}).cores
    2
    """
    counts = {key: _count(app, key, asked[key]) for key in _COUNTS if asked.get(key) is not None}
    if not counts:
        if asked.get("launcher_options"):
            raise _invalid(app, "launcher_options needs num_nodes or num_ranks beside it")
        return None
    one_process = set(counts.values()) == {1}
    for key in _WITHOUT_EFFECT:
        if others.get(key):
            if one_process:
                return None  # Parsl's programs for Flux say that a task is one process
            raise _invalid(app, f"{key} cannot be used together with {', '.join(counts)}")
    nodes, ranks, per_node = _completed(app, counts)
    options = asked.get("launcher_options") or ""
    if not isinstance(options, str):
        raise _invalid(app, f"launcher_options must be a text, not {options!r}")
    own = _shared_cores(app, nodes, ranks, others.get("cores"), "num_nodes" in counts)
    return MpiSpec(nodes=nodes, ranks=ranks, ranks_per_node=per_node, cores=own, launcher_options=options.strip())


def _count(app: str, key: str, value: Any) -> int:
    """Return a number of nodes or ranks; Parsl's programs may write it as a text."""
    try:
        number = int(value)
        exact = not isinstance(value, bool) and (isinstance(value, str) or number == value)
    except (TypeError, ValueError, OverflowError):
        number, exact = 0, False
    if not exact or number < 1:
        raise _invalid(app, f"{key} must be a whole number of at least 1, not {value!r}")
    return number


def _completed(app: str, counts: Mapping[str, int]) -> tuple[int, int, int]:
    """Return nodes, ranks and ranks per node: two of them give the third."""
    nodes, ranks, per_node = (counts.get(key) for key in _COUNTS)
    if nodes is None:
        # Ranks alone fit on one node, whatever their number is.
        nodes = 1 if ranks is None or per_node is None else -(-ranks // per_node)
    if per_node is None:
        per_node = 1 if ranks is None else -(-ranks // nodes)
    if ranks is None:
        ranks = nodes * per_node
    if ranks != nodes * per_node:
        each = f"{per_node} rank{'s' * (per_node > 1)}"
        found = f"{nodes} node{'s' * (nodes > 1)} with {each} each have {nodes * per_node} ranks"
        raise _invalid(app, f"{found}, and num_ranks is {ranks}")
    return nodes, ranks, per_node


def _shared_cores(app: str, nodes: int, ranks: int, cores: float | None, says_nodes: bool) -> int:
    """Return the cores that a call takes of one node; 0 if it takes whole nodes."""
    if cores is None:
        return ranks if nodes == 1 and not says_nodes else 0
    if nodes > 1:
        raise _invalid(app, f"a task on {nodes} nodes has all cores of each: leave cores out")
    if cores != int(cores):
        raise _invalid(app, f"cores of an MPI task must be a whole number, not {cores:g}")
    if cores < ranks:
        raise _invalid(app, f"{ranks} ranks need at least {ranks} cores, and cores is {cores:g}")
    return int(cores)


def _invalid(app: str, why: str) -> InvalidResourceSpecification:
    return InvalidResourceSpecification(f"App {app}: {why} (resource_specification).")
