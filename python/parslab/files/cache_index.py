"""Decides which contents the cache of a node holds, and which it drops for others [core].

The shell (``files.cache``) owns the folder: it asks here before it writes, and removes the files that this index names.
Time is an argument.

Invariants
----------
- Complete and reserved contents together never have more bytes than the limit.
- No content that is in use, or that arrives at this moment, is dropped.
- Among contents that may be dropped, the one that was used least recently goes first.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from parslab.wire.messages.files import ContentId

__all__ = ["CacheEntry", "CacheFull", "CacheIndex", "FoundContent", "Lifetime"]


class Lifetime(IntEnum):
    """How long a node keeps a content.  Where users differ, the longest lifetime counts."""

    task = 1
    """Until the last task that uses it has ended."""
    run = 2
    """Until the run ends."""
    forever = 3
    """Until the cache needs the space, also for later runs."""


class CacheFull(Exception):
    """A content does not fit into the cache, whatever is dropped; the text says why."""


@dataclass(slots=True)
class CacheEntry:
    """A content of the cache."""

    lifetime: Lifetime
    used: float
    """When a task last asked for it."""
    complete: bool = False
    """Whether all its bytes are here; else they are arriving."""
    holders: set[str] = field(default_factory=set)
    """Who uses it now: tasks, and transfers to other hosts."""


@dataclass(frozen=True, slots=True)
class FoundContent:
    """A complete content that a scan of the folder found."""

    content: ContentId
    used: float


class CacheIndex:
    """The contents of one cache.

    Parameters
    ----------
    limit
        The most bytes that the cache may hold.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.size = 0
        """Bytes of all contents, those that are arriving included."""
        self._entries: dict[ContentId, CacheEntry] = {}

    def __contains__(self, content: object) -> bool:
        entry = self._entries.get(content)  # type: ignore[call-overload]
        return entry is not None and entry.complete

    def __len__(self) -> int:
        return len(self._entries)

    def entry(self, content: ContentId) -> CacheEntry | None:
        """Return what the index knows of a content; None if the cache does not have it."""
        return self._entries.get(content)

    @property
    def complete(self) -> list[ContentId]:
        """The contents that are whole."""
        return [content for content, entry in self._entries.items() if entry.complete]

    # ----- contents come in

    def restore(self, found: Iterable[FoundContent]) -> list[ContentId]:
        """Take in the contents that a scan found after a start; return those that have no room."""
        surplus = []
        # The newest first, so that the limit hits those that nobody has used for longest.
        for item in sorted(found, key=lambda item: (-item.used, item.content.digest)):
            if self.size + item.content.size > self.limit or item.content in self._entries:
                surplus.append(item.content)
                continue
            self.size += item.content.size
            self._entries[item.content] = CacheEntry(Lifetime.forever, item.used, complete=True)
        return surplus

    def reserve(self, content: ContentId, lifetime: Lifetime, now: float) -> list[ContentId]:
        """Make room for a content that will arrive; return the contents to remove first.

        Raises
        ------
        CacheFull
            The room cannot be made.  Nothing has changed.
        """
        entry = self._entries.get(content)
        if entry is not None:
            entry.lifetime = max(entry.lifetime, lifetime)
            entry.used = now
            return []
        dropped = self._victims(content.size)
        for victim in dropped:
            self.discard(victim)
        self.size += content.size
        self._entries[content] = CacheEntry(lifetime, now)
        return dropped

    def _victims(self, size: int) -> list[ContentId]:
        excess = self.size + size - self.limit
        if size > self.limit:
            raise CacheFull(f"it has {size:,} bytes, and the cache may hold {self.limit:,}")
        victims = []
        for content in self._free():
            if excess <= 0:
                break
            victims.append(content)
            excess -= content.size
        if excess > 0:
            raise CacheFull(
                f"it has {size:,} bytes, and tasks use so much of the {self.limit:,} bytes of the cache that "
                f"{excess:,} are missing"
            )
        return victims

    @staticmethod
    def _droppable(entry: CacheEntry) -> bool:
        return entry.complete and not entry.holders

    def shed(self, size: int) -> list[ContentId]:
        """Drop contents of at least ``size`` bytes, or all that can be dropped, because the disk is full."""
        dropped: list[ContentId] = []
        while size > 0 and (free := self._free()):
            dropped.append(free[0])
            size -= free[0].size
            self.discard(free[0])
        return dropped

    def _free(self) -> list[ContentId]:
        """Return the contents that may be dropped, the one that was used least recently first."""
        free = [(entry.used, content) for content, entry in self._entries.items() if self._droppable(entry)]
        free.sort(key=lambda item: (item[0], item[1].digest))
        return [content for _, content in free]

    def finish(self, content: ContentId) -> None:
        """Note that all bytes of a content have arrived, and that their hash is right."""
        self._entries[content].complete = True

    def discard(self, content: ContentId) -> None:
        """Forget a content: its transfer failed, or its file is lost or was changed."""
        if self._entries.pop(content, None) is not None:
            self.size -= content.size

    # ----- contents are used, and go

    def use(self, content: ContentId, holder: str, now: float) -> None:
        """Keep a content for as long as ``holder`` uses it."""
        entry = self._entries[content]
        entry.used = now
        entry.holders.add(holder)

    def release(self, holder: str) -> list[ContentId]:
        """End the uses of ``holder``; return the contents to remove because no task needs them any more."""
        ended = []
        for content, entry in self._entries.items():
            if holder in entry.holders:
                entry.holders.discard(holder)
                if entry.lifetime is Lifetime.task and self._droppable(entry):
                    ended.append(content)
        for content in ended:
            self.discard(content)
        return ended

    def end_run(self) -> list[ContentId]:
        """Return the contents to remove because the run has ended; only those with lifetime ``forever`` stay."""
        ended = [c for c, e in self._entries.items() if e.lifetime is not Lifetime.forever or not e.complete]
        for content in ended:
            self.discard(content)
        return ended
