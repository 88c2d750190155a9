"""Hash a term: data for which ``marshal`` writes the same bytes in every process."""

from __future__ import annotations

import hashlib
import marshal
from typing import Any

__all__ = ["digest_of", "marshalled"]

_VERSION = 2
"""The last version of marshal without references, with which the bytes depend on the identity of equal strings."""


def marshalled(term: Any) -> bytes:
    """Return the bytes of a term, equal for equal terms."""
    return marshal.dumps(term, _VERSION)


def digest_of(term: Any, size: int = 16) -> bytes:
    """Return the hash of a term, ``size`` bytes long."""
    return hashlib.blake2b(marshal.dumps(term, _VERSION), digest_size=size).digest()
