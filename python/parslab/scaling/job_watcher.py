"""Asks a scheduler about all jobs of a run at once: one status call for every executor that it serves.

[shell]  Lives in the loop's thread; the call itself runs on an errand.  It is never made more often than the ``period``
of its runners, not at all while no job is queued or running, and rarely while all is well (``CALM`` periods): an end is
first noticed by the managers that are gone, and then ``soon`` is called.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from parslab.scaling.background_calls import BackgroundCalls, Inbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.providers.base import JobStatus, Runner
    from parslab.scaling.background_calls import CallRunner

__all__ = ["CALM", "JobWatcher", "WatchedExecutor", "watcher"]

log = logging.getLogger(__name__)

CALM = 3
"""Periods between two calls while nothing is expected to change."""

LONGEST = 60.0
"""Most seconds between two calls that were not answered."""


class WatchedExecutor(Protocol):
    """An executor whose jobs are watched."""

    @property
    def runner(self) -> Runner:
        """Who asks."""

    def watched(self) -> tuple[list[str], bool]:
        """Its jobs that are queued or running, and whether one of them is expected to change soon."""

    def status(self, statuses: dict[str, JobStatus], asked: list[str]) -> None:
        """What the scheduler says of the jobs that were asked for."""

    def unanswered(self, why: str, times: int) -> None:
        """The scheduler could not be asked, so many times in a row."""


class JobWatcher:
    """The jobs of one scheduler.

    Parameters
    ----------
    at
        Have something called at a time, in the loop.
    clock
        Seconds since the epoch.
    errands
        Runs the status call.
    """

    def __init__(
        self, at: Callable[[float, Callable[[], None]], None], clock: Callable[[], float], errands: CallRunner
    ) -> None:
        self._at, self._clock, self._errands = at, clock, errands
        self.members: list[WatchedExecutor] = []
        self.calls = 0
        self._asking = False
        self._last = float("-inf")
        self._failed = 0
        self._planned = float("inf")
        self._soon = False

    def soon(self) -> None:
        """Something was submitted, has ended or is about to: ask as soon as the period allows."""
        self._soon = True
        self._plan()

    def _plan(self) -> None:
        if self._asking:
            return
        jobs, eager = self._jobs()
        if not jobs:
            return
        period = max(member.runner.period for member in self.members)
        wait = period if self._soon or eager else period * CALM
        if self._failed:
            wait = max(wait, min(LONGEST, period * 2.0**self._failed))
        when = max(self._clock(), self._last + wait)
        if when < self._planned:
            self._planned = when
            self._at(when, self._due)

    def _due(self) -> None:
        now = self._clock()
        if self._asking or now < self._planned:
            return  # planned anew since
        self._planned = float("inf")
        asked = {id(member): member.watched()[0] for member in self.members}
        jobs = [job for some in asked.values() for job in some]
        if not jobs:
            return
        member = next(member for member in self.members if asked[id(member)])
        self._asking, self._soon, self._last = True, False, now
        self.calls += 1
        runner = member.runner
        self._errands.run(lambda: runner.status(jobs), lambda said, error: self._answered(asked, said, error))

    def _answered(
        self, asked: dict[int, list[str]], said: dict[str, JobStatus] | None, error: Exception | None
    ) -> None:
        self._asking = False
        # The period counts from the end of a call: a scheduler that needs long to answer has enough to do.
        self._last = max(self._last, self._clock())
        self._failed = self._failed + 1 if error is not None else 0
        for member in list(self.members):
            jobs = asked.get(id(member))
            if jobs and said is not None:
                member.status(said, jobs)
            elif jobs and error is not None:
                member.unanswered(f"{error}" or type(error).__name__, self._failed)
        self._plan()

    def _jobs(self) -> tuple[bool, bool]:
        known = [member.watched() for member in self.members]
        return any(jobs for jobs, _ in known), any(eager for _, eager in known)

    def leave(self, member: WatchedExecutor) -> None:
        """A member is gone; twice is safe."""
        self.members = [other for other in self.members if other is not member]


_WATCHERS: dict[tuple[str, str], JobWatcher] = {}
"""By run and group; only the loop's thread looks here."""


def watcher(
    run_dir: str,
    member: WatchedExecutor,
    at: Callable[[float, Callable[[], None]], None],
    post: Callable[[Callable[[], None]], None],
    clock: Callable[[], float],
    errands: CallRunner | None = None,
) -> JobWatcher:
    """The watcher of the group of this member's runner, with this member in it."""
    key = (run_dir, member.runner.group)
    found = _WATCHERS.get(key)
    if found is None or not found.members:
        found = _WATCHERS[key] = JobWatcher(at, clock, errands or BackgroundCalls("status", Inbox(post), 1))
    found.members.append(member)
    return found
