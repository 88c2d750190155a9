"""Find the futures in the arguments of a body that runs in this process, and replace them by their values.

The body gets all other arguments by reference, as in a plain call.
"""

from __future__ import annotations

import copy
import dataclasses
from typing import TYPE_CHECKING, Any, Protocol

from parslab.serialize.future_types import is_future, registered_future_types

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from concurrent.futures import Future

    from parslab.serialize.dependency_resolvers import DependencyResolver

__all__ = ["AnyDepth", "ByResolver", "FutureSearch", "futures_in", "replaced", "with_values"]


class FutureSearch(Protocol):
    """Where the futures of a call are, and what takes their place, for a body that runs in this process."""

    def futures(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Future[Any]]:
        """Return the futures that a call waits for, in the order of the arguments."""

    def values(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
        """Return the arguments with values in place of these futures, which are done."""

    def replaced(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], replacement: Callable[[Any], Any]
    ) -> tuple[Any, Any]:
        """Return the arguments with other futures in place of these."""


class AnyDepth:
    """The rule of parslab: futures are found at any depth."""

    def futures(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Future[Any]]:
        found: list[Future[Any]] = []
        futures_in([args, dict(kwargs)], found)
        return found

    def values(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
        return with_values(args), with_values(dict(kwargs))

    def replaced(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], replacement: Callable[[Any], Any]
    ) -> tuple[Any, Any]:
        return replaced(args, replacement), replaced(dict(kwargs), replacement)


class ByResolver:
    """The rule of a ``DependencyResolver``."""

    def __init__(self, resolver: DependencyResolver) -> None:
        self._resolver = resolver

    def futures(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[Future[Any]]:
        found: list[Future[Any]] = []
        self._resolver.each(args, kwargs, lambda value: found.extend(self._resolver.traverse_to_gather(value)))
        return found

    def values(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[Any, Any]:
        return self._resolver.each(args, kwargs, self._resolver.traverse_to_unwrap)

    def replaced(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], replacement: Callable[[Any], Any]
    ) -> tuple[Any, Any]:
        return self._resolver.each(args, kwargs, lambda value: replacement(value) if is_future(value) else value)


def with_values(value: Any) -> Any:
    """Return ``value`` with every future in it replaced by its result; only containers that hold a future are copied.

    The search looks into lists, tuples (also named ones), sets, dictionaries and dataclasses.  A container that occurs
    twice stays one object.  A container that contains itself keeps its inner reference unchanged.
    """
    return replaced(value, lambda future: future.result())


def replaced(value: Any, replacement: Callable[[Any], Any]) -> Any:
    """Return ``value`` with ``replacement(future)`` in place of every future in it; see :func:`with_values`."""
    return _replaced(value, replacement, {})


def _replaced(value: Any, replacement: Callable[[Any], Any], known: dict[int, Any]) -> Any:
    if (hasattr(type(value), "add_done_callback") or registered_future_types) and is_future(value):
        return replacement(value)
    if not _is_container(value):
        return value
    if id(value) not in known:
        known[id(value)] = value  # before the recursion, which would not end for a container that contains itself
        known[id(value)] = _rebuilt(value, replacement, known)
    return known[id(value)]


def _rebuilt(value: Any, replacement: Callable[[Any], Any], known: dict[int, Any]) -> Any:
    kind = type(value)
    if kind is dict:
        pairs = [(_replaced(k, replacement, known), _replaced(v, replacement, known)) for k, v in value.items()]
        same = all(k is a and v is b for (k, v), (a, b) in zip(pairs, value.items(), strict=True))
        return value if same else dict(pairs)
    if dataclasses.is_dataclass(value):
        fields = [(field.name, old, _replaced(old, replacement, known)) for field, old in _fields(value)]
        changed = {name: new for name, old, new in fields if new is not old}
        if not changed:
            return value
        twin = copy.copy(value)  # not the constructor, which may need arguments that are no fields (InitVar)
        for name, new in changed.items():
            # setattr() fails for frozen dataclasses.
            object.__setattr__(twin, name, new)
        return twin
    items = [_replaced(item, replacement, known) for item in value]
    if all(a is b for a, b in zip(items, value, strict=True)):
        return value
    # The constructor of a named tuple takes its items as single arguments.
    return kind(*items) if hasattr(value, "_fields") else kind(items)


def _is_container(value: Any) -> bool:
    kind = type(value)
    if kind in (list, tuple, dict, set, frozenset):
        return True
    return (isinstance(value, tuple) and hasattr(value, "_fields")) or (
        dataclasses.is_dataclass(value) and not isinstance(value, type)
    )


def _fields(value: Any) -> list[tuple[dataclasses.Field[Any], Any]]:
    return [(field, getattr(value, field.name)) for field in dataclasses.fields(value) if hasattr(value, field.name)]


def futures_in(value: Any, found: list[Future[Any]]) -> None:
    """Append to ``found`` every future that :func:`with_values` would replace."""
    seen: set[int] = set()
    left = [value]
    while left:
        item = left.pop()
        if (hasattr(type(item), "add_done_callback") or registered_future_types) and is_future(item):
            found.append(item)
        elif _is_container(item) and id(item) not in seen:
            seen.add(id(item))
            # Reversed, because pop() takes the last one first. The order of the futures must be that of the arguments:
            # a future counts in the identity of a call by its place among the dependencies.
            left += reversed(_contents(item))


def _contents(container: Any) -> list[Any]:
    if type(container) is dict:
        return [part for pair in container.items() for part in pair]
    if dataclasses.is_dataclass(container):
        return [part for _, part in _fields(container)]
    return list(container)
