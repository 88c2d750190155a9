"""Launchers that need no program of the site: they start managers on the node that runs the block's script."""

from __future__ import annotations

import re
from typing import ClassVar

from parslab.description import Text, YesNo
from parslab.launchers.base import Launcher
from parslab.launchers.copies import background, joined

__all__ = ["SimpleLauncher", "SingleNodeLauncher", "WrappedLauncher"]


class SimpleLauncher(Launcher):
    """Runs the command once for the whole block, for programs that start on the other nodes by themselves.

    With HighThroughputExecutor only the first node of each block gets a manager.
    """

    def script(self, command: str, nodes: int, tasks_per_node: int = 1) -> str:
        return "\n".join([*self.debug_lines("starting one for the block on $(hostname)"), command])


class SingleNodeLauncher(Launcher):
    """Starts the manager on the node that runs the block's script, for blocks of one node.

    Parameters
    ----------
    fail_on_any
        Whether one failed manager fails the block.  With False the block fails only if all of its managers fail.

    Examples
    --------
    >>> SingleNodeLauncher().script("start-manager", nodes=1)
    'start-manager'
    """

    spans_nodes: ClassVar[bool] = False

    positional: ClassVar[tuple[str, ...]] = ("debug", "fail_on_any")
    fail_on_any = YesNo(True)

    def script(self, command: str, nodes: int, tasks_per_node: int = 1) -> str:
        copies = nodes * tasks_per_node
        lines = self.debug_lines(f"starting {copies} on $(hostname)")
        if copies == 1:
            return "\n".join([*lines, command])
        numbers = " ".join(str(n + 1) for n in range(copies))
        return "\n".join([*lines, background(f"for n in {numbers}", command, self.fail_on_any)])


class WrappedLauncher(Launcher):
    """Puts words before the command, such as a container, a profiler or ``numactl``.

    Parameters
    ----------
    prepend
        Shell text that comes before the command, such as ``"apptainer exec image.sif"``.  It gets a program and its
        arguments.

    Examples
    --------
    >>> WrappedLauncher(prepend="numactl --interleave=all").script("start-manager", nodes=1)
    'numactl --interleave=all start-manager'
    """

    positional: ClassVar[tuple[str, ...]] = ("prepend", "debug")
    prepend = Text("", empty=True)

    def script(self, command: str, nodes: int, tasks_per_node: int = 1) -> str:
        # `numactl A=1 program` would look for a program named A=1.
        program = f"env {command}" if re.match(r"\w+=", command) else command
        return "\n".join([*self.debug_lines("starting one on $(hostname), wrapped"), joined(self.prepend, program)])
