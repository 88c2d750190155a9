"""Parsl's objects for rules that are options: which manager gets the next task, and where futures are looked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "DEEP_DEPENDENCY_RESOLVER",
    "SHALLOW_DEPENDENCY_RESOLVER",
    "BlockIdManagerSelector",
    "DependencyResolver",
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


class DependencyResolver:
    """A rule for where futures are looked for.

    Parameters
    ----------
    traverse_to_gather
        A function that returns the futures in an object.
    traverse_to_unwrap
        A function that returns the object with values in place of its futures.
    """

    def __init__(
        self, traverse_to_gather: Callable[[Any], Any] | None, traverse_to_unwrap: Callable[[Any], Any] | None
    ) -> None:
        self.any_depth = False
        """Whether this is the rule of parslab."""
        self.traverse_to_gather = traverse_to_gather
        self.traverse_to_unwrap = traverse_to_unwrap


DEEP_DEPENDENCY_RESOLVER = DependencyResolver(None, None)
"""Futures at any depth: what parslab always does."""
DEEP_DEPENDENCY_RESOLVER.any_depth = True

SHALLOW_DEPENDENCY_RESOLVER = DependencyResolver(None, None)
"""Futures that are arguments themselves, or items of ``inputs``."""
