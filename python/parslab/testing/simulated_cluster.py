"""An executor and its scheduler in virtual time: a test sees hours of scaling in a moment.

[simulation]  ``Cluster`` joins the real controller, table of blocks and strategy with a scheduler and managers that
follow a plan.  Use it to try a strategy of your own::

    cluster = Cluster(folder, strategy="my_module:ByDay", max_blocks=4, slots=5, queue=60.0)
    cluster.submit([10.0] * 20)
    cluster.play(600.0)
    print(cluster.most, cluster.used / cluster.paid)

Plan faults in ``cluster.scheduler``: ``fail``, ``refuse``, ``break_jobs``, ``silent``, ``forget``.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from parslab.providers.base import Job, JobStatus, SubmitError
from parslab.records.events import BlockMoved, NoticeRaised
from parslab.records.executor_settings import (
    EncodedDescription,
    HighThroughputSettings,
    ManagerSettings,
    ProviderSettings,
)
from parslab.records.states import BlockState
from parslab.scaling.controller import ScalingController
from parslab.scaling.controller_owner import BlockLoad, ExecutorLoad
from parslab.testing.fakes import run_settings
from parslab.testing.virtual_time import VirtualTime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from parslab.records.events import Event

__all__ = ["Cluster", "Moment", "PlannedScheduler", "VirtualCallRunner"]

RECONNECT_FOR = 30.0
"""Seconds for which managers look for a DataFlowKernel after they have lost one."""


class _DataFlowKernelLife:
    """The planned calls of one DataFlowKernel; none of them runs after its death."""

    def __init__(self, time: VirtualTime) -> None:
        self._time = time
        self.over = False

    def at(self, when: float, call: Callable[[], None]) -> None:
        """See ``VirtualTime``."""
        self._time.at(when, lambda: None if self.over else call())

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """See ``VirtualTime``."""
        self.at(self._time.now + seconds, call)


class VirtualCallRunner:
    """Runs blocking calls at once, and delivers their results a little later."""

    def __init__(self, time: VirtualTime | _DataFlowKernelLife, takes: float = 0.02) -> None:
        self._time = time
        self.takes = takes
        self.busy = 0

    def run(self, call: Callable[[], Any], done: Callable[[Any, Exception | None], None]) -> None:
        """See ``parslab.scaling.background_calls.CallRunner``."""
        self.busy += 1
        answer, failed = None, None
        try:
            answer = call()
        except Exception as error:  # as a thread would
            failed = error
        self._time.after(self.takes, lambda: self._finish(answer, failed, done))

    def _finish(self, answer: Any, failed: Exception | None, done: Callable[[Any, Exception | None], None]) -> None:
        self.busy -= 1
        done(answer, failed)


@dataclass
class PlannedScheduler:
    """A runner whose jobs wait ``queue`` seconds, and whose managers connect ``boot`` seconds later."""

    cluster: Cluster
    queue: float = 0.0
    boot: float = 0.5
    period: float = 10.0
    late_arrival: float = 30.0
    group: str = "planned"
    refuse: list[str] = field(default_factory=list)
    """Words with which the scheduler refuses the next submissions."""
    fail: list[OSError] = field(default_factory=list)
    """Errors of the next submissions."""
    break_jobs: list[str] = field(default_factory=list)
    """Words with which the next jobs fail as soon as they run."""
    forget: bool = False
    """The scheduler knows no job from now on."""
    silent: bool = False
    """Jobs run, and no manager connects."""
    unreachable: bool = False
    """The scheduler answers no command now."""
    jobs: dict[str, JobStatus] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    """Block of each job."""
    asked: list[float] = field(default_factory=list)
    """When the states of jobs were asked for."""
    submitted: list[float] = field(default_factory=list)
    closed: bool = False

    def adopt(self, number: str, job: Job) -> None:
        """See ``FindsJobs``."""
        self.names[number] = job.name.rsplit(".", 1)[1]

    def find(self, name: str) -> str | None:
        """See ``FindsJobs``."""
        if self.unreachable:
            raise OSError("squeue: error: Unable to contact slurm controller")
        block = name.rsplit(".", 1)[1]
        return next((number for number, of in self.names.items() if of == block), None)

    def submit(self, job: Job) -> str:
        """See ``Runner``."""
        time = self.cluster.time
        self.submitted.append(time.now)
        if self.unreachable:
            raise OSError("sbatch: error: Unable to contact slurm controller")
        if self.fail:
            raise self.fail.pop(0)
        if self.refuse:
            raise SubmitError(self.refuse.pop(0))
        return self.arrives(job.name.rsplit(".", 1)[1])

    def arrives(self, block: str) -> str:
        """Put the job of a block into the queue; the process that submitted it may be dead."""
        number = str(100 + len(self.names))
        self.names[number] = block
        self.jobs[number] = JobStatus(BlockState.queued, "Priority")
        self.cluster.time.after(self.queue, lambda: self._begin(number))
        return number

    def _begin(self, job: str) -> None:
        if self.jobs[job].state is not BlockState.queued:
            return
        if self.break_jobs:
            self.jobs[job] = JobStatus(BlockState.failed, self.break_jobs.pop(0))
            return
        self.jobs[job] = JobStatus(BlockState.running, "", "node1")
        if not self.silent:
            self.cluster.time.after(self.boot, lambda: self._come(job))

    def _come(self, job: str) -> None:
        if self.jobs[job].state is BlockState.running:
            self.cluster.connect_manager(self.names[job])

    def status(self, jobs: list[str]) -> dict[str, JobStatus]:
        """See ``Runner``."""
        self.asked.append(self.cluster.time.now)
        if self.unreachable:
            raise OSError("squeue: error: Unable to contact slurm controller")
        return {} if self.forget else {job: self.jobs[job] for job in jobs}

    def cancel(self, jobs: list[str]) -> None:
        """See ``Runner``."""
        if self.unreachable:
            raise OSError("scancel: error: Unable to contact slurm controller")
        for job in jobs:
            self.end(job, JobStatus(BlockState.scaled_in, "CANCELLED"))

    def end(self, job: str, status: JobStatus) -> None:
        """End a job with this status; its managers are lost."""
        if self.jobs[job].state in (BlockState.queued, BlockState.running):
            self.jobs[job] = status
            self.cluster.disconnect_manager(self.names[job], "lost its connection")

    def close(self) -> None:
        """See ``Runner``."""
        self.closed = True

    @property
    def alive(self) -> list[str]:
        """Jobs that are queued or running."""
        return [job for job, is_ in self.jobs.items() if is_.state in (BlockState.queued, BlockState.running)]


@dataclass
class _Crew:
    """The manager of one block."""

    came: float
    running: dict[int, float] = field(default_factory=dict)
    """The length of each running task."""
    idle_since: float | None = None
    draining: bool = False
    held: bool = False


@dataclass(frozen=True)
class Moment:
    """The state of the executor from this time on."""

    time: float
    workers: int
    busy: int
    waiting: int


class Cluster:
    """One executor and its scheduler.

    Parameters
    ----------
    folder
        The folder of the run, which must be empty.
    slots
        Workers of each block.
    queue, boot, period
        Seconds that a job is queued, that its manager needs to connect, and between two status calls.
    strategy, max_idletime, strategy_period
        As in ``Config``.
    limits
        ``init_blocks``, ``min_blocks``, ``max_blocks``, ``parallelism``.
    """

    def __init__(
        self,
        folder: Path,
        *,
        slots: int = 5,
        queue: float = 0.0,
        boot: float = 0.5,
        period: float = 10.0,
        strategy: str = "htex_auto_scale",
        max_idletime: float = 120.0,
        strategy_period: float = 5.0,
        known_slots: bool = True,
        **limits: Any,
    ) -> None:
        self.time = VirtualTime()
        self.slots = slots
        self.scheduler = PlannedScheduler(self, queue, boot, period)
        self.run = run_settings(folder, strategy=strategy, max_idletime=max_idletime, strategy_period=strategy_period)
        self.events: list[Event] = []
        self.crews: dict[str, _Crew] = {}
        self.orphans: set[str] = set()
        """Blocks whose managers look for a DataFlowKernel."""
        self.stopped = ""
        self.lost = 0
        """Tasks that were running in a block that was ended."""
        self.ended = 0
        self.moments: list[Moment] = []
        self._waiting: list[tuple[int, float]] = []
        self._tasks = itertools.count()
        self._settings, self._folder = _settings(slots if known_slots else None, limits), folder
        self.controller = self._controller()

    def _controller(self) -> ScalingController:
        self._life = _DataFlowKernelLife(self.time)
        controller = ScalingController(
            self._settings,
            self,
            "manager",
            self._folder,
            clock=lambda: self.time.now,
            calls=VirtualCallRunner(self._life),
            runner=self.scheduler,
        )
        controller.start()
        return controller

    def kill(self) -> None:
        """Kill the DataFlowKernel: its tasks wait again, its jobs continue, and its managers look for another one."""
        self._life.over = True
        self.controller.stop_watching()  # the watcher of a killed process would die with it, but this process continues
        crews, self.crews = self.crews, {}
        for block, crew in crews.items():
            self._waiting += list(crew.running.items())
            self._orphaned(block)

    def revive(self) -> None:
        """Start another DataFlowKernel in its place; managers that still look for one join it."""
        self.run.restarts = 1
        orphans, self.orphans = self.orphans, set()
        self.controller = self._controller()
        for block in sorted(orphans):
            self.connect_manager(block)

    def _orphaned(self, block: str) -> None:
        self.orphans.add(block)
        self.time.after(RECONNECT_FOR, lambda: self._leave(block) if block in self.orphans else None)

    # ----- actions of a test

    def submit(self, lengths: Iterable[float], then: Callable[[], None] | None = None) -> None:
        """Submit tasks of these lengths in seconds; call ``then`` when all of them have ended."""
        tasks = [(next(self._tasks), length) for length in lengths]
        left = {number for number, _ in tasks}
        if then is not None:
            self._then = (left, then)
        self._waiting += tasks
        self._assign()

    def play(self, seconds: float) -> None:
        """Let ``seconds`` pass."""
        self.time.play(self.time.now + seconds)

    def finish(self, longest: float = 1e6) -> float:
        """Let time pass until every task has ended; returns the seconds that it took."""
        begun = self.time.now
        self.time.play(begun + longest, lambda: not self._waiting and not any(c.running for c in self.crews.values()))
        return self.time.now - begun

    def stages(self, *stages: list[float]) -> None:
        """Submit each list of tasks when all tasks before it have ended."""
        if stages:
            self.submit(stages[0], lambda: self.stages(*stages[1:]))

    # ----- observations for a test

    @property
    def blocks(self) -> int:
        """Blocks with a manager that takes tasks."""
        return sum(not crew.draining for crew in self.crews.values())

    @property
    def most(self) -> int:
        """The largest number of blocks that were alive at the same time."""
        most = 0
        alive: set[str] = set()
        for event in self.moves():
            (alive.discard if event.state in _ENDED else alive.add)(event.block)
            most = max(most, len(alive))
        return most

    def moves(self, block: str | None = None) -> list[BlockMoved]:
        """Return the changes of blocks that monitoring got."""
        return [e for e in self.events if isinstance(e, BlockMoved) and block in (None, e.block)]

    def states(self, block: str) -> list[str]:
        """Return the states of a block, in order."""
        return [state for state, _ in itertools.groupby(event.state for event in self.moves(block))]

    def notices(self) -> list[str]:
        """Return the notices that the user got."""
        return [event.text for event in self.events if isinstance(event, NoticeRaised)]

    @property
    def paid(self) -> float:
        """Worker seconds of all blocks until now."""
        return self._sum(lambda moment: moment.workers)

    @property
    def used(self) -> float:
        """Worker seconds in which a task ran."""
        return self._sum(lambda moment: moment.busy)

    def _sum(self, value: Callable[[Moment], int]) -> float:
        ends = [*(moment.time for moment in self.moments[1:]), self.time.now]
        return sum(value(moment) * (end - moment.time) for moment, end in zip(self.moments, ends, strict=True))

    # ----- managers and tasks

    def connect_manager(self, block: str) -> None:
        """Connect the manager of a block."""
        if self._life.over:
            self._orphaned(block)
            return
        self.crews[block] = _Crew(self.time.now, idle_since=self.time.now)
        self.controller.manager_joined(block, f"m{block}", "node1")
        self._assign()

    def disconnect_manager(self, block: str, reason: str) -> None:
        """Disconnect the manager of a block; its tasks wait again."""
        crew = self.crews.pop(block, None)
        self.orphans.discard(block)
        if crew is not None:
            self.lost += len(crew.running)
            self._waiting += [(number, length) for number, length in crew.running.items()]
            self.controller.manager_left(block, f"m{block}", reason)
            self._assign()

    def _assign(self) -> None:
        for block, crew in self.crews.items():
            while self._waiting and len(crew.running) < self.slots and not crew.draining and not crew.held:
                number, length = self._waiting.pop(0)
                crew.running[number] = length
                crew.idle_since = None
                self.time.after(length, partial(self._end, block, crew, number))
        self._note()
        self.controller.wake()

    def _end(self, block: str, crew: _Crew, number: int) -> None:
        if self.crews.get(block) is not crew or crew.running.pop(number, None) is None:
            return
        self.ended += 1
        if not crew.running:
            crew.idle_since = self.time.now
            if crew.draining:
                self._leave(block)
        then = getattr(self, "_then", None)
        if then is not None:
            then[0].discard(number)
            if not then[0]:
                del self._then
                then[1]()
        if self._waiting:
            self._assign()
        self._note()

    def _leave(self, block: str) -> None:
        job = next(job for job, name in self.scheduler.names.items() if name == block)
        self.scheduler.end(job, JobStatus(BlockState.finished, "exit status 0"))
        self.disconnect_manager(block, "its block is not needed any more")

    def _note(self) -> None:
        workers = len(self.crews) * self.slots
        busy = sum(len(crew.running) for crew in self.crews.values())
        self.moments.append(Moment(self.time.now, workers, busy, len(self._waiting)))

    # ----- what the controller asks (ScalingOwner)

    def event(self, event: Event) -> None:
        """See ``ScalingOwner``."""
        self.events.append(event)

    def at(self, when: float, call: Callable[[], None]) -> None:
        """See ``ScalingOwner``."""
        self._life.at(when, call)

    def post(self, call: Callable[[], None]) -> None:
        """See ``ScalingOwner``."""
        self._life.at(self.time.now, call)

    def load(self) -> ExecutorLoad:
        """See ``ScalingOwner``."""
        blocks = {
            name: BlockLoad(1, self.slots, len(crew.running), crew.idle_since, crew.held, crew.draining)
            for name, crew in self.crews.items()
        }
        held = sum(len(crew.running) for crew in self.crews.values())
        return ExecutorLoad(len(self._waiting) + held, len(self._waiting), blocks)

    def release_block(self, block: str) -> None:
        """See ``ScalingOwner``."""
        crew = self.crews.get(block)
        if crew is not None and not crew.draining:
            crew.draining = True
            if not crew.running:
                self.time.after(0.05, lambda: self._leave(block) if block in self.crews else None)

    def hold_block(self, block: str, hold: bool) -> None:
        """See ``ScalingOwner``."""
        if block in self.crews:
            self.crews[block].held = hold
            self._assign()

    def fail(self, why: str) -> None:
        """See ``ScalingOwner``."""
        self.stopped = why
        self._waiting.clear()


_ENDED = {"finished", "failed", "scaled_in", "missing"}


def _settings(max_workers: int | None, limits: dict[str, Any]) -> HighThroughputSettings:
    """Return the settings of an executor whose blocks the planned scheduler gives."""
    return HighThroughputSettings(
        label="htex",
        provider=ProviderSettings(description=EncodedDescription("planned"), **{"max_blocks": 4, **limits}),
        manager=ManagerSettings(max_workers_per_node=max_workers),
    )
