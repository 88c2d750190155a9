"""Decides which manager fails tasks that other managers run well [core].  Time is an argument.

A node without a library, a disk or memory fails every task in a moment and asks for the next one: alone it would fail
all the work of a run.  Therefore this module counts the failures of each manager since its last success.  Two kinds
count: attempts that were lost with their worker, and quick errors of functions.

A manager is unhealthy when both of these hold:

- enough different tasks in a row failed on it;
- the same functions succeeded elsewhere since then, or run elsewhere for much longer than they took to fail here.

A function that often fails on managers where it also succeeds says nothing about a node.
"""

from __future__ import annotations

from collections import Counter, deque
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple

from parslab.records.reasons import INFRASTRUCTURE, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["QUICK", "FailedAttempt", "FailureStreak", "NodeHealth"]

QUICK = 1.0
"""Seconds within which an error of a function may be the fault of its node."""
_OFTEN = 3
"""A function proves nothing unless it succeeds so many times as often as it fails, where it does both."""
_LONGER = 10.0
"""A task must have run elsewhere so many times longer than the failed attempts took here."""
_LEAST = 1.0
"""Seconds that such a task must have run elsewhere at least."""
_ALONGSIDE = 64
"""The most tasks of other managers that are compared; it bounds the cost of a first failure."""
_FUNCTIONS = frozenset({"", Reason.app_error.value, Reason.serialization.value})


class FailedAttempt(NamedTuple):
    """An attempt that failed on a manager."""

    task: int
    fn: int
    reason: str
    """Name of a ``Reason``; empty: the function raised."""
    took: float
    """Seconds that it ran."""
    error: str
    """``Type: message``, one line."""


class FailureStreak:
    """The failures of one manager since its last success.

    Attributes
    ----------
    since
        The time of the first failure.
    tasks
        The numbers of the tasks that failed, up to ten times the limit.
    fails
        How often each function failed.
    error
        The error of the last failure.
    longest
        Seconds that the longest of the failed attempts took.
    alongside
        Tasks of the same function that other managers held at the first failure.
    successes_before
        By function: how often it had succeeded anywhere when it failed here first.
    """

    __slots__ = ("alongside", "error", "fails", "longest", "since", "successes_before", "tasks")

    def __init__(self, now: float, alongside: tuple[int, ...]) -> None:
        self.since = now
        self.tasks: set[int] = set()
        self.fails: Counter[int] = Counter()
        self.error = ""
        self.longest = 0.0
        self.alongside = alongside
        self.successes_before: dict[int, int] = {}


class NodeHealth:
    """The health of all managers of one executor.

    Parameters
    ----------
    after
        How many tasks must fail in a row; 0: no manager is ever unhealthy.

    Attributes
    ----------
    streaks
        By manager.  It is empty as a rule, and then the caller need not report successes.
    """

    def __init__(self, after: int) -> None:
        self.after = after
        self.streaks: dict[str, FailureStreak] = {}
        self._successes: Counter[int] = Counter()
        """How often each function succeeded while a manager had a streak."""
        self._mixed: Counter[int] = Counter()
        """How often each function failed on managers that had a success afterwards."""
        self._candidates: deque[str] = deque()
        """Managers with enough failures, of which some may have had a success since."""
        self._hosts: dict[str, FailureStreak] = {}
        """Streaks of managers that left, by host: the next manager of that host inherits them."""

    def succeeded(self, manager: str, fn: int) -> None:
        """Count a success of this function on this manager."""
        self._successes[fn] += 1
        streak = self.streaks.pop(manager, None)
        if streak is not None:
            self._mixed.update(streak.fails)

    def failed(
        self, manager: str, attempt: FailedAttempt, *, now: float, elsewhere: Callable[[], Iterable[int]]
    ) -> None:
        """Count a failure on this manager.

        Parameters
        ----------
        elsewhere
            Returns the tasks of the same function that other managers hold.
        """
        # An error after a long run is rather the fault of the function than of the node.
        mechanical = attempt.reason in INFRASTRUCTURE
        if not self.after or not (mechanical or (attempt.reason in _FUNCTIONS and attempt.took < QUICK)):
            return
        streak = self.streaks.get(manager)
        if streak is None:
            streak = self.streaks[manager] = FailureStreak(now, tuple(islice(elsewhere(), _ALONGSIDE)))
        streak.successes_before.setdefault(attempt.fn, self._successes[attempt.fn])
        streak.fails[attempt.fn] += 1
        streak.longest = max(streak.longest, attempt.took)
        streak.error = attempt.error
        # Bounded, because a manager that is not held may fail tasks for hours.
        if len(streak.tasks) < 10 * self.after:
            streak.tasks.add(attempt.task)
            if len(streak.tasks) == self.after:
                self._candidates.append(manager)

    def unhealthy(self, manager: str, running: Callable[[int], bool], now: float) -> FailureStreak | None:
        """Return the streak that shows that this manager is unhealthy, and end it; None when it may be healthy.

        Parameters
        ----------
        running
            Whether a task runs now on another manager that has no streak.
        """
        streak = self.streaks.get(manager)
        if streak is None or len(streak.tasks) < self.after:
            return None
        # Only functions that failed here count: that others succeed elsewhere says nothing about this node.
        before = streak.successes_before
        mixed = sum(self._mixed[fn] for fn in before)
        # Earlier successes do not count: all nodes may have got bad together, as when a shared disk is lost.
        since = sum(self._successes[fn] - count for fn, count in before.items())
        better = since > 0 and sum(self._successes[fn] for fn in before) > _OFTEN * mixed
        # Functions that run long have no success yet; running on elsewhere is as good a proof.
        if not better and not mixed and now - streak.since > max(_LEAST, _LONGER * streak.longest):
            better = any(map(running, streak.alongside))
        return self.streaks.pop(manager) if better else None

    def next_candidate(self) -> str:
        """Return a manager that a success elsewhere may have proved unhealthy, each in its turn; empty: none."""
        # Bounded, because a caller asks after each success: the others have their turn at the next one.
        for _ in range(min(len(self._candidates), 8)):
            manager = self._candidates.popleft()
            if manager in self.streaks:
                self._candidates.append(manager)
                return manager
        return ""

    def suspected(self, manager: str) -> bool:
        """Return whether a task that failed here should wait a moment for another manager.

        This holds from the first failure on: with one retry a task must not meet a bad node twice.
        """
        return manager in self.streaks

    def released(self, manager: str) -> None:
        """Forget the failures of a manager that the user releases.

        Tasks that it still had may have failed since; they would hold it again at the next success elsewhere.
        """
        self.streaks.pop(manager, None)

    # ----- managers join and leave

    def manager_left(self, manager: str, host: str) -> None:
        """Keep the failures of a manager that left for the next one of its host."""
        streak = self.streaks.pop(manager, None)
        if streak is not None:
            self._hosts[host] = streak

    def manager_joined(self, manager: str, host: str) -> None:
        """Give a new manager the failures of the last one of its host."""
        # A block that restarts its managers would otherwise hide a bad node behind new names.
        streak = self._hosts.pop(host, None)
        if streak is not None:
            self.streaks[manager] = streak
            if len(streak.tasks) >= self.after:
                self._candidates.append(manager)
