"""Memory of the process that submits: what each completed task leaves there, by a straight line through its RSS.

Cases of ``cases``.  The line is fitted through what follows a warm-up, so that imports and free lists, which grow
once, are not counted as tasks.
"""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import psutil

from tests.bench.subjects import BURSTS, Submit

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

__all__ = ["dropped", "kept", "slope"]

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
