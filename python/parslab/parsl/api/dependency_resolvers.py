"""Parsl's rules for where futures are looked for in arguments.

parslab finds futures at any depth, as Parsl does with ``DEEP_DEPENDENCY_RESOLVER``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["DEEP_DEPENDENCY_RESOLVER", "SHALLOW_DEPENDENCY_RESOLVER", "DependencyResolver"]


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
        self.traverse_to_gather = traverse_to_gather
        self.traverse_to_unwrap = traverse_to_unwrap


DEEP_DEPENDENCY_RESOLVER = DependencyResolver(None, None)
"""Futures at any depth: what parslab always does."""

SHALLOW_DEPENDENCY_RESOLVER = DependencyResolver(None, None)
"""Futures that are arguments themselves, or items of ``inputs``."""
