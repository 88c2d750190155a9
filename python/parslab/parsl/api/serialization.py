"""Parsl's functions that make bytes of objects, for libraries that call them."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from parslab.serialize.pickling import dumps

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = [
    "DillCallableSerializer",
    "DillSerializer",
    "PickleSerializer",
    "ProxyStoreSerializer",
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

    def serialize(self, data: Any) -> bytes:
        """Return an object as bytes."""
        return serialize(data)

    def deserialize(self, body: bytes) -> Any:
        """Return the object of which :meth:`serialize` has made these bytes."""
        return deserialize(body)


class PickleSerializer(SerializerBase):
    """Parsl: pickles with the standard library."""


class DillSerializer(SerializerBase):
    """Parsl: pickles with dill; parslab pickles with cloudpickle."""


class DillCallableSerializer(SerializerBase):
    """Parsl: pickles functions with dill; parslab pickles with cloudpickle."""


class ProxyStoreSerializer(SerializerBase):
    """Parsl: keeps some objects in a store; parslab sends large values once, out of band.

    Parameters
    ----------
    should_proxy, store
        Kept, without effect.
    """

    def __init__(self, *, should_proxy: Callable[[Any], bool] | None = None, store: Any = None) -> None:
        self.should_proxy = should_proxy
        self.store = store


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
