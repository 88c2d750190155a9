"""Which manager of an executor fails what it is given while others do well with the same [core].

A node without a library, a disk or memory fails every task in a moment and asks for the next one: it would go through
all the work of a run.  So each manager's failures since its last success are counted: attempts that were lost with
their worker, and quick errors of functions.  It is to be held when enough different tasks have failed on it, and the
same functions have since succeeded elsewhere, or run there for much longer than they took to fail here.  A function
that often fails on managers where it also succeeds says nothing of a node.  Time is an argument.
"""

from __future__ import annotations

from collections import Counter, deque
from itertools import islice
from typing import TYPE_CHECKING

from parslab.records.reasons import INFRASTRUCTURE, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["QUICK", "FailureStreak", "NodeHealth"]

QUICK = 1.0
"""Seconds within which an error of a function may be its node's."""
_OFTEN = 3
"""A function that succeeds less than so many times as often as it fails, where it does both, proves nothing."""
_LONGER = 10.0
"""How many times longer a task must have run elsewhere than those took that failed here."""
_LEAST = 1.0
"""Seconds that it must have run at least."""
_ALONGSIDE = 64
"""How many tasks of other managers are looked at."""
_FUNCTIONS = frozenset({"", Reason.app_error.value, Reason.serialization.value})


class FailureStreak:
    """The failures of one manager since its last success.

    Attributes
    ----------
    tasks
        What has failed; when they are many, not all of it.
    error
        The last one's error.
    """

    __slots__ = ("alongside", "error", "fails", "longest", "since", "tasks", "well")

    def __init__(self, now: float, alongside: tuple[int, ...]) -> None:
        self.since = now
        self.tasks: set[int] = set()
        self.fails: Counter[int] = Counter()
        """How often each function has failed."""
        self.error = ""
        self.longest = 0.0
        """Seconds that the longest of the failed attempts took."""
        self.alongside = alongside
        """Tasks of the first one's function that other managers had when it began."""
        self.well: dict[int, int] = {}
        """How often its functions had succeeded anywhere when they failed here first."""


class NodeHealth:
    """All managers of one executor.

    Parameters
    ----------
    after
        How many tasks must have failed in a row; 0: no manager is ever held.

    Attributes
    ----------
    streaks
        By manager; empty as a rule, and then nothing need be told of successes.
    """

    def __init__(self, after: int) -> None:
        self.after = after
        self.streaks: dict[str, FailureStreak] = {}
        self._well: Counter[int] = Counter()
        """How often each function has succeeded, as far as told."""
        self._mixed: Counter[int] = Counter()
        """How often each has failed on managers that had a success afterwards."""
        self._ripe: deque[str] = deque()
        """Managers on which enough has failed, if only the functions did better elsewhere; some may be over it."""
        self._hosts: dict[str, FailureStreak] = {}
        """Streaks of managers that are gone, by host, for who comes next from there."""

    def succeeded(self, manager: str, fn: int) -> None:
        """A task of this function has succeeded here."""
        self._well[fn] += 1
        streak = self.streaks.pop(manager, None)
        if streak is not None:
            self._mixed.update(streak.fails)

    def failed(
        self,
        manager: str,
        task: int,
        fn: int,
        reason: str,
        took: float,
        error: str,
        now: float,
        elsewhere: Callable[[], Iterable[int]],
    ) -> None:
        """An attempt has failed here.

        Parameters
        ----------
        elsewhere
            Answers the tasks of the same function that other managers have.
        """
        if not self.after or not (reason in INFRASTRUCTURE or (reason in _FUNCTIONS and took < QUICK)):
            return
        streak = self.streaks.get(manager)
        if streak is None:
            streak = self.streaks[manager] = FailureStreak(now, tuple(islice(elsewhere(), _ALONGSIDE)))
        streak.well.setdefault(fn, self._well[fn])
        streak.fails[fn] += 1
        streak.longest = max(streak.longest, took)
        streak.error = error
        if len(streak.tasks) < 10 * self.after:
            streak.tasks.add(task)
            if len(streak.tasks) == self.after:
                self._ripe.append(manager)

    def verdict(self, manager: str, running: Callable[[int], bool], now: float) -> FailureStreak | None:
        """The streak for which this manager is to be held, which ends with that; None: nothing speaks against it.

        Parameters
        ----------
        running
            Whether a task runs now at another manager, against which nothing speaks.
        """
        streak = self.streaks.get(manager)
        if streak is None or len(streak.tasks) < self.after:
            return None
        mixed = sum(self._mixed[fn] for fn in streak.well)
        since = sum(self._well[fn] - well for fn, well in streak.well.items())
        better = since > 0 and sum(self._well[fn] for fn in streak.well) > _OFTEN * mixed
        if not better and not mixed and now - streak.since > max(_LEAST, _LONGER * streak.longest):
            better = any(map(running, streak.alongside))
        return self.streaks.pop(manager) if better else None

    def next_ripe(self) -> str:
        """A manager that a success elsewhere may have convicted, each in its turn; empty when there is none."""
        for _ in range(min(len(self._ripe), 8)):
            manager = self._ripe.popleft()
            if manager in self.streaks:
                self._ripe.append(manager)
                return manager
        return ""

    def doubtful(self, manager: str) -> bool:
        """Whether a task that has failed here had better wait a moment for another manager.

        That is so from the first failure on: with one retry a task must not meet a bad node twice.
        """
        return manager in self.streaks

    # ----- managers come and go

    def left(self, manager: str, host: str) -> None:
        """A manager has gone: what has failed on it counts against the next one from its host."""
        streak = self.streaks.pop(manager, None)
        if streak is not None:
            self._hosts[host] = streak

    def came(self, manager: str, host: str) -> None:
        """A manager has come."""
        streak = self._hosts.pop(host, None)
        if streak is not None:
            self.streaks[manager] = streak
            if len(streak.tasks) >= self.after:
                self._ripe.append(manager)
