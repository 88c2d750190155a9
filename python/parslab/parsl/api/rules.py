"""Parsl's objects for the rule that chooses the manager of the next task."""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "BlockIdManagerSelector",
    "ManagerSelector",
    "RandomManagerSelector",
]


class ManagerSelector:
    """Base of the rules that choose the manager of the next task."""

    parslab_name: ClassVar[str] = ""
    """The name of the same rule in parslab; empty for a rule of the user, which parslab cannot apply."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class RandomManagerSelector(ManagerSelector):
    """Any manager."""

    parslab_name = "random"


class BlockIdManagerSelector(ManagerSelector):
    """The managers of the oldest block first."""

    parslab_name = "block_id"
