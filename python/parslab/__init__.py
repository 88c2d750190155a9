"""parslab: parallel computing that lives in the notebook.

Decorate functions with ``@python_app``, ``@bash_app`` or ``@join_app``, call :func:`load`, and calls return futures at
once.  A DataFlowKernel process in the background owns the graph.  This module imports the other modules only when
somebody asks for their names, because workers on a thousand nodes import it, too.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError("parslab needs a Unix: Linux or macOS (on Windows use WSL).")

if TYPE_CHECKING:
    from parslab.app.bash import AUTO_LOGNAME
    from parslab.app.decorators import bash_app, join_app, python_app
    from parslab.checkpoints import get_all_checkpoints, get_last_checkpoint
    from parslab.client.futures.app_future import AppFuture, DataFuture
    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.client.session import attach, by_value, clear, dfk, load, wait_for_current_tasks
    from parslab.config import Config
    from parslab.data_provider.files import File
    from parslab.executors import HighThroughputExecutor, LowLatencyExecutor, ThreadPoolExecutor
    from parslab.launchers import (
        AprunLauncher,
        GnuParallelLauncher,
        JsrunLauncher,
        MpiExecLauncher,
        MpiRunLauncher,
        SimpleLauncher,
        SingleNodeLauncher,
        SrunLauncher,
        SrunMPILauncher,
        WrappedLauncher,
    )
    from parslab.providers.batch.cobalt import CobaltProvider
    from parslab.providers.batch.condor import CondorProvider
    from parslab.providers.batch.grid_engine import GridEngineProvider
    from parslab.providers.batch.lsf import LSFProvider
    from parslab.providers.batch.pbspro import PBSProProvider
    from parslab.providers.batch.slurm import SlurmProvider
    from parslab.providers.batch.torque import TorqueProvider
    from parslab.providers.local import LocalProvider
    from parslab.serialize.identity.calls import id_for_memo

__all__ = [
    "AUTO_LOGNAME",
    "AppFuture",
    "AprunLauncher",
    "CobaltProvider",
    "CondorProvider",
    "Config",
    "DataFlowKernel",
    "DataFuture",
    "File",
    "GnuParallelLauncher",
    "GridEngineProvider",
    "HighThroughputExecutor",
    "JsrunLauncher",
    "LSFProvider",
    "LocalProvider",
    "LowLatencyExecutor",
    "MpiExecLauncher",
    "MpiRunLauncher",
    "PBSProProvider",
    "SimpleLauncher",
    "SingleNodeLauncher",
    "SlurmProvider",
    "SrunLauncher",
    "SrunMPILauncher",
    "ThreadPoolExecutor",
    "TorqueProvider",
    "WrappedLauncher",
    "__version__",
    "attach",
    "bash_app",
    "by_value",
    "clear",
    "dfk",
    "get_all_checkpoints",
    "get_last_checkpoint",
    "id_for_memo",
    "join_app",
    "load",
    "python_app",
    "wait_for_current_tasks",
]

_WHERE = {
    "AUTO_LOGNAME": "parslab.app.bash",
    "AppFuture": "parslab.client.futures.app_future",
    "AprunLauncher": "parslab.launchers",
    "CobaltProvider": "parslab.providers.batch.cobalt",
    "CondorProvider": "parslab.providers.batch.condor",
    "Config": "parslab.config",
    "DataFlowKernel": "parslab.client.handle.dfk",
    "DataFuture": "parslab.client.futures.app_future",
    "File": "parslab.data_provider.files",
    "GnuParallelLauncher": "parslab.launchers",
    "GridEngineProvider": "parslab.providers.batch.grid_engine",
    "HighThroughputExecutor": "parslab.executors",
    "JsrunLauncher": "parslab.launchers",
    "LSFProvider": "parslab.providers.batch.lsf",
    "LocalProvider": "parslab.providers.local",
    "LowLatencyExecutor": "parslab.executors",
    "MpiExecLauncher": "parslab.launchers",
    "MpiRunLauncher": "parslab.launchers",
    "PBSProProvider": "parslab.providers.batch.pbspro",
    "SimpleLauncher": "parslab.launchers",
    "SingleNodeLauncher": "parslab.launchers",
    "SlurmProvider": "parslab.providers.batch.slurm",
    "SrunLauncher": "parslab.launchers",
    "SrunMPILauncher": "parslab.launchers",
    "ThreadPoolExecutor": "parslab.executors",
    "TorqueProvider": "parslab.providers.batch.torque",
    "WrappedLauncher": "parslab.launchers",
    "attach": "parslab.client.session",
    "bash_app": "parslab.app.decorators",
    "by_value": "parslab.client.session",
    "clear": "parslab.client.session",
    "dfk": "parslab.client.session",
    "get_all_checkpoints": "parslab.checkpoints",
    "get_last_checkpoint": "parslab.checkpoints",
    "id_for_memo": "parslab.serialize.identity.calls",
    "join_app": "parslab.app.decorators",
    "load": "parslab.client.session",
    "python_app": "parslab.app.decorators",
    "wait_for_current_tasks": "parslab.client.session",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from parslab.version import version

        return version()
    if name in _WHERE:
        from importlib import import_module

        value = getattr(import_module(_WHERE[name]), name)
        # Nobody has to load the extension: a run that a notebook loads must show up in its panel anyway.  A script
        # without IPython does not import anything of it.
        if name in ("attach", "load") and "IPython" in sys.modules:
            import_module("parslab.jupyter.relay").join_sessions()
        globals()[name] = value  # Python then finds it without this function
        return value
    raise AttributeError(f"module 'parslab' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Return where JupyterLab finds the panel in a development install."""
    return [{"src": "labextension", "dest": "parslab"}]


def load_ipython_extension(shell: Any) -> None:
    """Add the ``%parsl`` and ``%%parsl`` magics; ``%load_ext parslab`` calls this."""
    from parslab.jupyter.magics import register

    register(shell)
