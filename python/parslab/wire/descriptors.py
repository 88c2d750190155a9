"""Sets how many descriptors this process may open, and keeps some of them for its own needs [shell].

The system gives most processes 1,024 descriptors, although they may ask for more.  A DataFlowKernel needs one for each
client and remote manager, and a manager needs six for each worker.  Strangers at the port of a run can use up any
number.  So a process that calls :func:`raise_limit` gets all that the system allows, but a part of them only within
:func:`spare`.  Connections that ZeroMQ accepts can hardly use that part: code of ours that needs a descriptor opens it
there when no other is free.

Programs that use ``select`` break above 1,024 descriptors.  So whatever such a process starts gets the limit that the
user has set, by :func:`with_user_limit` or :func:`user_limit`.

Any thread may call these functions.
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import shutil
import threading
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

__all__ = [
    "are_scarce",
    "lacks_descriptors",
    "raise_limit",
    "restore_limit",
    "spare",
    "user_limit",
    "using_spare",
    "with_user_limit",
]

T = TypeVar("T")

_MOST = 1 << 16
"""Some programs do something for each possible descriptor, so the limit is never higher."""
_MOST_OF_MACOS = 10240
"""The system refuses more, whatever it says about its limit."""
_SPARE = 4
"""One in so many descriptors is kept for :func:`spare`, but no more than ``_MOST_SPARE``."""
_MOST_SPARE = 128
_FEW = 4096
"""A process with more has room for all connections that may wait at a time."""
_SHELL = 'ulimit -S -n "$0"; exec "$@"'


class _Limit:
    """The limit of this process.

    The lock protects ``users``: several threads count in it, and the system has one limit for all threads.
    """

    def __init__(self) -> None:
        self.of_user: int | None = None
        """The limit that the user has set; None if this process has not changed it."""
        self.usual = self.highest = 0
        """The limit outside of :func:`spare`, and within."""
        self.users = 0
        """How many threads are within :func:`spare`."""
        self.lock = threading.Lock()


_limit = _Limit()


def _set(number: int) -> None:
    """Set the limit of this process; a number that the system refuses changes nothing."""
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (number, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


def raise_limit(keep_spare: bool = False) -> None:
    """Let this process open as many descriptors as the system allows; the second call does nothing.

    Parameters
    ----------
    keep_spare
        Whether to keep a part of them for :func:`spare`.
    """
    if _limit.of_user is not None:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return
    for most in (_MOST, _MOST_OF_MACOS):
        highest = max(soft, most if hard == resource.RLIM_INFINITY else min(hard, most))
        usual = highest - min(highest // _SPARE, _MOST_SPARE) if keep_spare else highest
        _set(usual)
        if resource.getrlimit(resource.RLIMIT_NOFILE)[0] == usual != soft:
            _limit.of_user, _limit.usual, _limit.highest = soft, usual, highest
            return


def restore_limit() -> None:
    """Give this process the limit of the user again, before it replaces itself by another program."""
    if _limit.of_user is not None:
        _set(_limit.of_user)
        _limit.of_user, _limit.usual, _limit.highest = None, 0, 0


def are_scarce() -> bool:
    """Return whether strangers could use up the descriptors of this process, except for those that it keeps."""
    return _limit.usual < _limit.highest <= _FEW


@contextlib.contextmanager
def spare() -> Iterator[None]:
    """Let this process use all its descriptors within the block, which should be short."""
    if _limit.usual == _limit.highest:
        yield
        return
    with _limit.lock:
        _limit.users += 1
        if _limit.users == 1:
            _set(_limit.highest)
    try:
        yield
    finally:
        with _limit.lock:
            _limit.users -= 1
            if not _limit.users:
                _set(_limit.usual)


def lacks_descriptors(error: OSError) -> bool:
    """Return whether this process, or the whole machine, had no free descriptor."""
    return error.errno in (errno.EMFILE, errno.ENFILE)


def using_spare(call: Callable[[], T]) -> T:
    """Return the result of ``call``; repeat the call within :func:`spare` if no descriptor was free.

    Examples
    --------
    >>> import os
    >>> os.close(using_spare(lambda: os.open("/", os.O_RDONLY)))
    """
    try:
        return call()
    except OSError as error:
        if not lacks_descriptors(error) or _limit.usual == _limit.highest:
            raise
    with spare():
        return call()


def user_limit() -> int | None:
    """Return the limit for what this process starts; None if that is the limit of this process."""
    return _limit.of_user


def with_user_limit(command: Sequence[str], environment: Mapping[str, str] | None = None) -> list[str]:
    """Return a command that gives itself the limit of the user and then becomes this one.

    Parameters
    ----------
    command
        Program and arguments.
    environment
        The variables of the command, whose ``PATH`` leads to the program; None: those of this process.

    Raises
    ------
    FileNotFoundError, PermissionError
        There is no such program, or it may not be executed.

    Examples
    --------
    >>> with_user_limit(["sbatch", "job.sh"])
    ['sbatch', 'job.sh']
    """
    if _limit.of_user is None:
        return list(command)
    path = (os.environ if environment is None else environment).get("PATH")
    # The shell would report these two by its exit status only.
    if shutil.which(command[0], path=path) is None:
        if shutil.which(command[0], os.F_OK, path) is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), command[0])
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), command[0])
    # A shell, because a function that runs between fork and exec is not safe in a process with threads.
    return ["/bin/sh", "-c", _SHELL, str(_limit.of_user), *command]
