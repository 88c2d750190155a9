"""Asks a scheduler about all jobs of a run at once: one status call serves every executor that uses the scheduler.

[shell]  The watcher lives in the loop's thread; the status call runs in the background.  The call is never made more
often than the ``period`` of the runners, and not at all while no job is queued or running.  While all is well it is
rare (every ``CALM`` periods): managers notice the end of a job first, and then the controller calls ``check_soon``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Protocol

from parslab.scaling.background_calls import BackgroundCalls, Inbox

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.providers.base import JobStatus, Runner
    from parslab.scaling.background_calls import CallRunner

__all__ = ["CALM", "LONGEST_PAUSE", "JobWatcher", "WatchedExecutor", "watcher"]

log = logging.getLogger(__name__)

CALM = 3
"""Periods between two calls while no job is expected to change."""

LONGEST_PAUSE = 60.0
"""Most seconds between two calls that fail."""


class WatchedExecutor(Protocol):
    """An executor whose jobs a watcher asks for."""

    @property
    def runner(self) -> Runner:
        """The runner that asks the scheduler."""

    def watched_jobs(self) -> tuple[list[str], bool]:
        """Return its jobs that are queued or running, and whether one of them is expected to change soon."""

    def job_statuses(self, statuses: dict[str, JobStatus], asked: list[str]) -> None:
        """Handle the statuses that the scheduler reports of the jobs ``asked``."""

    def status_failed(self, why: str, times: int) -> None:
        """Handle a status call that has failed for the ``times``-th time in a row."""


class JobWatcher:
    """Watches the jobs of one scheduler.

    Parameters
    ----------
    at
        Plans a call: the loop calls the function at the time.
    clock
        Returns the time in seconds since the epoch.
    calls
        Runs the status call.
    """

    def __init__(
        self, at: Callable[[float, Callable[[], None]], None], clock: Callable[[], float], calls: CallRunner
    ) -> None:
        self._at, self._clock, self._calls = at, clock, calls
        self.members: list[WatchedExecutor] = []
        self.calls_made = 0
        self._asking = False
        self._last = float("-inf")
        self._failures = 0
        self._planned = float("inf")
        self._soon = False

    def check_soon(self) -> None:
        """Ask as soon as the period allows: a job was submitted, has ended or is about to end."""
        self._soon = True
        self._plan()

    def _plan(self) -> None:
        if self._asking:
            return
        jobs, changing = self._jobs()
        if not jobs:
            return
        # One call serves all members, so the longest period counts.
        period = max(member.runner.period for member in self.members)
        wait = period if self._soon or changing else period * CALM
        if self._failures:
            wait = max(wait, min(LONGEST_PAUSE, period * 2.0**self._failures))
        when = max(self._clock(), self._last + wait)
        if when < self._planned:
            self._planned = when
            self._at(when, self._due)

    def _due(self) -> None:
        now = self._clock()
        if self._asking or now < self._planned:
            return  # an earlier call has replaced this plan
        self._planned = float("inf")
        # Members may join or leave during the call, so each answer goes only to the members of this moment.
        asked = {id(member): member.watched_jobs()[0] for member in self.members}
        jobs = [job for some in asked.values() for job in some]
        if not jobs:
            return
        member = next(member for member in self.members if asked[id(member)])
        self._asking, self._soon, self._last = True, False, now
        self.calls_made += 1
        # All runners of a group ask the same scheduler, so any of them may ask for the jobs of all.
        runner = member.runner
        self._calls.run(lambda: runner.status(jobs), lambda found, error: self._answered(asked, found, error))

    def _answered(
        self, asked: dict[int, list[str]], found: dict[str, JobStatus] | None, error: Exception | None
    ) -> None:
        self._asking = False
        # The period counts from the end of a call: a scheduler that is slow to answer has enough to do.
        self._last = max(self._last, self._clock())
        self._failures = self._failures + 1 if error is not None else 0
        for member in list(self.members):
            jobs = asked.get(id(member))
            if jobs and found is not None:
                member.job_statuses(found, jobs)
            elif jobs and error is not None:
                member.status_failed(f"{error}" or type(error).__name__, self._failures)
        self._plan()

    def _jobs(self) -> tuple[bool, bool]:
        known = [member.watched_jobs() for member in self.members]
        return any(jobs for jobs, _ in known), any(changing for _, changing in known)

    def leave(self, member: WatchedExecutor) -> None:
        """Stop watching the jobs of ``member``; a second call does nothing."""
        self.members = [other for other in self.members if other is not member]


_WATCHERS: dict[tuple[str, str], JobWatcher] = {}
"""The watchers by run and group; only the loop's thread uses it."""


def watcher(
    run_dir: str,
    member: WatchedExecutor,
    *,
    at: Callable[[float, Callable[[], None]], None],
    post: Callable[[Callable[[], None]], None],
    clock: Callable[[], float],
    calls: CallRunner | None = None,
) -> JobWatcher:
    """Add the member to the watcher of its runner's group, and return the watcher; make the watcher if needed."""
    key = (run_dir, member.runner.group)
    found = _WATCHERS.get(key)
    # A watcher without members belongs to a run that has ended, so its loop may be closed.
    if found is None or not found.members:
        found = _WATCHERS[key] = JobWatcher(at, clock, calls or BackgroundCalls("status", Inbox(post), 1))
    found.members.append(member)
    return found
