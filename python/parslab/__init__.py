"""parslab: parallel computing that lives in the notebook.

Decorate functions with ``@python_app``, ``@bash_app`` or ``@join_app``, call :func:`load`, and calls return futures at
once.  A DataFlowKernel process in the background owns the graph.  This module imports the other modules only when
somebody asks for their names, because workers on a thousand nodes import it, too.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

if sys.platform == "win32":
    raise ImportError("parslab needs a Unix: Linux or macOS (on Windows use WSL).")

if TYPE_CHECKING:
    from parslab.app.bash import AUTO_LOGNAME
    from parslab.app.decorators import bash_app, join_app, python_app
    from parslab.app.joblib_backend import joblib_backend
    from parslab.checkpoints import get_all_checkpoints, get_last_checkpoint
    from parslab.client.exports import export, query, task_graph
    from parslab.client.futures.app_future import AppFuture, DataFuture
    from parslab.client.handle.dfk import DataFlowKernel
    from parslab.client.session import attach, by_value, clear, dfk, handover, load, wait_for_current_tasks
    from parslab.config import Config
    from parslab.data_provider.files import File
    from parslab.data_provider.globus_login import GlobusAuth
    from parslab.executors import (
        DaskExecutor,
        ExtremeScaleExecutor,
        HighThroughputExecutor,
        LowLatencyExecutor,
        MPIExecutor,
        PoolExecutor,
        ThreadPoolExecutor,
    )
    from parslab.executors.containers import Container
    from parslab.jupyter.progress.show import progress
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
    from parslab.parsl import install_as_parsl
    from parslab.parsl.api.loader import DataFlowKernelLoader
    from parslab.parsl.api.logs import set_file_logger, set_stream_logger
    from parslab.parsl.api.monitoring import MonitoringHub
    from parslab.parsl.stand_ins.executors import WorkQueueExecutor
    from parslab.providers.batch.cobalt import CobaltProvider
    from parslab.providers.batch.condor import CondorProvider
    from parslab.providers.batch.grid_engine import GridEngineProvider
    from parslab.providers.batch.lsf import LSFProvider
    from parslab.providers.batch.pbspro import PBSProProvider
    from parslab.providers.batch.slurm import SlurmProvider
    from parslab.providers.batch.torque import TorqueProvider
    from parslab.providers.channel.ssh import SSH
    from parslab.providers.cloud.aws import AWSProvider
    from parslab.providers.cloud.google import GoogleCloudProvider
    from parslab.providers.cloud.openstack import OpenStackProvider
    from parslab.providers.kube.provider import KubernetesProvider
    from parslab.providers.local import LocalProvider
    from parslab.providers.ssh.provider import SSHProvider
    from parslab.serialize.future_types import register_future_type
    from parslab.serialize.identity.calls import id_for_memo

__all__ = [
    "AUTO_LOGNAME",
    "SSH",
    "AWSProvider",
    "AppFuture",
    "AprunLauncher",
    "CobaltProvider",
    "CondorProvider",
    "Config",
    "Container",
    "DaskExecutor",
    "DataFlowKernel",
    "DataFlowKernelLoader",
    "DataFuture",
    "ExtremeScaleExecutor",
    "File",
    "GlobusAuth",
    "GnuParallelLauncher",
    "GoogleCloudProvider",
    "GridEngineProvider",
    "HighThroughputExecutor",
    "JsrunLauncher",
    "KubernetesProvider",
    "LSFProvider",
    "LocalProvider",
    "LowLatencyExecutor",
    "MPIExecutor",
    "MonitoringHub",
    "MpiExecLauncher",
    "MpiRunLauncher",
    "OpenStackProvider",
    "PBSProProvider",
    "PoolExecutor",
    "SSHProvider",
    "SimpleLauncher",
    "SingleNodeLauncher",
    "SlurmProvider",
    "SrunLauncher",
    "SrunMPILauncher",
    "ThreadPoolExecutor",
    "TorqueProvider",
    "WorkQueueExecutor",
    "WrappedLauncher",
    "__version__",
    "attach",
    "bash_app",
    "by_value",
    "clear",
    "dfk",
    "export",
    "get_all_checkpoints",
    "get_last_checkpoint",
    "handover",
    "id_for_memo",
    "install_as_parsl",
    "joblib_backend",
    "join_app",
    "load",
    "progress",
    "python_app",
    "query",
    "register_future_type",
    "set_file_logger",
    "set_stream_logger",
    "task_graph",
    "wait_for_current_tasks",
]

_WHERE = {
    "AUTO_LOGNAME": "parslab.app.bash",
    "AWSProvider": "parslab.providers.cloud.aws",
    "AppFuture": "parslab.client.futures.app_future",
    "AprunLauncher": "parslab.launchers",
    "CobaltProvider": "parslab.providers.batch.cobalt",
    "CondorProvider": "parslab.providers.batch.condor",
    "Config": "parslab.config",
    "Container": "parslab.executors.containers",
    "DataFlowKernel": "parslab.client.handle.dfk",
    "DataFlowKernelLoader": "parslab.parsl.api.loader",
    "DataFuture": "parslab.client.futures.app_future",
    "ExtremeScaleExecutor": "parslab.executors",
    "File": "parslab.data_provider.files",
    "GlobusAuth": "parslab.data_provider.globus_login",
    "GnuParallelLauncher": "parslab.launchers",
    "GridEngineProvider": "parslab.providers.batch.grid_engine",
    "HighThroughputExecutor": "parslab.executors",
    "JsrunLauncher": "parslab.launchers",
    "KubernetesProvider": "parslab.providers.kube.provider",
    "LSFProvider": "parslab.providers.batch.lsf",
    "LocalProvider": "parslab.providers.local",
    "LowLatencyExecutor": "parslab.executors",
    "MonitoringHub": "parslab.parsl.api.monitoring",
    "MPIExecutor": "parslab.executors",
    "MpiExecLauncher": "parslab.launchers",
    "MpiRunLauncher": "parslab.launchers",
    "GoogleCloudProvider": "parslab.providers.cloud.google",
    "OpenStackProvider": "parslab.providers.cloud.openstack",
    "PBSProProvider": "parslab.providers.batch.pbspro",
    "SSH": "parslab.providers.channel.ssh",
    "SSHProvider": "parslab.providers.ssh.provider",
    "SimpleLauncher": "parslab.launchers",
    "SingleNodeLauncher": "parslab.launchers",
    "SlurmProvider": "parslab.providers.batch.slurm",
    "SrunLauncher": "parslab.launchers",
    "SrunMPILauncher": "parslab.launchers",
    "DaskExecutor": "parslab.executors",
    "PoolExecutor": "parslab.executors",
    "ThreadPoolExecutor": "parslab.executors",
    "TorqueProvider": "parslab.providers.batch.torque",
    "WorkQueueExecutor": "parslab.parsl.stand_ins.executors",
    "WrappedLauncher": "parslab.launchers",
    "attach": "parslab.client.session",
    "bash_app": "parslab.app.decorators",
    "by_value": "parslab.client.session",
    "clear": "parslab.client.session",
    "dfk": "parslab.client.session",
    "export": "parslab.client.exports",
    "get_all_checkpoints": "parslab.checkpoints",
    "get_last_checkpoint": "parslab.checkpoints",
    "handover": "parslab.client.session",
    "id_for_memo": "parslab.serialize.identity.calls",
    "install_as_parsl": "parslab.parsl",
    "join_app": "parslab.app.decorators",
    "joblib_backend": "parslab.app.joblib_backend",
    "load": "parslab.client.session",
    "progress": "parslab.jupyter.progress.show",
    "python_app": "parslab.app.decorators",
    "query": "parslab.client.exports",
    "register_future_type": "parslab.serialize.future_types",
    "set_file_logger": "parslab.parsl.api.logs",
    "set_stream_logger": "parslab.parsl.api.logs",
    "task_graph": "parslab.client.exports",
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
        if name in ("attach", "handover", "load") and "IPython" in sys.modules:
            import_module("parslab.jupyter.relay").join_sessions()
        globals()[name] = value  # Python then finds it without this function
        return value
    if not name.startswith("_"):
        return _sub_module(name)
    raise AttributeError(f"module 'parslab' has no attribute {name!r}")


def _sub_module(name: str) -> Any:
    """Return a module of Parsl's API that the user did not import: ``import parsl`` makes all of them attributes."""
    from parslab.compat.modules import look_up

    return look_up("", name)


class _LateFinder:
    """Finds Parsl's modules below this package when nobody else has found a module of the name."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> Any:
        if not name.startswith("parslab."):
            return None
        from parslab.compat.modules import find_spec

        return find_spec(name)


# After a reload of this module there must still be one of them.
sys.meta_path[:] = [finder for finder in sys.meta_path if getattr(finder, "__name__", "") != "_LateFinder"]
sys.meta_path.append(_LateFinder)

if os.environ.get("PARSLAB_AS_PARSL") and "parsl" not in sys.modules:
    from parslab.compat.modules import install  # in the workers of a program that says `import parsl`

    install()


def __dir__() -> list[str]:
    return sorted(__all__)


def _jupyter_labextension_paths() -> list[dict[str, str]]:
    """Return where JupyterLab finds the panel in a development install."""
    return [{"src": "labextension", "dest": "parslab"}]


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Return where Jupyter's server finds the extension."""
    return [{"module": "parslab.server"}]


def load_ipython_extension(shell: Any) -> None:
    """Add the ``%parsl`` and ``%%parsl`` magics; ``%load_ext parslab`` calls this."""
    from parslab.jupyter.magics import register

    register(shell)
