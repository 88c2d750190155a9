"""Workers in virtual time: they run tasks, report outcomes, and die.

They are the workers' side of :class:`parslab.testing.network.Network`, and behave as ``remote.worker`` does.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeAlias

from parslab.testing.line import Line, Simulation
from parslab.wire.messages.base import Failure

if TYPE_CHECKING:
    from parslab.dataflow.graph.task import Task
    from parslab.remote.pool.queue import WorkerSlot

__all__ = ["LONG", "FakeWorker", "GivenTask", "WorkerHost"]

GivenTask: TypeAlias = "tuple[Task, int]"
"""A task, and the attempt that a worker got; the task itself may be at another attempt by now."""

LONG = 0.2
"""Seconds of the longest tasks."""
_USUAL = (0.0001, 0.0005, 0.01, LONG)
"""Seconds of a call of each function, unless it is one of the rare long calls."""
_RARE = 0.05


class WorkerHost(Simulation, Protocol):
    """The parent of the workers, which gets their messages."""

    def body_begins(self, task: Task, attempt: int) -> None:
        """The body of a task starts."""

    def outcome(
        self, slot: WorkerSlot[Task], given: GivenTask, failure: Failure | None, started: float, ended: float
    ) -> None:
        """An outcome has arrived."""

    def reported(self, slot: WorkerSlot[Task], running: int, since: float, returned: list[int]) -> None:
        """A report has arrived."""

    def lost(self, worker: FakeWorker) -> None:
        """A worker is dead."""


class FakeWorker:
    """Runs tasks one after the other and reports their outcomes, as ``remote.worker`` does, but without bodies."""

    def __init__(self, network: WorkerHost, slot: WorkerSlot[Task]) -> None:
        self.slot = slot
        self.alive = True
        self.attempt = 0
        self.page = -1 << 62
        """The task begun last, which the parent reads after the worker's death, as in ``remote.pool.processes``."""
        self._network = network
        self._inbox: list[GivenTask] = []
        self._todo: deque[GivenTask] = deque()
        self._running: GivenTask | None = None
        self._since = 0.0
        self._gathered: list[tuple[GivenTask, Failure | None, float]] = []
        # A worker gets tasks while its process starts; either link may be the first that it reads then.
        starts = network.now + network.random.choice((0.0, 0.0, 0.1)) * network.random.random()
        self.to_data, self.to_control = Line(network, starts), Line(network, starts)
        self._data, self._control = Line(network), Line(network)

    def receive(self, tasks: list[GivenTask]) -> None:
        """A batch of tasks has arrived on the data link."""
        if self.alive:
            self._inbox += tasks
            # A sleeping process takes a moment to wake; the control thread may be quicker.
            self._network.after(self._network.random.expovariate(2000.0), self._wake)

    def _wake(self) -> None:
        if self._running is None:
            self._next()

    def _read(self) -> None:
        self._todo.extend(self._inbox)
        self._inbox = []

    def _next(self) -> None:
        network = self._network
        if not self._todo:
            self._read()
        if not self.alive or not self._todo:
            self._send()
            return
        given = self._todo.popleft()
        task, attempt = given
        self._running, self.page, self.attempt, self._since = given, task.id, attempt, network.now
        network.body_begins(task, attempt)
        takes = LONG if network.random.random() < _RARE else _USUAL[task.fn % len(_USUAL)]
        if network.random.random() < network.faults.killed:
            network.after(takes / 2, self.die)
        network.after(takes, lambda: self._body_ends(given))

    def _body_ends(self, given: GivenTask, interrupted: bool = False) -> None:
        if not self.alive or self._running is not given:
            return
        task = given[0]
        failure = None
        if interrupted or self._network.random.random() < self._network.faults.failed:
            failure = Failure("KeyboardInterrupt" if interrupted else f"ValueError: {task.id}")
        self._running, self.page = None, -1 - task.id
        self._gathered.append((given, failure, self._since))
        if not self._todo or self._network.random.random() < 0.5:
            self._send()
        self._next()

    def _send(self) -> None:
        network, slot = self._network, self.slot
        for given, failure, since in self._gathered:
            deliver = partial(network.outcome, slot, given, failure, since, network.now)
            self._data.carry(deliver)
            if network.random.random() < network.faults.doubled:
                self._data.carry(deliver)
        self._gathered = []

    def looked_at(self) -> None:
        """Answer the control link, which asks for the running task, and return the tasks that have not begun."""
        if self.alive:
            self._read_ahead()
            back = [task.id for task, _ in self._todo]
            self._todo.clear()
            self._report(back)
            self._send()

    def interrupt(self, task: Task) -> None:
        """Stop one task, as the control link asks."""
        if not self.alive:
            return
        if self._running is not None and self._running[0] is task:
            self._report([])
            self._body_ends(self._running, interrupted=True)
            return
        self._read_ahead()
        waiting = [given for given in self._todo if given[0] is task]
        for given in waiting:
            self._todo.remove(given)
        self._report([given[0].id for given in waiting])

    def _read_ahead(self) -> None:
        """Read the data link in the control thread, unless the main thread reads it now."""
        if self._running is not None or self._network.random.random() < 0.5:
            self._read()

    def _report(self, back: list[int]) -> None:
        running, since = (self._running[0].id, self._since) if self._running else (-1, 0.0)
        self._control.carry(lambda: self._network.reported(self.slot, running, since, back))

    def die(self) -> None:
        """Kill the worker: messages that it has sent still arrive, and then the end of the link."""
        if self.alive:
            self.alive, self._running, self._gathered = False, None, []
            self._todo.clear()
            self._inbox = []
            self._data.carry(lambda: self._network.lost(self))
