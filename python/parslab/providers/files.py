"""Files of a block [shell]: its script is written whole or not at all, its output is read where it ended."""

from __future__ import annotations

import contextlib
import os

__all__ = ["last_line", "write_script"]

_TAIL = 4000


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


def last_line(path: str) -> str:
    """The last line of a file that is not empty; nothing where there is none."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - _TAIL))
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
