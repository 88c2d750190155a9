"""Cases in which the client reacts to results: closed loops, steps that need their neighbours, calls of a notebook.

Called by ``tests.bench.cases`` in a fresh process each; arguments and figures as there. Both sides of a ratio are
measured in turns within one case.
"""

from __future__ import annotations

import hashlib
import statistics
import time
import warnings
from concurrent.futures import Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from tests.bench.htex import loaded_blocks
from tests.bench.peers import noop, spin
from tests.bench.subjects import loaded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["bodies", "cells", "closed_loop", "large_global", "notebook_functions", "stencil"]

EFFICIENCY = 0.5
"""METG(50 %): the shortest task with which half of the workers' time is spent in tasks."""
SHORTEST, LONGEST = 20e-6, 8e-3
"""Seconds: between these the shortest useful task is looked for."""


@contextmanager
def _submitter(subject: str) -> Iterator[Callable[..., Future[Any]]]:
    """``submit(seconds, *needs)`` for two workers; without arguments: a no-op."""
    if subject == "pool":
        with ProcessPoolExecutor(2) as pool:
            yield lambda *args: pool.submit(spin, args[0]) if args else pool.submit(noop)
        return
    with loaded(2) if subject == "llex" else loaded_blocks(2):
        from tests.bench.apps import noop as noop_app
        from tests.bench.apps import spin as spin_app

        yield lambda *args: spin_app(*args) if args else noop_app()


def _loop(submit: Callable[..., Future[Any]], window: int, calls: int) -> float:
    """Calls per second while ``window`` calls are in flight and each result is followed by the next call."""
    done: SimpleQueue[Future[Any]] = SimpleQueue()

    def call() -> None:
        submit().add_done_callback(done.put)

    begun = time.perf_counter()
    for _ in range(window):
        call()
    for number in range(calls):
        done.get().result()
        if number < calls - window:
            call()
    return calls / (time.perf_counter() - begun)


def closed_loop(subject: str, windows: list[int], calls: int, rounds: int) -> dict[str, float]:
    """A closed loop of an executor beside that of a process pool, for several numbers of calls in flight."""
    rates: dict[tuple[str, int], list[float]] = {}
    with ExitStack() as stack:
        # The pool forks its workers at the first call, which must not copy the threads of the other side.
        submit = {}
        for name in ("pool", subject):
            submit[name] = stack.enter_context(_submitter(name))
            _loop(submit[name], 4, 500)
        for number in range(rounds):
            for window in windows:
                for name in ("pool", subject)[:: -1 if number % 2 else 1]:
                    rates.setdefault((name, window), []).append(_loop(submit[name], window, calls))
    found = {}
    for window in windows:
        own, pool = rates[subject, window], rates["pool", window]
        found[f"{window}.rate"] = statistics.median(own)
        found[f"{window}.pool"] = statistics.median(pool)
        found[f"{window}.ratio"] = statistics.median(a / b for a, b in zip(own, pool, strict=True))
    found["worst_ratio"] = min(found[f"{window}.ratio"] for window in windows)
    return found


def _steps(submit: Callable[..., Future[Any]], subject: str, width: int, steps: int, seconds: float) -> float:
    """The time of a stencil: each task of a step needs three of the step before."""
    begun = time.perf_counter()
    row: list[Future[Any]] = [submit(seconds) for _ in range(width)]
    for _ in range(steps - 1):
        if subject == "pool":  # it knows no dependencies: the client waits for the whole step
            wait(row)
            row = [submit(seconds) for _ in range(width)]
        else:
            row = [submit(seconds, *(row[(i + d) % width] for d in (-1, 0, 1))) for i in range(width)]
    wait(row)
    return time.perf_counter() - begun


def stencil(subject: str, width: int, steps: int) -> dict[str, float]:
    """METG(50 %) of a stencil as in Task Bench, found by bisection of the task's length."""
    with _submitter(subject) as submit:
        _steps(submit, subject, width, 50, 1e-4)
        low, high = SHORTEST, LONGEST
        while high / low > 1.1:
            middle = (low * high) ** 0.5
            taken = statistics.median(_steps(submit, subject, width, steps, middle) for _ in range(3))
            if width * steps * middle / (2 * taken) >= EFFICIENCY:
                high = middle
            else:
                low = middle
    return {"metg": (low * high) ** 0.5}


def notebook_functions(executor: str, calls: int, rounds: int) -> dict[str, float]:
    """Round trips of an app that is defined in a notebook (``__main__``), beside those of an imported one."""
    import __main__
    from parslab import python_app

    source = "def cell(): pass"
    exec(compile(source, "<cell>", "exec"), vars(__main__))
    own = python_app(vars(__main__)["cell"])
    with loaded(1) if executor == "llex" else loaded_blocks(1):
        from tests.bench.apps import noop as imported

        times: dict[str, list[float]] = {"own": [], "imported": []}
        for number in range(-1, rounds):
            for name, app in (("own", own), ("imported", imported))[:: -1 if number % 2 else 1]:
                found = []
                for _ in range(calls):
                    begun = time.perf_counter()
                    app().result()
                    found.append(time.perf_counter() - begun)
                if number >= 0:
                    times[name].append(statistics.median(found))
    ratios = [a / b for a, b in zip(times["own"], times["imported"], strict=True)]
    return {name: statistics.median(found) for name, found in times.items()} | {"ratio": statistics.median(ratios)}


def large_global(megabytes: int, calls: int) -> dict[str, float]:
    """A call of a function that uses a large array as a global, which must be unchanged, beside a hash of the array."""
    import numpy

    import __main__
    from parslab import python_app

    exec(compile("def cell(): return array.size", "<cell>", "exec"), vars(__main__))
    vars(__main__)["array"] = numpy.ones(megabytes * 10**6 // 8)
    app = python_app(vars(__main__)["cell"])
    times: dict[str, list[float]] = {"call": [], "hash": []}
    with loaded(1):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            app().result()
        for _ in range(calls):
            begun = time.perf_counter()
            future = app()
            times["call"].append(time.perf_counter() - begun)
            future.result()
            begun = time.perf_counter()
            hashlib.blake2b(vars(__main__)["array"]).digest()
            times["hash"].append(time.perf_counter() - begun)
    found = {name: statistics.median(each) for name, each in times.items()}
    return found | {"ratio": found["call"] / found["hash"]}


def cells(names: int, calls: int) -> dict[str, float]:
    """How long a ``%%parsl`` cell takes, until its task is submitted, in a shell with so many names and with none."""
    from IPython.core.interactiveshell import InteractiveShell

    shell: Any = InteractiveShell.instance()
    shell.history_manager.enabled = False
    shell.run_line_magic("load_ext", "parslab")
    many = {f"name_{i}": i for i in range(names)}
    times: dict[str, list[float]] = {"none": [], "many": []}

    def cell(number: int) -> float:
        begun = time.perf_counter()
        ran = shell.run_cell(f"%%parsl\nfound_{number % 10} = start + {number}", store_history=True)
        taken = time.perf_counter() - begun
        assert ran.result.result()[f"found_{number % 10}"] == start + number
        return taken

    start = shell.user_ns["start"] = 1
    with loaded(2):
        for number in range(-calls // 5, calls):
            for side in ("none", "many"):
                if side == "many":
                    shell.user_ns.update(many)
                taken = cell(number)
                for name in many if side == "many" else ():
                    del shell.user_ns[name]
                if number >= 0:
                    times[side].append(taken)
    found = {side: statistics.median(values) for side, values in times.items()}
    return found | {"ratio": found["many"] / found["none"]}


def _round_trips(
    bash: Callable[[], Future[Any]], subprocess_run: Callable[[], Future[Any]], count: int
) -> dict[str, list[float]]:
    """Return the times of single calls of a bash app, and those of the same command without one, in the worker."""
    trips, alone = [], []
    for _ in range(count):
        begun = time.perf_counter()
        bash().result()
        trips.append(time.perf_counter() - begun)
        alone.append(subprocess_run().result())
    return {"round_trip": trips, "in_worker": alone}


def bodies(tasks: int, rounds: int) -> dict[str, float]:
    """What a join app and a bash app cost in a burst, beside a plain call and ``subprocess.run`` in a worker."""
    from tests.bench.apps import command, join
    from tests.bench.apps import noop as plain
    from tests.bench.apps import run_command as subprocess_run

    kinds: dict[str, tuple[Callable[[], Future[Any]], int]] = {
        "plain": (plain, tasks),
        "join": (join, tasks),
        "bash": (command, tasks // 20),
        "subprocess": (subprocess_run, tasks // 20),
    }
    costs: dict[str, list[float]] = {name: [] for name in kinds}
    with loaded(2):
        for number in range(-1, rounds):
            for name, (call, count) in list(kinds.items())[:: -1 if number % 2 else 1]:
                begun = time.perf_counter()
                for future in [call() for _ in range(count)]:
                    future.result()
                if number >= 0:
                    costs[name].append((time.perf_counter() - begun) / count)
        costs |= _round_trips(command, subprocess_run, tasks // 20)
    found = {name: statistics.median(values) for name, values in costs.items()}
    found["round_trip_ratio"] = found["round_trip"] / found["in_worker"]
    found["join_ratio"] = found["join"] / found["plain"]
    found["bash_ratio"] = found["bash"] / (found["subprocess"] + found["plain"])
    return found
