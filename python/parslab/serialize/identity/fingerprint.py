"""Fingerprint a function: 16 bytes that are equal, in every process, for functions that do the same.

A fingerprint has named parts, so that an explanation can name the part that changed:

- the code, without file names, line numbers and docstrings that no instruction reads;
- defaults, captured values, attributes, and the globals that the function and its helpers use;
- classes of the notebook with their methods and bases, and the functions that apps wrap;
- the code of modules that are edited beside the notebook, and the versions of installed ones;
- the minor version of Python.

``functions`` makes one with each pickle, in the user's thread.
"""

from __future__ import annotations

import builtins
import contextlib
import sys
import types
from collections import OrderedDict, deque
from enum import Enum
from typing import TYPE_CHECKING, Any

from parslab.serialize.code.bytecode import code_term, global_names, imported_names
from parslab.serialize.code.captured_state import CapturedState, StateWatch
from parslab.serialize.code.hashing import digest_of
from parslab.serialize.code.modules import by_reference, editable, loaded_code, registered, sources_of, version_of
from parslab.serialize.functools_objects import DISPATCHER_ATTRIBUTES, is_dispatcher
from parslab.serialize.identity.registry import Unidentified
from parslab.serialize.identity.terms import Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from parslab.serialize.code.modules import Source

__all__ = ["Fingerprint", "fingerprint", "fingerprint_of"]

_ABSENT = {"missing": None}
_NOT_COUNTED = frozenset(
    {
        "__annotations_cache__",
        "__dict__",
        "__doc__",
        "__firstlineno__",
        "__module__",
        "__qualname__",
        "__slotnames__",
        "__static_attributes__",
        "__weakref__",
        "_abc_impl",
    }
)
"""Attributes of a class that depend on its place in the source, or that Python and pickle add."""
_METHODS = (types.FunctionType, staticmethod, classmethod, property)


class Fingerprint:
    """The fingerprint of a function as it is now.

    Attributes
    ----------
    digest
        16 bytes, equal for functions that do the same.
    parts
        8 bytes for each part, by name.
    sources
        The files of edited modules among the parts, by the name of the module.
    """

    __slots__ = ("_imported_digest", "digest", "parts", "sources")

    def __init__(self, function: Any, runner: Callable[..., Any] | None = None) -> None:
        graph = _Graph(function)
        if runner is not None:
            graph.add("runner", {"name": (runner.__module__, runner.__qualname__)})
        graph.complete()
        self.sources: dict[str, Source] = graph.sources
        self.parts = {label: digest[:8] for label, digest in graph.parts.items()}
        self.digest = digest_of(sorted(graph.parts.items()))
        self._imported_digest = b""

    def imported_digest(self) -> bytes:
        """Return the digest for calls that run in this process, with edited modules as this process imported them."""
        if not self._imported_digest:
            self._imported_digest = digest_of((self.digest, [loaded_code(name) for name in sorted(self.sources)]))
        return self._imported_digest


def fingerprint(function: Any, runner: Callable[..., Any] | None = None) -> tuple[bytes, dict[str, bytes]]:
    """Return the fingerprint of a function or class, and its parts.

    Parameters
    ----------
    function
        The function that a task calls.
    runner
        An importable callable that takes ``function`` as its first argument.

    Raises
    ------
    Unidentified
        The function uses something that has no identity; the text names it.
    """
    made = Fingerprint(function, runner)
    return made.digest, made.parts


_classes: OrderedDict[int, tuple[type, StateWatch, bytes]] = OrderedDict()
"""Fingerprints of classes, by id.  Each entry keeps its class alive, so that no other class gets the id."""
_CLASSES_KEPT = 64
"""The most fingerprints of classes in the cache: a notebook has few classes and many instances of them."""


def fingerprint_of(value: Any) -> bytes:
    """Return the fingerprint of a function or class among arguments; that of an unchanged class is cached."""
    if not isinstance(value, type):
        return Fingerprint(value).digest
    kept = _classes.get(id(value))
    if kept is not None and kept[1].is_current():
        with contextlib.suppress(KeyError):  # another thread may have removed it since the look-up
            _classes.move_to_end(id(value))
        return kept[2]
    captured = CapturedState()
    captured.visit(value)
    watch = StateWatch(captured)
    made = Fingerprint(value)
    watch.add_sources(made.sources)
    _classes[id(value)] = value, watch, made.digest
    while len(_classes) > _CLASSES_KEPT:
        _classes.popitem(last=False)
    return made.digest


class _PartTerms(Terms):
    """Make terms in which labels of parts replace functions and classes, which may refer to each other in cycles."""

    def __init__(self, graph: _Graph) -> None:
        super().__init__()
        self._graph = graph

    def callable_term(self, value: Any) -> Any:
        return self._graph.reference(value)

    def name_term(self, module: str, name: str) -> Any:
        return self._graph.by_name(module, name)

    def module_term(self, module: types.ModuleType) -> Any:
        return {"part": self._graph.module(module)}


class _Graph:
    """The parts of one function. The graph describes each part once, and other parts refer to it by its label."""

    def __init__(self, root: Any) -> None:
        self.parts: dict[str, bytes] = {}
        self.sources: dict[str, Source] = {}
        self._root = root
        self._labels: dict[int, tuple[str, Any]] = {}
        self._global_labels: dict[tuple[int, str], str] = {}
        self._taken: set[str] = set()
        self._todo: deque[tuple[str, Callable[[Any], Any], Any]] = deque()
        self._modules: list[str] = []
        self.add("python", {"python": sys.version_info[:2]})

    def add(self, label: str, term: Any) -> None:
        """Add a part."""
        self.parts[label] = digest_of(term)

    def complete(self) -> None:
        """Describe everything that the root refers to."""
        root = self._root
        self._label("body", root)
        if isinstance(root, types.FunctionType) and not by_reference(root):
            self._describe_root(root)
        elif isinstance(root, type) and not by_reference(root):
            self._describe("body", self._class, root)
        elif isinstance(root, (types.FunctionType, type)):
            self.add("body", self.by_name(root.__module__, root.__qualname__))
        else:
            self._describe("body", _PartTerms(self).term, root)
        while self._todo:
            self._describe(*self._todo.popleft())
        self.sources = sources_of(list(dict.fromkeys(self._modules)))
        for name, source in self.sources.items():
            self.add(f"module {name}", source.digest)

    def _describe(self, label: str, describe: Callable[[Any], Any], value: Any) -> None:
        try:
            self.add(label, describe(value))
        except Unidentified as error:
            raise Unidentified(f"{label}: {error}") from None

    # ----- labels

    def _unique(self, label: str) -> str:
        """Return the label with a number where another part has it: modules may use one name for different things."""
        made, count = label, 1
        while made in self._taken:
            count += 1
            made = f"{label} ({count})"
        self._taken.add(made)
        return made

    def _label(self, label: str, value: Any) -> str:
        label = self._unique(label)
        self._labels[id(value)] = label, value
        return label

    def reference(self, value: Any, label: str = "") -> Any:
        """Return the term that refers to a function or class, which is described later under its own label."""
        known = self._labels.get(id(value))
        if known is not None:
            return {"part": known[0]}
        if by_reference(value):
            return self.by_name(value.__module__, value.__qualname__)
        is_class = isinstance(value, type)
        if not label:
            label = f"{'class' if is_class else 'helper'} {getattr(value, '__name__', type(value).__name__)}"
        label = self._label(label, value)
        if isinstance(value, types.FunctionType):
            self._todo.append((label, self._function, value))
        elif is_class:
            self._todo.append((label, self._class, value))
        else:
            self._todo.append((label, _PartTerms(self).term, value))
        return {"part": label}

    def by_name(self, module: str, name: str) -> Any:
        """Return the term of an imported object: its name and the version; an edited module becomes a part itself."""
        if editable(module):
            self._modules.append(module)
        return {"name": (module, name, version_of(module))}

    def module(self, module: types.ModuleType) -> str:
        """Return the label of a module, which becomes a part."""
        name = module.__name__
        known = self._labels.get(id(module))
        if known is not None:
            return known[0]
        label = f"module {name}"
        if registered(name):
            label = self._label(label, module)
            self._todo.append((label, self._module_by_value, module))
        elif editable(name):
            self._modules.append(name)
        else:
            label = self._label(label, module)
            self.add(label, {"module": (name, version_of(name))})
        return label

    def _global(self, names: Mapping[str, Any], name: str) -> str | None:
        """Return the label of a global name's value; None for builtins."""
        key = id(names), name
        label = self._global_labels.get(key)
        if label is not None:
            return label
        value = names.get(name, _ABSENT)
        if value is _ABSENT and hasattr(builtins, name):
            return None
        label = self._global_labels[key] = self._labelled(name, value)
        return label

    def _labelled(self, name: str, value: Any) -> str:
        if isinstance(value, types.ModuleType):
            return self.module(value)
        is_app = getattr(type(value), "_parslab_app", False)
        if is_app or isinstance(value, (types.FunctionType, type)):
            kind = "app" if is_app else "class" if isinstance(value, type) else "helper"
            wanted = f"{kind} {name}"
            term = self.reference(value.__wrapped__ if is_app else value, wanted)
            if term.get("part", "").startswith((wanted, "body")):
                return str(term["part"])
            # The value is a part under another name.  This name becomes a part too, so that an explanation can use it.
            label = self._unique(wanted)
            self.add(label, term)
            return label
        label = self._unique(f"global {name}")
        if value is _ABSENT:
            self.add(label, _ABSENT)
        else:
            self._describe(label, _PartTerms(self).term, value)
        return label

    # ----- descriptions

    def _describe_root(self, function: types.FunctionType) -> None:
        """Describe the function itself, with a label for each of its parts, so that a change can be named."""
        term = _PartTerms(self).term
        code = function.__code__
        self.add("body", code_term(code))
        self._modules += imported_names(code)
        defaults = function.__defaults__ or ()
        positional = code.co_varnames[: code.co_argcount][code.co_argcount - len(defaults) :]
        keyword = function.__kwdefaults__ or {}
        for name, value in [*zip(positional, defaults, strict=True), *sorted(keyword.items())]:
            self._describe(f"default {name}", term, value)
        for name, value in _captured(function):
            self._describe(f"captured {name}", term, value)
        for name, value in _attributes(function):
            self._describe(f"attribute {name}", term, value)
        for name in global_names(code, []):
            self._global(function.__globals__, name)

    def _function(self, function: types.FunctionType) -> Any:
        term = _PartTerms(self).term
        self._modules += imported_names(function.__code__)
        used = [(name, self._global(function.__globals__, name)) for name in global_names(function.__code__, [])]
        return {
            "function": (
                code_term(function.__code__),
                term(function.__defaults__),
                term(function.__kwdefaults__),
                [(name, term(value)) for name, value in _captured(function)],
                term(dict(_attributes(function))),
                used,
            )
        }

    def _class(self, cls: type) -> Any:
        term = _PartTerms(self).term
        names: Mapping[str, Any] = vars(cls)
        if issubclass(cls, Enum):
            # The enum module adds names of its own to the class, so only the members and the methods count.
            members = [(name, term(member._value_)) for name, member in cls.__members__.items()]
            names = {name: value for name, value in names.items() if isinstance(value, _METHODS)}
        else:
            members = []
        attributes = [
            (name, self._attribute(value)) for name, value in sorted(names.items()) if name not in _NOT_COUNTED
        ]
        return {"class": (self.reference(type(cls)), [term(base) for base in cls.__bases__], attributes, members)}

    def _attribute(self, value: Any) -> Any:
        """Return the term of an attribute of a class. Methods belong to the class and are no parts of their own."""
        if isinstance(value, types.FunctionType):
            return self.reference(value) if by_reference(value) else self._function(value)
        if isinstance(value, (staticmethod, classmethod)):
            return {type(value).__name__: self._attribute(value.__func__)}
        if isinstance(value, property):
            return {"property": [self._attribute(accessor) for accessor in (value.fget, value.fset, value.fdel)]}
        return _PartTerms(self).term(value)

    def _module_by_value(self, module: types.ModuleType) -> Any:
        names = [(name, value) for name, value in sorted(vars(module).items()) if not name.startswith("__")]
        return {"module": [(name, _PartTerms(self).term(value)) for name, value in names]}


def _attributes(function: types.FunctionType) -> list[tuple[str, Any]]:
    """Return the attributes that users have given to a function."""
    made = DISPATCHER_ATTRIBUTES if is_dispatcher(function) else ()
    return sorted((name, value) for name, value in vars(function).items() if name not in made)


def _captured(function: types.FunctionType) -> list[tuple[str, Any]]:
    """Return the captured variables of a function with their values; Ellipsis where one has no value yet."""
    found: list[tuple[str, Any]] = []
    if is_dispatcher(function):
        # The other captured variables are a cache, and helpers that are the same in all single-dispatch functions.
        return [("registry", dict(vars(function)["registry"]))]
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found.append((name, cell.cell_contents))
        except ValueError:
            found.append((name, Ellipsis))
    return found
