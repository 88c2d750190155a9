"""Decide which notebook a run belongs to, also after the notebook was renamed [core].

A path does not identify a notebook: a new ``Untitled.ipynb`` gets the path that a renamed one had.  A kernel keeps its
identifier when it is restarted, and a file keeps its inode number when it is renamed or saved.
"""

from __future__ import annotations

import os

import msgspec

__all__ = ["NotebookPlace", "file_id", "moved_to", "same_notebook"]


class NotebookPlace(msgspec.Struct, frozen=True):
    """Where a notebook is, as the kernel of one session knows it."""

    path: str = ""
    """Empty for a script; a name that the user has chosen where nothing else is known."""
    file: str = ""
    """Device and inode number of the file; empty where ``path`` names no file."""
    kernel: str = ""
    """Identifier of the Jupyter kernel; empty outside of Jupyter."""


def same_notebook(mine: NotebookPlace, theirs: NotebookPlace, *, kernel_lives: bool, replaced: bool = False) -> bool:
    """Return whether the notebooks ``mine`` and ``theirs`` are the same one.

    Parameters
    ----------
    mine
        The notebook of this process.
    theirs
        The notebook of the run, as its last kernel knew it.
    kernel_lives
        Whether a kernel that owns the run is alive.
    replaced
        Whether the file of the run's notebook is gone, because an editor or git replaced it by a new file.
    """
    if not mine.path:
        return False
    if mine.kernel and mine.kernel == theirs.kernel:
        return True
    # While that kernel lives a path proves nothing: the notebook may be renamed, and its old path may name a new file.
    if kernel_lives and (mine.kernel or theirs.kernel):
        return bool(mine.file) and mine.file == theirs.file and not (mine.kernel and theirs.kernel)
    # Two files with one path are the same notebook only after a replacement, which changes the inode number.
    if mine.file and theirs.file and mine.file != theirs.file:
        return replaced and not kernel_lives and mine.path == theirs.path
    return mine.path == theirs.path or (mine.file != "" and mine.file == theirs.file)


def file_id(path: str) -> str:
    """Return the device and the inode number of a file; empty when there is no such file."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return ""
    return f"{status.st_dev}:{status.st_ino}"


def moved_to(path: str, file: str) -> str:
    """Return the new path of a file that was renamed within its folder; empty otherwise."""
    if not file or file_id(path) == file:
        return ""
    number = int(file.partition(":")[2])
    try:
        # ``scandir`` gives inode numbers without a stat of each file, so a large folder on a network stays cheap.
        with os.scandir(os.path.dirname(path)) as entries:
            return next((e.path for e in entries if e.inode() == number and file_id(e.path) == file), "")
    except OSError:
        return ""
