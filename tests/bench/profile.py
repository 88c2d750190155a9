"""Where the time of a task goes: ``python -m tests.bench.profile [burst|latency|chain|join]``.

Runs the case with cProfile in every process: in each thread of the client, and, asked by the environment variable
``PARSLAB_PROFILE``, in the main threads of the DataFlowKernel process and the workers, which write their statistics
when they end.  Then shows the functions with the most time of their own, per task.  cProfile makes small functions look
two to three times as dear as they are: compare functions with each other, not with the table of the benchmark.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import pstats
import sys
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from tests.bench.plan import ROOT, scratch
from tests.bench.subjects import loaded

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["SCENES", "main", "table"]

Function: TypeAlias = tuple[str, int, str]
Stats: TypeAlias = dict[Function, tuple[int, int, float, float, Any]]
VARIABLE = "PARSLAB_PROFILE"
SELF, TOTAL = 2, 3
WAITS = ("<method 'poll'", "<method 'acquire'", "<method 'recv_into'", "<built-in method time.sleep")


def burst(tasks: int) -> None:
    """All at once, to two workers."""
    from tests.bench.apps import noop

    for future in [noop() for _ in range(tasks)]:
        future.result()


def latency(tasks: int) -> None:
    """One after the other."""
    from tests.bench.apps import noop

    for _ in range(tasks):
        noop().result()


def chain(tasks: int) -> None:
    """Each needs the one before, submitted ahead."""
    from tests.bench.apps import step

    last = step(0)
    for _ in range(tasks - 1):
        last = step(last)
    last.result()


def join(tasks: int) -> None:
    """Joins all at once; the body of each makes one call."""
    from tests.bench.apps import join as app

    for future in [app() for _ in range(tasks)]:
        future.result()


SCENES: dict[str, tuple[Callable[[int], None], int]] = {
    "burst": (burst, 2),
    "latency": (latency, 1),
    "chain": (chain, 2),
    "join": (join, 2),
}
"""What can be profiled, and with how many workers."""


class Threads:
    """A profiler for each thread started while this is installed; from 3.12 on Python allows only one at a time."""

    def __init__(self) -> None:
        self.profilers: dict[str, cProfile.Profile] = {}

    def install(self) -> None:
        """Profile the threads that start from now on."""
        threading.setprofile(self._begin)

    def _begin(self, _frame: object, _event: str, _value: Any) -> None:
        sys.setprofile(None)
        profiler = cProfile.Profile()
        with suppress(ValueError):
            profiler.enable()
            self.profilers[threading.current_thread().name] = profiler


def record(scene: str, tasks: int, folder: Path) -> None:
    """Run a scene and leave the statistics of all its processes in ``folder``."""
    body, workers = SCENES[scene]
    os.environ[VARIABLE] = str(folder)
    threads = Threads()
    threads.install()
    main = cProfile.Profile()
    with loaded(workers):
        threading.setprofile(None)
        body(300)
        for profiler in threads.profilers.values():
            profiler.clear()
        main.runcall(body, tasks)
        for name, profiler in {"main": main, **threads.profilers}.items():
            profiler.dump_stats(folder / f"client-{name}.prof")


def shown(function: Function) -> str:
    """A function as one short text."""
    file, line, name = function
    if file == "~":
        return name
    path = Path(file)
    if path.is_relative_to(ROOT):
        return f"{path.relative_to(ROOT)}:{line} {name}"
    return f"{'/'.join(path.parts[-2:])}:{line} {name}"


def waiting(stats: Stats) -> float:
    """Seconds in calls that sleep in the kernel; on a busy machine some of that is waiting for a core."""
    return sum(figures[2] for (_, _, name), figures in stats.items() if name.startswith(WAITS))


def table(stats: Stats, tasks: int, top: int, column: int = SELF) -> str:
    """The functions with the most time of their own (or in all): microseconds and calls per task."""
    rows = sorted(stats.items(), key=lambda item: item[1][column], reverse=True)[:top]
    text = ["  self us  total us    calls  function"]
    for function, (_, calls, own, total, _) in rows:
        text.append(f"{own / tasks * 1e6:9.2f} {total / tasks * 1e6:9.2f} {calls / tasks:8.2f}  {shown(function)}")
    return "\n".join(text)


def main() -> None:
    """Profile what the command line names, print tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.profile", description=__doc__)
    parser.add_argument("scene", nargs="?", choices=SCENES, default="burst")
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--top", type=int, default=10, help="functions of each process")
    parser.add_argument("--total", action="store_true", help="sort by time with all that is called, not by own time")
    parser.add_argument("--to", type=Path, help="keep the statistics there, for snakeviz and the like")
    asked = parser.parse_args()
    with scratch() as run_folder, tempfile.TemporaryDirectory() as spare:
        folder = (asked.to or Path(spare)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        os.chdir(run_folder)
        record(asked.scene, asked.tasks, folder)
        for path in sorted(folder.glob("*.prof")):
            stats: Any = pstats.Stats(str(path))
            wait = waiting(stats.stats) / asked.tasks * 1e6
            busy = stats.total_tt / asked.tasks * 1e6 - wait
            print(f"\n{path.stem}, us per task: {busy:.1f} busy, {wait:.1f} waiting")
            print(table(stats.stats, asked.tasks, asked.top, TOTAL if asked.total else SELF))
        os.chdir(ROOT)


if __name__ == "__main__":
    main()
