"""The manager of one node [shell]: it passes tasks to its workers, and their outcomes to the DataFlowKernel.

It owns only its workers (D12): the DataFlowKernel knows each task that the manager holds.  A manager gives back tasks
that it cannot begin within ``GIVE_BACK`` seconds, so that none waits behind a long task while another node is idle.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import logging
from typing import TYPE_CHECKING

import msgspec

from parslab.clock import steady_time
from parslab.records.events import NoticeRaised, WorkerMoved
from parslab.records.software import Software
from parslab.records.states import TaskState, WorkerState
from parslab.remote.loop import Loop
from parslab.remote.manager.node_tasks import NodeTasks, Outbox
from parslab.remote.manager.successor import Succession
from parslab.remote.pool.pool import WorkerPool
from parslab.wire.heartbeats import SilenceCheck
from parslab.wire.messages.base import ForgetFunctions, OutputPrinted, Refused
from parslab.wire.messages.manager import (
    KeepTasks,
    LinkHeartbeat,
    ManagerAccepted,
    ManagerBroken,
    ManagerDraining,
    ManagerGivenUp,
    ManagerHello,
    ManagerLeft,
    TaskSample,
    WorkerStateChanged,
)
from parslab.wire.messages.worker import InterruptTask, LeaveWhenDone, Outcome, WorkerReport

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.records.events import Event
    from parslab.records.executor_settings import ManagerSettings
    from parslab.remote.engines.engine import Engine
    from parslab.remote.engines.pool import EnginePool
    from parslab.remote.manager.link import DataFlowKernelLink
    from parslab.remote.manager.meeting import Connected
    from parslab.remote.manager.node_tasks import TaskOnNode
    from parslab.remote.manager.sampling import Sampler
    from parslab.remote.pool.processes import ProcessPlan, WorkerRun
    from parslab.wire.messages.base import WireMessage
    from parslab.wire.stream import Buffer

__all__ = ["GIVE_BACK", "Manager"]

log = logging.getLogger(__name__)

GIVE_BACK = 0.1
"""Seconds without any outcome after which the manager gives back tasks that no worker has."""

_KEPT = (Outcome, OutputPrinted, TaskSample, WorkerReport)
"""Messages that another DataFlowKernel gets, too."""
_REPORT = 0.2
"""Least seconds between two reports of which workers are busy: people read them, so more would be waste."""


class Manager:
    """One connection of a manager: the owner of the pool of workers, and the other end of the link.

    Parameters
    ----------
    hello
        The message that describes this manager.
    run
        The run.
    settings
        The options of the executor.
    plans
        The environment and the cores of each worker.
    clock
        Returns the time.
    succession
        The way to the next DataFlowKernel, and for how long tasks go on without one; None: they end at once.
    engine
        Runs the tasks in place of workers of its own; None: there is none.

    Attributes
    ----------
    left
        Why this manager left.
    reconnect
        Whether a new manager should take its place: the connection broke, or the DataFlowKernel was silent.
    signalled
        Whether a signal ended this manager.
    never_accepted
        Whether it lost its connection before the DataFlowKernel accepted it.
    """

    def __init__(
        self,
        hello: ManagerHello,
        run: WorkerRun,
        settings: ManagerSettings,
        plans: Sequence[ProcessPlan],
        clock: Callable[[], float] = steady_time,
        *,
        succession: Succession | None = None,
        engine: Engine | None = None,
    ) -> None:
        self.loop = Loop(self.act, self._log_error)
        self.left = ""
        self.reconnect = False
        self.signalled = False
        self.never_accepted = False
        self.succession = succession or Succession()
        self._hello = hello
        self._states: dict[str, WorkerStateChanged] = {}
        """The last state of each worker, for another DataFlowKernel."""
        self._settings = settings
        self._clock = clock
        self._outbox = Outbox()
        self.tasks = NodeTasks(self._outbox, clock())
        self.pool: WorkerPool[TaskOnNode] | EnginePool[TaskOnNode]
        self.pool = self._make_pool(run, plans) if engine is None else self._make_engine_pool(run, engine)
        self._link: DataFlowKernelLink
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        # Two timers of the same moment would otherwise be compared by their functions, which have no order.
        self._order = itertools.count()
        self._last_seen = clock()
        """When the last message of the DataFlowKernel arrived."""
        self._spoke = 0.0  # when this manager sent its last batch
        self._accepted = False
        self._silence = SilenceCheck(settings.heartbeat_period, settings.heartbeat_threshold, clock())
        self._drain_reason = ""
        self._report_at = 0.0

    def _make_pool(self, run: WorkerRun, plans: Sequence[ProcessPlan]) -> WorkerPool[TaskOnNode]:
        return WorkerPool(
            self._hello.executor,
            "",
            self._hello.manager,
            plans=plans,
            run=run,
            host=self,
            tasks=self.tasks,
            on_broken=self._pool_broken,
            software=Software.of(self._settings.requirements, self._settings.container),
        )

    def _make_engine_pool(self, run: WorkerRun, engine: Engine) -> EnginePool[TaskOnNode]:
        # Here, because most managers have workers of their own.
        from parslab.remote.engines.pool import EnginePool

        return EnginePool(
            self._hello.manager, engine, run=run, host=self, tasks=self.tasks, on_broken=self._pool_broken
        )

    # ----- begin and end

    def serve(self, link: DataFlowKernelLink, sampler: Sampler | None) -> None:
        """Work until the DataFlowKernel or a signal ends this manager, or the connection breaks."""
        self._link = link
        self.tasks.sampler = sampler
        now = self._clock()
        if sampler is not None:
            self.call_at(now + self._settings.sample_period, self._sample)
        if self._settings.drain_period:
            self.call_at(now + self._settings.drain_period, lambda: self.drain("its drain_period is over"))
        self._begin_link()
        self.loop.run()

    def _begin_link(self) -> None:
        """Say hello to the DataFlowKernel at the other end of the link."""
        self._link.attach(self.loop, self._readable, self._check_link)
        self._link.send([self._hello])
        self._beat(self._link)
        # The descriptor is edge-triggered: an answer that arrived before the loop watched it is never reported.
        self._readable()

    def leave(self, reason: str, reconnect: bool = False) -> None:
        """Leave after this round; ``reconnect`` says whether a new manager replaces this one."""
        if self.loop.running:
            log.info("leaves: %s", reason)
            self.left, self.reconnect = reason, reconnect
            self.loop.running = False

    def drain(self, reason: str) -> None:
        """Accept no more tasks, finish those that are here, then leave."""
        if not self._drain_reason:
            log.info("drains: %s", reason)
            self._drain_reason = reason
            self._outbox.messages.append(ManagerDraining(reason))

    def close(self) -> None:
        """End the workers, and send their last reports."""
        self.pool.close()
        # After a broken connection there is nobody to send to.  An error must not keep the link open.
        with contextlib.suppress(Exception):
            if not self.reconnect and self.succession.search is None:
                self._outbox.messages.append(ManagerLeft(self.left))
                self._flush()
        if self.succession.search is not None:
            self.succession.search.give_up()
        else:
            self._link.close()
        self.loop.close()

    def _log_error(self, error: Exception) -> None:
        log.error("an error of parslab itself", exc_info=error)

    # ----- what the pool asks (PoolHost)

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread at this time."""
        heapq.heappush(self._timers, (when, next(self._order), call))

    def emit(self, event: Event) -> None:
        """Send changes of workers to the DataFlowKernel; log the rest."""
        if type(event) is WorkerMoved:
            change = WorkerStateChanged(event.worker, event.state, event.pid, event.reason)
            if event.state is WorkerState.dead:
                self._states.pop(event.worker, None)
            else:
                self._states[event.worker] = change
            self._outbox.messages.append(change)
        elif type(event) is NoticeRaised:
            log.warning("%s", event.text)

    def _pool_broken(self, pool: WorkerPool[TaskOnNode] | EnginePool[TaskOnNode]) -> None:
        """Give back the waiting tasks and leave, because no worker can be started on this node."""
        # Another node may run these tasks, so they must not fail here.
        self.tasks.give_back([task for task in pool.queue.take_all() if task.state is TaskState.ready])
        self.tasks.clear()
        self._outbox.messages.append(ManagerBroken(pool.broken))
        self.leave(pool.broken)

    # ----- one round

    def act(self) -> float | None:
        """Give tasks to workers and send waiting messages; return the next deadline."""
        now = self._clock()
        while self._timers and self._timers[0][0] <= now:
            heapq.heappop(self._timers)[2]()
        if freed := self.tasks.take_freed():
            self.pool.queue.put(freed)
        if self.pool.queue.tasks and not self.pool.broken:
            self.pool.assign(now)
        deadlines = [self._probe_workers(now), self._report_workers(now)]
        if self.pool.queue.tasks:
            deadlines.append(self._give_back(now))
        if self.succession.search is None:
            if self._drain_reason and not self.tasks:
                self.leave(self._drain_reason)
            # Last, so that everything that this round produced is sent in one batch.
            self._exchange()
        if self._timers:
            deadlines.append(self._timers[0][0])
        return min((due for due in deadlines if due is not None), default=None)

    def _probe_workers(self, now: float) -> float | None:
        """Probe workers that were silent for too long; return when to do so again."""
        due = self.pool.next_deadline()
        if due is not None and due <= now:
            self.pool.probe_silent(now)
            due = self.pool.next_deadline()
        return due

    def _report_workers(self, now: float) -> float | None:
        """Report which workers are busy, unless the last report is recent; return when to report next."""
        if not self.tasks.changed:
            return None
        if now < self._report_at:
            return self._report_at
        self.tasks.changed, self._report_at = False, now + _REPORT
        self.pool.report_states()
        return None

    def _exchange(self) -> None:
        """Send waiting messages, and read those that arrived during the send."""
        # A send may consume the edge of ZeroMQ's descriptor: the loop would sleep although a message has arrived.
        if self._outbox.messages:
            self._flush()
        while self._link.sent and self.succession.search is None:
            self._readable()
            if self._outbox.messages:
                self._flush()
            if self.pool.queue.tasks:
                self.pool.assign(self._clock())

    def _flush(self) -> None:
        if self.succession.search is not None:
            return  # outcomes wait for the next DataFlowKernel
        messages, frames = self._outbox.take()
        self._spoke = self._clock()
        self._link.send(messages, frames)

    def _beat(self, link: DataFlowKernelLink) -> None:
        """Leave a DataFlowKernel that was silent for too long; send a heartbeat if nothing else was sent."""
        if self.succession.search is not None or link is not self._link:
            return  # the next connection beats by itself
        self._check_link()
        now = self._clock()
        due = self._silence.begin(now)
        if self._silence.is_lost(self._last_seen, now):
            # It may live, and have given the tasks to another node: they must not run here for longer.
            self.succession.end()
            self._lose_link(f"the DataFlowKernel was silent for {now - self._last_seen:.0f} s")
            return
        # Any message shows that this manager lives, so a busy one sends no heartbeats.
        if now - self._spoke >= self._settings.heartbeat_period / 2:
            self._outbox.messages.append(LinkHeartbeat())
        self.call_at(due, lambda: self._beat(link))

    def _sample(self) -> None:
        assert self.tasks.sampler is not None
        self.call_at(self._clock() + self._settings.sample_period, self._sample)
        if self.succession.search is not None:
            return  # without a DataFlowKernel, measurements would only fill the memory
        running = {
            peer.pid: (task.id, task.attempt)
            for peer in self.pool.peers
            if (task := peer.inflight.get(peer.running)) is not None
        }
        self._outbox.messages += self.tasks.sampler.sample(running)

    def _give_back(self, now: float) -> float | None:
        """Give back tasks that wait here while no task ends; return when to do so."""
        queue, tasks = self.pool.queue, self.tasks
        if self.succession.search is not None:
            return None  # nobody could give them to another node
        due = tasks.progress + GIVE_BACK
        if now < due:
            return due
        keep = max(0, self._hello.prefetch)
        back: list[TaskOnNode] = []
        # From the end of the queue: the oldest tasks begin here first, as soon as a worker is free.
        while len(queue.tasks) > keep:
            task = queue.tasks.pop()
            if task.state is TaskState.ready:
                back.append(task)
        back.reverse()
        tasks.give_back(back)
        tasks.progress = now
        return None

    # ----- messages of the DataFlowKernel

    def _readable(self) -> None:
        for messages, frames in self._link.receive():
            self._last_seen = self._clock()
            self._received(messages, frames)

    def _check_link(self) -> None:
        self._link.watch()
        if self._link.over:
            self._lose_link(self._link.over)

    def _lose_link(self, reason: str) -> None:
        if not self.loop.running or self.succession.search is not None:
            return
        patience = self.succession.lost(self._accepted)
        if patience > 0:
            self._look_for_successor(reason, patience)
            return
        self.never_accepted = not self.succession.lost_at
        self.leave(reason, reconnect=not self.never_accepted)

    # ----- another DataFlowKernel takes the place of a lost one

    def _look_for_successor(self, reason: str, patience: float) -> None:
        """Keep the workers busy, and look for the DataFlowKernel that takes the place of the lost one."""
        log.info("%s; %d tasks go on for %.0f s at most", reason, len(self.tasks), patience)
        self._accepted = False

        def failed(why: str, over: bool) -> None:
            words = f"the run is over: {why}" if over else reason
            self.loop.post(lambda: self.leave(words, reconnect=not over))

        # Later, because a method of the link may have called us.
        self.loop.post(self._link.drop)
        self.succession.begin(
            patience, lambda connected: self.loop.post(lambda: self._meet_successor(connected)), failed
        )

    def _meet_successor(self, connected: Connected) -> None:
        """Go on with another DataFlowKernel: it learns which tasks are here, and how others have ended meanwhile."""
        if not self.loop.running:
            connected.link.close()
            return
        self.succession.search = None
        waiting, frames = self._outbox.take()
        ended = [message for message in waiting if type(message) is Outcome]
        # Those that were sent may have been lost with the connection, or with what was not written yet.
        unsent = set(map(id, ended))
        sent = [outcome for outcome in self.tasks.recent if id(outcome) not in unsent]
        self._hello = msgspec.structs.replace(
            self._hello,
            manager=connected.name,
            nonce=connected.name.rpartition("-")[2],
            held=self.tasks.held((*sent, *ended)),
        )
        self._last_seen = self.tasks.progress = self._clock()
        self._link = connected.link
        self._outbox.messages += self._states.values()
        self._outbox.messages += sent
        if self._drain_reason:
            self._outbox.messages.append(ManagerDraining(self._drain_reason))
        self._outbox.messages += (message for message in waiting if type(message) in _KEPT)
        self._outbox.frames += frames
        self._begin_link()

    def _successor_accepted(self, disowned: Sequence[tuple[int, int]]) -> None:
        # It may give the number of a function that its log lacked to another function.
        self.pool.send_code_again()
        for task in self.tasks.disown(disowned):
            self.pool.stop_task(task, self._clock())
        kept = len(self._hello.held) - len(disowned)
        log.info("goes on as %s: %d of %d tasks are kept", self._hello.manager, kept, len(self._hello.held))
        self._hello = msgspec.structs.replace(self._hello, held=())
        self.succession.accepted()

    def _received(self, messages: list[WireMessage], frames: Sequence[Buffer]) -> None:
        tasks, others = self.tasks.received(messages, frames)
        for message in others:
            self._carry_out(message)
        if tasks:
            self.tasks.changed = True
            queue = self.pool.queue
            if not queue.tasks:
                self.tasks.progress = self._last_seen
            queue.put(tasks)

    def _carry_out(self, message: WireMessage) -> None:
        match message:
            case ForgetFunctions(fns=fns):
                for fn in fns:
                    self.tasks.forget_function(fn)
                    self.pool.forget_code(fn, ForgetFunctions([fn]))
            case InterruptTask(task=task):
                self._cancel(task)
            case ManagerAccepted(disowned=disowned):
                self._accepted = True
                if self.succession.lost_at:
                    self._successor_accepted(disowned)
            case KeepTasks(seconds=seconds):
                self.succession.extend(seconds)
            case ManagerGivenUp(reason=reason):
                self.leave(f"the DataFlowKernel has given it up: {reason}", reconnect=True)
            case Refused(reason=reason):
                self.leave(f"it was refused: {reason}")
            case LeaveWhenDone():
                self.drain("it was asked to leave")
                if not self.tasks:
                    self.leave(self._drain_reason)  # at once, before a later message of this round brings a task

    def _cancel(self, number: int) -> None:
        task = self.tasks.find(number)
        if task is None:
            return
        task.state = TaskState.cancelled
        if task.worker is not None:
            self.pool.stop_task(task, self._clock())
        else:
            self.tasks.give_back([task])
