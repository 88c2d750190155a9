"""Finds the files that have blocks of shared memory already, so that the event log has a block once (D65) [core].

The loop's thread counts bytes.  The thread that writes files uses the other methods.
"""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING

from parslab.dataflow.persistence.log_format import LARGE
from parslab.wire.shared_memory import SharedFrame, size_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import TypeGuard

    from parslab.wire.stream import Buffer

__all__ = ["BlockFiles", "is_block", "places_of_blocks"]


def is_block(frame: Buffer) -> TypeGuard[SharedFrame]:
    """Return whether a frame has a file of its own, because other calls may have the same block."""
    return isinstance(frame, SharedFrame) and frame.nbytes > LARGE


def places_of_blocks(frames: Sequence[Buffer]) -> tuple[int, ...]:
    """Return the places of the frames that have files of their own."""
    return tuple(place for place, frame in enumerate(frames) if is_block(frame))


class BlockFiles:
    """The files of the blocks that this process holds."""

    def __init__(self) -> None:
        self._counted: weakref.WeakSet[SharedFrame] = weakref.WeakSet()
        self._paths: weakref.WeakKeyDictionary[SharedFrame, Path] = weakref.WeakKeyDictionary()

    def count(self, frames: Sequence[Buffer]) -> int:
        """Return how many bytes frames add to the files; a block is counted at its first call only."""
        added = sum(size_of(frame) for frame in frames if not is_block(frame) or frame not in self._counted)
        self._counted.update(frame for frame in frames if is_block(frame))
        return added

    def path_of(self, block: SharedFrame) -> Path | None:
        """Return a file that has a block; somebody may have deleted it meanwhile."""
        return self._paths.get(block)

    def add(self, block: SharedFrame, path: Path) -> None:
        """Note that a file has a block."""
        self._paths[block] = path
