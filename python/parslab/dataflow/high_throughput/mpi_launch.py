"""Composes the command that starts the ranks of a task on its nodes, and the variables that carry it [core].

A bash app writes ``$PARSL_MPI_PREFIX program``; ``PARSL_MPIEXEC_PREFIX``, ``PARSL_SRUN_PREFIX`` and
``PARSL_APRUN_PREFIX`` are there whatever the launcher of the executor is.  Each variable also has a name that begins
with ``PARSLAB``.  The shell splits a prefix at its spaces, so no part of it needs quotes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.remote.pool.processes import thread_variables

if TYPE_CHECKING:
    from parslab.records.executor_settings import ManagerSettings
    from parslab.records.mpi import MpiPlacement, MpiSpec

__all__ = ["launch_variables", "variables_of"]


def variables_of(settings: ManagerSettings, spec: MpiSpec, placement: MpiPlacement, mpiexec: str) -> dict[str, str]:
    """Return the environment variables of one MPI task, except those that the user has set for all workers."""
    values = launch_variables(spec, placement, settings.mpi_launcher, mpiexec)
    theirs = {*settings.environment, *(thread_variables(1) if settings.threads_per_worker else ())}
    return {name: value for name, value in values.items() if name not in theirs}


def launch_variables(spec: MpiSpec, placement: MpiPlacement, launcher: str, mpiexec: str) -> dict[str, str]:
    """Return the environment variables of one MPI task.

    Parameters
    ----------
    spec, placement
        What the task asked for, and the nodes that it got.
    launcher
        The launcher of the executor: ``mpiexec``, ``srun`` or ``aprun``.
    mpiexec
        Whose mpiexec the nodes have: ``openmpi``, or anything else for the options of MPICH.
    """
    prefixes = {
        "mpiexec": _openmpi(spec, placement) if mpiexec == "openmpi" else _mpich(spec, placement),
        "srun": _srun(spec, placement),
        "aprun": _aprun(spec, placement),
    }
    values = {f"{name.upper()}_PREFIX": prefix for name, prefix in prefixes.items()}
    values |= {
        "MPI_PREFIX": prefixes[launcher],
        "MPI_NODELIST": ",".join(placement.nodes),
        "MPI_CORES": ",".join(map(str, placement.core_ids)),
        "NUM_NODES": str(spec.nodes),
        "NUM_RANKS": str(spec.ranks),
        "RANKS_PER_NODE": str(spec.ranks_per_node),
    }
    named = {f"{name}_{key}": value for key, value in values.items() for name in ("PARSL", "PARSLAB")}
    return {**thread_variables(max(1, placement.cores_per_node // spec.ranks_per_node)), **named}


def _joined(*parts: object) -> str:
    return " ".join(str(part) for part in parts if part != "")


def _bound(placement: MpiPlacement) -> str:
    """Return the command that binds the ranks of a task on a shared node to the cores of the task."""
    # taskset and no option of mpiexec: each MPI names these options otherwise, and counts cores in another way.
    return f"taskset -c {','.join(map(str, placement.core_ids))}" if placement.core_ids else ""


def _mpich(spec: MpiSpec, placement: MpiPlacement) -> str:
    hosts = ",".join(placement.nodes)
    ranks = _joined("mpiexec -n", spec.ranks, "-ppn", spec.ranks_per_node, "-hosts", hosts)
    return _joined(ranks, spec.launcher_options, _bound(placement))


def _openmpi(spec: MpiSpec, placement: MpiPlacement) -> str:
    hosts = ",".join(f"{node}:{spec.ranks_per_node}" for node in placement.nodes)
    # Open MPI binds the ranks of each mpiexec from core 0 on, so two tasks of one node would share the first cores.
    binding = "--bind-to none" if placement.shared else ""
    return _joined("mpiexec -n", spec.ranks, "--host", hosts, binding, spec.launcher_options, _bound(placement))


def _srun(spec: MpiSpec, placement: MpiPlacement) -> str:
    # Slurm itself chooses cores for a task on a shared node; without --exact a step takes the whole node.
    # The memory of the node is shared, too: without --mem=0 the first step would take all of it.
    share = f"--exact --mem=0 --cpus-per-task {placement.cores_per_node // spec.ranks}" if placement.shared else ""
    nodes = _joined("--nodes", spec.nodes, "--nodelist", ",".join(placement.nodes))
    ranks = _joined("--ntasks", spec.ranks, "--ntasks-per-node", spec.ranks_per_node)
    return _joined("srun", ranks, nodes, share, spec.launcher_options)


def _aprun(spec: MpiSpec, placement: MpiPlacement) -> str:
    cores = f"-cc {','.join(map(str, placement.core_ids))}" if placement.core_ids else ""
    nodes = _joined("-L", ",".join(placement.nodes))
    return _joined("aprun -n", spec.ranks, "-N", spec.ranks_per_node, nodes, cores, spec.launcher_options)
