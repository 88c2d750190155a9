"""Keeps the history of blocks, workers and waiting tasks of a run, in bounded memory.

[core]  The view owns the history, and adds a point after each batch of events once the run has a block.  The history
keeps a point where a number changed, but at most one per gap.  When there are too many points, it drops every second
one and doubles the gap, so the whole run stays visible.  Invariants: at most
``MAX_POINTS`` points are kept, and ``points`` has at most one more; times rise; the last point is the current size.
"""

from __future__ import annotations

from parslab.records.panel import ScalePoint

__all__ = ["GAP", "MAX_POINTS", "ScaleHistory"]

MAX_POINTS = 400
"""Most points, because every snapshot contains all of them."""
GAP = 0.5
"""Seconds between two points, at first."""


class ScaleHistory:
    """Points of a step chart."""

    __slots__ = ("_gap", "_kept", "_latest")

    def __init__(self) -> None:
        self._kept: list[ScalePoint] = []
        self._latest: ScalePoint | None = None  # not kept yet: a point within the same gap replaces it
        self._gap = GAP

    def add(self, now: float, blocks: int, workers: int, waiting: int) -> None:
        """Note the current size."""
        latest = self._latest if self._latest is not None else self._kept[-1] if self._kept else None
        if latest is not None and (latest.blocks, latest.workers, latest.waiting) == (blocks, workers, waiting):
            return
        point = ScalePoint(now, blocks, workers, waiting)
        if self._latest is not None and now >= self._latest.time + self._gap:
            self._keep(self._latest)  # this size lasted longer than the gap, so a chart must show it
        self._latest = None
        if not self._kept or now >= self._kept[-1].time + self._gap:
            self._keep(point)
        else:
            self._latest = point

    @property
    def points(self) -> list[ScalePoint]:
        """All points, oldest first."""
        return [*self._kept, self._latest] if self._latest is not None else list(self._kept)

    def _keep(self, point: ScalePoint) -> None:
        self._kept.append(point)
        if len(self._kept) > MAX_POINTS:
            # The first point says when the history begins, the last one is the current size.
            self._kept = [*self._kept[:-1:2], self._kept[-1]]
            self._gap *= 2
