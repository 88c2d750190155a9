"""Finds the nodes of a block, and how many cores each has, from the variables of its scheduler.

Only a manager in MPI mode asks: it is alone in its block, and its tasks get nodes or cores of them.  Without a
scheduler the block is the manager's own host.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from parslab.cores import usable_cores
from parslab.errors import ConfigurationError
from parslab.records.mpi import MpiNode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from parslab.records.executor_settings import ManagerSettings

__all__ = ["block_nodes", "for_mpi", "found_mpiexec", "found_nodes", "kind_of_mpiexec", "slurm_names"]

_MOST_WORKERS = 64
"""Tasks of a block that may run at a time where the user sets no limit and the block has fewer nodes than this.

Each running task needs a worker, which is a process of the block's first node.
"""
_PATIENCE = 20.0
"""Seconds that ``mpiexec --version`` may take: the file systems of large machines are slow when a job begins."""

_FILES = ("PBS_NODEFILE", "COBALT_NODEFILE", "LSB_DJOB_HOSTFILE", "OAR_NODEFILE")
"""Variables that name a file with the nodes of a job; some schedulers list a node once for each of its cores."""


def block_nodes(
    environ: Mapping[str, str],
    host: str,
    cores: int,
    core_ids: Sequence[int],
    *,
    whole: bool,
    read: Callable[[str], str],
) -> list[MpiNode]:
    """Return the nodes of the block in the order of the scheduler.

    Parameters
    ----------
    environ
        The variables of the job.
    host, cores, core_ids
        The name of this host, the cores that tasks may use here, and the numbers of the cores that processes may use.
    whole
        Whether these are all cores of this host: then ranks on other nodes may be bound to their cores, too.
    read
        Returns the text of a file.

    Raises
    ------
    ConfigurationError
        The scheduler's list cannot be read.
    """
    try:
        counts = _listed(environ, read)
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"The nodes of this block cannot be found: {error}.") from error
    own = tuple(core_ids) if len(core_ids) == cores else ()
    if not counts:
        return [MpiNode(host, cores, own)]
    names = {_short(name) for name in counts}
    nodes = []
    for name, count in counts.items():
        if _short(name) == _short(host) or (len(names) == 1 and name == "localhost"):
            # The scheduler may count hardware threads, or more cores than this job may use.
            here = min(cores, count) if count else cores
            nodes.append(MpiNode(name, here, own[:here]))
        else:
            there = count or cores
            nodes.append(MpiNode(name, there, tuple(range(there)) if whole and own else ()))
    return nodes


def _short(name: str) -> str:
    return name.partition(".")[0].lower()


def _listed(environ: Mapping[str, str], read: Callable[[str], str]) -> dict[str, int]:
    """Return the nodes of the job, each with its number of cores; 0: the scheduler does not say."""
    listed = environ.get("SLURM_JOB_NODELIST") or environ.get("SLURM_NODELIST")
    if listed:
        names = slurm_names(listed)
        cores = _slurm_counts(environ.get("SLURM_JOB_CPUS_PER_NODE", ""))
        return dict(zip(names, cores if len(cores) == len(names) else [0] * len(names), strict=True))
    if environ.get("PE_HOSTFILE"):
        lines = [line.split() for line in read(environ["PE_HOSTFILE"]).splitlines()]
        return {words[0]: int(words[1]) for words in lines if len(words) > 1}
    for variable in _FILES:
        if environ.get(variable):
            counts = Counter(read(environ[variable]).split())
            # PBS lists a node once for each chunk or process of the job: one line says nothing about its cores.
            return {name: count if count > 1 else 0 for name, count in counts.items()}
    if environ.get("LSB_MCPU_HOSTS"):
        words = environ["LSB_MCPU_HOSTS"].split()
        return {name: int(count) for name, count in zip(words[::2], words[1::2], strict=True)}
    return dict(Counter(environ.get("LSB_HOSTS", "").split()))


def slurm_names(listed: str) -> list[str]:
    """Return the names in a node list of Slurm.

    Examples
    --------
    >>> slurm_names("n[1-2,08-10],gpu3")
    ['n1', 'n2', 'n08', 'n09', 'n10', 'gpu3']
    """
    names: list[str] = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", listed):
        expanded = [""]
        for text, numbers in re.findall(r"([^\[\]]+)|\[([^\]]*)\]", part):
            choices = [text] if text else _numbers(numbers)
            expanded = [before + choice for before in expanded for choice in choices]
        names += expanded
    return names


def _numbers(text: str) -> list[str]:
    """Return the numbers of ``1-3,7`` as texts, with the leading zeros of the first one of a range."""
    found: list[str] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += [str(number).zfill(len(first)) for number in range(int(first), int(last or first) + 1)]
    return found


def _slurm_counts(text: str) -> list[int]:
    """Return the numbers of ``4(x2),8``: 4, 4 and 8."""
    counts: list[int] = []
    for part in filter(None, text.split(",")):
        count, _, times = part.partition("(x")
        counts += [int(count)] * int(times.rstrip(")") or 1)
    return counts


def kind_of_mpiexec(version: str) -> str:
    """Return whose mpiexec has printed this answer to ``--version``: ``openmpi``, ``mpich``, or an empty text.

    Examples
    --------
    >>> kind_of_mpiexec("mpiexec (OpenRTE) 4.1.4")
    'openmpi'
    """
    if re.search(r"open[- ]?(mpi|rte)|prrte|prte", version, re.IGNORECASE):
        return "openmpi"
    return "mpich" if re.search(r"hydra|mpich|intel", version, re.IGNORECASE) else ""


def found_nodes(core_ids: Sequence[int]) -> tuple[MpiNode, ...]:
    """Return the nodes of this manager's block; the arguments are the cores that this process may use."""
    cores = usable_cores()
    bindable = core_ids if shutil.which("taskset") else ()
    whole = len(core_ids) == os.cpu_count() == cores
    host = socket.gethostname()
    return tuple(block_nodes(os.environ, host, cores, bindable, whole=whole, read=lambda path: Path(path).read_text()))


def found_mpiexec() -> str:
    """Return whose ``mpiexec`` is on the PATH; empty if there is none, or it does not say."""
    try:
        answer = subprocess.run(
            ["mpiexec", "--version"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return kind_of_mpiexec(answer.stdout.decode(errors="replace"))


def for_mpi(settings: ManagerSettings, nodes: Sequence[MpiNode]) -> ManagerSettings:
    """Return the settings with which the workers of a block in MPI mode are planned.

    A worker of such a block only starts ranks, so its own share of a node does not count.
    """
    default = min(sum(node.cores for node in nodes), max(len(nodes), _MOST_WORKERS))
    return msgspec.structs.replace(
        settings,
        max_workers_per_node=settings.max_workers_per_node or default,
        cores_per_worker=1e-6,
        mem_per_worker=None,
    )
