"""Finds what errors have in common: the class of the exception, and a message without the parts that vary.  [core]

Two tasks fail alike if their patterns are equal.  A pattern replaces quoted values, paths, addresses, identifiers and
numbers.
"""

from __future__ import annotations

import re
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from parslab.records.text import encodable

__all__ = ["OTHER", "Pattern", "pattern_of"]

OTHER = 0
"""Number of the group of all failures that have no group of their own; no pattern has this number."""

_READ = 600
"""Characters of an error that are read; a message that differs only after these is the same."""

_KEPT = 300
"""Characters of a pattern that are kept."""

_NUMBER_BYTES = 6
"""Bytes of a group's number: JavaScript has whole numbers of 53 bits."""


class Pattern(NamedTuple):
    """What failures of one group have in common."""

    group: int
    """Identifies the pattern in every process."""
    kind: str
    """The class of the exception; empty if the error names none."""
    message: str
    """The message, with placeholders in it."""


_KIND = re.compile(r"([A-Za-z_][\w.]*)(?:: (.*))?", re.DOTALL)

# The first alternative that fits at a place counts.  Each one begins only where a word begins, so that a long text is
# read once and not once for each of its characters.
_VARIABLE = re.compile(
    r"""
    (?P<quoted>(?<![\w\\])(?P<mark>['"`])(?:[^'"`\\\n]|\\.|(?!(?P=mark))['"`])*(?P=mark)(?!\w))
    |(?P<path>
        (?<!\w)[a-z][a-z0-9+.-]*://[^\s'",;)\]}>]+                  # a URL
        |(?<![\w/.])[A-Za-z]:\\[^\s'",;:)\]}>]+                     # a path of Windows
        |(?<![\w/.…])(?:~|\.{1,2})?(?:/[^\s/'",;:()\[\]{}<>…]+)+/?  # an absolute path, or one that begins with a dot
        |(?<![\w/.-])[\w.-]+/[\w./-]*\.\w+                          # a relative path of a file
     )
    |(?P<kept>\b(?:u?int|float|complex|utf-?|cp|latin-?|sha|md|base|x|iso-)(?:8|16|32|64|128|256|512|5|1|1252|86|8859)\b)
    |(?P<address>
        \b0[xX][0-9a-fA-F]+\b
        |\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b   # a UUID
        |\b(?=[a-fA-F]*[0-9])(?=[0-9]*[a-fA-F])[0-9a-fA-F]{8,}\b    # a hash
        |\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b                       # a host and its port
     )
    |(?P<number>(?:(?<!\w)[-+])?\d+(?:\.\d+)*(?:[eE][-+]?\d+)?)
    """,
    re.VERBOSE,
)
_LIST = re.compile(r"N(?:, ?N)+")


@lru_cache(maxsize=1024)
def pattern_of(error: str) -> Pattern:
    """Return the pattern of an error, ``Type: message``.

    Examples
    --------
    >>> pattern_of("ValueError: row 17 of '/data/a.csv' has 3 fields")[1:]
    ('ValueError', "row N of '…' has N fields")
    >>> pattern_of("ValueError: row 2") == pattern_of("ValueError: row 31")
    True
    """
    read = encodable(error[:_READ])
    found = _KIND.fullmatch(read)
    kind, message = (found[1], found[2] or "") if found is not None else ("", read)
    message = _LIST.sub("N, …", _VARIABLE.sub(_placeholder, message))
    if len(message) > _KEPT:
        message = message[: _KEPT - 1] + "…"
    digest = blake2b(f"{kind}: {message}".encode(), digest_size=_NUMBER_BYTES).digest()
    # 0 is the number of the other group.
    return Pattern(int.from_bytes(digest, "big") or 1, kind, message)


def _placeholder(found: re.Match[str]) -> str:
    match found.lastgroup:
        case "kept":
            return found.group()
        case "path":
            return "/…"
        case "address":
            return "…"
        case "number":
            return "N"
        case _:
            mark = found["mark"]
            return f"{mark}…{mark}"
