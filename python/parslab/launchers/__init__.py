"""Descriptions of how a manager is started on each node of a block [HPDC19 §4.2.2].

A launcher of another package is found here too, if the package has an entry point for it (see :mod:`parslab.plugins`).
"""

from __future__ import annotations

from typing import Any

from parslab.launchers.base import Launcher
from parslab.launchers.gnu_parallel import GnuParallelLauncher
from parslab.launchers.mpi import AprunLauncher, JsrunLauncher, MpiExecLauncher, MpiRunLauncher
from parslab.launchers.single_node import SimpleLauncher, SingleNodeLauncher, WrappedLauncher
from parslab.launchers.srun import SrunLauncher, SrunMPILauncher

__all__ = [
    "AprunLauncher",
    "GnuParallelLauncher",
    "JsrunLauncher",
    "Launcher",
    "MpiExecLauncher",
    "MpiRunLauncher",
    "SimpleLauncher",
    "SingleNodeLauncher",
    "SrunLauncher",
    "SrunMPILauncher",
    "WrappedLauncher",
]


def __getattr__(name: str) -> Any:
    from parslab.plugins import LAUNCHERS, find_plugin

    plugin = find_plugin(LAUNCHERS, name, Launcher)
    if plugin is not None:
        return plugin
    from parslab.compat.modules import look_up

    return look_up("launchers", name)
