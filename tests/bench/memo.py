"""What it costs to remember results: a call whose result is known, beside submitting one; and writing each down."""

from __future__ import annotations

import gc
import os
import statistics
import time
from concurrent.futures import wait

from tests.bench.processes import Cpu, idle, tree

__all__ = ["checkpointed", "hits"]

KNOWN = 1000
"""Different calls whose results are known."""


def hits(calls: int, rounds: int) -> dict[str, float]:
    """CPU seconds of client and DataFlowKernel per call of an app that remembers, in turns: of submitting one whose
    result is not known, and which waits; and of having one whose result is known.  The only worker sleeps."""
    from parslab import Config, LowLatencyExecutor, load
    from tests.bench.apps import remembered, sleep

    costs: dict[str, list[float]] = {"submit": [], "hit": []}
    with load(Config(executors=[LowLatencyExecutor(workers=1)], resume=False)) as dfk:
        assert [remembered(i).result() for i in range(KNOWN)] == list(range(1, KNOWN + 1))
        sleeper = sleep(3600.0)
        members = [member for member in tree(dfk.pid) if member.pid in (dfk.pid, os.getpid())]
        for number in range(1, rounds + 1):
            gc.collect()
            idle(members)
            cpu = Cpu(members)
            waiting = [remembered(number * calls + i) for i in range(calls)]
            idle(members)
            costs["submit"].append(sum(cpu.spent().values()) / calls)
            dfk.cancel([future.task_id for future in waiting])
            wait(waiting)
            del waiting
            gc.collect()
            idle(members)
            cpu = Cpu(members)
            results = [future.result() for future in [remembered(i % KNOWN) for i in range(calls)]]
            idle(members)
            costs["hit"].append(sum(cpu.spent().values()) / calls)
            assert results == [i % KNOWN + 1 for i in range(calls)]
        sleeper.cancel()
    return {
        "submit": statistics.median(costs["submit"]),
        "hit": statistics.median(costs["hit"]),
        "ratio": statistics.median(hit / submit for hit, submit in zip(costs["hit"], costs["submit"], strict=True)),
    }


def checkpointed(tasks: int, rounds: int) -> dict[str, float]:
    """Different calls of an app that remembers, per second, without a checkpoint and with one after each task."""
    from parslab import Config, LowLatencyExecutor, load
    from tests.bench.apps import remembered

    rates: dict[str, list[float]] = {"off": [], "on": []}
    for number in range(rounds):
        for name in ("off", "on") if number % 2 else ("on", "off"):
            mode = "task_exit" if name == "on" else None
            with load(Config(executors=[LowLatencyExecutor(workers=2)], checkpoint_mode=mode, checkpoint_files=[])):
                for future in [remembered(-i - 1) for i in range(KNOWN)]:
                    future.result()
                gc.collect()
                time.sleep(0.5)
                begun = time.perf_counter()
                for future in [remembered(i) for i in range(tasks)]:
                    future.result()
                rates[name].append(tasks / (time.perf_counter() - begun))
    return {
        "off": statistics.median(rates["off"]),
        "on": statistics.median(rates["on"]),
        "ratio": statistics.median(on / off for on, off in zip(rates["on"], rates["off"], strict=True)),
    }
