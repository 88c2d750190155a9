"""Stop a task that a worker holds [core]: interrupt it, then send its worker TERM, and at last KILL.

The pool calls this for cancelled tasks and for tasks that exceed their time limit.  The worker itself carries out an
interrupt, which has no effect while a C function holds the interpreter.  Signals to the worker's group always have one.
No other task may suffer, so a stop waits while the worker still runs another task.
"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from parslab.remote.pool.queue import QueuedTask

__all__ = ["INSISTENCE", "PATIENCE", "StopRequests"]

PATIENCE = 1.0
"""Seconds from the interrupt of a task until its worker gets TERM."""
INSISTENCE = 0.5
"""Seconds from TERM for a worker until its group gets KILL."""
_AGAIN = 0.25
"""Seconds until the next look at a worker that has not begun the task yet."""


class StoppableProcess(Protocol):
    """The process of a worker."""

    @property
    def page(self) -> int:
        """The task that it began last; ``-1 - t``: task t has ended."""

    def note_descendants(self) -> None:
        """Note the processes that descend from it."""

    def signal(self, number: signal.Signals, /) -> None:
        """Signal the worker and everything in its group."""


class TaskHolder(Protocol):
    """The part of a worker that a stop of its tasks needs."""

    name: str
    usable: bool
    greeted: bool
    ready_since: float
    """When the worker was ready for its first task; later, when it began the task that it reported."""
    running: int

    @property
    def process(self) -> StoppableProcess | None:
        """Its process; None for a worker of another host."""


HolderT = TypeVar("HolderT", bound=TaskHolder)


class StopRequests(Generic[HolderT]):
    """The tasks of one pool that are being stopped, or will be.

    Parameters
    ----------
    clock
        Returns the time.
    at
        Runs a function at a given time.
    interrupt
        Asks a worker to interrupt a task if it runs that task.
    warn
        Called with a sentence that says which signal a worker gets.
    peers
        The workers of the pool.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        at: Callable[[float, Callable[[], None]], None],
        interrupt: Callable[[HolderT, int], None],
        warn: Callable[[str], None],
        peers: Container[HolderT],
    ) -> None:
        self._clock = clock
        self._at = at
        self._interrupt = interrupt
        self._warn = warn
        self._peers = peers
        self._overtime: dict[int, float] = {}

    def limit(self, task: QueuedTask, peer: HolderT, seconds: float, now: float) -> None:
        """Stop a task that was just sent to this idle worker when it has run for so many seconds."""
        attempt = task.attempt

        def over() -> None:
            # The task may have ended, and may even run again on another worker: that attempt has its own limit.
            if task.worker is not peer or task.attempt != attempt:
                return
            # The limit counts from the start of the body: a worker may need seconds to start.
            due = max(now, peer.ready_since) + seconds if peer.greeted else self._clock() + _AGAIN
            if due > self._clock():
                self._at(due, over)
                return
            self._overtime[task.id] = seconds
            self.stop(task, peer, self._clock())

        self._at(now + seconds, over)

    def overtime(self, task: int) -> float | None:
        """Return the limit of an ended task that was stopped because it ran too long; None for other tasks."""
        return self._overtime.pop(task, None)

    def stop(self, task: QueuedTask, peer: HolderT, now: float) -> None:
        """Interrupt a task, and end the worker that holds it if the interrupt has no effect."""
        self._interrupt(peer, task.id)
        if peer.process is None:
            return  # a worker of another host: this process can only ask it
        attempt = task.attempt
        harder = [signal.SIGTERM, signal.SIGKILL]
        # The shared page names the task that really runs; messages of the worker may be late.
        met = peer.process.page == task.id

        def insist() -> None:
            nonlocal met
            process, now = peer.process, self._clock()
            if task.worker is not peer or task.attempt != attempt or peer not in self._peers or process is None:
                return
            # Another task runs before this one, or this one has just ended: a signal would hit the wrong task.
            if process.page != task.id:
                self._at(now + _AGAIN, insist)
            elif not met:
                met = True
                self._at(now + PATIENCE, insist)
            else:
                number = harder[0]
                if len(harder) > 1:
                    harder.pop(0)
                    # Before TERM: when the worker has ended, its descendants cannot be found through it any more.
                    process.note_descendants()
                peer.usable = False
                self._warn(f"worker {peer.name} does not let go of task {task.id}: {number.name}")
                process.signal(number)
                self._at(now + INSISTENCE, insist)

        self._at(now + (PATIENCE if met else _AGAIN), insist)
