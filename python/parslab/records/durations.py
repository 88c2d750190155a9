"""Reads and writes durations as users do: ``8h``, ``10 min``.

``%parsl keep``, ``parslab runs`` and the sentences of a run share this spelling.
"""

from __future__ import annotations

import math
import re

__all__ = ["format_duration", "parse_duration"]

_UNITS = {"": 1.0, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_WRITTEN = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*")


def parse_duration(text: str) -> float:
    """Convert ``8h``, ``90 min``, ``30s``, ``2d`` or a bare number of seconds into seconds.

    Raises
    ------
    ValueError
        The text is none of these.

    Examples
    --------
    >>> parse_duration("1.5h")
    5400.0
    """
    found = _WRITTEN.fullmatch(text.lower())
    if found is None or found[2] not in _UNITS:
        raise ValueError(f"{text!r} is no span of time: write 30s, 10min, 8h or 2d")
    return float(found[1]) * _UNITS[found[2]]


def format_duration(seconds: float) -> str:
    """Write a duration in the unit that fits, rounded to whole units above ten seconds.

    Examples
    --------
    >>> format_duration(600), format_duration(5400), format_duration(0.25), format_duration(28800)
    ('10 min', '1 h 30 min', '0.25 s', '8 h')
    """
    if seconds < 9.95:  # above, two digits would round to "10 s" anyway
        return f"{max(seconds, 0.0):.2g} s"
    # floor(x + 0.5), because round() rounds 2.5 to 2.
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
