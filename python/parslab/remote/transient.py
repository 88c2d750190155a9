"""Decide which system errors are transient, and how long to wait before the next attempt (D40) [core].

A lack of descriptors, processes or memory usually ends soon.  Code that starts a process or accepts a connection tries
again after such an error, and gives up only for other reasons.
"""

from __future__ import annotations

import errno

__all__ = ["is_transient", "retry_pause"]

_TRANSIENT = frozenset(
    {
        errno.EMFILE,  # this process has too many descriptors
        errno.ENFILE,  # the whole machine has too many
        errno.EAGAIN,  # this user has too many processes
        errno.ENOMEM,
        errno.ENOBUFS,
        errno.ENOSPC,
        errno.EINTR,
        errno.EBUSY,
        errno.EIO,
    }
)
_FIRST, _LONGEST = 0.25, 30.0
"""The first pause and the longest one, in seconds."""


def is_transient(error: OSError) -> bool:
    """Return whether the cause of this error may end by itself."""
    return error.errno in _TRANSIENT


def retry_pause(failures: int) -> float:
    """Return the seconds to wait after this number of failures in a row.

    Examples
    --------
    >>> [retry_pause(n) for n in (1, 2, 3, 100)]
    [0.25, 0.5, 1.0, 30.0]
    """
    return float(min(_FIRST * 2 ** min(failures - 1, 10), _LONGEST))
