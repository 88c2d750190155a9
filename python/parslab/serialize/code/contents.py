"""Notice when the content of a mutable value has changed: the user's thread asks before each call of an app.

:class:`Content` hashes the pickle of the value, which costs 2 ms per megabyte. Large buffers, such as those of arrays,
lie in the pickle of the function as well, and the client keeps that pickle for as long as the function is current. So
they are compared with it instead, which takes a tenth of the time.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from typing import TYPE_CHECKING, Any

from parslab.serialize.pickling import ALONE, dumps

if TYPE_CHECKING:
    import pickle
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["Content"]


class Content:
    """The content of a value, as it is when this object is made.

    Attributes
    ----------
    size
        Bytes of the value's pickle and buffers; 0 when it cannot be pickled.
    """

    __slots__ = ("_copies", "_digest", "_digest_of_small", "_value", "size")

    def __init__(self, value: Any) -> None:
        self._value = value
        self._copies: Sequence[memoryview] = ()
        """The large buffers in the pickle of the function; empty: they are hashed."""
        stream, buffers = _pickled(value)
        self._digest = _hash(stream, buffers, buffers)
        self._digest_of_small = _hash(stream, buffers, _small(buffers))
        self.size = len(stream) + sum(buffer.nbytes for buffer in buffers)

    def compare_with(self, payload: bytes, places: Iterable[tuple[int, int]]) -> None:
        """Compare the large buffers with a pickle from now on, if it holds all of them.

        Parameters
        ----------
        payload
            A pickle of the function that uses the value.
        places
            Offset and size of each part of the pickle that may be such a buffer.
        """
        whole, copies = memoryview(payload), []
        for buffer in _large(_pickled(self._value)[1]):
            candidates = (whole[at : at + size] for at, size in places if size == buffer.nbytes)
            copy = next((candidate for candidate in candidates if _same(buffer, candidate)), None)
            if copy is None:
                return
            copies.append(copy)
        self._copies = copies

    def is_unchanged(self) -> bool:
        """Return whether the value has the same content."""
        stream, buffers = _pickled(self._value)
        if not self._copies:
            return _hash(stream, buffers, buffers) == self._digest
        # The digest covers the sizes of all buffers, so each large one has its copy.
        same = _hash(stream, buffers, _small(buffers)) == self._digest_of_small
        return same and all(map(_same, _large(buffers), self._copies))


def _pickled(value: Any) -> tuple[bytes, list[memoryview]]:
    """Return the pickle of a value, and its buffers, which are not copied into the pickle."""
    buffers: list[pickle.PickleBuffer] = []
    try:
        stream = dumps(value, buffers.append)
        return stream, [buffer.raw() for buffer in buffers]
    except Exception:
        return b"", []  # the pickling of the function will raise the same error, and name the variable


def _hash(stream: bytes, buffers: Iterable[memoryview], hashed: Iterable[memoryview]) -> bytes:
    """Return a hash of a pickle, the sizes of its buffers, and the content of some of them."""
    made = hashlib.blake2b(stream, digest_size=16)
    for buffer in buffers:
        made.update(buffer.nbytes.to_bytes(8, "little"))
    for buffer in hashed:
        made.update(buffer)
    return made.digest()


def _large(buffers: Iterable[memoryview]) -> list[memoryview]:
    return [buffer for buffer in buffers if buffer.nbytes >= ALONE]


def _small(buffers: Iterable[memoryview]) -> list[memoryview]:
    return [buffer for buffer in buffers if buffer.nbytes < ALONE]


def _same(one: memoryview, other: memoryview) -> bool:
    """Return whether two buffers of one size have the same bytes."""
    numpy = sys.modules.get("numpy")
    if numpy is None:
        return one.tobytes() == other.tobytes()
    # Python compares two memoryviews item by item, which takes ten times as long. NumPy tells where they lie.
    addresses = [numpy.frombuffer(view, numpy.uint8).__array_interface__["data"][0] for view in (one, other)]
    compare = _memcmp()
    return compare(*addresses, one.nbytes) == 0


@functools.cache
def _memcmp() -> Callable[..., int]:
    # The function of the C library releases the lock of Python's interpreter, so that other threads go on.
    import ctypes

    compare = ctypes.CDLL(None).memcmp
    compare.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    return compare
