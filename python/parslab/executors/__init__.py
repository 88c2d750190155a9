"""Executors: immutable descriptions of where tasks run.  ``load()`` makes the machinery from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from parslab.executors.base import Executor
from parslab.executors.low_latency import LowLatencyExecutor
from parslab.executors.threads import ThreadPoolExecutor

if TYPE_CHECKING:
    from parslab.executors.high_throughput import HighThroughputExecutor

__all__ = ["Executor", "HighThroughputExecutor", "LowLatencyExecutor", "ThreadPoolExecutor"]


def __getattr__(name: str) -> Any:
    # Who stays on one host need not load providers and launchers.
    if name == "HighThroughputExecutor":
        from parslab.executors.high_throughput import HighThroughputExecutor

        return HighThroughputExecutor
    raise AttributeError(f"module 'parslab.executors' has no attribute {name!r}")
