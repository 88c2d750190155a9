"""Identify the arguments of a call, in the same way in every process.

``client`` calls this in the user's thread, in two cases. For an app with ``cache=True`` this module binds the arguments
to the parameters of the function. So ``f(1)``, ``f(x=1)`` and ``f(1, k=<its default>)`` are one call. For other calls
it takes the arguments as they are, and only when their pickle would differ in the next process. A future counts by its
place among the dependencies, not by its value, which does not exist yet.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from parslab.serialize.code.hashing import digest_of
from parslab.serialize.code.modules import by_reference, editable, sources_of
from parslab.serialize.failures import one_line
from parslab.serialize.identity.fingerprint import fingerprint_of
from parslab.serialize.identity.registry import Unidentified, atoms, id_for_memo
from parslab.serialize.identity.terms import Terms
from parslab.serialize.references import Constant, Path
from parslab.serialize.summaries import brief

if TYPE_CHECKING:
    import types

__all__ = ["ArgumentTerms", "Parameters", "id_for_memo", "identify_arguments"]

Refer = Callable[[Future[Any]], tuple[int, Path]]
OUTPUTS = "outputs"
"""The parameter for files that do not exist yet, so that only their names count."""


class ArgumentTerms(Terms):
    """Make terms of the arguments of a call.

    Parameters
    ----------
    refer
        ``future -> (place among the dependencies, path)``. None: futures have no identity.
    budget
        As in :class:`~parslab.serialize.identity.terms.Terms`.
    """

    def __init__(self, refer: Refer | None = None, budget: int | None = None) -> None:
        super().__init__(budget)
        self._refer = refer

    def callable_term(self, value: Any) -> Any:
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
    """Binds arguments to the parameters of one function, to identify its calls.

    Parameters
    ----------
    function
        The function that is called.
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
        except (TypeError, ValueError):  # some builtins have no signature
            return
        named = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
        self._positional = tuple(p.name for p in named if p.kind is not p.KEYWORD_ONLY)
        self._nameless = frozenset(p.name for p in named if p.kind is p.POSITIONAL_ONLY)
        self._defaults = {p.name: p.default for p in named if p.default is not p.empty}
        self._names = tuple(p.name for p in named if p.name not in self._ignored)

    def without(self, names: Collection[str]) -> Parameters:
        """Return a copy that ignores these parameters too."""
        key = frozenset(names)
        if not key:
            return self
        made = self._without.get(key)
        if made is None:
            # Not the constructor, which would examine the signature again.
            made = self._without[key] = object.__new__(Parameters)
            made._ignored = self._ignored | key
            made._positional, made._defaults = self._positional, self._defaults
            made._nameless, made._without = self._nameless, {}
            made._names = tuple(name for name in self._names if name not in key)
        return made

    def bound(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> tuple[list[tuple[str, Any]], tuple[Any, ...]]:
        """Return (name, value) pairs of all arguments that count, and the positional arguments that have no name."""
        names = self._positional
        if names is None:
            return sorted((name, value) for name, value in kwargs.items() if name not in self._ignored), args
        values = dict(self._defaults)
        values.update(zip(names, args, strict=False))
        if kwargs:
            if not (self._nameless.isdisjoint(kwargs) and kwargs.keys().isdisjoint(names[: len(args)])):
                # The call will fail with a TypeError, so it must not have the identity of a valid call.
                return [("*", args), *sorted(kwargs.items())], ()
            values.update(kwargs)
        given = [(name, values.pop(name)) for name in self._names if name in values]
        if values:
            # What is left are ignored parameters, and keywords for ``**kwargs``, which have no order of their own.
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
        """Return the identity of a call; with ``fingerprint``, the called function is part of it.

        Raises
        ------
        Unidentified
            An argument has none; the text names it.
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
    """Return the identity of arguments without binding them to parameters.

    Raises
    ------
    Unidentified
        An argument has none; the text names it.
    """
    return _identity(sorted(kwargs.items()), args, refer, budget, fingerprint)


def _identity(
    given: list[tuple[str, Any]], more: tuple[Any, ...], refer: Refer | None, budget: int | None, fingerprint: bytes
) -> bytes:
    if not given and not more:
        return _without_arguments(fingerprint)
    # Plain loops, because most calls have plain arguments, and all() with a generator would cost more.
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
    named = [(name, _argument_term(terms, name, value)) for name, value in given]
    rest = tuple(_argument_term(terms, n, value) for n, value in enumerate(more))
    return digest_of((named, rest, fingerprint))


@lru_cache(256)
def _without_arguments(fingerprint: bytes) -> bytes:
    """Return the identity of a call without arguments: nearly all such calls are of the same few functions."""
    return digest_of(([], (), fingerprint))


def _argument_term(terms: ArgumentTerms, name: str | int, value: Any) -> Any:
    try:
        return terms.term(value, name == OUTPUTS)
    except Unidentified as error:
        raise Unidentified(f"argument {name!r} ({brief(value)}): {error}") from None
    except Exception as error:  # of a property or a __getattr__ of the user
        raise Unidentified(f"argument {name!r} ({brief(value)}): {one_line(error)}") from error


@id_for_memo.register(object)
def _id_of_unregistered(value: Any, output_ref: bool = False) -> bytes:
    """Return the identity of a value whose type no user has registered."""
    try:
        return digest_of(ArgumentTerms().term(value, output_ref))
    except Unidentified as error:
        raise ValueError(str(error)) from None
