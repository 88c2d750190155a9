"""The newest definition of each app, for tasks that run again after a cell has corrected their function.

An app is identified by its origin: module and qualified name.  A cell that runs again makes another app of the same
origin, and the newest one counts.  Lambdas and functions defined in functions have no origin, because their names do
not identify them: their tasks call the same function again.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from parslab.serialize.functions import AppFunction
    from parslab.wire.messages.base import TaskSpec

__all__ = ["JOIN", "DefinedApp", "define", "defined_now", "newest", "origin_of", "same_body", "specs_of"]

JOIN = "join_app"
"""The kind of apps whose body runs in this process and returns futures."""


class DefinedApp(Protocol):
    """The parts of an app that its definition consists of."""

    kind: str
    func: Callable[..., Any]
    code: AppFunction
    spec: TaskSpec | None


class _Origin:
    """The apps that were defined at one origin."""

    __slots__ = ("newest", "specs")

    def __init__(self) -> None:
        self.newest: weakref.ref[Any] | None = None
        self.specs: list[TaskSpec | None] = []
        """Their different resource specifications."""


_origins: dict[str, _Origin] = {}


def origin_of(function: Any) -> str:
    """Where a function is defined, ``module:name``; empty when its name does not identify it."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or "<" in name:
        return ""
    return f"{module}:{name}"


def define(app: DefinedApp) -> None:
    """Register a new app as the newest one of its origin."""
    name = origin_of(app.func)
    if name:
        origin = _origins.setdefault(name, _Origin())
        origin.newest = weakref.ref(app)
        if app.spec not in origin.specs:
            origin.specs.append(app.spec)


def defined_now(function: Any, join: bool) -> Any:
    """The function of the newest app of the same origin; ``function`` itself when that app is of another kind."""
    app = newest(origin_of(function))
    return function if app is None or (app.kind == JOIN) != join else app.func


def newest(name: str) -> DefinedApp | None:
    """The newest app of an origin, if it still exists."""
    origin = _origins.get(name)
    return None if origin is None or origin.newest is None else origin.newest()


def specs_of(name: str) -> tuple[TaskSpec | None, ...]:
    """The different resource specifications of all apps of an origin."""
    origin = _origins.get(name)
    return () if origin is None else tuple(origin.specs)


def same_body(one: Any, other: Any) -> bool:
    """Whether two functions have the same code, wherever it was written."""
    if one is other:
        return True
    first, second = getattr(one, "__code__", None), getattr(other, "__code__", None)
    return first is not None and second is not None and _text(first) == _text(second)


def _text(code: CodeType) -> tuple[Any, ...]:
    constants = [_text(c) if hasattr(c, "co_code") else (type(c), repr(c)) for c in code.co_consts]
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    return code.co_code, names, code.co_argcount, code.co_kwonlyargcount, code.co_flags, tuple(constants)
