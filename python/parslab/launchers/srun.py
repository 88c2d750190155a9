"""Launchers that start a manager on each node with Slurm's ``srun``.

srun always gets options that turn off two defaults for MPI programs, because these defaults harm managers: srun binds a
process to the first core, and kills the other managers some seconds after the first one has ended.
"""

from __future__ import annotations

import shlex
from typing import ClassVar

from parslab.description import Text
from parslab.launchers.base import Launcher
from parslab.launchers.copies import background, joined

__all__ = ["SrunLauncher", "SrunMPILauncher"]

_FOR_MANAGERS = "--cpu-bind=none --kill-on-bad-exit=0 --wait=0"


class SrunLauncher(Launcher):
    """Starts a manager on each node of a block with one ``srun``.

    Parameters
    ----------
    overrides
        More options for srun; they come last, so they have priority.

    Examples
    --------
    >>> print(SrunLauncher(overrides="--mpi=none").script("start-manager", nodes=2))
    srun --nodes=2 --ntasks=2 --ntasks-per-node=1 --cpu-bind=none --kill-on-bad-exit=0 --wait=0 --label --mpi=none \
bash -c start-manager
    """

    positional: ClassVar[tuple[str, ...]] = ("debug", "overrides")
    overrides = Text("", empty=True)

    def script(self, command: str, nodes: int, tasks_per_node: int = 1) -> str:
        copies = nodes * tasks_per_node
        line = joined(
            f"srun --nodes={nodes} --ntasks={copies} --ntasks-per-node={tasks_per_node}",
            _FOR_MANAGERS,
            # Labels show which manager wrote a line; the output of a single manager needs none.
            "--label" if copies > 1 else "",
            self.overrides,
            "bash -c",
            shlex.quote(command),
        )
        return "\n".join([*self.debug_lines(f"starting {copies} on ${{SLURM_JOB_NODELIST:-?}} with srun"), line])


class SrunMPILauncher(Launcher):
    """Starts each manager with an ``srun`` of its own that shares the cores of the node.

    Tasks can then start MPI programs with ``srun`` themselves.

    Parameters
    ----------
    overrides
        More options for srun; they come last, so they have priority.
    """

    positional: ClassVar[tuple[str, ...]] = ("debug", "overrides")
    overrides = Text("", empty=True)

    def script(self, command: str, nodes: int, tasks_per_node: int = 1) -> str:
        line = joined(
            f'srun $overlap --nodes=1 --ntasks={tasks_per_node} --nodelist="$node"',
            _FOR_MANAGERS,
            self.overrides,
            "bash -c",
            shlex.quote(command),
        )
        return "\n".join(
            [
                *self.debug_lines("starting one srun for each of ${SLURM_JOB_NODELIST:-?}"),
                "# Since Slurm 20.11 the steps of a job share the resources of a node only with this option.",
                "overlap=",
                "srun --help 2>&1 | grep -q -e --overlap && overlap=--overlap",
                background('for node in $(scontrol show hostnames "$SLURM_JOB_NODELIST")', line),
            ]
        )
