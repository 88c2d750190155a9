"""Pickle the arguments of a call once, in the caller's thread; futures in them, at any depth, become dependencies.

C pickle alone packs arguments that are all numbers, strings, or futures at the top level, because it is many times
faster. Cloudpickle packs all others, because classes and functions of a notebook travel by value.
"""

from __future__ import annotations

import io
import pickle
import types
from typing import TYPE_CHECKING, Any

from parslab.errors import ParslabError, SerializationError
from parslab.serialize.code.modules import editable
from parslab.serialize.future_types import is_future, registered_future_types
from parslab.serialize.identity.registry import Unidentified
from parslab.serialize.pickling import pickler_class
from parslab.serialize.references import Path, resolve
from parslab.serialize.summaries import brief
from parslab.serialize.values import ATOMS, buffers_into, split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from concurrent.futures import Future

    from parslab.wire.shared_memory import PlainBuffer

__all__ = ["NO_ARGUMENTS", "ArgumentDependencies", "argument_pickler", "pack_arguments", "why_unpicklable"]

NO_ARGUMENTS = pickle.dumps(((), {}), 5)
"""The packed arguments of a call without arguments."""
_SET, _FROZENSET = pickle.EMPTY_SET, pickle.FROZENSET
_NAMED = (type, types.FunctionType, types.ModuleType)
_SEARCH_LIMIT = 100
"""The most containers that are searched for sets; beyond it an identity is cheaper than the search."""


class ArgumentDependencies:
    """Collects the tasks that a call needs while its arguments are pickled.

    Parameters
    ----------
    identify
        ``future -> (task id, path)``. It returns an id for futures of other libraries, too.
    """

    __slots__ = ("_identify", "_places", "needs_identity", "tasks")

    def __init__(self, identify: Callable[[Future[Any]], tuple[int, Path]]) -> None:
        self._identify = identify
        self._places: dict[int, int] = {}
        self.tasks: list[int] = []
        self.needs_identity = False
        """Whether the pickle may differ in another process, or may be the same for different values."""

    def refer(self, future: Future[Any]) -> tuple[int, Path]:
        """Return the place of a future's task among the dependencies, and the path to a part of its value."""
        task, path = self._identify(future)
        place = self._places.get(task)
        if place is None:
            place = self._places[task] = len(self.tasks)
            self.tasks.append(task)
        return place, path

    def reduced(self, future: Future[Any]) -> tuple[Any, ...]:
        """Return how pickle writes a future: as a call of :func:`~parslab.serialize.references.resolve`."""
        place, path = self.refer(future)
        return resolve, ((place,) if path is None else (place, path))

    def known(self, future: Future[Any]) -> tuple[int, Path]:
        """Return the place and the path of a future whose task is among the dependencies.

        Raises
        ------
        Unidentified
            The task is not among them, because the search for futures does not look where the future is.
        """
        task, path = self._identify(future)
        place = self._places.get(task)
        if place is None:
            raise Unidentified("a future stands where futures are not looked for")
        return place, path


class _Reference:
    """Replaces a future in arguments that C pickle packs."""

    __slots__ = ("path", "place")

    def __init__(self, place: int, path: Path) -> None:
        self.place, self.path = place, path

    def __reduce__(self) -> tuple[Any, ...]:
        return resolve, ((self.place,) if self.path is None else (self.place, self.path))


def _pickler_class() -> type[pickle.Pickler]:
    class ArgumentPickler(pickler_class()):  # type: ignore[misc]
        """Replaces futures: pickle calls ``reducer_override`` for each object that is not of a builtin type."""

        dependencies: ArgumentDependencies

        def reducer_override(self, obj: Any) -> Any:
            if (hasattr(type(obj), "add_done_callback") or registered_future_types) and is_future(obj):
                return self.dependencies.reduced(obj)
            made = super().reducer_override(obj)
            # Two cases need an identity. An object that travels by value has names of this process in its pickle. An
            # object that travels by name may belong to an edited module, and the name is the same for each version.
            # Cloudpickle reduces ``type(None)`` itself, to a pickle that is the same everywhere.
            if (made is not NotImplemented and obj is not type(None)) or (
                isinstance(obj, _NAMED) and id(obj) not in _name_suffices and _needs_more_than_name(obj)
            ):
                self.dependencies.needs_identity = True
            return made

    return ArgumentPickler


_argument_pickler: type[pickle.Pickler] | None = None


def argument_pickler() -> type[pickle.Pickler]:
    """Return the class of picklers for arguments; the first call imports cloudpickle."""
    global _argument_pickler
    if _argument_pickler is None:
        _argument_pickler = _pickler_class()
    return _argument_pickler


def pack_arguments(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], dependencies: ArgumentDependencies, app: str
) -> tuple[bytes, list[PlainBuffer]]:
    """Pack ``(args, kwargs)``, and add the tasks of futures in them to ``dependencies``.

    Raises
    ------
    SerializationError
        An argument cannot be pickled; the text names it and says why.
    """
    if not args and not kwargs:
        return NO_ARGUMENTS, []
    # Plain loops, because all() with a generator would cost more than pickling a few numbers.
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
    if (hasattr(type(value), "add_done_callback") or registered_future_types) and is_future(value):
        place, path = dependencies.refer(value)
        if path is None:
            return (_Reference(place, path),)
    return None


def _pack_any(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], dependencies: ArgumentDependencies, app: str
) -> tuple[bytes, list[PlainBuffer]]:
    frames: list[PlainBuffer] = []
    stream = io.BytesIO()
    pickler = argument_pickler()(stream, 5, buffer_callback=buffers_into(frames))
    pickler.dependencies = dependencies  # type: ignore[attr-defined]
    try:
        pickler.dump((args, dict(kwargs)))
    except ParslabError:
        raise
    except Exception as error:
        raise _blame(args, kwargs, app, error) from error
    packed = stream.getvalue()
    if not dependencies.needs_identity and (_SET in packed or _FROZENSET in packed):
        # The byte may be part of other data, so the search looks for a real set: it costs less than an identity.
        dependencies.needs_identity = not (_ordered(args) and _ordered(kwargs.values()))
    return split(packed, frames)


_name_suffices: dict[int, Any] = {}
"""Functions and classes of installed modules, whose names are their identities, by id.

The dictionary keeps the objects alive, so that no other object gets the id of one of them.
"""


def _needs_more_than_name(named: Any) -> bool:
    """Return whether the name of an object that travels by name does not suffice as its identity."""
    module = named.__name__ if isinstance(named, types.ModuleType) else named.__module__
    if hasattr(named, "_parslab_identity") or editable(module):
        return True
    _name_suffices[id(named)] = named
    return False


def _ordered(values: Iterable[Any], looked: int = 0) -> bool:
    """Return whether these values, and the values inside them, certainly contain no set."""
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
    # The buffer callback returns False, so that pickle leaves large arrays outside and does not copy them.
    pickler = argument_pickler()(io.BytesIO(), 5, buffer_callback=lambda _: False)
    pickler.dependencies = ArgumentDependencies(lambda _: (0, None))  # type: ignore[attr-defined]
    try:
        pickler.dump(value)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
