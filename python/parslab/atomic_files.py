"""Writes files that other processes read, so that a reader never sees half a file [shell].

Such files are the settings of a run, the files by which other processes find it, and scripts of jobs.
"""

from __future__ import annotations

import contextlib
import os

__all__ = ["write_atomically"]


def write_atomically(path: str | os.PathLike[str], text: str, mode: int = 0o600) -> None:
    """Write a file in one step; an older file stays if that fails.

    Parameters
    ----------
    path
        The path of the file.
    text
        Its content. Names of files in it that are not UTF-8, as ``os.fsdecode`` gives them, get their own bytes.
    mode
        Its permissions; by default only its owner may read it, because most such files contain secrets.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    folder, name = os.path.split(os.fspath(path))
    new = os.path.join(folder, f".{name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)  # a dead process with our number may have left this file
    try:
        # O_EXCL does not follow a link, by which another user could make us overwrite a file of ours.
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(text.encode("utf-8", "surrogateescape"))
        os.replace(new, path)  # atomic, because both names are in one folder and so on one filesystem
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
