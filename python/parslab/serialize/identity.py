"""What a value is, the same in every process: its identity.

Pickles differ between processes where values are equal (order of sets, names that classes of a notebook get, files of
cells), so results are remembered and found again by identities. A value becomes a *term*, which is made of what
marshal writes in one way only: numbers, texts, bytes, lists and tuples of terms stand for themselves, anything else is
a dict with one item, ``{what it is: its parts}``. :class:`Terms` makes terms; users add types of their own to
:func:`id_for_memo`.
"""

from __future__ import annotations

import copyreg
import functools
import hashlib
import marshal
import types
from collections import OrderedDict
from concurrent.futures import Future
from enum import Enum
from typing import TYPE_CHECKING, Any

from parslab.serialize.bytecode import code_term
from parslab.serialize.modules import by_reference
from parslab.serialize.values import ATOMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Terms", "Unidentified", "atoms", "digest_of", "id_for_memo"]

_VERSION = 2
"""Of marshal: the last one without references, which tell whether two equal texts are one object."""
_CALLABLE = (types.FunctionType, type)
_IN_TERM = 4096
"""Longer data are hashed by themselves, so that a term never holds a copy of an array."""


class Unidentified(Exception):
    """A value has no identity; the text says why, and what to do."""


@functools.singledispatch
def id_for_memo(value: Any, output_ref: bool = False) -> bytes:
    """What tells a value from others when results are remembered (Parsl: same name).

    Register a function here for a type that has no identity by itself, or whose values shall count as equal when
    something less than all of them is.

    Parameters
    ----------
    value
        The value.
    output_ref
        Whether it stands in ``outputs``: then it is what will be written, and only its name counts.

    Returns
    -------
    bytes
        Equal for equal values, in every process.

    Raises
    ------
    ValueError
        The value cannot be identified.

    Examples
    --------
    >>> @id_for_memo.register(Connection)  # doctest: +SKIP
    ... def _(connection, output_ref=False):
    ...     return id_for_memo(connection.url)
    """
    from parslab.serialize.calls import ArgumentTerms

    try:
        return digest_of(ArgumentTerms().term(value, output_ref))
    except Unidentified as error:
        raise ValueError(str(error)) from None


_registered = id_for_memo.registry


def atoms() -> frozenset[Any]:
    """Types whose values are terms as they are: those for which no user has said otherwise."""
    return ATOMS if len(_registered) == 1 else ATOMS - _registered.keys()


def digest_of(term: Any, size: int = 16) -> bytes:
    """The hash of a term."""
    return hashlib.blake2b(marshal.dumps(term, _VERSION), digest_size=size).digest()


class Terms:
    """Makes terms of values.

    Parameters
    ----------
    budget
        How much may be looked at: one for each object, one for each kilobyte of an array.  None: all there is.
    """

    def __init__(self, budget: int | None = None) -> None:
        self._budget = budget
        self._depths: dict[int, int] = {}
        """Of the objects that are being looked at, from the outermost."""
        self._known: dict[int, tuple[Any, Any]] = {}
        """Terms of what stands in several places, with the object, so that its id stays its own."""
        self._lowest = 0
        """The outermost object that something inside of the current one contains again."""
        self._custom = len(_registered) > 1
        self._builtins = _BUILTINS if _BUILTINS.isdisjoint(_registered) else _BUILTINS - _registered.keys()
        """Types that mean what they mean to everybody."""

    def callable_term(self, value: Any) -> Any:
        """The term of a function or class."""
        raise NotImplementedError

    def name_term(self, module: str, name: str) -> Any:
        """The term of something that is known by its name."""
        return {"name": (module, name)}

    def module_term(self, module: types.ModuleType) -> Any:
        """The term of a module."""
        return {"module": module.__name__}

    def future_term(self, future: Future[Any]) -> Any:
        """The term of a future."""
        raise Unidentified("it is a future, which has no value yet")

    def term(self, value: Any, output_ref: bool = False) -> Any:
        """The term of any value.

        Raises
        ------
        Unidentified
            There is none.
        """
        kind = type(value)
        if kind in self._builtins:
            if kind in ATOMS:
                return value
            plain = _plain(value, kind) if self._builtins is _BUILTINS else None
            if plain is not None:
                return plain
        known = self._known.get(id(value))
        if known is not None:
            return known[1]
        depth = self._depths.get(id(value))
        if depth is not None:
            self._lowest = min(self._lowest, depth)
            return {"above": len(self._depths) - depth}
        return self._composite(value, kind, output_ref)

    def _composite(self, value: Any, kind: type, output_ref: bool) -> Any:
        self._spend(1)
        depth = len(self._depths)
        self._depths[id(value)] = depth
        outer, self._lowest = self._lowest, depth
        try:
            term = self._made(value, kind, output_ref)
            closed = self._lowest >= depth
        except RecursionError:
            raise Unidentified(f"its {kind.__name__} is nested too deeply") from None
        finally:
            del self._depths[id(value)]
            self._lowest = min(outer, self._lowest)
        if closed:
            # What stands in many places is written once: its hash takes its place.
            term = term if _short(term) else {"hash": digest_of(term)}
            self._known[id(value)] = (value, term)
        return term

    def _spend(self, cost: int) -> None:
        if self._budget is not None:
            self._budget -= cost
            if self._budget < 0:
                raise Unidentified("it is too large to be looked at for every call")

    def _made(self, value: Any, kind: type, output_ref: bool) -> Any:
        if self._custom and kind not in self._builtins:
            handler = id_for_memo.dispatch(kind)
            if handler is not _registered[object]:
                return {"registered": self._asked(handler, value, output_ref)}
        own = getattr(kind, "_parslab_identity", None)
        if own is not None:
            return {kind.__name__: self.term(own(value, output_ref, self._budget is not None))}
        make = _MAKERS.get(kind)
        if make is not None:
            return make(self, value, output_ref)
        if isinstance(value, Future):
            return self.future_term(value)
        if isinstance(value, _CALLABLE):
            return self.callable_term(value)
        if str(kind.__module__).partition(".")[0] in ("numpy", "pandas"):
            term = self._tabular(value, kind)
            if term is not None:
                return term
        if isinstance(value, Enum):
            return {"enum": (self.term(kind), value.name, self.term(value.value))}
        if getattr(kind, "_parslab_app", False):
            return {"app": self.term(value.__wrapped__)}
        return self._reduced(value, kind)

    def _asked(self, handler: Callable[..., Any], value: Any, output_ref: bool) -> bytes:
        try:
            made = handler(value, output_ref=True) if output_ref else handler(value)
        except Exception as error:
            raise Unidentified(f"its function of id_for_memo failed: {type(error).__name__}: {error}") from error
        if not isinstance(made, (bytes, bytearray)):
            raise Unidentified(f"its function of id_for_memo must return bytes, not {type(made).__name__}")
        return bytes(made)

    # ----- containers

    def items(self, values: Iterable[Any], output_ref: bool = False) -> list[Any]:
        """Terms of several values."""
        return [self.term(value, output_ref) for value in values]

    def _list(self, value: Any, output_ref: bool) -> Any:
        return self.items(value, output_ref)

    def _tuple(self, value: Any, output_ref: bool) -> Any:
        return tuple(self.items(value, output_ref))

    def _set(self, value: Any, output_ref: bool) -> Any:
        kind = "set" if isinstance(value, set) else "frozenset"
        return {kind: sorted(marshal.dumps(item, _VERSION) for item in self.items(value, output_ref))}

    def _dict(self, value: Any, output_ref: bool) -> Any:
        self._spend(len(value))
        pairs = [(self.term(key), self.term(item, output_ref)) for key, item in value.items()]
        return {"dict": _sorted(pairs)}

    def _bytearray(self, value: Any, output_ref: bool) -> Any:
        return {"bytearray": self._data(value)}

    def _proxy(self, value: Any, output_ref: bool) -> Any:
        return {"mappingproxy": self._dict(value, output_ref)}

    def _method(self, value: Any, output_ref: bool) -> Any:
        return {"method": (self.term(value.__func__), self.term(value.__self__))}

    def _wrapper(self, value: Any, output_ref: bool) -> Any:
        return {type(value).__name__: self.term(value.__func__)}

    def _property(self, value: Any, output_ref: bool) -> Any:
        return {"property": self.items((value.fget, value.fset, value.fdel))}

    def _wrapped(self, value: Any, output_ref: bool) -> Any:
        function = getattr(value, "__wrapped__", None) or value.func
        return {type(value).__name__: self.callable_term(value if by_reference(value) else function)}

    def _named(self, value: Any, output_ref: bool) -> Any:
        return self.name_term(getattr(value, "__module__", None) or "", value.__qualname__)

    def _module(self, value: Any, output_ref: bool) -> Any:
        return self.module_term(value)

    def _code(self, value: Any, output_ref: bool) -> Any:
        return {"code": code_term(value)}

    # ----- arrays and tables

    def _data(self, data: Any) -> bytes:
        """Bytes as they are, or the hash of long ones."""
        view = memoryview(data)
        self._spend(view.nbytes >> 10)
        return bytes(view) if view.nbytes <= _IN_TERM else hashlib.blake2b(view, digest_size=16).digest()

    def _tabular(self, value: Any, kind: type) -> Any:
        name = kind.__name__
        if kind.__module__ == "numpy":
            if name == "ndarray":
                return {"array": self._array(value)}
            flat = hasattr(value, "tobytes") and value.dtype.kind in _FLAT
            return {"scalar": (_dtype(value.dtype), value.tobytes())} if flat else None
        if name == "Series":
            values = self._column(value)
            return {"series": (self.term(value.name), self.term(value.index), values, self.term(value.attrs))}
        if name == "DataFrame":
            columns = [self._column(column) for _, column in value.items()]
            return {"frame": (self.term(value.columns), self.term(value.index), columns, self.term(value.attrs))}
        return None

    def _array(self, array: Any) -> Any:
        if array.dtype.kind in _FLAT and not array.dtype.hasobject:
            if array.nbytes <= _IN_TERM:
                return _dtype(array.dtype), array.shape, array.tobytes()
            self._spend(array.nbytes >> 10)
            flat = array if array.flags.c_contiguous else array.copy("C")
            return _dtype(array.dtype), array.shape, self._data(flat.reshape(-1).view("u1"))
        return _dtype(array.dtype), array.shape, self.term(array.ravel().tolist())

    def _column(self, column: Any) -> Any:
        values = column.array
        kind = type(values).__name__
        if kind in ("NumpyExtensionArray", "PandasArray"):
            return self.term(values.to_numpy())
        if kind.startswith(("StringArray", "ArrowStringArray")):
            # How its text lies in memory depends on how the column was made.
            return {"strings": (str(values.dtype), [item if isinstance(item, str) else None for item in values])}
        return self.term(values)

    # ----- anything else, as pickle takes it apart

    def _reduced(self, value: Any, kind: type) -> Any:
        reduce = copyreg.dispatch_table.get(kind)
        try:
            parts = reduce(value) if reduce is not None else value.__reduce_ex__(4)
        except Exception as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise Unidentified(f"{kind.__name__}: {text}") from error
        if isinstance(parts, str):
            return self.name_term(getattr(value, "__module__", None) or kind.__module__, parts)
        make, args, state, listed, keyed = (*parts, None, None, None, None)[:5]
        pairs = [(self.term(key), self.term(item)) for key, item in keyed] if keyed is not None else []
        new = make is copyreg.__newobj__  # type: ignore[attr-defined,unused-ignore]
        return {
            "object": (
                (self.callable_term(args[0]), self.items(args[1:])) if new else [self.term(make), self.term(args)],
                state if state is None else self.term(state),
                self.items(listed) if listed is not None else [],
                pairs if isinstance(value, OrderedDict) else _sorted(pairs),
            )
        }


_FLAT = frozenset("biufcmMSUV")
"""Kinds of numpy's types whose bytes are the value."""
_BUILTINS = ATOMS | {list, tuple, set, frozenset, dict}


def _short(term: Any) -> bool:
    """Whether a term is no longer than a hash of it."""
    if type(term) is not dict:
        return False
    (part,) = term.values()
    return type(part) in ATOMS and (type(part) not in (str, bytes) or len(part) <= 32)


def _sorted(pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    return sorted(pairs, key=lambda pair: marshal.dumps(pair[0], _VERSION))


@functools.lru_cache(64)
def _dtype(dtype: Any) -> tuple[str, str]:
    return (dtype.str if dtype.fields is None else repr(dtype)), dtype.name


def _plain(value: Any, kind: type) -> Any:
    """The term of a container that holds nothing but numbers and texts; None when there is more to it."""
    if kind is dict:
        if not ATOMS.issuperset(map(type, value)) or not ATOMS.issuperset(map(type, value.values())):
            return None
        return {"dict": _sorted(list(value.items()))}
    if not ATOMS.issuperset(map(type, value)):
        return None
    if kind is list or kind is tuple:
        return value
    return {kind.__name__: sorted(marshal.dumps(item, _VERSION) for item in value)}


_MAKERS: dict[type, Callable[[Terms, Any, bool], Any]] = {
    list: Terms._list,
    tuple: Terms._tuple,
    set: Terms._set,
    frozenset: Terms._set,
    dict: Terms._dict,
    bytearray: Terms._bytearray,
    types.MappingProxyType: Terms._proxy,
    types.MethodType: Terms._method,
    staticmethod: Terms._wrapper,
    classmethod: Terms._wrapper,
    property: Terms._property,
    functools.cached_property: Terms._wrapped,
    type(functools.lru_cache(lambda: None)): Terms._wrapped,
    types.MemberDescriptorType: Terms._named,
    types.GetSetDescriptorType: Terms._named,
    types.WrapperDescriptorType: Terms._named,
    types.MethodDescriptorType: Terms._named,
    types.ClassMethodDescriptorType: Terms._named,
    types.ModuleType: Terms._module,
    types.CodeType: Terms._code,
}
