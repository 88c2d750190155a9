"""Make terms of values: descriptions that are the same in every process, whose hashes are the identities.

Pickles of equal values differ between processes: in the order of sets, the names of a notebook's classes, and the file
names of cells. So memoized results are stored by identities. A *term* is data for which marshal writes the same bytes
in every process. Numbers, strings and bytes are terms, and so are lists and tuples of terms. The term of any other
value is a dict with one item, ``{kind: parts}``.
"""

from __future__ import annotations

import copyreg
import functools
import types
from collections import OrderedDict
from enum import Enum
from typing import TYPE_CHECKING, Any

from parslab.serialize.code.bytecode import code_term
from parslab.serialize.code.hashing import digest_of, marshalled
from parslab.serialize.code.modules import by_reference
from parslab.serialize.future_types import is_future, registered_future_types
from parslab.serialize.identity.arrays import array_term, data_term, is_array, is_table, table_term
from parslab.serialize.identity.registry import Unidentified, handler_for, registered_types
from parslab.serialize.values import ATOMS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

__all__ = ["Terms"]

_CALLABLE = (types.FunctionType, type)


class Terms:
    """Make terms of values.

    Parameters
    ----------
    budget
        The most work for the terms: one for each object, one for each kilobyte of an array. None: no limit.
    """

    def __init__(self, budget: int | None = None) -> None:
        self._budget = budget
        self._depths: dict[int, int] = {}
        """The depths of the objects whose terms are in the making, by id."""
        self._known: dict[int, tuple[Any, Any]] = {}
        """Finished terms, by the id of their object. The object is kept too, so that no other object gets its id."""
        self._lowest = 0
        """Depth of the outermost object that something inside the current one contains again."""
        registered = registered_types()
        self._custom = bool(registered)
        self._builtins = _BUILTINS if _BUILTINS.isdisjoint(registered) else _BUILTINS - registered
        """Builtin types for which users have registered nothing."""

    def callable_term(self, value: Any) -> Any:
        """Return the term of a function or class."""
        raise NotImplementedError

    def name_term(self, module: str, name: str) -> Any:
        """Return the term of something that is known by its name."""
        return {"name": (module, name)}

    def module_term(self, module: types.ModuleType) -> Any:
        """Return the term of a module."""
        return {"module": module.__name__}

    def future_term(self, future: Future[Any]) -> Any:
        """Return the term of a future."""
        raise Unidentified("it is a future, which has no value yet")

    def term(self, value: Any, output_ref: bool = False) -> Any:
        """Return the term of any value.

        Raises
        ------
        Unidentified
            The value has none.
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
            # An object that contains itself has a finite term: the distance to the outer object, as in every process.
            self._lowest = min(self._lowest, depth)
            return {"above": len(self._depths) - depth}
        return self._composite(value, kind, output_ref)

    def _composite(self, value: Any, kind: type, output_ref: bool) -> Any:
        self.spend(1)
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
        # The term of an object that refers to an outer one depends on its depth, so it cannot be used elsewhere.
        if closed:
            # A hash replaces a long term, so that a value in many places does not make the whole term grow.
            term = term if _short(term) else {"hash": digest_of(term)}
            self._known[id(value)] = (value, term)
        return term

    def spend(self, cost: int) -> None:
        """Count work against the budget."""
        if self._budget is not None:
            self._budget -= cost
            if self._budget < 0:
                raise Unidentified("it is too large to be looked at for every call")

    def _made(self, value: Any, kind: type, output_ref: bool) -> Any:
        if self._custom and kind not in self._builtins:
            handler = handler_for(kind)
            if handler is not None:
                return {"registered": _ask(handler, value, output_ref)}
        own = getattr(kind, "_parslab_identity", None)
        if own is not None:
            return {kind.__name__: self.term(own(value, output_ref, self._budget is not None))}
        make = _MAKERS.get(kind)
        if make is not None:
            return make(self, value, output_ref)
        if (hasattr(kind, "add_done_callback") or registered_future_types) and is_future(value):
            return self.future_term(value)
        if isinstance(value, _CALLABLE):
            return self.callable_term(value)
        if is_array(value):
            return array_term(self, value, kind)
        if is_table(kind):
            return table_term(self, value, kind)
        if isinstance(value, Enum):
            return {"enum": (self.term(kind), value.name, self.term(value.value))}
        if getattr(kind, "_parslab_app", False):
            return {"app": self.term(value.__wrapped__)}
        return self.reduced(value, kind)

    # ----- containers

    def items(self, values: Iterable[Any], output_ref: bool = False) -> list[Any]:
        """Return the terms of several values."""
        return [self.term(value, output_ref) for value in values]

    def _list(self, value: Any, output_ref: bool) -> Any:
        return self.items(value, output_ref)

    def _tuple(self, value: Any, output_ref: bool) -> Any:
        return tuple(self.items(value, output_ref))

    def _set(self, value: Any, output_ref: bool) -> Any:
        kind = "set" if isinstance(value, set) else "frozenset"
        # Sorted as bytes, because terms of different types cannot be compared.
        return {kind: sorted(map(marshalled, self.items(value, output_ref)))}

    def _dict(self, value: Any, output_ref: bool) -> Any:
        self.spend(len(value))
        pairs = [(self.term(key), self.term(item, output_ref)) for key, item in value.items()]
        return {"dict": _sorted(pairs)}

    def _bytearray(self, value: Any, output_ref: bool) -> Any:
        return {"bytearray": data_term(self, value)}

    def _proxy(self, value: Any, output_ref: bool) -> Any:
        return {"mappingproxy": self._dict(value, output_ref)}

    # ----- what functions and classes hold

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

    # ----- anything else, as pickle takes it apart

    def reduced(self, value: Any, kind: type) -> Any:
        """Return the term of a value from its parts as pickle takes it apart."""
        reduce = copyreg.dispatch_table.get(kind)
        try:
            # Protocol 4, because in protocol 5 the parts may be PickleBuffers, which have no term.
            parts = reduce(value) if reduce is not None else value.__reduce_ex__(4)
        except Exception as error:
            text = " ".join(str(error).split()) or type(error).__name__
            raise Unidentified(f"{kind.__name__}: {text}") from error
        if isinstance(parts, str):
            return self.name_term(getattr(value, "__module__", None) or kind.__module__, parts)
        make, args, state, listed, keyed = (*parts, None, None, None, None)[:5]
        if make is kind and isinstance(value, (set, frozenset)):
            args = (frozenset(value),)  # pickle has a list in the order of hashes; a set has a sorted term
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


_BUILTINS = ATOMS | {list, tuple, set, frozenset, dict}


def _ask(handler: Callable[..., Any], value: Any, output_ref: bool) -> bytes:
    """Call the function that a user registered with ``id_for_memo``."""
    try:
        made = handler(value, output_ref=True) if output_ref else handler(value)
    except Exception as error:
        raise Unidentified(f"its function of id_for_memo failed: {type(error).__name__}: {error}") from error
    if not isinstance(made, (bytes, bytearray)):
        raise Unidentified(f"its function of id_for_memo must return bytes, not {type(made).__name__}")
    return bytes(made)


def _short(term: Any) -> bool:
    """Return whether a term is no longer than a hash of it."""
    if type(term) is not dict:
        return False
    (part,) = term.values()
    return type(part) in ATOMS and (type(part) not in (str, bytes) or len(part) <= 32)


def _sorted(pairs: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    # Two dicts that differ only in the order of their keys are equal in Python, so they get one identity.
    return sorted(pairs, key=lambda pair: marshalled(pair[0]))


def _plain(value: Any, kind: type) -> Any:
    """Return the term of a container that holds only numbers and strings; None for any other container."""
    # issuperset(map(type, ...)) is a loop in C, which most arguments pass without the slow general way.
    if kind is dict:
        if not ATOMS.issuperset(map(type, value)) or not ATOMS.issuperset(map(type, value.values())):
            return None
        return {"dict": _sorted(list(value.items()))}
    if not ATOMS.issuperset(map(type, value)):
        return None
    if kind is list or kind is tuple:
        return value
    return {kind.__name__: sorted(map(marshalled, value))}


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
