"""The software that a task needs: a Python environment, as the app or the executor describes it.

A task without a description runs with the software of its executor's workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Software"]


class Software(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What a worker needs before it can run a task; equal descriptions share workers.

    A description names packages (``requirements``), or an environment that exists (``python``).
    """

    requirements: tuple[str, ...] = ()
    """What pip would be given, sorted, such as ``numpy<2``."""
    python: str = ""
    """The interpreter of an environment that somebody else has made."""

    @classmethod
    def of(cls, requirements: Sequence[str]) -> Software | None:
        """Return the description of an environment for these requirements; None if there are none."""
        names = tuple(sorted({" ".join(name.split()) for name in requirements}))
        return cls(names) if names else None

    def __str__(self) -> str:
        if self.requirements:
            return f"environment {', '.join(self.requirements)}"
        return f"environment {self.python}"
