"""The manager of one node [shell]: gives tasks to the workers of its node, and their outcomes to the DataFlowKernel.

It owns nothing but its workers (D12): each task it holds is known to the DataFlowKernel, too. Its half of the bargain
with the pool of workers (D11) turns what becomes of a task into messages, which leave in one batch after each round of
the loop. What it cannot begin within ``GIVE_BACK`` seconds goes back, so that nothing waits behind a long task here
while another node is idle.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
from time import time
from typing import TYPE_CHECKING, Any

from parslab.records.events import NoticeRaised, WorkerMoved
from parslab.records.states import TaskState
from parslab.remote.loop import Loop
from parslab.remote.pool.pool import WorkerPool
from parslab.wire.messages.base import DefineFunction, ForgetFunctions, OutputPrinted, Refused, frame_count
from parslab.wire.messages.manager import (
    LinkHeartbeat,
    ManagerAccepted,
    ManagerBroken,
    ManagerDraining,
    ManagerHello,
    ManagerLeft,
    WorkerStateChanged,
)
from parslab.wire.messages.worker import InterruptTask, Outcome, RunTask, WorkerReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.records.events import Event
    from parslab.remote.manager.link import LocalManagerLink, ManagerLink
    from parslab.remote.manager.sampling import Sampler
    from parslab.remote.pool.processes import ProcessPlan
    from parslab.wire.messages.base import Failure
    from parslab.wire.stream import Buffer

__all__ = ["GIVE_BACK", "Manager", "TaskOnNode"]

log = logging.getLogger(__name__)

GIVE_BACK = 0.1
"""Seconds without any outcome after which tasks that no worker has are given back."""

_TELL = 0.2
"""Least seconds between two times that the DataFlowKernel is told which workers are busy."""


class TaskOnNode:
    """A task while it is on this node."""

    __slots__ = ("attempt", "fn", "frames", "id", "run", "spec", "state", "worker")

    def __init__(self, run: RunTask, frames: Sequence[Buffer]) -> None:
        self.id = run.task
        self.attempt = run.attempt
        self.fn = run.fn
        self.run = run
        self.frames = frames
        self.state = TaskState.ready
        self.worker: Any = None
        self.spec: RunTask | None = run if run.slots > 1 or run.limit > 0 else None


class Manager:
    """The node's half of the link, and the pool's owner.

    Parameters
    ----------
    hello
        What it says of itself.
    run
        Of the run: ``run``, ``path``, ``cwd``, ``package``.
    options
        ``heartbeat_period``, ``heartbeat_threshold``, ``drain_period``, ``prefetch``, ``sample_period``.
    plans
        What each worker gets.
    """

    def __init__(
        self, hello: ManagerHello, run: dict[str, Any], options: dict[str, Any], plans: Sequence[ProcessPlan]
    ) -> None:
        self.run = run
        self.loop = Loop(self.act, self._broke)
        self.pool = WorkerPool(hello.executor, "", hello.manager, plans, self)
        self.left = ""
        """Why it left."""
        self.again = False
        """Whether it should begin anew: its connection broke, or the DataFlowKernel was silent."""
        self.told = False
        """Whether a signal told it to end."""
        self.unheard = False
        """Whether it left because whoever it was connected to never took it in."""
        self.name = hello.manager
        self._hello = hello
        self._options = options
        self._link: ManagerLink | LocalManagerLink
        self._sampler: Sampler | None = None
        self._jobs: dict[int, TaskOnNode] = {}
        self._codes: dict[int, tuple[DefineFunction, Buffer]] = {}
        self._out: list[Any] = []
        self._frames: list[Buffer] = []
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._heard = time()
        self._said = 0.0
        self._accepted = False
        self._draining = ""
        self._progress = time()
        self._changed = False
        self._tell_at = 0.0
        self._sampled: set[int] = set()
        """Jobs that run for so long already that their use is measured."""

    # ----- begin and end

    def serve(self, link: ManagerLink | LocalManagerLink, sampler: Sampler | None) -> None:
        """Work until told to leave, or nobody is there any more."""
        self._link = link
        self._sampler = sampler
        link.attach(self.loop, self._readable, self._watched)
        link.send([self._hello])
        self._beat()
        if sampler is not None:
            self.at(time() + self._options["sample_period"], self._sample)
        if self._options.get("drain_period"):
            self.at(time() + self._options["drain_period"], lambda: self.drain("its drain_period is over"))
        self._readable()
        self.loop.run()

    def leave(self, reason: str, again: bool = False) -> None:
        """Leave after this round; ``again``: to begin anew."""
        if self.loop.running:
            log.info("leaves: %s", reason)
            self.left, self.again = reason, again
            self.loop.running = False

    def drain(self, reason: str) -> None:
        """Take no more tasks, end those that are here, then leave."""
        if not self._draining:
            log.info("drains: %s", reason)
            self._draining = reason
            self._out.append(ManagerDraining(reason))

    def close(self) -> None:
        """End the workers; what they still told is sent."""
        self.pool.close()
        with contextlib.suppress(Exception):
            if not self.again:
                self._out.append(ManagerLeft(self.left))
                self._flush()
        self._link.close()
        self.loop.close()

    def reap(self) -> None:
        """A child process has ended."""
        self.pool.reap()

    def _broke(self, error: Exception) -> None:
        log.error("an error of parslab itself", exc_info=error)

    # ----- one round

    def act(self) -> float | None:
        """Give tasks to workers, send what there is to tell; returns the next deadline."""
        now = time()
        timers = self._timers
        while timers and timers[0][0] <= now:
            heapq.heappop(timers)[2]()
        pool = self.pool
        if pool.queue.tasks and not pool.broken:
            pool.assign(now)
        due = pool.next_deadline()
        if due is not None and due <= now:
            pool.look(now)
            due = pool.next_deadline()
        if self._changed:
            if now >= self._tell_at:
                self._changed, self._tell_at = False, now + _TELL
                pool.tell_states()
            elif due is None or self._tell_at < due:
                due = self._tell_at
        if pool.queue.tasks:
            due = self._give_back(now, due)
        if self._draining and not self._jobs:
            self.leave(self._draining)
        if self._out:
            self._flush()
        while self._link.sent:
            self._readable()
            if self._out:
                self._flush()
            if pool.queue.tasks:
                pool.assign(time())
        if timers and (due is None or timers[0][0] < due):
            due = timers[0][0]
        return due

    def _flush(self) -> None:
        out, frames = self._out, self._frames
        self._out, self._frames = [], []
        self._said = time()
        self._link.send(out, frames)

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call at this time, in the loop."""
        heapq.heappush(self._timers, (when, next(self._order), call))

    def _beat(self) -> None:
        self._watched()
        now = time()
        silent, threshold = now - self._heard, self._options["heartbeat_threshold"]
        if silent > threshold:
            self._lose(f"the DataFlowKernel was silent for {silent:.0f} s")
            return
        period = self._options["heartbeat_period"]
        if now - self._said >= period / 2:
            self._out.append(LinkHeartbeat())
        self.at(now + period, self._beat)

    def _sample(self) -> None:
        assert self._sampler is not None
        running = {
            peer.pid: (task.id, task.attempt)
            for peer in self.pool.peers
            if (task := peer.inflight.get(peer.running)) is not None
        }
        self._out += self._sampler.sample(running)
        self.at(time() + self._options["sample_period"], self._sample)

    def _give_back(self, now: float, due: float | None) -> float | None:
        """Give back what waits here although nothing comes to an end; returns the next deadline."""
        queue = self.pool.queue
        later = self._progress + GIVE_BACK
        if now < later:
            return later if due is None else min(due, later)
        keep = max(0, self._hello.prefetch)
        back = []
        while len(queue.tasks) > keep:
            job = queue.tasks.pop()
            if job.state is TaskState.ready:
                del self._jobs[job.id]
                back.append(job.id)
        if back:
            back.reverse()
            self._out.append(WorkerReport(-1, 0.0, tuple(back)))
        self._progress = now
        return due

    # ----- what the DataFlowKernel says

    def _readable(self) -> None:
        for messages, frames in self._link.receive():
            self._heard = time()
            self._received(messages, frames)

    def _watched(self) -> None:
        self._link.watch()
        if self._link.over:
            self._lose(self._link.over)

    def _lose(self, reason: str) -> None:
        self.unheard = self.loop.running and not self._accepted
        self.leave(reason, again=self._accepted)

    def _received(self, messages: list[Any], frames: Sequence[Buffer]) -> None:
        at = 0
        jobs: list[TaskOnNode] = []
        for message in messages:
            kind = type(message)
            if kind is RunTask:
                count = message.frames
                if message.values:
                    count += sum(map(frame_count, message.values))
                job = TaskOnNode(message, frames[at : at + count] if count else ())
                at += count
                self._jobs[job.id] = job
                jobs.append(job)
            elif kind is DefineFunction:
                self._codes[message.fn] = message, frames[at]
                at += 1
            else:
                self._told(message)
        if jobs:
            self._changed = True
            queue = self.pool.queue
            if not queue.tasks:
                self._progress = self._heard
            queue.put(jobs)

    def _told(self, message: Any) -> None:
        if type(message) is ForgetFunctions:
            for fn in message.fns:
                self._codes.pop(fn, None)
                self.pool.forget_code(fn, ForgetFunctions([fn]))
        elif type(message) is InterruptTask:
            self._cancel(message.task)
        elif type(message) is ManagerAccepted:
            self._accepted = True
        elif type(message) is Refused:
            self.leave(f"it was refused: {message.reason}")
        elif type(message) is not LinkHeartbeat:
            self.drain("it was told to leave")
            if not self._jobs:
                self.leave(self._draining)  # now: what follows in this round may look no more

    def _cancel(self, task: int) -> None:
        job = self._jobs.get(task)
        if job is None:
            return
        job.state = TaskState.cancelled
        if job.worker is not None:
            self.pool.stop_task(job, time())
            return
        del self._jobs[task]
        self._out.append(WorkerReport(-1, 0.0, (task,)))

    # ----- what the pool asks and tells

    def code(self, fn: int) -> tuple[DefineFunction, Buffer]:
        """What a worker needs to know before it can run this function."""
        return self._codes[fn]

    def message(self, job: TaskOnNode, frames: list[Buffer]) -> RunTask:
        """The message that carries a task, as it came."""
        if job.frames:
            frames.extend(job.frames)
        return job.run

    def sent(self, job: TaskOnNode, now: float, worker: str) -> None:
        """It is at a worker."""

    def begun(self, job: TaskOnNode, since: float, worker: str) -> None:
        """Its body runs, and has for a moment: short tasks are never told of, nor measured."""
        self._out.append(WorkerReport(job.id, since))
        if self._sampler is not None:
            self._sampler.begun(job.worker.pid, job.id, job.attempt)
            self._sampled.add(job.id)

    def returned(self, job: TaskOnNode, now: float) -> None:
        """The queue has it again, and drops it when it was cancelled."""
        if job.state is TaskState.cancelled and self._jobs.pop(job.id, None) is not None:
            self._out.append(WorkerReport(-1, 0.0, (job.id,)))

    def ended(self, job: TaskOnNode, outcome: Outcome, frames: list[Buffer], worker: str) -> None:
        """Its outcome goes to the DataFlowKernel as it is."""
        self._progress = outcome.ended
        self._changed = True
        del self._jobs[job.id]
        if self._sampled:
            self._last_sample(job)
        self._out.append(outcome)
        if frames:
            self._frames += frames

    def failed(self, job: TaskOnNode, failure: Failure, now: float, worker: str) -> None:
        """Its worker died."""
        self._jobs.pop(job.id, None)
        self._last_sample(job)
        self._out.append(Outcome(job.id, job.attempt, b"", 0, 0.0, now, failure))

    def _last_sample(self, job: TaskOnNode) -> None:
        if self._sampler is not None and job.id in self._sampled:
            self._sampled.discard(job.id)
            sample = self._sampler.ended(job.id)
            if sample is not None:
                self._out.append(sample)

    def dropped(self) -> None:
        """An outcome came late or twice."""

    def printed(self, message: OutputPrinted) -> None:
        """A task printed something."""
        self._out.append(message)

    def demands(self, job: TaskOnNode) -> tuple[int, float]:
        """How many workers it takes the place of, and for how long it may run."""
        return job.run.slots, job.run.limit

    def event(self, event: Event) -> None:
        """What the pool has to say of its workers."""
        if type(event) is WorkerMoved:
            self._out.append(WorkerStateChanged(event.worker, event.state, event.pid, event.reason))
        elif type(event) is NoticeRaised:
            log.warning("%s", event.text)

    def broke(self, pool: WorkerPool) -> None:
        """No worker can be started here: what waits goes back, and we leave."""
        back = [job.id for job in pool.queue.tasks if job.state is TaskState.ready]
        pool.queue.tasks.clear()
        self._jobs.clear()
        if back:
            self._out.append(WorkerReport(-1, 0.0, tuple(back)))
        self._out.append(ManagerBroken(pool.broken))
        self.leave(pool.broken)
