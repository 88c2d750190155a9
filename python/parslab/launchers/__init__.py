"""Descriptions of how a manager is started on each node of a block (paper section 4.2.2)."""

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
