"""Starts and stops the workers with software of one pool [shell]; ``software_slots`` decides when.

The software is prepared first (``remote.software``), which gives the interpreter of its workers.  If these workers die
before their hello, the tasks that want the software fail, and the pool goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, Protocol

from parslab.clock import steady_time
from parslab.errors import SoftwareError
from parslab.remote.pool.slots import TaskT

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.records.software import Software
    from parslab.remote.loop import Loop
    from parslab.remote.pool.slots import WorkerSlot
    from parslab.remote.software.preparation import Preparations, Prepared

__all__ = ["PoolSoftware"]

_LOOK = 60.0
"""Seconds between two searches for workers that have been idle for long."""
_STARTS = 3
"""Workers in a row that may die before their hello until the software counts as broken."""


class TimerHost(Protocol):
    """The loop of this process and its timers."""

    loop: Loop

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread at the time ``when``."""


class WorkerStarter(Protocol[TaskT]):
    """The pool, as far as workers with software need it."""

    def start_with(self, software: Software, prepared: Prepared, rank: int) -> WorkerSlot[TaskT] | None:
        """Start a worker process; None if that is not possible now."""

    def dismiss(self, slot: WorkerSlot[TaskT]) -> None:
        """End an idle worker."""

    def refuse(self, task: TaskT, error: SoftwareError) -> None:
        """Fail a task that no worker has."""

    def software_changed(self, software: Software) -> None:
        """Queue the tasks that waited for this software."""

    def stop_unused(self, now: float) -> None:
        """Stop the workers that have been idle for long."""


class PoolSoftware(Generic[TaskT]):
    """The software of one pool (the ``SoftwareWorkers`` of its queue).

    Parameters
    ----------
    host
        The process that it runs in.
    run
        The name of the run.
    pool
        Starts and ends worker processes.
    """

    def __init__(self, host: TimerHost, run: str, pool: WorkerStarter[TaskT]) -> None:
        self._host = host
        self._run = run
        self._pool = pool
        self._stillborn: dict[Software, int] = {}
        self._preparations: Preparations | None = None

    def prepared(self, software: Software) -> Prepared | str | None:
        """Return how workers with it start, or why they cannot; None while it is being prepared."""
        if self._preparations is None:
            # Imported here, because nearly all pools need nothing of it.
            from parslab.remote.software.preparation import Preparations

            self._preparations = Preparations(self._host.loop, self._run, self._pool.software_changed)
            self._host.call_at(steady_time() + _LOOK, self._look)
        return self._preparations.state(software)

    def _look(self) -> None:
        now = steady_time()
        self._pool.stop_unused(now)
        self._host.call_at(now + _LOOK, self._look)

    # ----- what the queue asks (SoftwareWorkers)

    def is_ready(self, software: Software) -> bool | None:
        """Return whether workers with it can start; None: it is being prepared."""
        state = self.prepared(software)
        return None if state is None else not isinstance(state, str)

    def refuse(self, task: TaskT, software: Software) -> None:
        """Fail a task whose software cannot be prepared."""
        why = self.prepared(software)
        self._pool.refuse(task, SoftwareError(task.id, str(software), str(why)))

    def start(self, software: Software, rank: int) -> WorkerSlot[TaskT] | None:
        """Start a worker; None if that is not possible now."""
        state = self.prepared(software)
        if state is None or isinstance(state, str):
            return None
        return self._pool.start_with(software, state, rank)

    def stop(self, slot: WorkerSlot[TaskT]) -> None:
        """Stop an idle worker."""
        self._pool.dismiss(slot)

    # ----- what the pool reports

    def greeted(self, software: Software) -> None:
        """A worker with this software is ready."""
        self._stillborn.pop(software, None)

    def died_early(self, software: Software, how: str, words: str) -> None:
        """A worker died before its hello; after several in a row, the software fails its tasks."""
        count = self._stillborn[software] = self._stillborn.get(software, 0) + 1
        if count >= _STARTS:
            del self._stillborn[software]
            output = words.strip()[-1000:]
            self.fail(
                software,
                f"its workers cannot start: the last one {how}"
                f"{f', its last words:{chr(10)}{output}' if output else ' and said nothing'}",
            )

    def fail(self, software: Software, why: str) -> None:
        """Fail the tasks that want this software."""
        if self._preparations is not None:
            self._preparations.fail(software, why)

    def close(self) -> None:
        """Let other processes remove the environments."""
        if self._preparations is not None:
            self._preparations.close()
