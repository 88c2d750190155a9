"""Texts as the view keeps them: bounded, and such that every encoding can carry them.  [core]"""

from __future__ import annotations

__all__ = ["ERROR", "TEXT", "TRACEBACK", "clipped"]

TEXT = 200
"""Longest name, argument list or cell that is kept, in characters."""

ERROR = 1000
"""Longest error line, reason or notice that is kept, in characters."""

TRACEBACK = 64 * 1024
"""Longest traceback that is kept, in characters."""


def clipped(text: str, size: int) -> str:
    """Shorten a text that is too long, and replace lone surrogates, which no encoding can carry.

    Examples
    --------
    >>> clipped("abcdef", 4)
    'abc…'
    """
    if len(text) > size:
        text = text[: size - 1] + "…"
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
