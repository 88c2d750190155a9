"""Stops a task that a worker has [core]: by an interrupt, then by TERM and at last KILL for its worker.

The pool calls this for cancelled tasks and for those that run longer than they may.  The worker itself carries out the
interrupt, so it has no effect while a C function holds the interpreter; signals to the worker's group do.  No other
task may suffer: while its worker still runs another one, the stop waits.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from parslab.remote.pool.queue import QueuedTask

__all__ = ["INSISTENCE", "PATIENCE", "StopRequests"]

PATIENCE = 1.0
"""Seconds from the interrupt of a task until its worker gets TERM."""
INSISTENCE = 0.5
"""Seconds from TERM for a worker until its group gets KILL."""
_AGAIN = 0.25
"""Seconds after which the stop looks again at a worker that has not begun the task yet."""


class TaskHolder(Protocol):
    """A worker, as far as stopping its tasks needs it."""

    name: str
    process: Any
    usable: bool
    greeted: bool
    ready_since: float
    """When it was ready for its first task; later, when it began the task that it reported."""
    running: int


class StopRequests:
    """The tasks of one pool that are being stopped, or will be.

    Parameters
    ----------
    clock
        Returns the time.
    at
        Runs a call at a time.
    interrupt
        Asks a worker to interrupt this task, if it runs it.
    warn
        Called with a sentence that says which signal a worker gets.
    peers
        The workers of the pool.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        at: Callable[[float, Callable[[], None]], None],
        interrupt: Callable[[Any, int], None],
        warn: Callable[[str], None],
        peers: Container[Any],
    ) -> None:
        self._clock = clock
        self._at = at
        self._interrupt = interrupt
        self._warn = warn
        self._peers = peers
        self._overtime: dict[int, float] = {}

    def limit(self, task: QueuedTask, seconds: float, now: float) -> None:
        """Stop a task that was just sent to an idle worker when it has run for so many seconds."""
        attempt, peer = task.attempt, task.worker

        def over() -> None:
            if peer is None or task.worker is not peer or task.attempt != attempt:
                return
            # Its time begins when its body does, not while its worker is still being started.
            due = max(now, peer.ready_since) + seconds if peer.greeted else self._clock() + _AGAIN
            if due > self._clock():
                self._at(due, over)
                return
            self._overtime[task.id] = seconds
            self.stop(task, self._clock())

        self._at(now + seconds, over)

    def overtime(self, task: int) -> float | None:
        """Return the limit of a task that ended and was being stopped because it ran too long."""
        return self._overtime.pop(task, None)

    def stop(self, task: QueuedTask, now: float) -> None:
        """Interrupt a task, and end its worker if that does not help."""
        peer: TaskHolder = task.worker
        self._interrupt(peer, task.id)
        if peer.process is None:
            return  # a worker of another host: this process can only ask it
        attempt = task.attempt
        harder = [signal.SIGTERM, signal.SIGKILL]
        met = peer.process.page == task.id

        def insist() -> None:
            nonlocal met
            process, now = peer.process, self._clock()
            if task.worker is not peer or task.attempt != attempt or peer not in self._peers or process is None:
                return
            if process.page != task.id:
                self._at(now + _AGAIN, insist)
            elif not met:
                met = True
                self._at(now + PATIENCE, insist)
            else:
                number = harder[0]
                if len(harder) > 1:
                    harder.pop(0)
                    process.note_descendants()
                peer.usable = False
                self._warn(f"worker {peer.name} does not let go of task {task.id}: {number.name}")
                process.signal(number)
                self._at(now + INSISTENCE, insist)

        self._at(now + (PATIENCE if met else _AGAIN), insist)
