"""Let workers import from the folders that the client imports from.

A worker starts with the ``sys.path`` of the client that started the run. Users change it later, and a client that
attaches to a run has another one. Each function therefore travels with the entries of its client, without those of
Python and its environment. A worker adds the entries that it lacks.
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
from typing import NamedTuple

from parslab.serialize.code.modules import installed_folder

__all__ = ["ImportPath", "client_path", "explain_missing", "follow"]


class ImportPath(NamedTuple):
    """The absolute entries of a ``sys.path`` before and after the first one that belongs to Python."""

    front: list[str]
    back: list[str]


def client_path() -> ImportPath:
    """Return the entries of this process that its workers may lack."""
    front: list[str] = []
    back: list[str] = []
    target = front
    for entry in sys.path:
        if not isinstance(entry, str):
            continue
        if entry and installed_folder(entry):
            target = back
        else:
            target.append(os.path.abspath(entry))
    return ImportPath(front, back)


_absent: list[str] = []
"""Entries of clients that this host does not have."""


def follow(path: ImportPath) -> None:
    """Add the entries to ``sys.path`` that this worker lacks, each on its side of the installed modules."""
    present = {os.path.abspath(entry) for entry in sys.path}
    front, back = ([entry for entry in entries if entry not in present] for entries in path)
    if front or back:
        sys.path[:0] = front
        sys.path += back
        importlib.invalidate_caches()
        _absent.extend(entry for entry in (*front, *back) if not os.path.exists(entry))


def explain_missing(error: BaseException) -> None:
    """Add the folders of the client that this host lacks to the error about a missing module."""
    absent = [entry for entry in _absent if not os.path.exists(entry)]
    if isinstance(error, ModuleNotFoundError) and absent and "does not have" not in error.msg:
        folders = ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else "")
        error.msg += f" (the notebook also imports from {folders}, which host {socket.gethostname()} does not have)"
        error.args = (error.msg,)
