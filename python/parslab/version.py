"""Finds the version of this package in the file that the build writes."""

from __future__ import annotations

from typing import Any

__all__ = ["version"]


def version() -> str:
    """Return the version, or ``0+unknown`` in a source tree that was never built."""
    try:
        from parslab._version import __version__
    except ImportError:
        return "0+unknown"
    return str(__version__)


def __getattr__(name: str) -> Any:
    if name == "VERSION":  # Parsl's name; looked up late, because the file that has it may not be built
        return version()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
