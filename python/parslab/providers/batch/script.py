"""Writes times and names in the forms that schedulers read [pure]."""

from __future__ import annotations

__all__ = ["clock", "short_name"]


def clock(seconds: float) -> str:
    """Return a time as HH:MM:SS, rounded up to a second.

    Examples
    --------
    >>> clock(90061)
    '25:01:01'
    """
    whole = -int(-seconds // 1)
    return f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def short_name(name: str, length: int) -> str:
    """Return a short form of a job's name: its last parts, which distinguish the jobs of a run.

    Examples
    --------
    >>> short_name("parslab.3f2a.htex.12", 14)
    'pl.htex.12'
    """
    if len(name) <= length:
        return name
    parts = name.split(".")
    while len(parts) > 1 and len(".".join(parts)) > length - 3:
        parts.pop(0)
    return f"pl.{'.'.join(parts)[-(length - 3) :]}"
