"""Find the notebook cell that calls an app.

Each call of an app runs this code, so it costs a fraction of a microsecond and never imports IPython.
"""

from __future__ import annotations

import sys
from threading import get_ident
from typing import Any

from parslab.client.local.task_context import task_contexts

__all__ = ["calling_cell"]

_hook: Any = None
_named: tuple[int, str] = (-1, "")


def calling_cell() -> str:
    """Return ``In [n]`` for the running cell, or for the cell that called the running body; empty outside of cells."""
    global _hook, _named
    # Most programs run no body in this process: the dictionary is empty, and its test spares the call of get_ident.
    if task_contexts and (task := task_contexts.get(get_ident())) is not None:
        return task.cell
    hook = _hook
    if hook is None:
        # sys.modules instead of an import: a script need not have IPython installed.
        module = sys.modules.get("IPython.core.interactiveshell")
        if module is None or not module.InteractiveShell.initialized():
            return ""
        hook = _hook = module.InteractiveShell.instance().displayhook
    # Not the shell's execution_count: IPython 9 raises it before the cell runs, IPython 8 after.
    count = hook.prompt_count
    known, text = _named  # one tuple, so that two threads cannot mix a number with the text of another one
    if count != known:
        text = f"In [{count}]"
        _named = (count, text)
    return text
