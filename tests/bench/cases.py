"""The programs that measure: ``python -m tests.bench.cases <case> '<json arguments>'``, a fresh process for each.

A case takes plain arguments and prints one JSON object of numbers, in seconds and bytes, as its last line.  What is to
be compared closely is measured in turns inside one case, so that a machine that drifts changes both sides.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import psutil

from tests.bench import (
    environments,
    hosts,
    htex,
    large_values,
    loops,
    memo,
    memory,
    mpi,
    panel_route,
    recovery,
    redefine,
    staging,
)
from tests.bench.floors import Call, relay
from tests.bench.processes import Cpu, idle, tree
from tests.bench.subjects import BURSTS, CALLS, loaded

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["CASES", "main"]

WARM_UP = 300
"""Calls before the first that counts: connections, caches, the first touch of memory."""


def timed(call: Call, calls: int) -> list[float]:
    """How long each of so many calls took."""
    clock = time.perf_counter
    times = []
    for _ in range(calls):
        begun = clock()
        call()
        times.append(clock() - begun)
    return times


def percentile(times: list[float], percent: int) -> float:
    """The time that ``percent`` of 100 calls do not exceed."""
    return statistics.quantiles(times, n=100, method="inclusive")[percent - 1]


def latency(subjects: list[str], calls: int, rounds: int) -> dict[str, float]:
    """Round trips of each subject in turns; the relay before and after each, for the ratio to it."""
    with ExitStack() as stack:
        # Pools fork their workers at the first call, which must not copy the threads of those that come later.
        order = sorted((s for s in subjects if s != "relay"), key=lambda s: s not in ("pool", "loky"))
        call = {}
        for name in (*order, "relay"):
            call[name] = stack.enter_context(CALLS[name]())
            timed(call[name], WARM_UP)
        members = tree(*_kernels())
        cpu = Cpu(members)
        times: dict[str, list[float]] = {name: [] for name in call}
        ratios: dict[str, list[float]] = {name: [] for name in order}
        costs: dict[str, list[float]] = {name: [] for name in call}

        def block(name: str) -> float:
            spent = sum(cpu.spent().values())
            found = timed(call[name], calls)
            # What is still being done for this subject must not slow the next one, and is part of its own price.
            idle(members, quiet=0.5)
            costs[name].append((sum(cpu.spent().values()) - spent) / calls)
            times[name] += found
            return statistics.median(found)

        for _ in range(rounds):
            before = block("relay")
            for name in order:
                middle, after = block(name), block("relay")
                ratios[name].append(middle / ((before + after) / 2))
                before = after
    found = {f"{name}_median": statistics.median(t) for name, t in times.items()}
    found |= {f"{name}_p99": percentile(t, 99) for name, t in times.items()}
    found |= {f"{name}_cpu": statistics.mean(c) for name, c in costs.items()}
    return found | {f"{name}_ratio": statistics.median(r) for name, r in ratios.items()}


def paced(subjects: list[str], calls: int, pause: float) -> dict[str, float]:
    """Round trips with a pause before each, in turns: nobody is still awake from the last one."""
    times: dict[str, list[float]] = {name: [] for name in subjects}
    with ExitStack() as stack:
        call = {}
        for name in sorted(subjects, key=lambda s: s != "pool"):
            call[name] = stack.enter_context(CALLS[name]())
            timed(call[name], WARM_UP)
        for _ in range(calls):
            for name in subjects:
                time.sleep(pause)
                times[name] += timed(call[name], 1)
    return {name: statistics.median(t) for name, t in times.items()}


def by_value(calls: int) -> dict[str, float]:
    """Round trips of an app that ships by value, as those defined in a notebook cell do."""
    from parslab import python_app

    @python_app
    def cell() -> None:
        pass

    with loaded(1):
        timed(lambda: cell().result(), WARM_UP)
        times = timed(lambda: cell().result(), calls)
    return {"median": statistics.median(times), "p99": percentile(times, 99)}


def burst(subject: str, tasks: int, numbers: bool = False) -> dict[str, float]:
    """No-ops submitted at once to two workers: time until the last result, and CPU time of all processes.

    With ``numbers`` each task takes one and answers with the next one, and that is checked.
    """
    with BURSTS[subject](2) as submit:
        for future in [submit() for _ in range(tasks // 10)]:
            future.result()
        kernels = _kernels()
        members = tree(*kernels)
        idle(members)
        gc.collect()
        cpu = Cpu(members)
        begun = time.perf_counter()
        futures = [submit(i) for i in range(tasks)] if numbers else [submit() for _ in range(tasks)]
        submitted = time.perf_counter()
        results = [future.result() for future in futures]
        ended = time.perf_counter()
        # What the processes put off (monitoring, garbage) is part of the price.
        idle(members)
        spent = cpu.spent()
    assert results == (list(range(1, tasks + 1)) if numbers else [None] * tasks)
    client = spent.pop(psutil.Process().pid)
    hub = sum(spent.pop(pid) for pid in kernels)
    return {
        "seconds": ended - begun,
        "submitting_one": (submitted - begun) / tasks,
        "rate": tasks / (ended - begun),
        "cpu_per_task": (client + hub + sum(spent.values())) / tasks,
        "cpu_client": client / tasks,
        "cpu_kernel": hub / tasks,
        "cpu_workers": sum(spent.values()) / tasks,
    }


def chain(links: int, rounds: int, calls: int, workers: int) -> dict[str, float]:
    """Tasks that each need the one before, submitted ahead: from the first submit to the last result, per link."""
    with loaded(workers), relay() as call:
        from tests.bench.apps import step

        def walk() -> float:
            begun = time.perf_counter()
            last = step(0)
            for _ in range(links - 1):
                last = step(last)
            assert last.result() == links
            return (time.perf_counter() - begun) / links

        timed(call, WARM_UP)
        walk()
        members = tree(*_kernels())
        found, floors, ratios = [], [], []
        idle(members, quiet=0.5)
        before = statistics.median(timed(call, calls))
        for _ in range(rounds):
            found.append(walk())
            idle(members, quiet=0.5)
            after = statistics.median(timed(call, calls))
            ratios.append(found[-1] / ((before + after) / 2))
            floors.append(before)
            before = after
    return {
        "link": statistics.median(found),
        "relay": statistics.median(floors),
        "ratio": statistics.median(ratios),
    }


def quiet(seconds: float, tasks: int) -> dict[str, float]:
    """What a run costs while nothing happens, after so many tasks."""
    with loaded(2) as dfk:
        from tests.bench.apps import noop

        for future in [noop() for _ in range(tasks)]:
            future.result()
        del future
        members = tree(dfk.pid)
        time.sleep(4.0)  # the search for dead runs, which follows three seconds after the start, is no part of it
        idle(members)
        cpu = Cpu(members)
        time.sleep(seconds)
        spent = cpu.spent()
        rss = {p.pid: float(p.memory_info().rss) for p in members}
    own = psutil.Process().pid
    workers = [pid for pid in rss if pid not in (own, dfk.pid)]
    return {
        "cpu": spent[dfk.pid] / seconds,
        "cpu_all": sum(spent.values()) / seconds,
        "rss": rss[dfk.pid],
        "rss_worker": sum(rss[pid] for pid in workers) / len(workers),
    }


def many_failures(**options: int) -> dict[str, float]:
    """Measure groups of failures; see ``failures``, which imports parslab and so must not be imported before."""
    from tests.bench import failures

    return failures.many_failures(**options)


CASES: dict[str, Callable[..., dict[str, float]]] = {
    "two_versions": environments.two_versions,
    "many_failures": many_failures,
    "bodies": loops.bodies,
    "burst": burst,
    "by_value": by_value,
    "cells": loops.cells,
    "chain": chain,
    "checkpointed": memo.checkpointed,
    "closed_loop": loops.closed_loop,
    "crowd": htex.crowd,
    "dropped": memory.dropped,
    "efficiency": htex.efficiency,
    "first": htex.first,
    "growth": htex.growth,
    "hits": memo.hits,
    "kept": memory.kept,
    "kernel_killed": recovery.kernel_killed,
    "kernel_process_killed": recovery.kernel_process_killed,
    "large_file": hosts.large_file,
    "large_values": large_values.large_values,
    "latency": latency,
    "mend": redefine.branch,
    "large_global": loops.large_global,
    "mpi_shared": mpi.shared_block,
    "notebook_functions": loops.notebook_functions,
    "paced": paced,
    "panel_route": panel_route.busy_and_dead,
    "parsl": htex.parsl_rate,
    "quiet": quiet,
    "rate": htex.rate,
    "session": memory.session,
    "staged": staging.staged,
    "stencil": loops.stencil,
    "waited": memory.waited,
}


def _kernels() -> list[int]:
    """The pid of the DataFlowKernel process, where one is loaded."""
    if "parslab" not in sys.modules:
        return []
    import parslab

    return [parslab.dfk().pid]


def main() -> None:
    """Measure the case that the command line names."""
    arguments: dict[str, Any] = json.loads(sys.argv[2])
    print(json.dumps(CASES[sys.argv[1]](**arguments)))


if __name__ == "__main__":
    main()
