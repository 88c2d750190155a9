"""Pickle objects of ``functools``: cached functions, cached properties and single-dispatch functions.

Pickle sends a cached function by its name, which does not exist on a worker, and cannot pickle the other two. This
module sends each as the functions that it wraps. A cache arrives empty, and belongs to the worker, not to one app: two
apps that use ``load_model``, or an app that the user defines again, load the model once per worker.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FunctionType

__all__ = [
    "CACHED_FUNCTION",
    "DISPATCHER_ATTRIBUTES",
    "is_dispatcher",
    "reduce_cached_function",
    "reduce_cached_property",
    "reduce_dispatcher",
]

CACHED_FUNCTION = type(functools.lru_cache(lambda: None))
DISPATCHER_ATTRIBUTES = frozenset({"_clear_cache", "dispatch", "register", "registry"})
"""Attributes that ``functools.singledispatch`` gives to each function that it makes."""
_DISPATCHER_CODE = functools.singledispatch(lambda _: None).__code__  # type: ignore[attr-defined]
_ATTRIBUTES = ("__module__", "__name__", "__qualname__", "__doc__")

_caches: dict[tuple[str, str], tuple[bytes, Any]] = {}
"""Cached functions of this worker, by module and name, each with the key of its contents.

The newest of a name replaces the older one, so that results of a function that was edited do not stay in memory.
"""


def is_dispatcher(function: FunctionType) -> bool:
    """Return whether ``functools.singledispatch`` made a function."""
    # Such functions have no type of their own, but all of them share one code object.
    return function.__code__ is _DISPATCHER_CODE


def reduce_cached_function(cached: Any, key: bytes) -> tuple[Any, ...]:
    """Reduce a function with a cache, for pickle.

    Parameters
    ----------
    cached
        Made by ``functools.lru_cache`` or ``functools.cache``.
    key
        Bytes that are equal for functions that do the same. With an empty key each pickle makes a cache of its own.
    """
    parameters = cached.cache_parameters()
    return _cached_function, (cached.__wrapped__, parameters["maxsize"], parameters["typed"], key, dict(vars(cached)))


def _cached_function(
    function: Callable[..., Any], maxsize: int | None, typed: bool, key: bytes, attributes: Mapping[str, Any]
) -> Any:
    name = str(attributes.get("__module__", function.__module__)), function.__qualname__
    known = _caches.get(name)
    if key and known is not None and known[0] == key:
        return known[1]
    cached = functools.lru_cache(maxsize, typed)(function)
    vars(cached).update(attributes)
    if key:
        _caches[name] = key, cached
    return cached


def reduce_cached_property(prop: Any) -> tuple[Any, ...]:
    """Reduce a ``functools.cached_property``, for pickle; its lock (before Python 3.12) does not travel."""
    return _cached_property, (prop.func, prop.attrname)


def _cached_property(function: Callable[..., Any], name: str | None) -> Any:
    prop: Any = functools.cached_property(function)
    prop.attrname = name
    return prop


def reduce_dispatcher(function: Any) -> tuple[Any, ...]:
    """Reduce a single-dispatch function, for pickle.

    Its implementations are its state: pickle sets a state after it has made the object, to which they may refer.
    """
    registry = dict(function.registry)
    default = registry.pop(object)
    more = {name: value for name, value in vars(function).items() if name not in DISPATCHER_ATTRIBUTES}
    more.update({name: getattr(function, name) for name in _ATTRIBUTES})
    return _dispatcher, (default,), (list(registry.items()), more), None, None, _register


def _dispatcher(default: Callable[..., Any]) -> Any:
    return functools.singledispatch(default)


def _register(dispatcher: Any, state: tuple[list[tuple[type, Callable[..., Any]]], Mapping[str, Any]]) -> None:
    implementations, attributes = state
    for kind, implementation in implementations:
        dispatcher.register(kind, implementation)
    for name, value in attributes.items():
        setattr(dispatcher, name, value)
