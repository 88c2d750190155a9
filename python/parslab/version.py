"""The version of this package, read where the build has written it."""

from __future__ import annotations

__all__ = ["version"]


def version() -> str:
    """The version; ``0+unknown`` in a source tree that was never built."""
    try:
        from parslab._version import __version__
    except ImportError:
        return "0+unknown"
    return str(__version__)
