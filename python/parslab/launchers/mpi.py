"""Launchers that start a manager on each node with a starter of MPI programs: mpiexec, mpirun, aprun, jsrun.

A manager is not an MPI program.  These launchers only use the ability of the starters to reach all nodes.
"""

from __future__ import annotations

import shlex
from typing import ClassVar

from parslab.description import Text
from parslab.launchers.base import Launcher
from parslab.launchers.copies import NODE_NAMES, joined

__all__ = ["AprunLauncher", "JsrunLauncher", "MpiExecLauncher", "MpiRunLauncher"]


class MpiExecLauncher(Launcher):
    """Starts a manager on each node with ``mpiexec``, with the node list of the scheduler.

    Parameters
    ----------
    bind_cmd
        The option of mpiexec that binds ranks to cores; its value is ``none``.  An empty text leaves it out.
    overrides
        Further options of mpiexec.
    """

    positional: ClassVar[tuple[str, ...]] = ("debug", "bind_cmd", "overrides")
    bind_cmd = Text("--bind-to", empty=True)
    overrides = Text("", empty=True)

    def script(self, command: str, nodes: int, tasks_per_node: int = 1) -> str:
        copies = nodes * tasks_per_node
        line = joined(
            "mpiexec",
            # mpiexec would bind the manager, and with it all of its workers, to one core.
            f"{self.bind_cmd} none" if self.bind_cmd.strip() else "",
            self.overrides,
            f'-n {copies} --hostfile "$hostfile"',
            "bash -c",
            shlex.quote(command),
        )
        # MPICH and Open MPI start two processes on a host that the file lists twice.
        names = "node_names" if tasks_per_node == 1 else " ".join(["cat", *["<(node_names)"] * tasks_per_node])
        return "\n".join(
            [
                NODE_NAMES,
                "hostfile=$(mktemp)",
                f'{names} > "$hostfile"',
                *self.debug_lines(f"starting {copies} with mpiexec on $(sort -u $hostfile | paste -sd' ')"),
                line,
                "status=$?",
                'rm -f "$hostfile"',
                'exit "$status"',
            ]
        )


class MpiRunLauncher(Launcher):
    """Starts a manager on each node with ``mpirun``, which finds the nodes itself.

    Parameters
    ----------
    bash_location
        The bash of the nodes.
    overrides
        Further options of mpirun, such as those that place one process on each node.
    """

    positional: ClassVar[tuple[str, ...]] = ("debug", "bash_location", "overrides")
    bash_location = Text("/bin/bash")
    overrides = Text("", empty=True)

    def script(self, command: str, nodes: int, tasks_per_node: int = 1) -> str:
        copies = nodes * tasks_per_node
        line = joined(f"mpirun -np {copies}", self.overrides, f"{self.bash_location} -c", shlex.quote(command))
        return "\n".join([*self.debug_lines(f"starting {copies} with mpirun"), line])


class AprunLauncher(Launcher):
    """Starts a manager on each node with Cray's ``aprun``.

    Parameters
    ----------
    overrides
        Further options of aprun, such as ``-d 32 -cc none``, which gives the manager all cores of its node.
    """

    positional: ClassVar[tuple[str, ...]] = ("debug", "overrides")
    overrides = Text("", empty=True)

    def script(self, command: str, nodes: int, tasks_per_node: int = 1) -> str:
        copies = nodes * tasks_per_node
        line = joined(f"aprun -n {copies} -N {tasks_per_node}", self.overrides, "/bin/bash -c", shlex.quote(command))
        return "\n".join([*self.debug_lines(f"starting {copies} with aprun"), line])


class JsrunLauncher(Launcher):
    """Starts a manager on each node with IBM's ``jsrun``.

    Parameters
    ----------
    overrides
        Further options of jsrun, such as ``-c ALL_CPUS -g ALL_GPUS -b none``.
    """

    positional: ClassVar[tuple[str, ...]] = ("debug", "overrides")
    overrides = Text("", empty=True)

    def script(self, command: str, nodes: int, tasks_per_node: int = 1) -> str:
        copies = nodes * tasks_per_node
        line = joined(f"jsrun -n {copies} -r {tasks_per_node}", self.overrides, "/bin/bash -c", shlex.quote(command))
        return "\n".join([*self.debug_lines(f"starting {copies} with jsrun"), line])
