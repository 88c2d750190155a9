"""The arguments of a call, pickled once in the caller's thread; futures in them, however deep, become dependencies.

Calls whose arguments are all plain numbers and strings, or futures at the top level, go through C pickle alone;
anything else through cloudpickle, because classes and functions of a notebook travel by value.
"""

from __future__ import annotations

import io
import pickle
import types
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parslab.errors import ParslabError, SerializationError
from parslab.serialize.identity import Unidentified
from parslab.serialize.modules import editable
from parslab.serialize.pickling import pickler_class
from parslab.serialize.references import Path, resolve
from parslab.serialize.values import ATOMS, buffers_into, split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from parslab.wire.stream import Buffer

__all__ = ["Dependencies", "brief", "pack_arguments", "show_arguments", "why_unpicklable"]

_EMPTY = pickle.dumps(((), {}), 5)
_SET, _FROZENSET = pickle.EMPTY_SET, pickle.FROZENSET
_NAMED = (type, types.FunctionType, types.ModuleType)
_LOOKED_AT = 100


class Dependencies:
    """Collects the tasks that a call needs while its arguments are pickled.

    Parameters
    ----------
    identify
        ``future -> (task id, path)``; gives a foreign future an id too.
    """

    __slots__ = ("_identify", "_places", "loose", "tasks")

    def __init__(self, identify: Callable[[Future[Any]], tuple[int, Path]]) -> None:
        self._identify = identify
        self._places: dict[int, int] = {}
        self.tasks: list[int] = []
        self.loose = False
        """Whether the pickle may be another one in another process, or says less than the arguments are."""

    def refer(self, future: Future[Any]) -> tuple[int, Path]:
        """The place of a future's task among the dependencies, and which part of its value is meant."""
        task, path = self._identify(future)
        place = self._places.get(task)
        if place is None:
            place = self._places[task] = len(self.tasks)
            self.tasks.append(task)
        return place, path

    def known(self, future: Future[Any]) -> tuple[int, Path]:
        """The same of a future that was met before.

        Raises
        ------
        Unidentified
            It was not: it stands where nobody looks for futures.
        """
        task, path = self._identify(future)
        place = self._places.get(task)
        if place is None:
            raise Unidentified("a future stands where futures are not looked for")
        return place, path


class _Reference:
    """Stands for a future in the arguments that C pickle gets."""

    __slots__ = ("path", "place")

    def __init__(self, place: int, path: Path) -> None:
        self.place, self.path = place, path

    def __reduce__(self) -> tuple[Any, ...]:
        return resolve, ((self.place,) if self.path is None else (self.place, self.path))


def _pickler_class() -> type[pickle.Pickler]:
    class ArgumentPickler(pickler_class()):  # type: ignore[misc]
        """cloudpickle that sees futures: C asks ``reducer_override`` for every object that is not a builtin."""

        dependencies: Dependencies

        def reducer_override(self, obj: Any) -> Any:
            if isinstance(obj, Future):
                place, path = self.dependencies.refer(obj)
                return resolve, ((place,) if path is None else (place, path))
            made = super().reducer_override(obj)
            # By value (under names of this process), or by a name that stands for more than it says.
            if (made is not NotImplemented and obj is not type(None)) or (
                isinstance(obj, _NAMED) and id(obj) not in _just_names and _says_more(obj)
            ):
                self.dependencies.loose = True
            return made

    return ArgumentPickler


_argument_pickler: type[pickle.Pickler] | None = None


def pack_arguments(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], dependencies: Dependencies, app: str
) -> tuple[bytes, list[Buffer]]:
    """Pack ``(args, kwargs)``; the tasks found in them are left in ``dependencies``.

    Raises
    ------
    SerializationError
        Naming the argument that cannot travel and why.
    """
    if not args and not kwargs:
        return _EMPTY, []
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


def _plain(value: Any, dependencies: Dependencies) -> tuple[Any] | None:
    """``value`` as C pickle may have it, in a tuple; None when cloudpickle is needed."""
    if type(value) in ATOMS:
        return (value,)
    if isinstance(value, Future):
        place, path = dependencies.refer(value)
        if path is None:
            return (_Reference(place, path),)
    return None


def _pack_any(
    args: tuple[Any, ...], kwargs: Mapping[str, Any], dependencies: Dependencies, app: str
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
    if not dependencies.loose and (_SET in packed or _FROZENSET in packed):
        # Or a byte of something else: looking costs less than an identity.
        dependencies.loose = not (_ordered(args) and _ordered(kwargs.values()))
    return split(packed, frames)


_just_names: dict[int, Any] = {}
"""Functions and classes of installed modules that were asked about."""


def _says_more(named: Any) -> bool:
    """Whether something that travels by name is identified by more than its name."""
    module = named.__name__ if isinstance(named, types.ModuleType) else named.__module__
    if hasattr(named, "_parslab_identity") or editable(module):
        return True
    _just_names[id(named)] = named
    return False


def _ordered(values: Iterable[Any], looked: int = 0) -> bool:
    """Whether there is certainly no set in these values (nor in what they hold)."""
    for value in values:
        kind = type(value)
        if kind in ATOMS:
            continue
        if kind.__module__ == "numpy" and not getattr(getattr(value, "dtype", None), "hasobject", True):
            continue
        looked += 1
        if kind not in (list, tuple, dict) or looked > _LOOKED_AT:
            return False
        if not _ordered(value, looked) or (kind is dict and not _ordered(value.values(), looked)):
            return False
    return True


def _blame(args: tuple[Any, ...], kwargs: Mapping[str, Any], app: str, error: Exception) -> SerializationError:
    """Find the argument that cannot be pickled by trying each alone."""
    named = [(f"argument {i}", value) for i, value in enumerate(args)]
    named += [(f"argument {name!r}", value) for name, value in kwargs.items()]
    for name, value in named:
        reason = why_unpicklable(value)
        if reason:
            return SerializationError(f"{name} of app {app} ({brief(value)})", reason)
    return SerializationError(f"an argument of app {app}", f"{type(error).__name__}: {error}")


def why_unpicklable(value: Any) -> str:
    """``Type: message`` of the error that pickling ``value`` raises; empty when it can be pickled."""
    pickler_class = _argument_pickler or _pickler_class()
    pickler = pickler_class(io.BytesIO(), 5, buffer_callback=lambda _: False)
    pickler.dependencies = Dependencies(lambda _: (0, None))  # type: ignore[attr-defined]
    try:
        pickler.dump(value)
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""


_SHOWN = 40
_BITS = 128
"""Of the longest whole number shown; Python refuses to write very long ones at all."""


def brief(value: Any) -> str:
    """A short text for a value: numbers and short strings as they are, anything else by type and size."""
    kind = type(value)
    if kind is int and value.bit_length() > _BITS:
        return f"int of {value.bit_length()} bits"
    if kind is int or kind is float or kind is bool or value is None:
        return repr(value)
    if kind is str or kind is bytes:
        return repr(value) if len(value) <= _SHOWN else f"{value[: _SHOWN - 3]!r}..."
    if isinstance(value, Future):
        task = getattr(value, "task_id", None)
        return "a future" if task is None else f"task {task}"
    shape = getattr(value, "shape", None)
    if type(shape) is tuple:
        return f"{kind.__name__}{shape}"
    if kind in (list, tuple, dict, set, frozenset):
        return f"{kind.__name__} of {len(value)}"
    name = getattr(value, "__qualname__", None)
    return name if isinstance(name, str) else kind.__name__


def show_arguments(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """All arguments of a call as one short line for the panel."""
    parts = [brief(value) for value in args[:6]]
    if len(args) > 6:
        parts.append("...")
    parts += [f"{name}={brief(value)}" for name, value in list(kwargs.items())[:6]]
    return ", ".join(parts)
