"""Holds values as opaque bytes, which all tasks that may still need them share.

The task, its dependents that have not run, and joins refer to a value; it leaves memory with the last reference.
"""

from __future__ import annotations

import contextlib
import sys
from hashlib import blake2b
from typing import TYPE_CHECKING

from parslab.serialize.shared.values import unshared
from parslab.wire.messages.base import PackedValue
from parslab.wire.shared_memory import SharedFrame, size_of

if TYPE_CHECKING:
    from parslab.wire.stream import Buffer

__all__ = ["NOTHING", "StoredValue", "give_memory_back", "joined", "sliced"]

_M_MMAP_THRESHOLD = -3
_OWN_PAGES = 1 << 20
"""Frames of at least so many bytes get pages of their own, which go back to the system with the frame."""


class StoredValue:
    """The result of a task: a pickle (``inline`` or the first frame) with its buffers, or the parts of a join."""

    __slots__ = ("_digest", "frames", "inline", "parts")

    def __init__(self, inline: bytes, frames: list[Buffer], parts: tuple[StoredValue, ...] | None = None) -> None:
        self.inline = inline
        self.frames = frames
        self.parts = parts
        self._digest = b""

    @property
    def digest(self) -> bytes:
        """A hash of the bytes, for the memo keys of tasks that depend on the value."""
        # Computed on demand and once: only inputs of cached calls need it, and a value may be large.
        if not self._digest:
            # As it was before somebody shared it: equal values have equal hashes, wherever their bytes lie.
            inline, buffers = unshared(self.inline, self.frames)
            hasher = blake2b(len(inline).to_bytes(8, "little"), digest_size=16, person=b"parslab value")
            hasher.update(inline)
            for buffer in buffers:
                # Lengths in front keep values apart that have the same bytes in other frames.
                hasher.update(len(buffer).to_bytes(8, "little"))
                hasher.update(buffer)
            for part in self.parts or ():
                hasher.update(part.digest)
            self._digest = hasher.digest()
        return self._digest

    @property
    def is_shared(self) -> bool:
        """Whether a part of the value lies in shared memory."""
        return any(isinstance(frame, SharedFrame) for frame in self.frames) or any(
            part.is_shared for part in self.parts or ()
        )

    @property
    def size(self) -> int:
        """Return how many bytes a message with this value has."""
        if not self.frames and self.parts is None:
            return len(self.inline)
        own = len(self.inline) + sum(map(size_of, self.frames))
        return own + sum(part.size for part in self.parts or ())

    def packed(self, frames: list[Buffer]) -> PackedValue:
        """Return the header of this value, and append its frames to ``frames``."""
        if self.parts is not None:
            return PackedValue(b"", 0, tuple(part.packed(frames) for part in self.parts))
        frames.extend(self.frames)
        return PackedValue(self.inline, len(self.frames))


NOTHING = StoredValue(b"", [])
"""The value of a task whose result nobody can ask for any more."""


def give_memory_back() -> None:
    """Have glibc return large blocks to the system.

    By default glibc learns to keep large blocks in its heap, where one small block after them holds 30 MB.
    """
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(AttributeError):  # other C libraries do not keep large blocks
            ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _OWN_PAGES)


def joined(values: list[StoredValue]) -> StoredValue:
    """Make the value of a join app that returned a list of futures."""
    # Parts and no joined pickle: values are opaque here, and the parts are shared with their tasks.
    return StoredValue(b"", [], tuple(values))


def sliced(inline: bytes, count: int, frames: list[Buffer], at: int) -> StoredValue:
    """Make the value of a message that has ``count`` of the ``frames``, beginning at ``at``."""
    return StoredValue(inline, frames[at : at + count] if count else [])
