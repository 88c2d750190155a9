"""Arrays that go to tasks, between tasks and back: how fast, and how much memory that takes."""

from __future__ import annotations

import gc
import os
import statistics
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.bench.htex import loaded_blocks
from tests.bench.subjects import loaded

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["large_values"]

MB = 10**6
_ROUNDS = {1: 30, 10: 15, 100: 7}
"""Echoes of an array, by its megabytes."""
_LEAVES, _LEAF = 200, 5 * MB
_LINKS = 20
_CALLS = 100
"""Calls that share one array."""


def _time_of(call: Callable[[], Any]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _forget_peak(pid: int) -> None:
    """Have the system count the largest memory of a process from now on."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _status(pid: int, field: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0]) * 1024


def _memory_beside(pids: tuple[int, ...], call: Callable[[], Any]) -> int:
    """How many bytes these processes need more than before, at most, while a call runs."""
    gc.collect()
    before = sum(_status(pid, "VmRSS") for pid in pids)
    for pid in pids:
        _forget_peak(pid)
    call()
    return sum(_status(pid, "VmHWM") for pid in pids) - before


def _echoes(echo: Callable[[Any], Any], kernel: int) -> dict[str, float]:
    import numpy as np

    found: dict[str, float] = {}
    for megabytes, rounds in _ROUNDS.items():
        found |= _echo(echo, np.ones(megabytes * MB, dtype=np.uint8), rounds)
    array = np.ones(100 * MB, dtype=np.uint8)
    # The array itself counts, and the whole result is read.
    beside = _memory_beside((os.getpid(), kernel), lambda: echo(array).result().sum())
    found["echo.memory"] = (array.nbytes + beside) / array.nbytes
    large = np.ones(1 << 27)
    found["gibibyte"] = _time_of(lambda: echo(large).result())
    beside = _memory_beside((os.getpid(), kernel), lambda: echo(large).result().sum())
    found["gibibyte.memory"] = beside / large.nbytes
    return found


def _echo(echo: Callable[[Any], Any], array: Any, rounds: int) -> dict[str, float]:
    """How many megabytes a second go to a task and back, and how many are copied in this process."""
    megabytes = array.nbytes // MB
    times = [_time_of(lambda: echo(array).result()) for _ in range(rounds)]
    copies = [_time_of(array.copy) for _ in range(rounds)]
    return {
        f"echo.{megabytes}": megabytes / statistics.median(times),
        f"copy.{megabytes}": megabytes / statistics.median(copies),
    }


def _growth(kernel: int, call: Callable[[], Any]) -> float:
    """How many bytes the client and the DataFlowKernel need more than before, with what they hold in shared memory."""
    from tests.process.sandbox import memory, rss

    most, over = 0, threading.Event()

    def look() -> None:
        nonlocal most
        while not over.wait(0.005):
            most = max(most, memory(kernel) + rss(os.getpid()))

    before = memory(kernel) + rss(os.getpid())
    thread = threading.Thread(target=look)
    thread.start()
    call()
    over.set()
    thread.join()
    return float(most - before)


def _tree(leaf: Callable[..., Any], add: Callable[..., Any]) -> None:
    level = [leaf(number) for number in range(_LEAVES)]
    while len(level) > 1:
        level = [add(*level[i : i + 2]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
    level[0].result()


def _calls_with(model: Any, sized: Callable[..., Any]) -> None:
    """Call an app many times with one large argument."""
    for future in [sized(model) for _ in range(_CALLS)]:
        future.result()


def large_values(executor: str) -> dict[str, float]:
    """All figures of one executor: ``llex`` or ``htex``."""
    import numpy as np

    from parslab import python_app
    from tests.bench import apps

    echo, leaf, add, many = (python_app(body) for body in (apps.same, apps.leaf, apps.add_arrays, apps.arrays))
    sized = python_app(len)
    with loaded(2) if executor == "llex" else loaded_blocks(2) as dfk:
        for _ in range(4):
            echo(np.ones(MB)).result()
        found = _echoes(echo, dfk.pid)
        _tree(leaf, add)
        found["tree"] = _LEAVES * _LEAF / MB / _time_of(lambda: _tree(leaf, add))
        found["tree.memory"] = _growth(dfk.pid, lambda: _tree(leaf, add))
        found["returns"] = statistics.median(_time_of(lambda: many(3000).result()) for _ in range(5))
        first = leaf(1, 100 * MB)
        first.result()

        def chain() -> None:
            link = first
            for _ in range(_LINKS):
                link = echo(link)
            link.result()

        found["link"] = statistics.median(_time_of(chain) for _ in range(3)) / _LINKS
        found["link.memory"] = _growth(dfk.pid, chain) / (100 * MB)
        model = np.ones(20 * MB, dtype=np.uint8)
        found["model.memory"] = _growth(dfk.pid, lambda: _calls_with(model, sized)) / model.nbytes
    return found
