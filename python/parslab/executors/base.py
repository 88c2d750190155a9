"""What every executor description has: a label, and settings for the process that runs it."""

from __future__ import annotations

from typing import Any

from parslab.description import Description, Label

__all__ = ["Executor"]


class Executor(Description):
    """Base of the descriptions of where tasks run."""

    label = Label("executor")

    def settings(self) -> dict[str, Any]:
        """Plain JSON data for the DataFlowKernel process, with defaults that depend on this host filled in.

        Every executor tells its ``kind`` and its ``label``.
        """
        raise NotImplementedError
