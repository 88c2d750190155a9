"""Where files that belong to the user rather than to a run lie, the way Jupyter decides it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["runtime_dir"]


def runtime_dir() -> Path:
    """Jupyter's runtime directory, where connection files lie; without importing Jupyter, which costs 30 ms."""
    chosen = os.environ.get("JUPYTER_RUNTIME_DIR")
    if chosen:
        return Path(chosen)
    data = os.environ.get("JUPYTER_DATA_DIR")
    if data:
        return Path(data) / "runtime"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Jupyter" / "runtime"
    data_home = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local", "share")
    return Path(data_home) / "jupyter" / "runtime"
