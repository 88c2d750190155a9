"""The base of launchers: a launcher turns the command that starts one manager into shell text for a block.

The command starts a manager on one node; the text starts one on each node of the block [HPDC19 §4.2.2].  The command
is a line for bash, which may set variables or redirect.  A launcher whose program runs its arguments without a shell
gives the line to ``bash -c``, so that the shell on the node expands it.

A launcher of your own is a class like this one.  Name it by an entry point of the group ``parslab.launchers`` (see
:mod:`parslab.plugins`)::

    class TimedLauncher(Launcher):
        \"\"\"Starts one manager, and writes to the block's stderr how long it ran.\"\"\"

        spans_nodes = False

        def script(self, command: str, nodes: int, tasks_per_node: int = 1) -> str:
            line = f"time bash -c {shlex.quote(command)}"
            return "\\n".join([*self.debug_lines("starting one, timed"), line])

Test it with :class:`parslab.testing.conformance.LauncherSuite`.
"""

from __future__ import annotations

from typing import ClassVar

from parslab.description import Description, YesNo

__all__ = ["Launcher"]


class Launcher(Description):
    """Base of the descriptions of how the manager is started on each node of a block.

    Parameters
    ----------
    debug
        Whether the block's stderr says how managers are started.
    """

    debug = YesNo(False)

    positional: ClassVar[tuple[str, ...]] = ("debug",)

    spans_nodes: ClassVar[bool] = True
    """Whether it starts managers on the other nodes of a block too."""

    def script(self, command: str, nodes: int, tasks_per_node: int = 1) -> str:
        """Return shell text that runs ``command`` ``tasks_per_node`` times on each of the ``nodes``, and waits for all.

        The exit status of the text is not 0 when a command has failed.
        """
        if type(self).__call__ is Launcher.__call__:
            raise NotImplementedError
        return self(command, tasks_per_node, nodes)

    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int, script_dir: str = "") -> str:
        """Return the text of ``script`` (Parsl's method, which launchers written for Parsl define instead)."""
        return self.script(command, nodes_per_block, tasks_per_node)

    def debug_lines(self, text: str) -> list[str]:
        """Return lines that write ``text`` to the block's stderr if ``debug`` is set; the shell expands the text."""
        return [f'echo "parslab: {text}" >&2'] if self.debug else []
