"""What a function is made of, and whether it still is: the code, defaults, globals and captured values that it uses.

A function of a notebook travels by value, with the helpers and globals it uses. Its pickle, and its fingerprint, are
stale when a cell redefined one of them. :class:`StateWatch` remembers what they were made of as (where, name, object)
triples and compares identities before each call, which costs well under a microsecond; mutable globals cannot be
watched so, and are pickled and compared each time; files of modules that are being edited are looked at. Called in the
user's thread.
"""

from __future__ import annotations

import hashlib
import linecache
import os
import sys
import types
from collections.abc import Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from parslab.errors import SerializationError
from parslab.serialize.arguments import brief, why_unpicklable
from parslab.serialize.bytecode import global_names
from parslab.serialize.cells import cell_title
from parslab.serialize.modules import by_reference, registered
from parslab.serialize.pickling import dumps

if TYPE_CHECKING:
    from parslab.serialize.modules import Source

__all__ = ["CapturedState", "StateWatch"]

_MISSING = object()
_BY_IDENTITY = (
    int,
    float,
    complex,
    str,
    bytes,
    bool,
    type(None),
    types.ModuleType,
    types.BuiltinFunctionType,
    range,
)
_FEW = 16
"""So many files are looked at for every call, which costs a microsecond each."""
_SHARE = 20
"""Looking at more may take one part in so many of the time of a program that calls as fast as it can."""


class StateWatch:
    """Notices that a function or class is not what it was.

    Parameters
    ----------
    census
        Of what it was.
    """

    __slots__ = ("_look_again", "_sizes", "_sources", "_volatile", "_watched")

    def __init__(self, census: CapturedState) -> None:
        self._watched, self._sizes = census.watched, census.sizes
        self._volatile = [(value, _digest(value)) for value in census.volatile]
        self._sources: tuple[Source, ...] = ()
        self._look_again = 0.0

    def also(self, sources: Mapping[str, Source]) -> None:
        """Watch the files of these modules, too, and whether they are imported anew."""
        self._sources = tuple(sources.values())
        for name in sources:
            module = sys.modules.get(name)
            if module is not None:  # reload gives it another one
                self._watched.append((vars(module), "__spec__", module.__spec__))

    def holds(self) -> bool:
        """Whether everything is as it was."""
        for where, name, value in self._watched:
            if where.get(name, _MISSING) is not value:
                return False
        return not (self._volatile or self._sizes or self._sources) or self._unchanged()

    def _unchanged(self) -> bool:
        for names, size in self._sizes:
            if len(names) != size:
                return False
        for value, digest in self._volatile:
            if _digest(value) != digest:
                return False
        return not self._sources or self._files_unchanged()

    def _files_unchanged(self) -> bool:
        begun = perf_counter()
        if begun < self._look_again:
            return True
        same = all(source.unchanged() for source in self._sources)
        ended = perf_counter()
        if len(self._sources) > _FEW:
            self._look_again = ended + (ended - begun) * _SHARE
        return same


def _digest(value: Any) -> bytes:
    try:
        return hashlib.blake2b(dumps(value), digest_size=16).digest()
    except Exception:
        return b""  # pickling the function will tell


class _Namespace(Mapping[str, Any]):
    """Attributes of an object as a mapping, so that all watches look alike."""

    __slots__ = ("_owner",)

    def __init__(self, owner: Any) -> None:
        self._owner = owner

    def __getitem__(self, name: str) -> Any:
        return getattr(self._owner, name)

    def get(self, name: str, default: Any = None) -> Any:
        try:
            return getattr(self._owner, name, default)
        except ValueError:  # a cell of a closure that has no value yet
            return default

    def __iter__(self) -> Any:
        return iter(())

    def __len__(self) -> int:
        return 0


class CapturedState:
    """Walks what a by-value pickle of a function would hold."""

    def __init__(self) -> None:
        self.watched: list[tuple[Mapping[str, Any], str, Any]] = []
        self.sizes: list[tuple[Mapping[str, Any], int]] = []
        """Namespaces that travel as a whole, with the number of their names: the old ones are watched one by one."""
        self.volatile: list[Any] = []
        self._named: list[tuple[str, Any]] = []
        self._codes: list[types.CodeType] = []
        self._seen: dict[int, Any] = {}

    def visit(self, value: Any) -> None:
        """Watch ``value`` and everything it captures."""
        if id(value) in self._seen or isinstance(value, _BY_IDENTITY):
            return
        self._seen[id(value)] = value
        if isinstance(value, types.FunctionType):
            if not by_reference(value):
                self._visit_function(value)
        elif isinstance(value, types.MethodType):
            self.visit(value.__func__)
            self.visit(value.__self__)
        elif isinstance(value, (staticmethod, classmethod)):
            self.visit(value.__func__)
        elif isinstance(value, property):
            for accessor in (value.fget, value.fset, value.fdel):
                self.visit(accessor)
        elif isinstance(value, type):
            if not by_reference(value):
                self._visit_class(value)
        elif isinstance(value, (tuple, frozenset)):
            for item in value:
                self.visit(item)
        elif getattr(type(value), "_parslab_app", False):
            self.visit(value.__wrapped__)
        else:
            self.volatile.append(value)

    def _watch(self, where: Mapping[str, Any], name: str, said: str) -> None:
        value = where.get(name, _MISSING)
        self.watched.append((where, name, value))
        if value is not _MISSING:
            self._named.append((said, value))
            if isinstance(value, types.ModuleType):
                self._visit_module(value)
            else:
                self.visit(value)

    def _visit_function(self, function: types.FunctionType) -> None:
        itself = _Namespace(function)
        for attribute in ("__code__", "__defaults__", "__kwdefaults__"):
            self.watched.append((itself, attribute, getattr(function, attribute)))
        self.sizes.append((vars(function), len(vars(function))))
        for name, value in list(vars(function).items()):
            self.watched.append((vars(function), name, value))
            self.visit(value)
        self.visit(function.__defaults__)
        self.visit(tuple((function.__kwdefaults__ or {}).values()))
        for name in global_names(function.__code__, self._codes):
            self._watch(function.__globals__, name, f"global {name!r}")
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            self._watch(_Namespace(cell), "cell_contents", f"captured variable {name!r}")

    def _visit_class(self, cls: type) -> None:
        itself = vars(cls)
        self.sizes.append((itself, len(itself)))
        for name, value in list(itself.items()):
            if name not in ("__dict__", "__weakref__", "__doc__", "__module__"):
                self.watched.append((itself, name, value))
                self.visit(value)
        for base in cls.__bases__:
            self.visit(base)

    def _visit_module(self, module: types.ModuleType) -> None:
        """A module that was registered to travel by value is watched like a class."""
        if id(module) in self._seen or not registered(module.__name__):
            return
        self._seen[id(module)] = module
        self.sizes.append((vars(module), len(vars(module))))
        for name, value in list(vars(module).items()):
            if not name.startswith("__"):
                self.watched.append((vars(module), name, value))
                if not isinstance(value, types.ModuleType):
                    self.visit(value)

    def sources(self) -> dict[str, tuple[str, str]]:
        """Text and title of files that the worker will not find on its disk: the cells of a notebook."""
        texts = {}
        for filename in {code.co_filename for code in self._codes}:
            lines = linecache.getlines(filename)
            if lines and not (os.path.isabs(filename) and os.path.exists(filename)):
                texts[filename] = ("".join(lines), cell_title(filename))
        return texts

    def blame(self, function: str, error: Exception) -> SerializationError:
        """The error of a function that cannot be pickled, naming the culprit when one can be found."""
        for said, value in reversed(self._named):  # what is found last lies deepest: the culprit, not who uses it
            reason = why_unpicklable(value)
            if reason:
                return SerializationError(f"{said} ({brief(value)}), which app {function} uses,", reason)
        return SerializationError(f"app {function}", f"{type(error).__name__}: {error}")
