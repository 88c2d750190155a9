"""Pickle the arguments of a call, once, in the caller's thread; futures in them, at any depth, become dependencies.

Arguments that are all numbers, strings, or futures at the top level go through C pickle alone. All others go through
cloudpickle, because classes and functions of a notebook travel by value.
"""

from __future__ import annotations

import io
import pickle
import types
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parslab.errors import ParslabError, SerializationError
from parslab.serialize.code.modules import editable
from parslab.serialize.identity.registry import Unidentified
from parslab.serialize.pickling import pickler_class
from parslab.serialize.references import Path, resolve
from parslab.serialize.summaries import brief
from parslab.serialize.values import ATOMS, buffers_into, split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from parslab.wire.stream import Buffer

__all__ = ["NO_ARGUMENTS", "ArgumentDependencies", "pack_arguments", "why_unpicklable"]

NO_ARGUMENTS = pickle.dumps(((), {}), 5)
"""The packed arguments of a call without arguments."""
_SET, _FROZENSET = pickle.EMPTY_SET, pickle.FROZENSET
_NAMED = (type, types.FunctionType, types.ModuleType)
_SEARCH_LIMIT = 100
"""Containers that are searched for sets."""


class ArgumentDependencies:
    """Collects the tasks that a call needs while its arguments are pickled.

    Parameters
    ----------
    identify
        ``future -> (task id, path)``. It gives an id to futures of other libraries, too.
    """

    __slots__ = ("_identify", "_places", "needs_identity", "tasks")

    def __init__(self, identify: Callable[[Future[Any]], tuple[int, Path]]) -> None:
        self._identify = identify
        self._places: dict[int, int] = {}
        self.tasks: list[int] = []
        self.needs_identity = False
        """Whether the pickle may differ in another process, or does not tell one value from another."""

    def refer(self, future: Future[Any]) -> tuple[int, Path]:
        """Return the place of a future's task among the dependencies, and the path to a part of its value."""
        task, path = self._identify(future)
        place = self._places.get(task)
        if place is None:
            place = self._places[task] = len(self.tasks)
            self.tasks.append(task)
        return place, path

    def known(self, future: Future[Any]) -> tuple[int, Path]:
        """Return the same for a future that was referred to before.

        Raises
        ------
        Unidentified
            It was not, because it stands where futures are not looked for.
        """
        task, path = self._identify(future)
        place = self._places.get(task)
        if place is None:
            raise Unidentified("a future stands where futures are not looked for")
        return place, path


class _Reference:
    """Stands for a future in arguments that go through C pickle."""

    __slots__ = ("path", "place")

    def __init__(self, place: int, path: Path) -> None:
        self.place, self.path = place, path

    def __reduce__(self) -> tuple[Any, ...]:
        return resolve, ((self.place,) if self.path is None else (self.place, self.path))


def _pickler_class() -> type[pickle.Pickler]:
    class ArgumentPickler(pickler_class()):  # type: ignore[misc]
        """Sees futures: pickle calls ``reducer_override`` for every object that is not of a builtin type."""

        dependencies: ArgumentDependencies

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, Future):
                place, path = self.dependencies.refer(obj)
                return resolve, ((place,) if path is None else (place, path))
            made = super().reducer_override(obj)
            # The value travels by value, under names of this process; or its name does not tell which version it is.
            if (made is not NotImplemented and obj is not type(None)) or (
                isinstance(obj, _NAMED) and id(obj) not in _name_suffices and _needs_more_than_name(obj)
            ):
                self.dependencies.needs_identity = True
            return made

    return ArgumentPickler


_argument_pickler: type[pickle.Pickler] | None = None


def pack_arguments(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], dependencies: ArgumentDependencies, app: str
) -> tuple[bytes, list[Buffer]]:
    """Pack ``(args, kwargs)``; the tasks found in them are left in ``dependencies``.

    Raises
    ------
    SerializationError
        Naming the argument that cannot travel and why.
    """
    if not args and not kwargs:
        return NO_ARGUMENTS, []
    for value in args:
        if type(value) not in ATOMS:
            break
    else:
        for value in kwargs.values():
            if type(value) not in ATOMS:
                break
        else:
            return split(pickle.dumps((args, kwargs), 5), [])
    plain = [_plain(value, dependencies) for value in args]
    named = {name: _plain(value, dependencies) for name, value in kwargs.items()}
    if None not in plain and None not in named.values():
        stream = pickle.dumps(
            (tuple(p[0] for p in plain if p), {name: p[0] for name, p in named.items() if p}),
            5,
        )
        return split(stream, [])
    return _pack_any(args, kwargs, dependencies, app)


def _plain(value: Any, dependencies: ArgumentDependencies) -> tuple[Any] | None:
    """Return ``value`` for C pickle, in a tuple; None when it needs cloudpickle."""
    if type(value) in ATOMS:
        return (value,)
    if isinstance(value, Future):
        place, path = dependencies.refer(value)
        if path is None:
            return (_Reference(place, path),)
    return None


def _pack_any(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], dependencies: ArgumentDependencies, app: str
) -> tuple[bytes, list[Buffer]]:
    global _argument_pickler
    if _argument_pickler is None:
        _argument_pickler = _pickler_class()
    frames: list[Buffer] = []
    stream = io.BytesIO()
    pickler = _argument_pickler(stream, 5, buffer_callback=buffers_into(frames))
    pickler.dependencies = dependencies  # type: ignore[attr-defined]
    try:
        pickler.dump((args, dict(kwargs)))
    except ParslabError:
        raise
    except Exception as error:
        raise _blame(args, kwargs, app, error) from error
    packed = stream.getvalue()
    if not dependencies.needs_identity and (_SET in packed or _FROZENSET in packed):
        # The byte may belong to something else, but a search costs less than an identity.
        dependencies.needs_identity = not (_ordered(args) and _ordered(kwargs.values()))
    return split(packed, frames)


_name_suffices: dict[int, Any] = {}
"""Functions and classes of installed modules that were looked up: their names are their identities."""


def _needs_more_than_name(named: Any) -> bool:
    """Whether the identity of something that travels by name is more than its name."""
    module = named.__name__ if isinstance(named, types.ModuleType) else named.__module__
    if hasattr(named, "_parslab_identity") or editable(module):
        return True
    _name_suffices[id(named)] = named
    return False


def _ordered(values: Iterable[Any], looked: int = 0) -> bool:
    """Whether these values, and what they hold, certainly contain no set."""
    for value in values:
        kind = type(value)
        if kind in ATOMS:
            continue
        if kind.__module__ == "numpy" and not getattr(getattr(value, "dtype", None), "hasobject", True):
            continue
        looked += 1
        if kind not in (list, tuple, dict) or looked > _SEARCH_LIMIT:
            return False
        if not _ordered(value, looked) or (kind is dict and not _ordered(value.values(), looked)):
            return False
    return True


def _blame(args: tuple[Any, ...], kwargs: Mapping[str, Any], app: str, error: Exception) -> SerializationError:
    """Find the argument that cannot be pickled, by pickling each alone."""
    named = [(f"argument {i}", value) for i, value in enumerate(args)]
    named += [(f"argument {name!r}", value) for name, value in kwargs.items()]
    for name, value in named:
        reason = why_unpicklable(value)
        if reason:
            return SerializationError(f"{name} of app {app} ({brief(value)})", reason)
    return SerializationError(f"an argument of app {app}", f"{type(error).__name__}: {error}")


def why_unpicklable(value: Any) -> str:
    """Return ``Type: message`` of the error that pickling ``value`` raises; empty when it can be pickled."""
    pickler_class = _argument_pickler or _pickler_class()
    pickler = pickler_class(io.BytesIO(), 5, buffer_callback=lambda _: False)
    pickler.dependencies = ArgumentDependencies(lambda _: (0, None))  # type: ignore[attr-defined]
    try:
        pickler.dump(value)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
