"""The software that a task needs: a Python environment or a container, as the app or the executor describes it.

A task without a description runs with the software of its executor's workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ContainerSpec", "Software"]


class ContainerSpec(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """A container in which a worker runs; see :class:`parslab.Container`."""

    image: str
    engine: str = ""
    """Empty: the first one that the node has."""
    mounts: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    python: str = ""
    """The interpreter inside the image; empty: that of the pool, which is mounted."""


class Software(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """What a worker needs before it can run a task; equal descriptions share workers.

    A description names packages (``requirements``), an environment that exists (``python``), or a ``container``.
    """

    requirements: tuple[str, ...] = ()
    """What pip would be given, sorted, such as ``numpy<2``."""
    python: str = ""
    """The interpreter of an environment that somebody else has made."""
    container: ContainerSpec | None = None

    @classmethod
    def of(cls, requirements: Sequence[str], container: ContainerSpec | None = None) -> Software | None:
        """Return the description of an environment for these requirements, or of a container; None for neither."""
        names = tuple(sorted({" ".join(name.split()) for name in requirements}))
        return cls(names, container=container) if names or container is not None else None

    def __str__(self) -> str:
        if self.container is not None:
            return f"container {self.container.image}"
        if self.requirements:
            return f"environment {', '.join(self.requirements)}"
        return f"environment {self.python}"
