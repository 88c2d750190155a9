"""Collect everything that a function captures, and notice when any of it changes.

A function of a notebook travels by value, together with the helpers and globals that it uses. Its pickle and its
fingerprint are stale as soon as a cell redefines one of them. :class:`CapturedState` walks over these objects once;
:class:`StateWatch` then checks before each call whether all are unchanged. It compares most of them by identity, which
costs well under a microsecond. Mutable values change without a new identity, so it compares their contents. The user's
thread runs this.
"""

from __future__ import annotations

import functools
import linecache
import os
import sys
import types
from collections.abc import Iterable, Mapping
from time import perf_counter
from typing import TYPE_CHECKING, Any

from parslab.serialize.cells import cell_title
from parslab.serialize.code.bytecode import global_names
from parslab.serialize.code.contents import Content
from parslab.serialize.code.modules import by_reference, registered
from parslab.serialize.functools_objects import CACHED_FUNCTION, DISPATCHER_ATTRIBUTES, is_dispatcher

if TYPE_CHECKING:
    from parslab.serialize.code.modules import Source

__all__ = ["LARGE", "CapturedState", "StateWatch"]

LARGE = 4 << 20
"""Bytes of a global that make each call noticeably slower, because each call compares it."""
_MISSING = object()
_IMMUTABLE = (
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
"""Types whose values are compared by identity alone."""
_ALWAYS_STAT = 16
"""Up to this many files are checked before every call; each check costs a microsecond."""
_STAT_SHARE = 20
"""More files are checked less often: the checks take one part in 20 of the time of a busy program."""


class StateWatch:
    """Notices when a function or class is no longer what it was.

    Parameters
    ----------
    captured
        What the function captured when it was pickled.

    Attributes
    ----------
    large
        (description, size in bytes) of every global and captured variable that is larger than ``LARGE``.

    Notes
    -----
    A place is compared with ``is``, not ``==``: that is fast, and runs no code of users.
    """

    __slots__ = ("_next_stat", "_sizes", "_sources", "_volatile", "_watched", "large")

    def __init__(self, captured: CapturedState) -> None:
        self._watched, self._sizes = captured.watched, captured.sizes
        self._volatile = [Content(value) for value in captured.volatile]
        sizes = {id(value): content.size for value, content in zip(captured.volatile, self._volatile, strict=True)}
        measured = [(description, sizes.get(id(value)) or _size(value)) for description, value in captured.named]
        self.large = [(description, size) for description, size in measured if size > LARGE]
        self._sources: tuple[Source, ...] = ()
        self._next_stat = 0.0

    def add_sources(self, sources: Mapping[str, Source]) -> None:
        """Watch the files of these modules too, and whether the modules are imported again."""
        self._sources = tuple(sources.values())
        for name in sources:
            module = sys.modules.get(name)
            if module is not None:  # importlib.reload gives the module a new __spec__
                self._watched.append((vars(module), "__spec__", module.__spec__))

    def compare_with(self, payload: bytes, places: Iterable[tuple[int, int]]) -> None:
        """Compare large buffers with those in a pickle of the function (see ``Content``)."""
        for content in self._volatile:
            content.compare_with(payload, places)

    def is_current(self) -> bool:
        """Return whether everything is unchanged."""
        for where, name, value in self._watched:
            if where.get(name, _MISSING) is not value:
                return False
        return not (self._volatile or self._sizes or self._sources) or self._unchanged()

    def _unchanged(self) -> bool:
        for names, size in self._sizes:
            if len(names) != size:
                return False
        for content in self._volatile:
            if not content.is_unchanged():
                return False
        return not self._sources or self._files_unchanged()

    def _files_unchanged(self) -> bool:
        begun = perf_counter()
        if begun < self._next_stat:
            return True
        same = all(source.unchanged() for source in self._sources)
        ended = perf_counter()
        if len(self._sources) > _ALWAYS_STAT:
            self._next_stat = ended + (ended - begun) * _STAT_SHARE
        return same


def _size(value: Any) -> int:
    """Return the size of a value that identity alone compares."""
    return len(value) if type(value) in (bytes, str) else value.nbytes if _is_constant_array(value) else 0


def _is_constant_array(value: Any) -> bool:
    """Return whether a value is a read-only array that owns its items, so that no code changes them in place."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and type(value) is numpy.ndarray and not value.flags.writeable and value.flags.owndata


class _Namespace(Mapping[str, Any]):
    """Attributes of an object as a mapping, so that every watched place looks alike."""

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
    """Walks over everything that a by-value pickle of a function holds.

    Attributes
    ----------
    watched
        (namespace, name, value) of every place whose value must stay the same object.
    sizes
        Namespaces that travel as a whole, with the number of their names: a new name changes it.
    volatile
        Mutable values, which are compared by their content.
    named
        (description, value) of every global and captured variable, the outermost first.
    """

    def __init__(self) -> None:
        self.watched: list[tuple[Mapping[Any, Any], Any, Any]] = []
        self.sizes: list[tuple[Mapping[Any, Any], int]] = []
        self.volatile: list[Any] = []
        self.named: list[tuple[str, Any]] = []
        self._codes: list[types.CodeType] = []
        self._seen: dict[int, Any] = {}

    def visit(self, value: Any) -> None:
        """Watch ``value`` and everything that it captures."""
        if id(value) in self._seen or isinstance(value, _IMMUTABLE):
            return
        self._seen[id(value)] = value  # keeps the value alive, so that no other object gets its id
        if isinstance(value, types.FunctionType):
            if by_reference(value):
                return
            if is_dispatcher(value):
                self._visit_dispatcher(value)
            else:
                self._visit_function(value)
        elif isinstance(value, types.MethodType):
            self.visit(value.__func__)
            self.visit(value.__self__)
        elif isinstance(value, (staticmethod, classmethod)):
            self.visit(value.__func__)
        elif isinstance(value, property):
            for accessor in (value.fget, value.fset, value.fdel):
                self.visit(accessor)
        elif isinstance(value, functools.cached_property):
            self.visit(value.func)
        elif isinstance(value, CACHED_FUNCTION):
            if not by_reference(value):
                self.visit(value.__wrapped__)
        elif isinstance(value, type):
            if not by_reference(value):
                self._visit_class(value)
        elif isinstance(value, (tuple, frozenset)):
            for item in value:
                self.visit(item)
        elif getattr(type(value), "_parslab_app", False):
            self.visit(value.__wrapped__)
        elif not _is_constant_array(value):
            self.volatile.append(value)

    def _watch(self, where: Mapping[str, Any], name: str, description: str) -> None:
        value = where.get(name, _MISSING)
        self.watched.append((where, name, value))
        if value is not _MISSING:
            self.named.append((description, value))
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

    def _visit_dispatcher(self, function: Any) -> None:
        """Watch the implementations of a single-dispatch function; its cache of types is not part of it."""
        registry = function.registry
        self.sizes += [(registry, len(registry)), (vars(function), len(vars(function)))]
        self.watched += [(registry, kind, implementation) for kind, implementation in registry.items()]
        for name, value in list(vars(function).items()):
            if name not in DISPATCHER_ATTRIBUTES:
                self.watched.append((vars(function), name, value))
                self.visit(value)
        for kind, implementation in list(registry.items()):
            self.visit(kind)
            self.visit(implementation)

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
        """Watch a module that is registered to travel by value, as if it were a class."""
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
        """Return text and title of the files that a worker will not find on its disk: the cells of a notebook."""
        texts = {}
        for filename in {code.co_filename for code in self._codes}:
            lines = linecache.getlines(filename)
            if lines and not (os.path.isabs(filename) and os.path.exists(filename)):
                texts[filename] = ("".join(lines), cell_title(filename))
        return texts
