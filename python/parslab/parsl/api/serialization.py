"""Parsl's functions that make bytes of objects, for libraries that call them."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from parslab.serialize.pickling import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "SerializerBase",
    "deserialize",
    "pack_apply_message",
    "register_method_for_code",
    "register_method_for_data",
    "serialize",
    "unpack_apply_message",
]


class SerializerBase:
    """Base of Parsl's serializers; parslab always pickles (register a reducer with :mod:`copyreg` instead)."""


def serialize(obj: Any, buffer_threshold: int = 1_000_000) -> bytes:
    """Pickle an object; functions and classes of the notebook are pickled by value.

    Parameters
    ----------
    obj
        The object.
    buffer_threshold
        Ignored: Parsl warns about objects with more bytes.
    """
    return bytes(dumps(obj))


def deserialize(payload: bytes | bytearray | memoryview) -> Any:
    """Return the object of which :func:`serialize` has made these bytes; this may run code that is in them."""
    return pickle.loads(payload)


def pack_apply_message(
    func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], buffer_threshold: int = 1_000_000
) -> bytes:
    """Pickle a function with its arguments."""
    return serialize((func, tuple(args), dict(kwargs)))


def unpack_apply_message(packed_buffer: bytes) -> tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]:
    """Return function and arguments of :func:`pack_apply_message`."""
    function, args, kwargs = deserialize(packed_buffer)
    return function, args, kwargs


def register_method_for_code(serializer: SerializerBase) -> None:
    """Do nothing: parslab pickles functions with cloudpickle."""


def register_method_for_data(serializer: SerializerBase) -> None:
    """Do nothing: parslab pickles values with cloudpickle."""
