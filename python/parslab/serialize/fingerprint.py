"""What a function means, the same in every process: its fingerprint, and the parts that it is made of by name.

Counted are: code (not where it stands, nor a docstring that nothing reads), defaults, captured values, attributes, the
globals that it and its helpers use, classes of the notebook with their methods and bases, what apps run, modules that
are edited beside the notebook with their code, installed ones with their version, and the minor version of Python.
Called by ``functions`` when it makes a pickle, in the user's thread.
"""

from __future__ import annotations

import builtins
import contextlib
import sys
import types
from collections import OrderedDict, deque
from enum import Enum
from typing import TYPE_CHECKING, Any

from parslab.serialize.bytecode import code_term, global_names, imported_names
from parslab.serialize.captured_state import CapturedState, StateWatch
from parslab.serialize.identity import Terms, Unidentified, digest_of
from parslab.serialize.modules import by_reference, editable, loaded_code, registered, sources_of, version_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from parslab.serialize.modules import Source

__all__ = ["Fingerprint", "fingerprint", "fingerprint_of"]

_ABSENT = {"missing": None}
_NOT_MEANT = frozenset(
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
"""Of a class: where it stands, and what Python or pickle noted down in it."""
_METHODS = (types.FunctionType, staticmethod, classmethod, property)


class Fingerprint:
    """Of a function as it was when this was made.

    Attributes
    ----------
    digest
        16 bytes, equal for functions that mean the same.
    parts
        8 bytes for each thing that it is made of, by name.
    sources
        The files among them, by the name of the module.
    """

    __slots__ = ("_here", "digest", "parts", "sources")

    def __init__(self, function: Any, runner: Callable[..., Any] | None = None) -> None:
        graph = _Graph(function)
        if runner is not None:
            graph.add("runner", {"name": (runner.__module__, runner.__qualname__)})
        graph.complete()
        self.sources: dict[str, Source] = graph.sources
        self.parts = {label: digest[:8] for label, digest in graph.parts.items()}
        self.digest = digest_of(sorted(graph.parts.items()))
        self._here = b""

    def here(self) -> bytes:
        """The same for calls that run in this process, which may have imported other versions than lie on the disk."""
        if not self._here:
            self._here = digest_of((self.digest, [loaded_code(name) for name in sorted(self.sources)]))
        return self._here


def fingerprint(function: Any, runner: Callable[..., Any] | None = None) -> tuple[bytes, dict[str, bytes]]:
    """The fingerprint of a function or class, and its parts.

    Parameters
    ----------
    function
        What a task calls.
    runner
        An importable callable that gets it as its first argument.

    Raises
    ------
    Unidentified
        It uses something that cannot be told from others; the text names it.
    """
    made = Fingerprint(function, runner)
    return made.digest, made.parts


_classes: OrderedDict[int, tuple[type, StateWatch, bytes]] = OrderedDict()
_KEPT = 64
"""Classes whose fingerprint is kept, and they with it: those of a notebook are few, and their instances are many."""


def fingerprint_of(value: Any) -> bytes:
    """The fingerprint of a function or class that stands in arguments; of a class made again only when it changed."""
    if not isinstance(value, type):
        return Fingerprint(value).digest
    kept = _classes.get(id(value))
    if kept is not None and kept[1].holds():
        with contextlib.suppress(KeyError):  # another thread may just have let go of it
            _classes.move_to_end(id(value))
        return kept[2]
    census = CapturedState()
    census.visit(value)
    watch = StateWatch(census)
    made = Fingerprint(value)
    watch.also(made.sources)
    _classes[id(value)] = value, watch, made.digest
    while len(_classes) > _KEPT:
        _classes.popitem(last=False)
    return made.digest


class _PartTerms(Terms):
    """Terms in which functions and classes are names of parts."""

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
    """The parts of one function: each is described once, and others refer to it by its label."""

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
        """Put a part in."""
        self.parts[label] = digest_of(term)

    def complete(self) -> None:
        """Describe everything that the root leads to."""
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
        """Names may stand for different things in different modules."""
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
        """What stands for a function or class where it is used; it is described later, under a label of its own."""
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
        """The term of what is imported: of an installed module with its version, else with the module's code."""
        if editable(module):
            self._modules.append(module)
        return {"name": (module, name, version_of(module))}

    def module(self, module: types.ModuleType) -> str:
        """The label of a module, which becomes a part."""
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
        """The label of what a global name stands for; None for what Python has built in."""
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
        """The function itself: each of its parts by a name of its own, so that a change of one can be told."""
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
        for name, value in sorted(vars(function).items()):
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
                term(dict(vars(function))),
                used,
            )
        }

    def _class(self, cls: type) -> Any:
        term = _PartTerms(self).term
        names: Mapping[str, Any] = vars(cls)
        if issubclass(cls, Enum):
            members = [(name, term(member._value_)) for name, member in cls.__members__.items()]
            names = {name: value for name, value in names.items() if isinstance(value, _METHODS)}
        else:
            members = []
        attributes = [(name, self._attribute(value)) for name, value in sorted(names.items()) if name not in _NOT_MEANT]
        return {"class": (self.reference(type(cls)), [term(base) for base in cls.__bases__], attributes, members)}

    def _attribute(self, value: Any) -> Any:
        """What a class holds; its methods belong to it, and are no parts of their own."""
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


def _captured(function: types.FunctionType) -> list[tuple[str, Any]]:
    """The captured variables of a function with their values; one may have none yet."""
    found: list[tuple[str, Any]] = []
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found.append((name, cell.cell_contents))
        except ValueError:
            found.append((name, Ellipsis))
    return found
