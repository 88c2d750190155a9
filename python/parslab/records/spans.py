"""Spans of time as users write and read them: ``8h``, ``10 min``.

One spelling for ``%parsl keep``, for ``parslab runs`` and for the sentences of a run.
"""

from __future__ import annotations

import math
import re

__all__ = ["said", "seconds_in"]

_UNITS = {"": 1.0, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*")


def seconds_in(text: str) -> float:
    """How many seconds ``8h``, ``90 min``, ``30s``, ``2d`` or a bare number of seconds are.

    Raises
    ------
    ValueError
        It is none of these; the message says what is wanted.

    Examples
    --------
    >>> seconds_in("1.5h")
    5400.0
    """
    found = _WRITTEN.fullmatch(text.lower())
    if found is None or found[2] not in _UNITS:
        raise ValueError(f"{text!r} is no span of time: write 30s, 10min, 8h or 2d")
    return float(found[1]) * _UNITS[found[2]]


def said(seconds: float) -> str:
    """A span in the unit that fits, whole where that is near enough.

    Examples
    --------
    >>> said(600), said(5400), said(0.25), said(28800), said(59.6)
    ('10 min', '1 h 30 min', '0.25 s', '8 h', '1 min')
    """
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.2g} s"
    whole = math.floor(seconds + 0.5)
    if whole < 60:
        return f"{whole} s"
    minutes = math.floor(whole / 60 + 0.5)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        hours, rest = divmod(minutes, 60)
        return f"{hours} h {rest} min" if rest else f"{hours} h"
    return f"{math.floor(minutes / 1440 + 0.5)} days"
