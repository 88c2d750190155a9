"""Finds the version of this package in the file that the build writes."""

from __future__ import annotations

__all__ = ["version"]


def version() -> str:
    """Return the version, or ``0+unknown`` in a source tree that was never built."""
    try:
        from parslab._version import __version__
    except ImportError:
        return "0+unknown"
    return str(__version__)
