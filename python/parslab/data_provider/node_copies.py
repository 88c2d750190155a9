"""Lets the tasks of a node share one copy of a file that they fetch themselves.

Several workers may need the same file at once.  The first one fetches it under a lock; the others wait and use its
copy.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

from parslab.data_provider.urls import url_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from parslab.data_provider.files import File

__all__ = ["fetch_once", "locked", "make_folders"]


def fetch_once(fetch: Callable[[File], None], file: File) -> None:
    """Fetch a file unless another task of this run has done so on this node; at most one process writes at a time."""
    path = file.filepath
    folder, name = os.path.split(path)
    os.makedirs(folder or ".", exist_ok=True)
    with locked(os.path.join(folder, f".{name[:200]}.lock")) as lock:
        # The lock file names what the copy is, so that a file of another run or of another URL is never taken for it.
        if os.pread(lock, 4096, 0) == _description(file, path):
            return
        os.ftruncate(lock, 0)
        fetch(file)
        os.pwrite(lock, _description(file, path), 0)


def _description(file: File, path: str) -> bytes:
    try:
        state = os.stat(path)
    except OSError:
        return b"absent"
    return f"{file.staged_by} {url_digest(file.url)} {state.st_ino} {state.st_size} {state.st_mtime_ns}".encode()


def make_folders(files: Iterable[File]) -> None:
    """Make the folders in which the function of a task writes its outputs on this node."""
    for file in files:
        os.makedirs(os.path.dirname(file.filepath) or ".", exist_ok=True)


@contextlib.contextmanager
def locked(path: str) -> Iterator[int]:
    """Hold the lock of a file, which stays there; yield its descriptor."""
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        with contextlib.suppress(OSError):  # a file system without locks: each task then fetches for itself
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)
