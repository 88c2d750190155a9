"""Jobs for the suites of providers."""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING

from parslab.providers.base import Job

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["a_job"]


def a_job(folder: Path, name: str = "1", command: str = "start-manager") -> Job:
    """Return a job whose files are in ``folder``; jobs of different folders have different names, as blocks have."""
    stem = folder / f"block-{name}"
    return Job(
        f"parslab.{zlib.crc32(bytes(folder)):08x}.label.{name}",
        command,
        f"{stem}.sh",
        f"{stem}.stdout",
        f"{stem}.stderr",
    )
