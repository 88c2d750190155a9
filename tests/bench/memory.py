"""Memory of the process that submits: what each completed task leaves there, by a straight line through its RSS.

Cases of ``cases``.  The line is fitted through what follows a warm-up, so that imports and free lists, which grow
once, are not counted as tasks.
"""

from __future__ import annotations

import gc
import time
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any

import psutil

from tests.bench.subjects import BURSTS, Submit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

__all__ = ["dropped", "kept", "session", "slope", "waited"]

BATCH = 1000
"""Tasks under way at a time: enough to keep two workers busy, too few to be what is measured."""


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Steepness of the straight line that fits best.

    Examples
    --------
    >>> slope([(0, 5.0), (1, 7.0), (2, 9.0)])
    2.0
    """
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    spread = sum((x - middle_x) ** 2 for x, _ in points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / spread


def _completed(submit: Submit) -> list[Future[Any]]:
    futures = [submit() for _ in range(BATCH)]
    for future in futures:
        future.result()
    return futures


def _growth(submit: Submit, tasks: int, warm_up: int, keep: bool) -> float:
    process = psutil.Process()
    store: list[list[Future[Any]]] = []
    points = []
    for done in range(0, warm_up + tasks + 1, BATCH):
        if done >= warm_up and (done - warm_up) % (tasks // 10) == 0:
            gc.collect()
            points.append((float(done), float(process.memory_info().rss)))
        futures = _completed(submit)
        if keep:
            store.append(futures)
    return slope(points)


def kept(subject: str, tasks: int, warm_up: int) -> dict[str, float]:
    """Bytes per completed task while its future is kept."""
    with BURSTS[subject](2) as submit:
        return {"bytes": _growth(submit, tasks, warm_up, keep=True)}


def dropped(subject: str, tasks: int, warm_up: int) -> dict[str, float]:
    """Bytes per completed task whose future nobody holds any more."""
    with BURSTS[subject](2) as submit:
        return {"bytes": _growth(submit, tasks, warm_up, keep=False)}


def waited(subject: str, tasks: int) -> dict[str, float]:
    """The memory of the client after ``concurrent.futures.wait`` for so many calls."""
    process = psutil.Process()
    with BURSTS[subject](2) as submit:
        submit().result()
        futures = [submit() for _ in range(tasks)]
        before = process.memory_info().rss
        ended = wait(futures)
        after = process.memory_info().rss
        assert len(ended.done) == tasks
    return {"before": float(before), "after": float(after)}


def session(tasks: int, parts: int) -> dict[str, float]:
    """A long session whose futures nobody keeps: memory of client and DataFlowKernel, and whether it gets slower.

    The tasks come in ``parts`` of equal size, of which the first and the last are compared.
    """
    import parslab

    with BURSTS["parslab"](2) as submit:
        members = [psutil.Process(), psutil.Process(parslab.dfk().pid)]

        def used() -> float:
            gc.collect()
            return float(sum(process.memory_info().rss for process in members))

        _completed(submit)
        begun = used()
        rates = []
        for _ in range(parts):
            since = time.perf_counter()
            for _ in range(tasks // parts // (10 * BATCH)):
                for future in [submit() for _ in range(10 * BATCH)]:
                    future.result()
            rates.append(tasks / parts / (time.perf_counter() - since))
        grown = used() - begun
    return {"grown": grown, "first": rates[0], "last": rates[-1], "ratio": rates[-1] / rates[0]}
