"""Which notebook cell is calling: part of what a task remembers of its birth.

Asked once for every call of an app, so it costs a fraction of a microsecond and never imports IPython.
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["calling_cell"]

_shell: Any = None
_named: tuple[int, str] = (-1, "")


def calling_cell() -> str:
    """``In [n]`` of the cell that runs now; empty outside of IPython."""
    global _shell, _named
    shell = _shell
    if shell is None:
        module = sys.modules.get("IPython.core.interactiveshell")
        if module is None or not module.InteractiveShell.initialized():
            return ""
        shell = _shell = module.InteractiveShell.instance()
    count = shell.execution_count
    known, text = _named
    if count != known:
        text = f"In [{count}]"
        _named = (count, text)
    return text
