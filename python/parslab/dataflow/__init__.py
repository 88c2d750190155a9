"""The DataFlowKernel process: the task graph, the queues of its executors, and the one loop that owns every socket."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from parslab.compat.modules import look_up

    return look_up("dataflow", name)
