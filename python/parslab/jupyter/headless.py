"""Recognize the last cell of a notebook that a program such as nbconvert or papermill runs without a front end.

Such a program saves the outputs that have arrived when the last cell ends, and then ends the kernel. So the tasks of
``%%parsl`` cells must end within the last cell. ``magics`` calls this in the kernel's main thread.
"""

from __future__ import annotations

import contextlib
import json
import os
from functools import cache
from pathlib import Path
from typing import Any

from parslab.client.process.notebook import notebook_path

__all__ = ["is_last_cell"]


def is_last_cell(source: str) -> bool:
    """Return whether this is the last code cell of a notebook that a program runs.

    Parameters
    ----------
    source
        The text of the cell, with its magics.
    """
    return bool(source.strip()) and source.strip() in _last_cells()


@cache
def _last_cells() -> frozenset[str]:
    """Return the last code cells of the notebook files that the command line of our parent process names.

    A kernel does not learn from Jupyter which notebook it runs, nor how many cells follow. A kernel of a server has a
    front end that also shows later output, so this returns nothing for it.
    """
    if notebook_path():
        return frozenset()
    arguments, folder = _parent()
    files = [Path(folder, word) for word in arguments if word.endswith(".ipynb")]
    return frozenset(filter(None, map(_last_cell, files)))


def _parent() -> tuple[list[str], str]:
    """Return command line and working folder of the process that started this kernel, or empty ones if unreadable."""
    # jupyter_client sets this variable for the kernels that it starts.
    pid = int(os.environ.get("JPY_PARENT_PID", "0") or 0) or os.getppid()
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        return process.cmdline(), process.cwd()
    return [], ""


def _last_cell(file: Path) -> str:
    try:
        notebook: dict[str, Any] = json.loads(file.read_bytes())
        sources = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return next((text.strip() for text in reversed(sources) if text.strip()), "")
