"""Find the notebook of this kernel, so that the notebook's next kernel finds the run of this one.

``load()`` and ``attach()`` call this module.  Jupyter's server puts the path into the environment of the kernels that
it starts, and their children inherit it.  So only a process that is such a kernel itself has a notebook.  A process
that a notebook starts (nbclient, papermill, ``jupyter execute``, a script, a fork, a worker) counts as a script.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from parslab.wire.notebooks import NotebookPlace, file_id

__all__ = ["LINGER", "VARIABLE", "default_linger", "notebook_path", "this_notebook"]

VARIABLE = "PARSLAB_NOTEBOOK"
"""The environment variable with a name of the user's choice, by which a script outside Jupyter finds its last run."""

LINGER = 600.0
"""Seconds that the run of a notebook outlives its kernel by default: long enough to restart a kernel or a server."""

_SERVER = "JPY_SESSION_NAME"
_forked: list[int] = []


def _in_child() -> None:
    _forked.append(os.getpid())


os.register_at_fork(after_in_child=_in_child)


def notebook_path() -> str:
    """Return the path of the notebook of this kernel; empty for a script."""
    # Workers have PARSLAB_RUN in their environment. They, forks and children of multiprocessing inherit the path of a
    # notebook whose kernel they are not.
    if _forked or "PARSLAB_RUN" in os.environ or _of_multiprocessing():
        return ""
    shell = _kernel_shell()
    if shell is not None:
        # VS Code gives each session a new name, so the name of the session does not identify the notebook.
        code = shell.user_ns.get("__vsc_ipynb_file__")
        if isinstance(code, str) and code:
            return code
        path = os.environ.get(_SERVER, "")
        if path and _of_launcher(_SERVER) != path:
            return path
    return os.environ.get(VARIABLE, "")


def this_notebook() -> NotebookPlace:
    """Return the notebook of this kernel; for a script, a place without a path."""
    path = notebook_path()
    if not path:
        return NotebookPlace()
    # Jupyter names ipykernel's connection file after the id of the kernel, which a restart keeps.
    app = getattr(getattr(_kernel_shell(), "kernel", None), "parent", None)
    name = os.path.basename(str(getattr(app, "connection_file", "")))
    return NotebookPlace(path, file_id(path), name.removeprefix("kernel-").removesuffix(".json"))


def _of_multiprocessing() -> bool:
    """Return whether multiprocessing has started this process."""
    module = sys.modules.get("multiprocessing.process")
    return module is not None and module.parent_process() is not None


def default_linger(notebook: str) -> float:
    """Return how long the run of a notebook, or of a script (no path), outlives its last client by default."""
    return LINGER if notebook else 0.0


def _kernel_shell() -> Any:
    """Return the IPython shell of this process if it is a Jupyter kernel, else None."""
    # sys.modules instead of an import: a kernel has imported IPython, and a script need not have it installed.
    module = sys.modules.get("IPython.core.interactiveshell")
    if module is None or not module.InteractiveShell.initialized():
        return None
    shell = module.InteractiveShell.instance()
    return shell if getattr(shell, "kernel", None) is not None else None


def _of_launcher(name: str) -> str:
    """Return the value of a variable in the process that launched this kernel.

    If this process has the same value, it has only inherited it.  The launcher need not be the parent process: a
    wrapper may be in between (``conda run``, a shell that loads modules), so Jupyter's own variable counts first.
    """
    parent = int(os.environ.get("JPY_PARENT_PID", "0") or 0) or os.getppid()
    with contextlib.suppress(OSError):
        with open(f"/proc/{parent}/environ", "rb") as file:
            entries = dict(entry.partition(b"=")[::2] for entry in file.read().split(b"\0"))
        return entries.get(name.encode(), b"").decode(errors="replace")
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        return str(psutil.Process(parent).environ().get(name, ""))
    return ""
