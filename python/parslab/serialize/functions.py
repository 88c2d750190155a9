"""Functions as they are now: pickled once, and again when something that their pickle holds has changed.

A function of a notebook travels by value, with the helpers and globals it uses. Its pickle is stale when a cell
redefined one of them. :class:`Function` remembers what the pickle was made of as (where, name, object) triples and
compares identities before each call, which costs well under a microsecond; mutable globals cannot be watched so, and
are pickled and compared each time. Called in the user's thread only.
"""

from __future__ import annotations

import dis
import hashlib
import linecache
import os
import pickle
import sys
import types
import weakref
from collections.abc import Callable, Mapping
from typing import Any

from parslab.errors import SerializationError
from parslab.serialize.arguments import brief, why_unpicklable
from parslab.serialize.cells import cell_title, learn

__all__ = ["Function", "Pickled", "load_function"]

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


class Pickled:
    """One pickle of a function, known everywhere by its digest."""

    __slots__ = ("__weakref__", "digest", "name", "payload")

    def __init__(self, name: str, payload: bytes) -> None:
        self.name = name
        self.payload = payload
        self.digest = hashlib.blake2b(payload, digest_size=16).digest()


_alive: weakref.WeakValueDictionary[bytes, Pickled] = weakref.WeakValueDictionary()


class Function:
    """The function of an app, and the pickle of what it is at the moment of a call.

    Parameters
    ----------
    function
        What the user decorated.
    runner
        An importable callable; the worker then calls ``runner(function, *args, **kwargs)``.
    name
        What the panel shows; the function's own name by default.
    """

    __slots__ = ("_pickled", "_sizes", "_volatile", "_watched", "function", "name", "runner")

    def __init__(self, function: Callable[..., Any], runner: Callable[..., Any] | None = None, name: str = "") -> None:
        self.function = function
        self.runner = runner
        self.name = name or getattr(function, "__name__", type(function).__name__)
        self._pickled: Pickled | None = None
        self._watched: list[tuple[Mapping[str, Any], str, Any]] = []
        self._sizes: list[tuple[Mapping[str, Any], int]] = []
        self._volatile: list[tuple[Any, bytes]] = []

    def current(self) -> Pickled:
        """The pickle of the function as it is now.

        Raises
        ------
        SerializationError
            Naming the global or captured variable that cannot travel.
        """
        pickled = self._pickled
        if pickled is not None:
            for where, name, value in self._watched:
                if where.get(name, _MISSING) is not value:
                    break
            else:
                if not (self._volatile or self._sizes) or self._unchanged():
                    return pickled
        return self._pickle()

    def _unchanged(self) -> bool:
        return all(len(names) == size for names, size in self._sizes) and all(
            _digest(value) == digest for value, digest in self._volatile
        )

    def _pickle(self) -> Pickled:
        import cloudpickle

        census = _Census()
        census.visit(self.function)
        # First watch, then pickle: a change in between makes the pickle look stale, never fresh.
        self._watched, self._sizes = census.watched, census.sizes
        self._volatile = [(value, _digest(value)) for value in census.volatile]
        try:
            payload = cloudpickle.dumps((self.runner, self.function, census.sources()), 5)
        except Exception as error:
            self._pickled = None
            raise census.blame(self.name, error) from error
        pickled = self._pickled
        if pickled is None or pickled.payload != payload:
            pickled = Pickled(self.name, payload)
            # A cell that is run again makes the same function: one pickle for both, so that the end of the older one
            # does not make the run forget the number that a call of the newer one is about to name.
            pickled = self._pickled = _alive.setdefault(pickled.digest, pickled)
        return pickled


def load_function(payload: bytes) -> Callable[..., Any]:
    """On the worker: the callable, with the source lines of its cells put where tracebacks look for them."""
    runner, function, sources = pickle.loads(payload)
    for filename, (text, title) in sources.items():
        learn(filename, text, title)
    if runner is None:
        return function  # type: ignore[no-any-return]

    def call(*args: Any, **kwargs: Any) -> Any:
        return runner(function, *args, **kwargs)

    return call


def _digest(value: Any) -> bytes:
    import cloudpickle

    try:
        return hashlib.blake2b(cloudpickle.dumps(value, 5), digest_size=16).digest()
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


class _Census:
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
            if not _by_reference(value):
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
            if not _by_reference(value):
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
        for name in _global_names(function.__code__, self._codes):
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
        if id(module) in self._seen or not _registered(module.__name__):
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


def _global_names(code: types.CodeType, codes: list[types.CodeType]) -> list[str]:
    """Global names that a code object and those nested in it read; each visited code object joins ``codes``."""
    codes.append(code)
    names = [i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names += _global_names(constant, codes)
    return list(dict.fromkeys(names))


def _registered(module: str) -> bool:
    import cloudpickle

    registered = cloudpickle.list_registry_pickle_by_value()
    while module:
        if module in registered:
            return True
        module = module.rpartition(".")[0]
    return False


def _by_reference(value: Any) -> bool:
    """Whether cloudpickle would send only the name: importable, unchanged there, not registered to go by value."""
    name = getattr(value, "__module__", None)
    if not name or name == "__main__" or _registered(name):
        return False
    owner: Any = sys.modules.get(name)
    for part in value.__qualname__.split("."):
        owner = getattr(owner, part, None)
    return owner is value
