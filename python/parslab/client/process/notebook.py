"""Which notebook this process is the kernel of, so that the next kernel finds the run of this one.

``load()`` and ``attach()`` ask.  Jupyter's server puts the path into the environment of the kernels that it starts, and
their children inherit it.  So only a process that is such a kernel itself counts.  A process that a notebook starts
(nbclient, papermill, ``jupyter execute``, a script, a fork, a worker) is a script.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

from parslab.wire.notebooks import NotebookPlace, file_id

__all__ = ["LINGER", "VARIABLE", "default_linger", "notebook_path", "this_notebook"]

VARIABLE = "PARSLAB_NOTEBOOK"
"""The environment variable with a name by which a process finds its run when it is started again outside Jupyter."""

LINGER = 600.0
"""Seconds that the run of a notebook outlives its kernel, unless the configuration says otherwise."""

_SERVER = "JPY_SESSION_NAME"
_forked: list[int] = []


def _in_child() -> None:
    _forked.append(os.getpid())


os.register_at_fork(after_in_child=_in_child)


def notebook_path() -> str:
    """The path of the notebook that this process is the kernel of; empty for a script."""
    if _forked or "PARSLAB_RUN" in os.environ or _of_multiprocessing():
        return ""
    shell = _kernel_shell()
    if shell is not None:
        # VS Code names each session anew, so the name of the session does not identify its notebook.
        code = shell.user_ns.get("__vsc_ipynb_file__")
        if isinstance(code, str) and code:
            return code
        path = os.environ.get(_SERVER, "")
        if path and _of_launcher(_SERVER) != path:
            return path
    return os.environ.get(VARIABLE, "")


def this_notebook() -> NotebookPlace:
    """The notebook that this process is the kernel of; one without a path for a script."""
    path = notebook_path()
    if not path:
        return NotebookPlace()
    # ipykernel has its connection file from Jupyter, which names it after the kernel: also after a restart.
    app = getattr(getattr(_kernel_shell(), "kernel", None), "parent", None)
    name = os.path.basename(str(getattr(app, "connection_file", "")))
    return NotebookPlace(path, file_id(path), name.removeprefix("kernel-").removesuffix(".json"))


def _of_multiprocessing() -> bool:
    """Whether multiprocessing has started this process."""
    module = sys.modules.get("multiprocessing.process")
    return module is not None and module.parent_process() is not None


def default_linger(notebook: str) -> float:
    """How long the run of this notebook, or of a script (no path), outlives its last client by default."""
    return LINGER if notebook else 0.0


def _kernel_shell() -> Any:
    """The IPython shell of this process if it is a Jupyter kernel; else None."""
    module = sys.modules.get("IPython.core.interactiveshell")
    if module is None or not module.InteractiveShell.initialized():
        return None
    shell = module.InteractiveShell.instance()
    return shell if getattr(shell, "kernel", None) is not None else None


def _of_launcher(name: str) -> str:
    """The value of a variable in the process that launched this kernel; an equal value here was only inherited.

    The launcher need not be our parent: a wrapper may be in between (``conda run``, a shell that loads modules).
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
