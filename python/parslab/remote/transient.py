"""Which errors of the system pass by themselves, and how long to wait before the next try [core].

A process that runs out of descriptors, processes or memory is short of them for a moment as a rule.  Whoever meets such
an error while it starts a process or accepts a connection tries again, and gives up only for other reasons.
"""

from __future__ import annotations

import errno

__all__ = ["is_transient", "retry_pause"]

_TRANSIENT = frozenset(
    {
        errno.EMFILE,  # this process has too many descriptors
        errno.ENFILE,  # the whole machine has
        errno.EAGAIN,  # too many processes of this user
        errno.ENOMEM,
        errno.ENOBUFS,
        errno.ENOSPC,
        errno.EINTR,
        errno.EBUSY,
        errno.EIO,
    }
)
_FIRST, _LONGEST = 0.25, 30.0


def is_transient(error: OSError) -> bool:
    """Whether the reason for this error may pass."""
    return error.errno in _TRANSIENT


def retry_pause(failures: int) -> float:
    """Return the seconds to wait after so many failures in a row.

    Examples
    --------
    >>> [retry_pause(n) for n in (1, 2, 3, 100)]
    [0.25, 0.5, 1.0, 30.0]
    """
    return float(min(_FIRST * 2 ** min(failures - 1, 10), _LONGEST))
