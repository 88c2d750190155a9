"""Make terms of NumPy arrays and scalars, and of pandas tables.

Every property of an array that a function can read counts: class, shape, type, values, and whether the worker gets the
items in C or in Fortran order. The memory of an array (strides of a slice, the file of a ``memmap``) does not count,
because pickle does not keep it.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["TermMaker", "array_term", "data_term", "is_array", "is_table", "table_term"]

_IN_TERM = 4096
"""Bytes beyond which a hash replaces the data, so that a term never holds a copy of a large array."""
_FLAT = frozenset("biufcmMSUV")
"""Kinds of NumPy's types whose bytes are the value."""
_PADDED = frozenset("gG")
"""Types whose bytes hold more than the value: 6 of the 16 bytes of a ``longdouble`` are undefined padding."""
_MASKED = frozenset({"_basedict", "_data", "_fill_value", "_hardmask", "_isfield", "_mask", "_optinfo", "_sharedmask"})
_MAPPED = frozenset({"_mmap", "filename", "mode", "offset"})
"""Attributes of masked arrays and of memory maps that are not state of the user."""


class TermMaker(Protocol):
    """The methods of :class:`~parslab.serialize.identity.terms.Terms` that this module calls."""

    def term(self, value: Any) -> Any:
        """Return the term of any value."""

    def callable_term(self, value: Any) -> Any:
        """Return the term of a class."""

    def reduced(self, value: Any, kind: type) -> Any:
        """Return the term of a value from its parts as pickle takes it apart."""

    def spend(self, cost: int) -> None:
        """Count work against the budget."""


def data_term(terms: TermMaker, data: Any) -> bytes:
    """Return bytes as they are, or the hash of long ones."""
    view = memoryview(data)
    terms.spend(view.nbytes >> 10)
    return bytes(view) if view.nbytes <= _IN_TERM else hashlib.blake2b(view, digest_size=16).digest()


# ----- NumPy


def is_array(value: Any) -> bool:
    """Return whether a value is an array or a scalar of NumPy, or of a class derived from one."""
    numpy = sys.modules.get("numpy")  # a value can only be one of them when NumPy is imported
    return numpy is not None and isinstance(value, (numpy.ndarray, numpy.generic))


def array_term(terms: TermMaker, value: Any, kind: type) -> Any:
    """Return the term of an array or scalar."""
    import numpy

    if isinstance(value, numpy.generic):
        scalar = _items(terms, numpy.asarray(value))
        return {"scalar": scalar if kind.__module__ == "numpy" else (terms.callable_term(kind), scalar)}
    if kind is numpy.ndarray:
        return {"array": _items(terms, value)}
    # The methods of ndarray itself, because those of a subclass may run any code.
    base = numpy.ndarray.view(value, numpy.ndarray)
    return {"array": (terms.callable_term(kind), _items(terms, base), _added_state(terms, value, kind))}


def _items(terms: TermMaker, array: Any) -> Any:
    """Return the term of an array's type, shape, order and items."""
    dtype = array.dtype
    # Pickle keeps Fortran order only for arrays that are contiguous in that order alone; all others arrive in C order.
    fortran = array.flags.f_contiguous and not array.flags.c_contiguous
    head = _dtype_term(dtype), array.shape, fortran
    if dtype.names is not None and (dtype.hasobject or _has_gaps(dtype)):
        return (*head, [_items(terms, array[name]) for name in dtype.names])
    if dtype.char in _PADDED:
        terms.spend(array.size)
        return (*head, [repr(item) for item in array.ravel()])
    if dtype.kind not in _FLAT or dtype.hasobject:
        return (*head, terms.term(array.ravel().tolist()))
    if array.nbytes <= _IN_TERM:
        return (*head, array.tobytes())
    # The transpose of an array in Fortran order is in C order, so reshape() copies nothing.
    flat = array.T if fortran else array if array.flags.c_contiguous else array.copy("C")
    return (*head, data_term(terms, flat.reshape(-1).view("u1")))


def _added_state(terms: TermMaker, value: Any, kind: type) -> Any:
    """Return the term of what a subclass adds to the items."""
    import numpy

    state: Mapping[str, Any] = getattr(value, "__dict__", {})
    if isinstance(value, numpy.ma.MaskedArray):
        own = {name: item for name, item in state.items() if name not in _MASKED}
        mask = _items(terms, numpy.ma.getmaskarray(value))
        info = state.get("_optinfo") or {}
        return mask, terms.term(value.fill_value), bool(value.hardmask), terms.term(info), terms.term(own)
    if _pickles_itself(kind):
        return terms.reduced(value, kind)
    return terms.term({name: item for name, item in state.items() if name not in _MAPPED})


def _pickles_itself(kind: type) -> bool:
    """Return whether a class outside of NumPy says how its instances are pickled."""
    for base in kind.__mro__:
        if "__reduce__" in vars(base) or "__reduce_ex__" in vars(base):
            return base.__module__.partition(".")[0] not in ("numpy", "builtins")
    return False


def _has_gaps(dtype: Any) -> bool:
    """Return whether the bytes of an item hold more than its fields, or a field whose bytes are more than its value."""
    fields = [dtype.fields[name][0] for name in dtype.names]
    return sum(field.itemsize for field in fields) != dtype.itemsize or any(
        field.base.char in _PADDED or (field.base.names is not None and _has_gaps(field.base)) for field in fields
    )


def _dtype_term(dtype: Any) -> tuple[str, str]:
    # A record type equals a structure type with the same fields, so the cache would return the term of the other one.
    return (repr(dtype), dtype.name) if dtype.names is not None else _plain_dtype_term(dtype)


@functools.lru_cache(64)
def _plain_dtype_term(dtype: Any) -> tuple[str, str]:
    return (dtype.str if dtype.kind in _FLAT or dtype.kind == "O" else repr(dtype)), dtype.name


# ----- pandas


def is_table(kind: type) -> bool:
    """Return whether a class is ``Series`` or ``DataFrame`` of pandas."""
    return kind.__name__ in ("Series", "DataFrame") and str(kind.__module__).partition(".")[0] == "pandas"


def table_term(terms: TermMaker, value: Any, kind: type) -> Any:
    """Return the term of a Series or a DataFrame."""
    term = terms.term
    more = term(value.attrs), bool(value.flags.allows_duplicate_labels)
    if kind.__name__ == "Series":
        return {"series": (term(value.name), term(value.index), _column(terms, value), *more)}
    columns = [_column(terms, column) for _, column in value.items()]
    return {"frame": (term(value.columns), term(value.index), columns, *more)}


def _column(terms: TermMaker, column: Any) -> Any:
    values = column.array
    kind = type(values).__name__
    # pandas 2.1 has given PandasArray its new name.
    if kind in ("NumpyExtensionArray", "PandasArray"):
        return terms.term(values.to_numpy())
    if kind.startswith(("StringArray", "ArrowStringArray")):
        # The memory layout of the text depends on how the user made the column, so the items count.
        return {"strings": (str(values.dtype), [item if isinstance(item, str) else None for item in values])}
    return terms.term(values)
