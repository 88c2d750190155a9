"""Hold the functions that users register to identify values of their own types.

:func:`id_for_memo` is a single-dispatch function. Its implementation for all other types lives in ``calls``, which
registers it for ``object``, because making an identity needs every module of this package.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from parslab.serialize.values import ATOMS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["Unidentified", "atoms", "handler_for", "id_for_memo", "registered_types"]


class Unidentified(Exception):
    """A value has no identity; the text says why."""


@functools.singledispatch
def id_for_memo(value: Any, output_ref: bool = False) -> bytes:
    """Return the identity of a value, by which parslab compares arguments of memoized calls (Parsl: same name).

    Register a function here for a type that has no identity by itself. Register one too if values of a type should
    count as equal although some of their parts differ.

    Parameters
    ----------
    value
        The value.
    output_ref
        Whether the value is an item of ``outputs``. Such a file does not exist yet, so only its name counts.

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
    raise NotImplementedError("parslab.serialize.identity.calls registers the implementation for object")


_registered: Mapping[Any, Callable[..., Any]] = id_for_memo.registry


def registered_types() -> frozenset[Any]:
    """Return the types that users have registered."""
    return frozenset(_registered) - {object}


def handler_for(kind: type) -> Callable[..., Any] | None:
    """Return the function that a user registered for a type or one of its bases; None when there is none."""
    handler: Callable[..., Any] = id_for_memo.dispatch(kind)
    return None if handler is _registered[object] else handler


def atoms() -> frozenset[Any]:
    """Return the types whose values are terms as they are: those for which users have registered nothing."""
    return ATOMS if len(_registered) == 1 else ATOMS - _registered.keys()
