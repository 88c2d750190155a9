"""Replace futures inside arguments by references, and references by values.

When the client pickles the arguments of a call, each future in them, at any depth, becomes a call of :func:`resolve`
with the future's place among the dependencies. When a worker unpickles them, ``resolve`` returns the value for it. A
part of a future (``fut["a"][0]``) is a path that the worker follows. A constant (the file of a ``DataFuture``) replaces
a dependency whose value the call does not need.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Constant", "follow_path", "resolve", "resolving"]


class Constant:
    """Replaces a path: the task waits for the dependency, then uses this value."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __reduce__(self) -> tuple[Any, ...]:
        return Constant, (self.value,)


Path = tuple[Any, ...] | Constant | None

_contexts: list[resolving] = []
"""The contexts that this process has entered; pickle passes none to ``resolve``, so a global must hold it."""


class resolving:
    """Context in which ``resolve`` asks ``value(place)``.  Workers unpickle in one thread only.

    Attributes
    ----------
    path_error
        The error of a value that has no such part, as opposed to errors of unpickling.
    """

    __slots__ = ("path_error", "value")

    def __init__(self, value: Callable[[int], Any]) -> None:
        self.value = value
        self.path_error: Exception | None = None

    def __enter__(self) -> None:
        _contexts.append(self)

    def __exit__(self, *exc: object) -> None:
        _contexts.pop()


def follow_path(value: Any, path: Path) -> Any:
    """Return the part of ``value`` that ``path`` names."""
    if path is None:
        return value
    if isinstance(path, Constant):
        return path.value
    for key in path:
        value = value[key]
    return value


def resolve(place: int, path: Path = None) -> Any:
    """Return the value of dependency number ``place``; pickle calls this on the worker."""
    if isinstance(path, Constant):
        return path.value
    if not _contexts:
        raise RuntimeError("a reference to a task was unpickled outside of a worker")
    context = _contexts[-1]
    value = context.value(place)
    try:
        return follow_path(value, path)
    except Exception as error:
        context.path_error = error
        raise
