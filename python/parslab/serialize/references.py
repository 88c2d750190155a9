"""Futures inside arguments: how one becomes a reference while pickling and a value again on the worker.

While the arguments of a call are pickled each future in them, at any depth, is replaced by a call of :func:`resolve`
with its place among the call's dependencies. While a worker unpickles them, ``resolve`` returns the value it holds
for that place. A part of a future (``fut["a"][0]``) is a path that is followed there; a constant (a ``DataFuture``'s
file) is a dependency whose value is not needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Constant", "follow_path", "resolve", "resolving"]


class Constant:
    """Instead of a path: wait for the dependency, then use this value."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return Constant, (self.value,)


Path = tuple[Any, ...] | Constant | None

_values: list[Callable[[int], Any]] = []


class resolving:
    """Context in which ``resolve`` asks ``value(place)``.  Workers unpickle in one thread only."""

    __slots__ = ("_value",)

    def __init__(self, value: Callable[[int], Any]) -> None:
        self._value = value

    def __enter__(self) -> None:
        _values.append(self._value)

    def __exit__(self, *exc: object) -> None:
        _values.pop()


def follow_path(value: Any, path: Path) -> Any:
    """The part of ``value`` that ``path`` names."""
    if path is None:
        return value
    if isinstance(path, Constant):
        return path.value
    for key in path:
        value = value[key]
    return value


def resolve(place: int, path: Path = None) -> Any:
    """The value of dependency number ``place``; called by pickle on the worker."""
    if isinstance(path, Constant):
        return path.value
    if not _values:
        raise RuntimeError("a reference to a task was unpickled outside of a worker")
    return follow_path(_values[-1](place), path)
