"""Register the newest definition of each app, for tasks that run again after the user has corrected their function.

The origin of an app, its module and qualified name, identifies it.  A cell that runs again makes another app of the
same origin, and the newest one counts.  Lambdas and functions defined in functions have no origin, because their names
do not identify them.  A retry of their tasks calls the same function again.
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
    """The attributes of an app that this module uses."""

    kind: str
    func: Callable[..., Any]
    code: AppFunction
    spec: TaskSpec | None


class _Origin:
    """The apps of one origin."""

    __slots__ = ("newest", "specs")

    def __init__(self) -> None:
        self.newest: weakref.ref[Any] | None = None
        self.specs: list[TaskSpec | None] = []
        """Their different resource specifications."""


_origins: dict[str, _Origin] = {}


def origin_of(function: Any) -> str:
    """Return the origin of a function, ``module:name``; empty when its name does not identify it."""
    # Qualified names of lambdas and of functions in functions contain "<lambda>" or "<locals>".
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or "<" in name:
        return ""
    return f"{module}:{name}"


def define(app: DefinedApp) -> None:
    """Register a new app as the newest one of its origin."""
    name = origin_of(app.func)
    if name:
        origin = _origins.setdefault(name, _Origin())
        origin.newest = weakref.ref(app)  # weak: a retry must not call an app that the user has deleted
        if app.spec not in origin.specs:
            origin.specs.append(app.spec)


def defined_now(function: Any, join: bool) -> Any:
    """Return the function of the newest app of the same origin; ``function`` itself if that app has another kind."""
    app = newest(origin_of(function))
    return function if app is None or (app.kind == JOIN) != join else app.func


def newest(name: str) -> DefinedApp | None:
    """Return the newest app of an origin; None when it does not exist any more."""
    origin = _origins.get(name)
    return None if origin is None or origin.newest is None else origin.newest()


def specs_of(name: str) -> tuple[TaskSpec | None, ...]:
    """Return the different resource specifications of all apps of an origin."""
    origin = _origins.get(name)
    return () if origin is None else tuple(origin.specs)


def same_body(one: Any, other: Any) -> bool:
    """Return whether two functions have the same code, in whichever cell and line it was written."""
    if one is other:
        return True
    first, second = getattr(one, "__code__", None), getattr(other, "__code__", None)
    return first is not None and second is not None and _text(first) == _text(second)


def _text(code: CodeType) -> tuple[Any, ...]:
    # Not ``==`` of code objects, which compares line numbers. Constants by type and repr, because 1 == 1.0 == True.
    constants = [_text(c) if hasattr(c, "co_code") else (type(c), repr(c)) for c in code.co_consts]
    names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
    return code.co_code, names, code.co_argcount, code.co_kwonlyargcount, code.co_flags, tuple(constants)
