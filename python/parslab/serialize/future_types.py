"""Recognise the futures of any library, and convert them to futures of the standard library.

A type is a type of futures if it has the methods of :class:`concurrent.futures.Future`, as those of asyncio and of
``dask.distributed`` have, or if the user has registered it. The pickler of arguments asks this module for each object
that is not of a builtin type, so the question costs two look-ups for all other objects.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["converter_of", "is_future", "register_future_type", "registered_future_types"]

T = TypeVar("T")

_METHODS = ("add_done_callback", "cancelled", "done", "result")
_CONTAINERS = (bool, bytearray, bytes, complex, dict, float, frozenset, int, list, set, str, tuple, type(None))
"""Types that pickle handles itself, so that the search for futures never sees their instances."""

registered_future_types: dict[type, Callable[[Any], Future[Any]]] = {}
"""The converters that users have registered, by type; those of subclasses come from their bases."""


def register_future_type(kind: type[T], convert: Callable[[T], Future[Any]]) -> None:
    """Let apps take objects of a type as futures: a task waits for them, and gets their results instead.

    Futures of the standard library, of asyncio and of Dask need no registration, nor do objects with the same methods
    (``add_done_callback``, ``done``, ``cancelled`` and ``result``).

    Parameters
    ----------
    kind
        The type; its subclasses count, too.
    convert
        A function of such an object, which returns a :class:`concurrent.futures.Future` of its result.

    Raises
    ------
    TypeError
        ``kind`` is a builtin type of plain values or a container, or is no type.

    Examples
    --------
    >>> import ray, parslab  # doctest: +SKIP
    >>> parslab.register_future_type(ray.ObjectRef, lambda ref: ref.future())  # doctest: +SKIP
    """
    if not isinstance(kind, type):
        raise TypeError(f"register_future_type takes a type, not {kind!r}.")
    if kind in (object, *_CONTAINERS) or not callable(convert):
        raise TypeError(f"register_future_type cannot make futures of {kind.__name__} with {convert!r}.")
    registered_future_types[kind] = convert


def is_future(value: Any) -> bool:
    """Return whether a value is a future, of whatever library.

    The first line answers for nearly everything else. Where even the call of this function counts, callers have a copy
    of that line.
    """
    if not hasattr(type(value), "add_done_callback") and not registered_future_types:
        return False
    if isinstance(value, Future):
        return True
    bases = type(value).__mro__
    # Not getattr(), because a metaclass of the user may answer for any name.
    if all(any(name in base.__dict__ for base in bases) for name in _METHODS):
        return True
    return bool(registered_future_types) and converter_of(type(value)) is not None


def converter_of(kind: type) -> Callable[[Any], Future[Any]] | None:
    """Return the function that a user registered for a type or one of its bases; None when there is none."""
    for base in kind.__mro__:
        convert = registered_future_types.get(base)
        if convert is not None:
            return convert
    return None
