"""Estimates the rate and the time left from the counts of the last seconds [pure]."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parslab.jupyter.progress.tracker import Counts

__all__ = ["Pace", "facts", "line"]

_WINDOW = 15.0
"""Seconds over which the rate is averaged."""
_BAR = 20


class Pace:
    """The rate of one progress display.

    Examples
    --------
    >>> from parslab.jupyter.progress.tracker import Counts
    >>> pace = Pace(0.0)
    >>> pace.add(Counts(100, 0), 0.0)
    >>> pace.add(Counts(100, 20), 10.0)
    >>> pace.rate, pace.left
    (2.0, 40.0)
    """

    def __init__(self, now: float) -> None:
        self._began = now
        self._points: deque[tuple[float, int]] = deque()
        self.rate = 0.0
        """Futures that became done per second."""
        self.left: float | None = None
        """Seconds until all are done at this rate; None if nothing is known."""
        self.elapsed = 0.0

    def add(self, counts: Counts, now: float) -> None:
        """Take the counts at a time."""
        points = self._points
        points.append((now, counts.done))
        while len(points) > 2 and points[1][0] <= now - _WINDOW:
            points.popleft()
        (first, before), (last, after) = points[0], points[-1]
        # Retried futures become unfinished again, so the difference may be negative.
        self.rate = max(0.0, (after - before) / (last - first)) if last > first else 0.0
        self.elapsed = now - self._began
        rest = counts.total - counts.done
        self.left = rest / self.rate if rest and self.rate else None


def line(counts: Counts, pace: Pace, title: str = "", width: int = 0) -> str:
    """Return one line of text about the progress.

    Examples
    --------
    >>> from parslab.jupyter.progress.tracker import Counts
    >>> pace = Pace(0.0)
    >>> pace.add(Counts(4, 0), 0.0)
    >>> pace.add(Counts(4, 3, failed=1), 3.0)
    >>> line(Counts(4, 3, failed=1), pace)
    '3/4 [###############.....] 75 %, 1/s, 1 s left, 1 failed'
    """
    share = counts.done / counts.total if counts.total else 1.0
    filled = int(share * _BAR)
    head = f"{title}: " if title else ""
    parts = [f"{head}{counts.done:,}/{counts.total:,} [{'#' * filled}{'.' * (_BAR - filled)}] {int(share * 100)} %"]
    parts += facts(counts, pace)
    text = ", ".join(parts)
    return text if not width or len(text) < width else text[: width - 1]


def facts(counts: Counts, pace: Pace) -> list[str]:
    """Return rate, time left or time taken, failures and cancellations, each as a few words."""
    found = []
    if counts.finished:
        found.append(f"{_duration(pace.elapsed)}")
    else:
        if pace.rate:
            found.append(f"{_rate(pace.rate)}/s")
        if pace.left is not None:
            found.append(f"{_duration(pace.left)} left")
    if counts.failed:
        found.append(f"{counts.failed:,} failed")
    if counts.cancelled:
        found.append(f"{counts.cancelled:,} cancelled")
    return found


def _rate(value: float) -> str:
    return f"{round(value):,}" if value >= 9.95 else f"{value:.1f}".removesuffix(".0")


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
