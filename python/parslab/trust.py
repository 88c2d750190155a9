"""Decides which files and folders this process trusts [shell].

A checkpoint, an event log, a block journal or a settings file makes parslab run the code that it holds.  A connection
file makes parslab signal a process, connect to a socket and delete a folder.  So such a file must belong to our user or
to root, and nobody else may be able to write to it.

The functions for files check an open descriptor, not a path, so nobody can exchange the file between check and use.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from typing import TYPE_CHECKING

from parslab.errors import UntrustedPathError

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = [
    "check_file",
    "check_folder",
    "check_opened",
    "open_file",
    "owner_name",
    "read_text",
    "remove_socket_folder",
]

_SOCKET_FOLDER = re.compile(r"parslab-[0-9a-f]{8}")
"""The form of the names of socket folders."""

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def open_file(path: str | os.PathLike[str], owners: Collection[int] = ()) -> int:
    """Open a file for reading, if it can be trusted.

    Parameters
    ----------
    path
        The path of the file.
    owners
        User numbers that are trusted besides our own and root's.

    Returns
    -------
    int
        The descriptor.

    Raises
    ------
    UntrustedPathError
        The file belongs to somebody else, or others can write to it.
    OSError
        It cannot be opened.
    """
    # Without O_NONBLOCK, the open of a named pipe that somebody put there would never return.
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        check_opened(fd, path, owners)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_text(path: str | os.PathLike[str]) -> str:
    """Read a text file, if it can be trusted.

    Raises
    ------
    UntrustedPathError
        The file belongs to somebody else, or others can write to it.
    OSError
        It cannot be read.
    """
    with open(open_file(path), encoding="utf-8") as file:
        return file.read()


def check_file(path: str | os.PathLike[str], owners: Collection[int] = ()) -> None:
    """Check a file that another process is going to open.

    Raises
    ------
    UntrustedPathError
        The file belongs to somebody else, or others can write to it.
    OSError
        It cannot be opened.
    """
    os.close(open_file(path, owners))


def check_opened(fd: int, path: str | os.PathLike[str], owners: Collection[int] = ()) -> None:
    """Check the open file of a descriptor.

    Parameters
    ----------
    fd
        The descriptor.
    path
        The path of the file, for the error message.
    owners
        User numbers that are trusted besides our own and root's.

    Raises
    ------
    UntrustedPathError
        It is no regular file, it belongs to somebody else, or others can write to it.
    """
    status = os.fstat(fd)
    if stat.S_ISCHR(status.st_mode) and status.st_uid == 0:
        return  # a device of the system, such as /dev/full, which stores nothing
    if not stat.S_ISREG(status.st_mode):
        raise UntrustedPathError(f"{os.fspath(path)} is refused because it is not a regular file: delete it.")
    _check(status, path, owners, writable=_others_can_write(status))


def check_folder(path: str | os.PathLike[str], owners: Collection[int] = ()) -> None:
    """Check a folder whose files are trusted.

    Other users may add files to a folder with the sticky bit, or to one that is shared with ``owners``.  They cannot
    exchange ours there, and each file is checked on its own.

    Parameters
    ----------
    path
        The path of the folder.
    owners
        User numbers that are trusted besides our own and root's.

    Raises
    ------
    UntrustedPathError
        It belongs to somebody else, or others can exchange the files in it.
    OSError
        There is no such folder.
    """
    status = os.stat(path)
    exempt = bool(owners) or bool(status.st_mode & stat.S_ISVTX)
    _check(status, path, owners, writable=not exempt and _others_can_write(status))


def _check(status: os.stat_result, path: str | os.PathLike[str], owners: Collection[int], *, writable: bool) -> None:
    if status.st_uid not in (os.geteuid(), 0) and status.st_uid not in owners:
        owner = owner_name(status.st_uid)
        raise UntrustedPathError(
            f"{os.fspath(path)} is refused because it belongs to {owner}, not to you: delete it, or, if it is part of "
            f"a checkpoint, trust its owner with Config(trusted_owners=[{status.st_uid}])."
        )
    if writable:
        raise UntrustedPathError(
            f"{os.fspath(path)} is refused because others than its owner, {owner_name(status.st_uid)}, can write to "
            f"it: when you know that its content is yours, run: chmod go-w {os.fspath(path)}"
        )


def _others_can_write(status: os.stat_result) -> bool:
    writers = status.st_mode & _OTHERS_WRITE
    if writers == stat.S_IWGRP:
        # Many systems give each user a group of its own, and let files be writable for it.
        return not _private_group(status.st_gid, status.st_uid)
    return bool(writers)


def _private_group(gid: int, uid: int) -> bool:
    """Return whether the owner of a file is the only member of its group."""
    # gr_mem does not list users who have the group as their primary group.  Systems that make a group for each user
    # give it the name of the user, and it is the primary group of that user only.
    import grp
    import pwd

    try:
        user, group = pwd.getpwuid(uid), grp.getgrgid(gid)
    except KeyError:
        return False
    return user.pw_gid == gid and group.gr_name == user.pw_name and set(group.gr_mem) <= {user.pw_name}


def owner_name(uid: int) -> str:
    """Return the name of a user for messages: ``user ada (uid 1000)``."""
    import pwd

    with contextlib.suppress(KeyError):
        return f"user {pwd.getpwuid(uid).pw_name} (uid {uid})"
    return f"the user with uid {uid}"


def remove_socket_folder(path: str | os.PathLike[str]) -> None:
    """Delete the folder for the sockets of a run, if ``path`` is one.

    The path may come from a file that somebody damaged or forged.  So this function deletes nothing but sockets, and
    only a folder of ours that has the name of a socket folder.

    Parameters
    ----------
    path
        The path of the folder.
    """
    if not _SOCKET_FOLDER.fullmatch(os.path.basename(path)):
        return
    with contextlib.suppress(OSError):
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(folder).st_uid != os.geteuid():
                return
            for name in os.listdir(folder):
                if stat.S_ISSOCK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
                    os.unlink(name, dir_fd=folder)
        finally:
            os.close(folder)
        os.rmdir(path)  # fails if anything else is in the folder, and then the folder stays
