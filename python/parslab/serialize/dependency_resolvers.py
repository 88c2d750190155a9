"""Parsl's rules for where futures are looked for in the arguments of a call.

parslab itself finds futures at any depth, and a run without a ``dependency_resolver`` does not load this module. With a
resolver, its two functions see each argument, and each item of ``inputs``. They work in the notebook's process for
tasks that run there. For other tasks ``traverse_to_unwrap`` works on the worker: it sees done futures, as with Parsl.
"""

from __future__ import annotations

import functools
import io
import pickle
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from parslab.errors import SerializationError
from parslab.serialize.arguments import ArgumentDependencies, argument_pickler, pack_arguments
from parslab.serialize.future_types import is_future
from parslab.serialize.references import Path, resolve

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from parslab.wire.shared_memory import PlainBuffer

__all__ = [
    "DEEP_DEPENDENCY_RESOLVER",
    "SHALLOW_DEPENDENCY_RESOLVER",
    "DependencyResolver",
    "deep_traverse_to_gather",
    "deep_traverse_to_unwrap",
    "shallow_traverse_to_gather",
    "shallow_traverse_to_unwrap",
]


@functools.singledispatch
def shallow_traverse_to_gather(value: Any) -> Sequence[Future[Any]]:
    """Return the future, if the value is one."""
    return [value] if is_future(value) else []


@functools.singledispatch
def shallow_traverse_to_unwrap(value: Any) -> Any:
    """Return the result of a future, or the value itself."""
    return value.result() if is_future(value) else value


@functools.singledispatch
def deep_traverse_to_gather(value: Any) -> Sequence[Future[Any]]:
    """Return the futures in nested lists, tuples, sets and dictionaries, and in types that users register here."""
    return [value] if is_future(value) else []


@deep_traverse_to_gather.register(dict)
def _(value: dict[Any, Any]) -> Sequence[Future[Any]]:
    return [future for pair in value.items() for item in pair for future in deep_traverse_to_gather(item)]


@deep_traverse_to_gather.register(list)
@deep_traverse_to_gather.register(tuple)
@deep_traverse_to_gather.register(set)
def _(value: Any) -> Sequence[Future[Any]]:
    return [future for item in value for future in deep_traverse_to_gather(item)]


@functools.singledispatch
def deep_traverse_to_unwrap(value: Any) -> Any:
    """Return a value with results in place of the futures that :func:`deep_traverse_to_gather` finds."""
    return value.result() if is_future(value) else value


@deep_traverse_to_unwrap.register(dict)
def _(value: dict[Any, Any]) -> Any:
    return {deep_traverse_to_unwrap(key): deep_traverse_to_unwrap(item) for key, item in value.items()}


@deep_traverse_to_unwrap.register(list)
@deep_traverse_to_unwrap.register(tuple)
@deep_traverse_to_unwrap.register(set)
def _(value: Any) -> Any:
    items = map(deep_traverse_to_unwrap, value)
    # The constructor of a named tuple takes its items as single arguments.
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


_OURS = (shallow_traverse_to_gather, shallow_traverse_to_unwrap, deep_traverse_to_gather, deep_traverse_to_unwrap)
_OWN_TYPES = {function: frozenset(function.registry) for function in _OURS}


def _registrations(function: Any) -> dict[Any, Any]:
    """Return what users have registered with one of these functions: a worker imports it without that."""
    known = _OWN_TYPES.get(function)
    return {} if known is None else {kind: f for kind, f in function.registry.items() if kind not in known}


@dataclass(frozen=True)
class DependencyResolver:
    """A rule for where futures are looked for in the arguments of a call (Parsl: same name).

    Parameters
    ----------
    traverse_to_gather
        A function of an argument that returns the futures that the call waits for.
    traverse_to_unwrap
        A function of an argument that returns it with values in place of these futures. The futures are done.
    name
        The name of the constant that holds the rule, if there is one.
    """

    traverse_to_gather: Callable[[Any], Sequence[Future[Any]]]
    traverse_to_unwrap: Callable[[Any], Any]
    name: str = ""

    @property
    def any_depth(self) -> bool:
        """Whether futures beyond those of ``traverse_to_gather`` are dependencies, too."""
        return self.traverse_to_gather is deep_traverse_to_gather

    def each(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], call: Callable[[Any], Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what a function makes of each argument, and of each item of a list or tuple ``inputs``."""
        named = {}
        for name, value in kwargs.items():
            many = name == "inputs" and isinstance(value, (list, tuple))
            named[name] = type(value)(call(item) for item in value) if many else call(value)
        return tuple(call(value) for value in args), named

    def pack(
        self, args: tuple[Any, ...], kwargs: Mapping[str, Any], dependencies: ArgumentDependencies, app: str
    ) -> tuple[bytes, list[PlainBuffer]]:
        """Pack the arguments of a call for a worker; see :func:`~parslab.serialize.arguments.pack_arguments`."""
        if not self.any_depth or _registrations(self.traverse_to_gather):
            search = _Search(self, dependencies)
            args, kwargs = self.each(args, kwargs, search.replaced)
            if not self.any_depth:
                dependencies = _FoundOnly(dependencies, search.found, self, app)
        return pack_arguments(args, kwargs, dependencies, app)

    def __repr__(self) -> str:
        return self.name or f"DependencyResolver({self.traverse_to_gather!r}, {self.traverse_to_unwrap!r})"


class _Search:
    """The arguments of one call, as a resolver sees them."""

    def __init__(self, resolver: DependencyResolver, dependencies: ArgumentDependencies) -> None:
        self._resolver = resolver
        self._dependencies = dependencies
        self.found: set[int] = set()

    def replaced(self, value: Any) -> Any:
        """Return an argument in the form in which it is pickled."""
        futures = self._resolver.traverse_to_gather(value)
        self.found.update(map(id, futures))
        return value if not futures or is_future(value) else _Traversed(self._resolver, value, self._dependencies)


class _Traversed:
    """An argument with futures inside, which ``traverse_to_unwrap`` gets on the worker."""

    def __init__(self, resolver: DependencyResolver, value: Any, dependencies: ArgumentDependencies) -> None:
        self._resolver, self._value, self._dependencies = resolver, value, dependencies

    def __reduce__(self) -> tuple[Any, ...]:
        # A pickle of its own: the memo of the outer one may hold a future that was replaced by its value.
        stream = io.BytesIO()
        pickler: Any = argument_pickler()(stream, 5)
        pickler.dependencies = _DoneFutures(self._dependencies)
        pickler.dump(self._value)
        unwrap = self._resolver.traverse_to_unwrap
        return _unwrapped, (unwrap, _registrations(unwrap), stream.getvalue())


class _Delegating(ArgumentDependencies):
    """Passes everything on to the dependencies of a call; subclasses treat futures in another way."""

    __slots__ = ("_inner",)

    def __init__(self, inner: ArgumentDependencies) -> None:
        super().__init__(inner.refer)
        self._inner = inner

    @property
    def needs_identity(self) -> bool:
        return self._inner.needs_identity

    @needs_identity.setter
    def needs_identity(self, needs: bool) -> None:
        # The constructor of the base class sets the value, too, before there is an inner object.
        if needs:
            self._inner.needs_identity = True

    def refer(self, future: Future[Any]) -> tuple[int, Path]:
        return self._inner.refer(future)


class _DoneFutures(_Delegating):
    """Dependencies whose futures arrive as done futures, not as values."""

    __slots__ = ()

    def reduced(self, future: Future[Any]) -> tuple[Any, ...]:
        return _done_future, self.refer(future)


class _FoundOnly(_Delegating):
    """Dependencies that refuse the futures which a resolver has not found.

    Raises
    ------
    SerializationError
        From :meth:`refer`: a future cannot travel.
    """

    __slots__ = ("_app", "_found", "_resolver")

    def __init__(self, inner: ArgumentDependencies, found: set[int], resolver: DependencyResolver, app: str) -> None:
        super().__init__(inner)
        self._found, self._resolver, self._app = found, resolver, app

    def refer(self, future: Future[Any]) -> tuple[int, Path]:
        if id(future) not in self._found:
            raise SerializationError(
                f"a future inside an argument of app {self._app}",
                f"{self._resolver!r} does not look for futures there",
            )
        return super().refer(future)


def _done_future(place: int, path: Path = None) -> Future[Any]:
    """Return a done future with the value of a dependency; pickle calls this on the worker."""
    future: Future[Any] = Future()
    future.set_result(resolve(place, path))
    return future


def _unwrapped(unwrap: Any, registrations: Mapping[Any, Any], stream: bytes) -> Any:
    """Return the argument that ``traverse_to_unwrap`` makes; pickle calls this on the worker."""
    for kind, function in registrations.items():
        unwrap.register(kind, function)
    return unwrap(pickle.loads(stream))


SHALLOW_DEPENDENCY_RESOLVER = DependencyResolver(
    shallow_traverse_to_gather, shallow_traverse_to_unwrap, "SHALLOW_DEPENDENCY_RESOLVER"
)
"""Futures that are arguments themselves, or items of ``inputs``: the rule that Parsl has by default."""

DEEP_DEPENDENCY_RESOLVER = DependencyResolver(
    deep_traverse_to_gather, deep_traverse_to_unwrap, "DEEP_DEPENDENCY_RESOLVER"
)
"""Futures at any depth, in types that pickle can look into, and in those that users register."""
