"""Finds paths that belong to no run: Jupyter's runtime directory, and the folder of this package."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["pid_namespace", "python_path_prefix", "runtime_dir"]


def runtime_dir() -> Path:
    """Return Jupyter's runtime directory, which has the connection files."""
    # The same rules as in jupyter_core.paths, whose import would cost every client 30 ms.
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


def pid_namespace() -> str:
    """Return the namespace of process ids: two containers may share a host name and use the same ids."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def python_path_prefix() -> str:
    """Return a prefix for shell commands that must find this package; empty if the package is installed."""
    import shlex

    here = Path(__file__).resolve().parent.parent
    if here.name in ("site-packages", "dist-packages"):
        return ""
    return f"env PYTHONPATH={shlex.quote(str(here))}{'${PYTHONPATH:+:$PYTHONPATH}'} "
