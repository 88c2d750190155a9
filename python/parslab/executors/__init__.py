"""Executors: immutable descriptions of where tasks run.  ``load()`` makes the machinery from them."""

from parslab.executors.base import Executor
from parslab.executors.low_latency import LowLatencyExecutor
from parslab.executors.threads import ThreadPoolExecutor

__all__ = ["Executor", "LowLatencyExecutor", "ThreadPoolExecutor"]
