"""How the blocks of a run grew and shrank beside the work that waited, kept small however long the run is.

[core]  Owned by the view, which says how things stand after each batch of events, once the run has a block.  A point is
kept where something changed, but not more often than the gap; when there are too many, every second one goes and the
gap doubles, so the whole run stays in sight.  Invariants: at most ``POINTS`` points, ``points`` is never more than one
longer; times rise; the last point is how things stand.
"""

from __future__ import annotations

from parslab.records.panel import ScalePoint

__all__ = ["GAP", "POINTS", "ScaleHistory"]

POINTS = 400
GAP = 0.5
"""Seconds between two points, at first."""


class ScaleHistory:
    """Points of a step chart."""

    __slots__ = ("_gap", "_kept", "_last")

    def __init__(self) -> None:
        self._kept: list[ScalePoint] = []
        self._last: ScalePoint | None = None  # not kept yet: another may replace it within the gap
        self._gap = GAP

    def note(self, now: float, blocks: int, workers: int, waiting: int) -> None:
        """So it stands from now on."""
        last = self._last if self._last is not None else self._kept[-1] if self._kept else None
        if last is not None and (last.blocks, last.workers, last.waiting) == (blocks, workers, waiting):
            return
        point = ScalePoint(now, blocks, workers, waiting)
        if self._last is not None and now >= self._last.time + self._gap:
            self._keep(self._last)  # it stood so for a while
        self._last = None
        if not self._kept or now >= self._kept[-1].time + self._gap:
            self._keep(point)
        else:
            self._last = point

    @property
    def points(self) -> list[ScalePoint]:
        """All of it, oldest first."""
        return [*self._kept, self._last] if self._last is not None else list(self._kept)

    def _keep(self, point: ScalePoint) -> None:
        self._kept.append(point)
        if len(self._kept) > POINTS:
            # The first tells when it began, the last how it stands.
            self._kept = [*self._kept[:-1:2], self._kept[-1]]
            self._gap *= 2
