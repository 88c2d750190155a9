"""Finds out whether this process has written to a private mapping of a block of shared memory [shell].

A page that was written to is a private copy, whose bytes the block does not have.  The page map of Linux shows such
pages (``Documentation/admin-guide/mm/pagemap.rst``).
"""

from __future__ import annotations

import mmap
import sys

__all__ = ["is_changed"]

_PAGEMAP = "/proc/self/pagemap"
_PAGES = 512
"""Pages that are looked at together."""
_ONE = int.from_bytes((1).to_bytes(8, sys.byteorder) * _PAGES, sys.byteorder)
_IN_MEMORY, _SWAPPED, _OF_FILE = 63, 62, 61
"""Bits of an entry of the page map."""


def is_changed(address: int, size: int) -> bool:
    """Return whether this process has written to a private mapping; True if the system does not tell."""
    first = address // mmap.PAGESIZE
    last = (address + size - 1) // mmap.PAGESIZE
    try:
        with open(_PAGEMAP, "rb", buffering=0) as file:
            file.seek(8 * first)
            left = last - first + 1
            while left:
                entries = file.read(8 * min(left, _PAGES))
                if not entries or len(entries) % 8:
                    return True
                if _has_private_page(entries):
                    return True
                left -= len(entries) // 8
    except OSError:
        return True
    return False


def _has_private_page(entries: bytes) -> bool:
    """Return whether one of these pages is in memory, or swapped, and does not belong to the block."""
    bits = int.from_bytes(entries, sys.byteorder)
    # All entries at once: a loop over the pages of a large value would take as long as to copy it.
    return bool(((bits >> _IN_MEMORY) | (bits >> _SWAPPED)) & ~(bits >> _OF_FILE) & _ONE)
