"""Where the checkout lies and which of its files are tracked; used by the fixtures and tests beside it."""

from __future__ import annotations

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
PANEL = Path("python/parslab/labextension")


def tracked_files() -> list[Path]:
    """Return the paths of the tracked files, relative to the checkout."""
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [Path(name) for name in listing.split("\0") if name and (ROOT / name).is_file()]
