"""Executors: immutable descriptions of where tasks run; ``load()`` starts the processes that they describe.

An executor of another package is found here too, if the package has an entry point for it (see
:mod:`parslab.plugins`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parslab.executors.base import Executor
from parslab.executors.low_latency import LowLatencyExecutor
from parslab.executors.threads import ThreadPoolExecutor

if TYPE_CHECKING:
    from parslab.executors.dask import DaskExecutor
    from parslab.executors.extreme_scale import ExtremeScaleExecutor
    from parslab.executors.high_throughput import HighThroughputExecutor
    from parslab.executors.mpi import MPIExecutor
    from parslab.executors.pool import PoolExecutor

__all__ = [
    "DaskExecutor",
    "Executor",
    "ExtremeScaleExecutor",
    "HighThroughputExecutor",
    "LowLatencyExecutor",
    "MPIExecutor",
    "PoolExecutor",
    "ThreadPoolExecutor",
]


def __getattr__(name: str) -> Any:
    # A run on one host needs no providers and launchers, so they are loaded only for this executor.
    if name == "HighThroughputExecutor":
        from parslab.executors.high_throughput import HighThroughputExecutor

        return HighThroughputExecutor
    if name == "MPIExecutor":
        from parslab.executors.mpi import MPIExecutor

        return MPIExecutor
    if name == "DaskExecutor":
        from parslab.executors.dask import DaskExecutor

        return DaskExecutor
    if name == "PoolExecutor":
        from parslab.executors.pool import PoolExecutor

        return PoolExecutor
    if name == "ExtremeScaleExecutor":
        from parslab.executors.extreme_scale import ExtremeScaleExecutor

        return ExtremeScaleExecutor
    from parslab.plugins import EXECUTORS, find_plugin

    plugin = find_plugin(EXECUTORS, name, Executor)
    if plugin is not None:
        return plugin
    from parslab.compat.modules import look_up

    return look_up("executors", name)
