"""Interfaces between the DataFlowKernel process, its components and its executors.

A component receives a :class:`Host` in its constructor, and its other collaborators one by one.  It never receives the
whole :class:`parslab.dataflow.kernel.Kernel`: so each component can be read and tested alone, and imports form no
cycle.  Only the thread of the loop calls these methods, except ``call_soon``, which any thread may call.
"""

from __future__ import annotations

import heapq
import itertools
import logging
from typing import TYPE_CHECKING, Protocol

from parslab.clock import steady_time
from parslab.records.events import NoticeRaised

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence

    from parslab.dataflow.graph.task import Effects, NextAttempt, Task
    from parslab.records.events import Event
    from parslab.remote.loop import Loop
    from parslab.wire.messages.base import ForgetFunctions

__all__ = ["ExecutorPool", "Host", "LoopHost", "TaskQueue"]

log = logging.getLogger(__name__)


class Host(Protocol):
    """The loop of the DataFlowKernel process, its timers, and the way to monitoring.

    Attributes
    ----------
    loop
        The poll loop, for components that watch sockets.
    """

    loop: Loop

    def now(self) -> float:
        """Return the time in seconds since the epoch."""

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread at the time ``when``."""

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread soon; safe from any thread."""

    def emit(self, event: Event) -> None:
        """Pass an event to monitoring."""

    def notify(self, level: str, text: str) -> None:
        """Show the user a notice; ``level`` is ``info``, ``warning`` or ``error``."""

    def end_run(self, reason: str) -> None:
        """End the run after this round of the loop."""


class TaskQueue(Protocol):
    """The tasks of one executor that no worker has yet."""

    @property
    def waiting(self) -> int:
        """Return how many tasks are in the queue."""

    def put(self, tasks: Iterable[Task]) -> None:
        """Append ready tasks."""

    def put_again(self, tasks: Sequence[NextAttempt], now: float) -> None:
        """Put tasks for their next attempt in front of all others."""

    def drop(self, ids: Collection[int]) -> None:
        """Remove tasks by number."""


class ExecutorPool(Protocol):
    """One executor of the run that has workers, of this host or of others."""

    number: int
    label: str
    broken: str
    """Why the executor will never have a worker; empty while it may have one."""

    @property
    def queue(self) -> TaskQueue:
        """The queue of its ready tasks."""

    def assign(self, now: float) -> None:
        """Send ready tasks to workers."""

    def stop_task(self, task: Task, now: float) -> None:
        """Stop a cancelled task that a worker has."""

    def fail_waiting(self) -> None:
        """Fail the ready tasks, if the executor is broken."""

    def forget_code(self, fn: int, message: ForgetFunctions) -> None:
        """Have the workers drop a function that no task will call again."""

    def next_deadline(self) -> float | None:
        """Return when :meth:`probe_silent` is due; None if it is not needed."""

    def probe_silent(self, now: float) -> None:
        """Probe workers that have been silent."""

    def report_states(self) -> None:
        """Emit an event for each worker whose state has changed."""

    def reap(self) -> None:
        """Handle the end of a child process."""

    def close(self, deadline: float) -> None:
        """End the workers."""


class LoopHost:
    """The :class:`Host` of a DataFlowKernel process.

    Parameters
    ----------
    loop
        The loop of the process.
    effects
        The effects of the task table.  Its list of events holds all events of the run in their order.
    """

    now = staticmethod(steady_time)

    def __init__(self, loop: Loop, effects: Effects) -> None:
        self.loop = loop
        # The loop's own method, without a call in between.
        self.call_soon = loop.post
        self.end_reason = ""
        """Why the run ends; empty while it does not end."""
        self._effects = effects
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        # Decides between calls of the same time: the heap cannot compare functions.
        self._order = itertools.count()

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread at the time ``when``."""
        heapq.heappush(self._timers, (when, next(self._order), call))

    def run_timers(self, now: float) -> None:
        """Run the calls that are due."""
        timers = self._timers
        # A call may add timers; those that are due already run in the same round.
        while timers and timers[0][0] <= now:
            heapq.heappop(timers)[2]()

    def next_deadline(self) -> float | None:
        """Return when the next call is due; None if there is no call."""
        return self._timers[0][0] if self._timers else None

    def emit(self, event: Event) -> None:
        """Pass an event to monitoring."""
        # The table's own list, so that events of components and events of tasks keep their common order.
        self._effects.events.append(event)

    def notify(self, level: str, text: str) -> None:
        """Show the user a notice."""
        self.emit(NoticeRaised(steady_time(), level, text))

    def end_run(self, reason: str) -> None:
        """End the run after this round of the loop."""
        # Only the first reason counts: a later one is often a consequence of the first.
        if self.loop.running:
            log.info("the run ends: %s", reason)
            self.end_reason = reason
            self.loop.running = False
