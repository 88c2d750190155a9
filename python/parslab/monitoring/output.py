"""Bounds for what tasks print: the beginning and the end are kept, and the length of what is missing between them.

[core]  A task may print without end while memory, database and panel may not grow without end.  :class:`PrintedOutput`
gathers text between two flushes (loop thread), :class:`OutputLimit` decides what of it is written down (store thread).

Invariants: a ``PrintedOutput`` holds at most ``HEAD + 4 * TAIL`` characters after each ``add``; a ``OutputLimit``
lets at most
``HEAD`` characters be written as chunks and holds at most ``TAIL`` more; written + skipped + tail = all that was
printed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["HEAD", "TAIL", "OutputLimit", "PrintedOutput", "cut_mark"]

HEAD = 256 * 1024
"""Characters kept from the beginning of a stream of a task."""

TAIL = 64 * 1024
"""Characters kept from its end."""


@dataclass(slots=True)
class PrintedOutput:
    """Text of one stream of one task that has not been handed to the store yet."""

    head: list[str] = field(default_factory=list)
    """The first ``HEAD`` characters of it."""
    end: list[str] = field(default_factory=list)
    """What follows them; at least the last ``TAIL`` characters, when some were skipped."""
    skipped: int = 0
    """Characters left out between ``head`` and ``end``."""
    _room: int = HEAD
    _end_size: int = 0

    def add(self, text: str) -> None:
        """Add text; drop the middle when there is too much."""
        if self._room:
            first = text[: self._room]
            self.head.append(first)
            self._room -= len(first)
            text = text[len(first) :]
        if text:
            self.end.append(text)
            self._end_size += len(text)
            if self._end_size > 4 * TAIL:
                whole = "".join(self.end)
                self.skipped += len(whole) - TAIL
                self.end = [whole[-TAIL:]]
                self._end_size = TAIL


@dataclass(slots=True)
class OutputLimit:
    """The part of one stream of one task that the store holds."""

    written: int = 0
    """Characters written as chunks; they do not change any more."""
    chunks: int = 0
    tail: str = ""
    skipped: int = 0

    def take(self, printed: PrintedOutput) -> str:
        """Add what was printed since; returns the text of a new chunk, which may be empty, and replaces ``tail``."""
        head = "".join(printed.head)
        chunk = head[: HEAD - self.written]
        tail = self.tail + head[len(chunk) :] + "".join(printed.end)
        # Where ``printed`` skipped something, its end alone fills the tail: the seam never shows.
        self.skipped += printed.skipped + max(0, len(tail) - TAIL)
        self.tail = tail[-TAIL:]
        self.written += len(chunk)
        self.chunks += bool(chunk)
        return chunk


def cut_mark(skipped: int) -> str:
    """Return the line that replaces missing text.

    Examples
    --------
    >>> cut_mark(1234567)
    '\\n... 1,234,567 characters left out ...\\n'
    """
    return f"\n... {skipped:,} characters left out ...\n"
