"""The cost of a redefinition: some tasks of a graph fail, and only their branch runs again with the new function."""

from __future__ import annotations

import os
import random
import tempfile
import time
from collections import Counter
from typing import Any

__all__ = ["branch"]

_STEP = """
@python_app
def step(n, needs):
    import os
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{{n}}\\n".encode())
    os.close(file)
    if {condition}:
        raise ValueError(n)
    return 1 + sum(needs)
"""


def _ran(log: str) -> Counter[int]:
    with open(log) as lines:
        return Counter(map(int, lines))


def branch(executor: str, tasks: int, bad: int) -> dict[str, float]:
    """Time from the order to retry until every future has its result, beside that of the first run; and what ran
    again that should not have, or did not that should."""
    import parslab

    kinds: dict[str, Any] = {
        "llex": lambda: parslab.LowLatencyExecutor(workers=2),
        "htex": lambda: parslab.HighThroughputExecutor(max_workers_per_node=2),
    }
    dice = random.Random(4)
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "log")
        cell: dict[str, Any] = {"__name__": "__main__", "python_app": parslab.python_app, "log": log}
        cell["wrong"] = set(dice.sample(range(tasks), bad))
        with parslab.load(parslab.Config(executors=[kinds[executor]()])) as dfk:
            exec(compile(_STEP.format(condition="n in wrong"), "<first>", "exec"), cell)
            parslab.python_app(os.getpid)().result()
            begun = time.perf_counter()
            futures: list[Any] = []
            for n in range(tasks):
                needs = dice.sample(range(max(0, n - 40), n), min(n, dice.choice((0, 1, 1, 2))))
                futures.append(cell["step"](n, [futures[need] for need in needs]))
            failed = {n for n, future in enumerate(futures) if future.exception() is not None}
            first = time.perf_counter() - begun
            before = _ran(log)
            exec(compile(_STEP.format(condition="False"), "<mended>", "exec"), cell)
            begun = time.perf_counter()
            dfk.retry()
            for future in futures:
                future.result()
            took = time.perf_counter() - begun
        again = _ran(log)
    again.subtract(before)
    again.subtract(failed)
    wrongly = sum(map(abs, again.values()))
    return {"first": first, "took": took, "branch": float(len(failed)), "wrongly": float(wrongly)}
