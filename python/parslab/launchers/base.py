"""What every launcher is: text in, text out.  It turns the command that starts a manager on one node into shell text
that starts one on each node of a block (paper section 4.2.2)."""

from __future__ import annotations

from parslab.description import Description

__all__ = ["Launcher"]


class Launcher(Description):
    """Base of the descriptions of how the manager is started on each node of a block."""

    def script(self, command: str, nodes: int, tasks_per_node: int = 1) -> str:
        """Shell text that runs ``command`` ``tasks_per_node`` times on each of the block's ``nodes`` and waits for all.

        Its exit status is not 0 when one of them failed.
        """
        raise NotImplementedError
