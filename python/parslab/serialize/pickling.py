"""Pickle with cloudpickle, and keep what cloudpickle alone loses.

- Functions that travel by value keep the name of their file. Cloudpickle 3.1.3 replaces it by ``<dynamic-code>``, so
  tracebacks would show neither the cell nor its source line.
- Cached functions, cached properties and single-dispatch functions travel (see ``functools_objects``).

Every module that pickles by value uses this one. The first call imports cloudpickle, because it slows down every
start.
"""

from __future__ import annotations

import functools
import hashlib
import io
from collections import ChainMap
from types import CodeType, FunctionType
from typing import TYPE_CHECKING, Any, ClassVar

from parslab.serialize.code.modules import by_reference
from parslab.serialize.functools_objects import (
    CACHED_FUNCTION,
    is_dispatcher,
    reduce_cached_function,
    reduce_cached_property,
    reduce_dispatcher,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ALONE", "dumps", "dumps_with_places", "pickler_class"]

ALONE = 64 * 1024
"""Bytes from which on pickle writes a buffer by itself, and not within a frame."""
_class: Any = None
_hashing: set[int] = set()
"""Ids of cached functions whose key is in the making; one that refers to itself would otherwise recurse without end."""


def _code_with_filename(make: Callable[..., CodeType], arguments: tuple[Any, ...], filename: str) -> CodeType:
    """Rebuild a code object on the receiving side, with the file name of the sender."""
    return make(*arguments).replace(co_filename=filename)


def pickler_class() -> Any:
    """Return our subclass of ``cloudpickle.Pickler``; the first call imports cloudpickle."""
    global _class
    if _class is None:
        import cloudpickle

        table = cloudpickle.Pickler.dispatch_table
        reduce_code = table[CodeType]

        def reduce(code: CodeType) -> tuple[Any, ...]:
            make, arguments = reduce_code(code)
            # join() makes a new string. Pickle writes a string object that it has seen before as a reference, and equal
            # code objects must have equal pickles, whichever strings they share.
            return _code_with_filename, (make, arguments, "".join(code.co_filename))

        ours = {
            CodeType: reduce,
            CACHED_FUNCTION: _reduce_cached_function,
            functools.cached_property: reduce_cached_property,
        }

        class Pickler(cloudpickle.Pickler):  # type: ignore[misc,name-defined,unused-ignore]
            dispatch_table: ClassVar[Any] = ChainMap(ours, table)

            def _dynamic_function_reduce(self, func: FunctionType) -> Any:
                """Cloudpickle calls this for each function that travels by value."""
                return reduce_dispatcher(func) if is_dispatcher(func) else super()._dynamic_function_reduce(func)

        _class = Pickler
    return _class


def _reduce_cached_function(cached: Any) -> Any:
    if by_reference(cached):
        return cached.__reduce__()
    key = b""
    if id(cached) not in _hashing:
        _hashing.add(id(cached))
        try:
            key = hashlib.blake2b(dumps(cached.__wrapped__), digest_size=16).digest()
        finally:
            _hashing.discard(id(cached))
    return reduce_cached_function(cached, key)


def dumps(value: Any, buffer_callback: Callable[[Any], Any] | None = None) -> bytes:
    """Pickle ``value`` with protocol 5.

    Parameters
    ----------
    value
        Anything that cloudpickle accepts.
    buffer_callback
        Receives each buffer that may stay outside the pickle, as in :func:`pickle.dumps`.
    """
    stream = io.BytesIO()
    pickler_class()(stream, 5, buffer_callback=buffer_callback).dump(value)
    return stream.getvalue()


def dumps_with_places(value: Any) -> tuple[bytes, list[tuple[int, int]]]:
    """Pickle ``value``; return also offset and size of each part that pickle wrote by itself.

    The buffers from ``ALONE`` bytes on are among these parts.
    """
    stream = _Noting()
    pickler_class()(stream, 5).dump(value)
    return stream.getvalue(), stream.places


class _Noting(io.BytesIO):
    """A stream in memory that notes where the large parts lie that were written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[tuple[int, int]] = []

    def write(self, data: Any) -> int:
        written = super().write(data)
        if written >= ALONE:
            self.places.append((self.tell() - written, written))
        return written
