"""Where files lie that belong to no run: those of the user, the way Jupyter decides it, and this package itself."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["pid_namespace", "python_path_prefix", "runtime_dir"]


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


def pid_namespace() -> str:
    """Where process numbers mean what they mean here: containers of one host and name may each have their own."""
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def python_path_prefix() -> str:
    """What a shell command needs in front, to find this package where it is not installed, as in a checkout."""
    import shlex

    here = Path(__file__).resolve().parent.parent
    if here.name in ("site-packages", "dist-packages"):
        return ""
    return f"env PYTHONPATH={shlex.quote(str(here))}{'${PYTHONPATH:+:$PYTHONPATH}'} "
