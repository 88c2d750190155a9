"""The lock that makes one process at a time the DataFlowKernel of a run [shell].

It is an ``flock`` on ``dfk.lock`` in the folder of the run.  Whoever starts a DataFlowKernel takes the lock first, and
the new process inherits the locked descriptor.  The lock belongs to the open file, not to a process.  So it passes from
the starter to the DataFlowKernel without a gap.  The system releases it when the last of them has ended, however that
happens.  A process that removes a dead run holds the lock meanwhile.  So no process starts a run that is being
removed, and none removes a run that is being started.

Invariants:

- Only the holder of the lock writes the files of a run (settings, log, block journal, event log, connection file), or
  removes its sockets.
- No child of the DataFlowKernel inherits the descriptor.

On NFS, Linux passes the lock on to the server, so it holds across hosts.  A file system without locks (Lustre without
``-o flock``) refuses; then a file in ``/tmp`` is locked instead, which holds on this host.  That is enough: another
host starts a run again only when its connection file says that it was handed over, which a DataFlowKernel writes last.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
from typing import TYPE_CHECKING

from parslab.errors import ConfigurationError

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["RunLock", "RunLockedError"]

_NAME = "dfk.lock"
_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""Errors of a file system that has no locks."""


class RunLockedError(ConfigurationError):
    """Another process is, starts, or removes the DataFlowKernel of the run."""


class RunLock:
    """A lock that this process holds; as a context manager it is released at the end of the block.

    Attributes
    ----------
    fd
        The locked descriptor, for a child to inherit.
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    @classmethod
    def acquire(cls, run_dir: str | os.PathLike[str]) -> RunLock:
        """Take the lock of a run, or fail at once.

        Raises
        ------
        RunLockedError
            Another process holds the lock.
        OSError
            The folder of the run does not exist, or cannot be written.
        """
        return cls(_lock(run_dir))

    @classmethod
    def inherit(cls, fd: int, run_dir: str | os.PathLike[str]) -> RunLock:
        """Take over a lock that the starter of this DataFlowKernel has acquired, and keep it until this process ends.

        Raises
        ------
        RunLockedError
            The descriptor is not that of the run's lock, or another process holds the lock.
        """
        os.set_inheritable(fd, False)
        ours = os.fstat(fd)
        if not any(_is_file(ours, path) for path in (_path(run_dir), _local_path(run_dir))):
            raise RunLockedError(f"Descriptor {fd} is not the lock of the run in {run_dir}.")
        _flock(fd, run_dir)  # succeeds at once if the starter has the lock, because both have the same open file
        with contextlib.suppress(OSError):
            os.pwrite(fd, f"{os.getpid():<20}\n".encode(), 0)
        return cls(fd)

    def close(self) -> None:
        """Close this process's descriptor; the lock is released unless a child has inherited it."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def __enter__(self) -> RunLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _path(run_dir: str | os.PathLike[str]) -> str:
    return os.path.join(run_dir, _NAME)


def _local_path(run_dir: str | os.PathLike[str]) -> str:
    """Return the lock file on this host of a run whose file system has no locks."""
    # Not in TMPDIR, which may differ between the processes of a user.
    name = hashlib.blake2b(os.fsencode(os.path.realpath(run_dir)), digest_size=8).hexdigest()
    return f"/tmp/parslab-{os.getuid()}-{name}.lock"


def _lock(run_dir: str | os.PathLike[str]) -> int:
    unsupported = OSError(errno.ENOLCK, "no file can be locked")
    for path in (_path(run_dir), _local_path(run_dir)):
        # Every user may write to /tmp, so a symbolic link there could name any file of this user: O_NOFOLLOW.
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            _flock(fd, run_dir)
            # The folder may have been removed between open and flock; the lock of a deleted file protects nothing.
            if _is_file(os.fstat(fd), path):
                os.ftruncate(fd, 0)  # removes the process number of the last holder
                return fd
            raise RunLockedError(f"The folder {run_dir} was removed or replaced just now.")
        except BaseException as error:
            os.close(fd)
            if not isinstance(error, OSError) or error.errno not in _UNSUPPORTED:
                raise
            unsupported = error
    raise unsupported


def _flock(fd: int, run_dir: str | os.PathLike[str]) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(fd, 20, 0).decode(errors="replace").strip()
        who = f"process {holder}" if holder.isdigit() else "another process"
        text = f"The run in {run_dir} already has a DataFlowKernel, {who}, or is being started or removed."
        raise RunLockedError(text) from None


def _is_file(status: os.stat_result, path: str) -> bool:
    """Return whether an open file is the one that a path names."""
    try:
        there = os.stat(path)
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == (there.st_dev, there.st_ino)
