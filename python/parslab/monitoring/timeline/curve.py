"""How many things went on at the same time, as an average over any part of the time.  [core]

A curve keeps only when the things began and when they ended, both sorted.  With the sums of these times, the average
between any two times needs two searches, however many things there were.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["Curve"]


class _Times:
    """Times in their order, and the sum of all before each."""

    __slots__ = ("_sorted", "_sums", "_times")

    def __init__(self) -> None:
        self._times: array[float] = array("d")
        self._sums: array[float] = array("d", (0.0,))
        self._sorted = True

    def __len__(self) -> int:
        return len(self._times)

    def extend(self, times: Iterable[float]) -> None:
        self._times.extend(times)
        self._sorted = False

    def passed(self, now: float) -> float:
        """Return the seconds since each time before ``now``, summed up."""
        if not self._sorted:
            # Nearly in order already, which makes sorting quick.
            self._times = array("d", sorted(self._times))
            self._sums = array("d", accumulate(self._times, initial=0.0))
            self._sorted = True
        count = bisect_right(self._times, now)
        return count * now - self._sums[count]


class Curve:
    """A number of things over time.

    Examples
    --------
    >>> curve = Curve()
    >>> curve.extend([(0.0, 2.0), (1.0, 2.0)])
    >>> curve.averages([0.0, 1.0, 2.0, 3.0])
    [1.0, 2.0, 0.0]
    """

    __slots__ = ("_begun", "_ended")

    def __init__(self) -> None:
        self._begun = _Times()
        self._ended = _Times()

    def __len__(self) -> int:
        return len(self._begun)

    def extend(self, things: Sequence[tuple[float, float]]) -> None:
        """Add when things began and ended; one that seems to end before it began adds nothing."""
        self._begun.extend([begin for begin, _ in things])
        self._ended.extend([end if end > begin else begin for begin, end in things])

    def averages(self, edges: Sequence[float], more: Iterable[tuple[float, float]] = ()) -> list[float]:
        """Return the average between each two neighbours of ``edges``.

        Parameters
        ----------
        edges
            Rising times, in seconds.
        more
            Things that count only this time, because they still go on: when they began, and the present time.
        """
        parts = [self]
        if going_on := list(more):
            parts.append(Curve())
            parts[1].extend(going_on)
        sums = [sum(part._begun.passed(edge) - part._ended.passed(edge) for part in parts) for edge in edges]
        return [
            max(0.0, round((after - before) / (to - since), 4)) if to > since else 0.0
            for before, after, since, to in zip(sums, sums[1:], edges, edges[1:], strict=False)
        ]
