"""Limits the printed output that a run keeps of a task: its beginning, its end, and the length of the gap between them.

[core]  A task may print without end, but memory, database and panel must not grow without end.  :class:`PrintedOutput`
gathers text between two flushes, on the loop's thread.  :class:`OutputLimit` chooses the text that the store writes, on
the store's thread.  Invariants:

* a ``PrintedOutput`` holds at most ``HEAD + 4 * TAIL`` characters after each ``add``;
* an ``OutputLimit`` allows at most ``HEAD`` characters in chunks, and holds at most ``TAIL`` more;
* written, skipped and tail add up to all that the task printed.
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
    """Text of one stream of one task that the store does not have yet."""

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
            # Joining on each call would make many short prints quadratic, so the end may grow to four times its size.
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
        """Add newly printed text and replace ``tail``; return the text of a new chunk, which may be empty."""
        head = "".join(printed.head)
        chunk = head[: HEAD - self.written]
        tail = self.tail + head[len(chunk) :] + "".join(printed.end)
        # If ``printed`` skipped something, its end has at least ``TAIL`` characters.  So the tail contains no gap.
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
