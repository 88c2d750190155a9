"""Files that are there whole or not at all, whoever is killed meanwhile [shell].

Used for what another process reads: the settings of a run, the files by which others find it, scripts of jobs.
"""

from __future__ import annotations

import contextlib
import os

__all__ = ["write_atomically"]


def write_atomically(path: str | os.PathLike[str], text: str, mode: int = 0o600) -> None:
    """Put a file there in one step; what was there before stays if that fails.

    Parameters
    ----------
    path
        Of the file.
    text
        What it holds.
    mode
        Who may do what with it: by default only its owner may read it, because most hold secrets.

    Raises
    ------
    OSError
        It cannot be written.
    """
    folder, name = os.path.split(os.fspath(path))
    new = os.path.join(folder, f".{name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(new)  # a process of the same number may have died here
    try:
        # Not a link that somebody else put there: it would have us overwrite what it points to.
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
