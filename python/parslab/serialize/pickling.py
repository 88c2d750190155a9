"""Cloudpickle as parslab uses it: functions that travel by value keep the name of the file they come from.

Cloudpickle 3.1.3 replaces that name by ``<dynamic-code>``, so tracebacks would show neither the cell nor its source
line. :class:`Pickler` sends the name beside the code object and puts it back on the other side. Every module that
pickles by value uses this one. Cloudpickle itself is imported by the first call, because it slows down every start.
"""

from __future__ import annotations

import io
from collections import ChainMap
from types import CodeType
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["dumps", "pickler_class"]

_class: Any = None


def _code_with_filename(make: Callable[..., CodeType], arguments: tuple[Any, ...], filename: str) -> CodeType:
    """Rebuild a code object on the receiving side, with the file name of the sender."""
    return make(*arguments).replace(co_filename=filename)


def pickler_class() -> Any:
    """Return the subclass of ``cloudpickle.Pickler`` that keeps file names; the first call imports cloudpickle."""
    global _class
    if _class is None:
        import cloudpickle

        table = cloudpickle.Pickler.dispatch_table
        reduce_code = table[CodeType]

        def reduce(code: CodeType) -> tuple[Any, ...]:
            make, arguments = reduce_code(code)
            # A new string, because pickle writes a string that it has met before in another way: equal code objects
            # must give equal pickles, whichever strings they share.
            return _code_with_filename, (make, arguments, "".join(code.co_filename))

        class Pickler(cloudpickle.Pickler):  # type: ignore[misc,name-defined,unused-ignore]
            dispatch_table: ClassVar[Any] = ChainMap({CodeType: reduce}, table)

        _class = Pickler
    return _class


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
