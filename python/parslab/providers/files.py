"""Writes the files of a block [shell]."""

from __future__ import annotations

import contextlib
import os

__all__ = ["write_script"]


def write_script(path: str, text: str) -> None:
    """Write a script whole or not at all; only its owner may read it, because it may hold secrets."""
    new = f"{path}.{os.getpid()}.new"
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700), "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(new, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(new)
        raise
