"""What every launcher is: text in, text out.  It turns the command that starts a manager on one node into shell text
that starts one on each node of a block (paper section 4.2.2).

The command is a line for bash, which may set variables or redirect; a launcher whose program execs its arguments gives
it to ``bash -c``, so that what the line expands is expanded on the node.
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
        The block's stderr says how managers are started.
    """

    debug = YesNo(False)

    spans_nodes: ClassVar[bool] = True
    """It reaches the other nodes of a block, or starts something that does."""

    def script(self, command: str, nodes: int, tasks_per_node: int = 1) -> str:
        """Shell text that runs ``command`` ``tasks_per_node`` times on each of the block's ``nodes`` and waits for all.

        Its exit status is not 0 when one of them failed.
        """
        raise NotImplementedError

    def said(self, text: str) -> list[str]:
        """Lines that write ``text`` to the block's stderr where ``debug`` says so; the shell expands it."""
        return [f'echo "parslab: {text}" >&2'] if self.debug else []
