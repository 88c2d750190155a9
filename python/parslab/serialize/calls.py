"""What a call is, the same in every process: the identity of its arguments.

Called by ``client`` in the user's thread: for every call of an app that remembers results, bound to the parameters of
its function, so that ``f(1)``, ``f(x=1)`` and ``f(1, k=<its default>)`` are one call; and for calls whose pickled
arguments would be others in the next process. Futures count by their place among the dependencies, not by their
values.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from parslab.serialize.arguments import brief
from parslab.serialize.identity import Terms, Unidentified, atoms, digest_of
from parslab.serialize.modules import by_reference, editable, sources_of
from parslab.serialize.references import Constant, Path

if TYPE_CHECKING:
    import types

__all__ = ["ArgumentTerms", "Parameters", "identify_arguments"]

Refer = Callable[[Future[Any]], tuple[int, Path]]
OUTPUTS = "outputs"
"""The parameter whose files are yet to be written: they count by their names."""


class ArgumentTerms(Terms):
    """Terms of what a call is given.

    Parameters
    ----------
    refer
        ``future -> (place among the dependencies, path)``; None: futures have no identity.
    budget
        As in :class:`~parslab.serialize.identity.Terms`.
    """

    def __init__(self, refer: Refer | None = None, budget: int | None = None) -> None:
        super().__init__(budget)
        self._refer = refer

    def callable_term(self, value: Any) -> Any:
        from parslab.serialize.fingerprint import fingerprint_of

        if not by_reference(value):
            return {"fingerprint": fingerprint_of(value)}
        module = value.__module__
        if not editable(module):
            return self.name_term(module, value.__qualname__)
        return {"edited": (module, value.__qualname__, self._edited(module))}

    def module_term(self, module: types.ModuleType) -> Any:
        return {"edited": self._edited(module.__name__)} if editable(module.__name__) else super().module_term(module)

    def _edited(self, module: str) -> list[tuple[str, bytes]]:
        sources = sources_of([module])
        return [(name, sources[name].digest) for name in sorted(sources)]

    def future_term(self, future: Future[Any]) -> Any:
        if self._refer is None:
            return super().future_term(future)
        place, path = self._refer(future)
        if isinstance(path, Constant):
            return {"made": (place, self.term(path.value, True))}
        return {"future": (place, () if path is None else self.term(tuple(path)))}


class Parameters:
    """How the calls of one function are told apart.

    Parameters
    ----------
    function
        What is called.
    ignored
        Names of parameters that do not count.
    """

    __slots__ = ("_defaults", "_ignored", "_nameless", "_names", "_positional", "_without")

    def __init__(self, function: Callable[..., Any], ignored: Collection[str] = ()) -> None:
        self._ignored = frozenset(ignored)
        self._positional: tuple[str, ...] | None = None
        self._defaults: dict[str, Any] = {}
        self._names: tuple[str, ...] = ()
        self._nameless: frozenset[str] = frozenset()
        self._without: dict[frozenset[str], Parameters] = {}
        try:
            parameters = inspect.signature(function).parameters.values()
        except (TypeError, ValueError):  # some builtins do not tell
            return
        named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        self._positional = tuple(p.name for p in named if p.kind is not p.KEYWORD_ONLY)
        self._nameless = frozenset(p.name for p in named if p.kind is p.POSITIONAL_ONLY)
        self._defaults = {p.name: p.default for p in named if p.default is not p.empty}
        self._names = tuple(p.name for p in named if p.name not in self._ignored)

    def without(self, names: Collection[str]) -> Parameters:
        """The same, without some parameters more."""
        key = frozenset(names)
        if not key:
            return self
        made = self._without.get(key)
        if made is None:
            made = self._without[key] = object.__new__(Parameters)
            made._ignored = self._ignored | key
            made._positional, made._defaults = self._positional, self._defaults
            made._nameless, made._without = self._nameless, {}
            made._names = tuple(name for name in self._names if name not in key)
        return made

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[list[tuple[str, Any]], tuple[Any, ...]]:
        """(name, value) of everything that counts, and positional arguments that have no name."""
        names = self._positional
        if names is None:
            return sorted((name, value) for name, value in kwargs.items() if name not in self._ignored), args
        values = dict(self._defaults)
        values.update(zip(names, args, strict=False))
        if kwargs:
            if not (self._nameless.isdisjoint(kwargs) and kwargs.keys().isdisjoint(names[: len(args)])):
                # The function will refuse it: it must not be taken for a call that is right.
                return [("*", args), *sorted(kwargs.items())], ()
            values.update(kwargs)
        given = [(name, values.pop(name)) for name in self._names if name in values]
        if values:
            more = sorted(name for name in values if name not in self._ignored)
            given += [(name, values[name]) for name in more]
        return given, args[len(names) :]

    def identify(
        self,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        refer: Refer | None = None,
        budget: int | None = None,
        fingerprint: bytes = b"",
    ) -> bytes:
        """The identity of a call, with that of what is called where a ``fingerprint`` is given.

        Raises
        ------
        Unidentified
            Naming the argument that has none.
        """
        given, more = self.bound(args, kwargs)
        return _identity(given, more, refer, budget, fingerprint)


def identify_arguments(
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    refer: Refer | None = None,
    budget: int | None = None,
    fingerprint: bytes = b"",
) -> bytes:
    """The identity of arguments as they are given, whatever the function makes of them.

    Raises
    ------
    Unidentified
        Naming the argument that has none.
    """
    return _identity(sorted(kwargs.items()), args, refer, budget, fingerprint)


def _identity(
    given: list[tuple[str, Any]], more: tuple[Any, ...], refer: Refer | None, budget: int | None, fingerprint: bytes
) -> bytes:
    plain = atoms()
    for _, value in given:
        if type(value) not in plain:
            break
    else:
        for value in more:
            if type(value) not in plain:
                break
        else:
            return digest_of((given, more, fingerprint))
    terms = ArgumentTerms(refer, budget)
    told = [(name, _told(terms, name, value)) for name, value in given]
    rest = tuple(_told(terms, n, value) for n, value in enumerate(more))
    return digest_of((told, rest, fingerprint))


def _told(terms: ArgumentTerms, name: str | int, value: Any) -> Any:
    try:
        return terms.term(value, name == OUTPUTS)
    except Unidentified as error:
        raise Unidentified(f"argument {name!r} ({brief(value)}): {error}") from None
