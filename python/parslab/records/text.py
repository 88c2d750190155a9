"""Make strings safe to encode, and safe to print.

A string from outside may not be text. ``os.fsdecode`` turns bytes that are not UTF-8 into lone surrogates, which no
encoder accepts. An error message may contain control characters, which a terminal obeys. This module replaces both by
the escapes of Python literals: ``\\udce9``, ``\\x1b``.
"""

from __future__ import annotations

import re

__all__ = ["encodable", "printable"]

# A terminal may get no control characters but tab and newline. The last two ranges are marks that change the direction
# of text. With them, a line can look like another one.
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def encodable(text: str) -> str:
    r"""Return a string with an escape in place of each lone surrogate.

    Examples
    --------
    >>> encodable("caf\udce9")
    'caf\\udce9'
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode()
    return text


def printable(text: str) -> str:
    r"""Return a string with an escape in place of each lone surrogate and each control character.

    Examples
    --------
    >>> printable("\x1b]0;title\x07")
    '\\x1b]0;title\\x07'
    """
    return _CONTROL.sub(_escape, encodable(text))


def _escape(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode()
