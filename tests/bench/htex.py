"""Cases of the high-throughput executor: blocks of this host, and a crowd of stand-in managers.

Called by ``tests.bench.cases`` in a fresh process each; arguments and figures as there.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tests.bench.processes import Cpu, idle, tree

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["crowd", "efficiency", "first", "growth", "loaded_blocks", "parsl_python", "parsl_rate", "rate"]

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def loaded_blocks(workers: int, blocks: int = 1, **options: Any) -> Iterator[Any]:
    """A run with one local block of so many workers, which have come; yields its DataFlowKernel."""
    import parslab

    provider = parslab.LocalProvider(init_blocks=blocks, min_blocks=blocks, max_blocks=max(1, blocks))
    executor = parslab.HighThroughputExecutor(max_workers_per_node=workers, provider=provider, **options)
    dfk = parslab.load(parslab.Config(executors=[executor], strategy="none"))
    try:
        if blocks:
            from tests.bench.apps import noop

            for future in [noop() for _ in range(20 * workers)]:
                future.result()
        yield dfk
    finally:
        dfk.cleanup()
        parslab.clear()


def _burst(tasks: int) -> float:
    from tests.bench.apps import noop

    begun = time.perf_counter()
    futures = [noop() for _ in range(tasks)]
    for future in futures:
        future.result()
    return time.perf_counter() - begun


def rate(tasks: int, monitoring: bool = True) -> dict[str, float]:
    """No-ops at once on two workers: throughput, and the CPU time of all processes, by process."""
    if not monitoring:
        os.environ["PARSLAB_MONITORING"] = "off"
    with loaded_blocks(2) as dfk:
        _burst(tasks // 5)
        members = tree(dfk.pid)
        idle(members)
        gc.collect()
        cpu = Cpu(members)
        seconds = _burst(tasks)
        idle(members)  # what the processes put off is part of the price
        spent = cpu.spent()
    client, hub = spent.pop(os.getpid()), spent.pop(dfk.pid)
    rest = sum(spent.values())
    return {
        "rate": tasks / seconds,
        "cpu_per_task": (client + hub + rest) / tasks,
        "cpu_client": client / tasks,
        "cpu_kernel": hub / tasks,
        "cpu_node": rest / tasks,
    }


def growth(sizes: list[int], total: int) -> dict[str, float]:
    """CPU time of a no-op in bursts of several sizes, so many tasks of each in all, three times in turns.

    The least of the three counts: what other programs of the machine add differs from second to second.
    """
    found: dict[int, list[float]] = {size: [] for size in sizes}
    with loaded_blocks(2) as dfk:
        _burst(max(sizes))
        members = tree(dfk.pid)
        for size in sizes * 3:
            idle(members)
            gc.collect()
            cpu = Cpu(members)
            rounds = max(1, total // size)
            for _ in range(rounds):
                _burst(size)
            idle(members)
            found[size].append(sum(cpu.spent().values()) / (rounds * size))
    least = {str(size): min(costs) for size, costs in found.items()}
    return least | {"ratio": max(least.values()) / min(least.values())}


def efficiency(tasks: int, seconds: float) -> dict[str, float]:
    """Short sleeps on two workers: the part of the time in which workers slept."""
    with loaded_blocks(2):
        from tests.bench.apps import sleep

        for future in [sleep(seconds) for _ in range(20)]:
            future.result()
        begun = time.perf_counter()
        futures = [sleep(seconds) for _ in range(tasks)]
        for future in futures:
            future.result()
        return {"efficiency": tasks * seconds / 2 / (time.perf_counter() - begun)}


def first() -> dict[str, float]:
    """From the call of ``load()`` to the first result of a worker of one local block."""
    import parslab
    from tests.bench.apps import noop

    begun = time.perf_counter()
    provider = parslab.LocalProvider(init_blocks=1)
    executor = parslab.HighThroughputExecutor(max_workers_per_node=2, provider=provider)
    dfk = parslab.load(parslab.Config(executors=[executor]))
    noop().result()
    seconds = time.perf_counter() - begun
    dfk.cleanup()
    return {"first": seconds}


def crowd(managers: int, slots: int, tasks: int) -> dict[str, float]:
    """The DataFlowKernel's CPU time of a task with so many connections, which answer at once."""
    with loaded_blocks(1, blocks=0, address="127.0.0.1") as dfk:
        settings = dfk.run_dir / "manager-htex.json"
        command = [sys.executable, "-m", "tests.bench.crowd", str(settings), str(managers), str(slots)]
        begun = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as peer:
            assert peer.stdout is not None
            assert peer.stdout.readline() == "ready\n"
            joined = time.perf_counter() - begun
            members = [psutil.Process(dfk.pid)]
            _burst(tasks // 5)
            costs, rates = [], []
            for _ in range(3):
                idle(members)
                cpu = Cpu(members)
                seconds = _burst(tasks)
                idle(members)
                costs.append(sum(cpu.spent().values()) / tasks)
                rates.append(tasks / seconds)
            connected = sum(row.state == "ready" for row in _managers(dfk))
            dfk.cleanup()
            peer.wait(30)
    return {
        "cost": statistics.median(costs),
        "rate": statistics.median(rates),
        "lost": float(managers - connected),
        "joining": joined,
    }


def _managers(dfk: Any) -> list[Any]:
    from parslab.records.panel import Snapshot, SnapshotRequest

    answer = dfk.ask(SnapshotRequest(subscribe=False))
    assert isinstance(answer, Snapshot)
    return answer.managers


def parsl_python(say: Any) -> str | None:
    """An interpreter that has Parsl: a virtual environment in ``build/``, made at the first call; None offline."""
    folder = ROOT / "build" / "parsl-venv"
    python = folder / "bin" / "python"
    if not (folder / ".made").exists():
        say("installing Parsl into build/parsl-venv")
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        done = subprocess.run([str(python), "-m", "pip", "install", "--quiet", "parsl"], check=False)
        if done.returncode:
            return None
        (folder / ".made").touch()
    return str(python)


_PARSL = """
import json, sys, time
import parsl
from parsl import Config, HighThroughputExecutor, python_app
from parsl.providers import LocalProvider
from parsl.launchers import SimpleLauncher

@python_app
def noop():
    return None

if __name__ == "__main__":
    tasks, calls = int(sys.argv[1]), int(sys.argv[2])
    executor = HighThroughputExecutor(
        label="htex", max_workers_per_node=2, address="127.0.0.1", encrypted=True,
        provider=LocalProvider(init_blocks=1, max_blocks=1, launcher=SimpleLauncher()),
    )
    begun = time.perf_counter()
    parsl.load(Config(executors=[executor], run_dir=sys.argv[3], strategy="none"))
    noop().result()
    first = time.perf_counter() - begun
    for future in [noop() for _ in range(200)]:
        future.result()
    begun = time.perf_counter()
    for future in [noop() for _ in range(tasks)]:
        future.result()
    seconds = time.perf_counter() - begun
    times = []
    for _ in range(calls):
        begun = time.perf_counter()
        noop().result()
        times.append(time.perf_counter() - begun)
    print(json.dumps({"rate": tasks / seconds, "first": first, "latency": sorted(times)[calls // 2]}))
    parsl.dfk().cleanup()
"""


def parsl_rate(python: str, tasks: int, calls: int) -> dict[str, float]:
    """The same with Parsl's own high-throughput executor."""
    program = Path("parsl_noop.py").resolve()
    program.write_text(_PARSL)
    done = subprocess.run(
        [python, str(program), str(tasks), str(calls), str(Path("parsl-runs").resolve())],
        stdout=subprocess.PIPE,
        check=True,
        env={**os.environ, "PATH": f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"},
    )
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures
