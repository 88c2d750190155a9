"""Names contents by their hash [shell: it reads files]."""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from parslab.wire.messages.files import ContentId

if TYPE_CHECKING:
    from hashlib import blake2b

__all__ = ["FileState", "content_of", "new_hash", "state_of"]

_BLOCK = 1 << 20

FileState = tuple[int, int, int]
"""Inode, time of the last change (ns) and size: they differ after a change, and between hosts without a shared disk."""


def new_hash() -> blake2b:
    """Return an empty hash of the kind that names contents."""
    return hashlib.blake2b(digest_size=32)


def state_of(status: os.stat_result) -> FileState:
    """Return what changes when somebody writes a file."""
    return status.st_ino, status.st_mtime_ns, status.st_size


def content_of(path: str | os.PathLike[str]) -> tuple[ContentId, os.stat_result]:
    """Read a file, and return the name of its content, and what ``stat`` said of that.

    Raises
    ------
    OSError
        The file cannot be read, is not a regular file, or changes at this moment.
    """
    digest = new_hash()
    size = 0
    with open(path, "rb") as file:
        before = os.fstat(file.fileno())
        while block := file.read(_BLOCK):  # in blocks, because a file may be larger than the memory
            digest.update(block)
            size += len(block)
        after = os.fstat(file.fileno())
    if state_of(before) != state_of(after) or size != after.st_size:
        raise OSError(0, "it was changed while it was read", str(path))
    return ContentId(digest.digest(), size), after
