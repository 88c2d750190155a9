"""Jobs for the suites of providers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.providers.base import Job

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["a_job"]


def a_job(folder: Path, name: str = "1", command: str = "start-manager") -> Job:
    """A job whose files are in ``folder``."""
    stem = folder / f"block-{name}"
    return Job(f"parslab.run.label.{name}", command, f"{stem}.sh", f"{stem}.stdout", f"{stem}.stderr")
