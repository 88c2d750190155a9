"""Shortens texts for the view, and replaces what no encoding can carry.  [core]"""

from __future__ import annotations

from parslab.records.text import encodable

__all__ = ["ERROR", "TEXT", "TRACEBACK", "clipped"]

TEXT = 200
"""Longest name, argument list or cell that is kept, in characters."""

ERROR = 1000
"""Longest error line, reason or notice that is kept, in characters."""

TRACEBACK = 64 * 1024
"""Longest traceback that is kept, in characters."""


def clipped(text: str, size: int) -> str:
    """Shorten a text that is too long, and write lone surrogates, which no encoding can carry, as escapes.

    Examples
    --------
    >>> clipped("abcdef", 4)
    'abc…'
    """
    # The slice comes first, because a text of a task may have many megabytes.
    text = encodable(text[: size + 1])
    return text if len(text) <= size else text[: size - 1] + "…"
