"""A clock whose time passes only while a test plays it."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["START", "VirtualTime"]

START = 1_000_000.0


class VirtualTime:
    """A clock, and the functions that it calls at planned times."""

    def __init__(self) -> None:
        self.now = START
        self._planned: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call ``call`` at the time ``when``."""
        # The counter keeps calls of the same time in order, and keeps the heap from comparing functions.
        heapq.heappush(self._planned, (max(when, self.now), next(self._order), call))

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call ``call`` after ``seconds``."""
        self.at(self.now + seconds, call)

    def play(self, until: float, done: Callable[[], bool] = lambda: False) -> None:
        """Let time pass until ``until``, or until ``done()`` is true."""
        while self._planned and self._planned[0][0] <= until and not done():
            when, _, call = heapq.heappop(self._planned)
            self.now = when
            call()
        if not done():
            self.now = max(self.now, until)
