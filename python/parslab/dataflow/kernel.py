"""The DataFlowKernel [shell]: carries out what the task table and the queues decide.

Everything here runs in the loop's thread.  One round: sockets are read, which feeds the table; then :meth:`Kernel.act`
sends ready tasks to workers and results to clients, tells monitoring, and names the next deadline.  Who comes and
leaves is for ``reception``, what is asked for ``orders``, what workers tell for ``ledger``.
"""

from __future__ import annotations

import gc
import heapq
import itertools
import logging
import os
import socket
from functools import partial
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from parslab.dataflow.clients.commands import ClientCommands
from parslab.dataflow.clients.connection import ClientConnection, listen
from parslab.dataflow.clients.presence import Presence
from parslab.dataflow.clients.retry_service import RetryService
from parslab.dataflow.clients.sessions import Sessions
from parslab.dataflow.graph.function_registry import FunctionRegistry
from parslab.dataflow.graph.memo import Memo
from parslab.dataflow.graph.retry_plan import functions_needed
from parslab.dataflow.graph.table import TaskTable
from parslab.dataflow.persistence.checkpointing import Checkpointing
from parslab.dataflow.persistence.log_service import LogService
from parslab.dataflow.resume.resume_from_log import ResumeFromLog
from parslab.dataflow.worker_events import WorkerEvents
from parslab.monitoring.monitor import Monitor
from parslab.records.events import (
    Event,
    ExecutorStopped,
    NoticeRaised,
    OutputWritten,
    RunEnded,
    RunStarted,
)
from parslab.remote.loop import Loop
from parslab.remote.pool.pool import WorkerPool
from parslab.remote.pool.processes import ProcessPlan, adopt_orphans, bury_orphans, end_orphans, thread_variables
from parslab.wire.messages.base import ForgetFunctions, OutputPrinted, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.cleanup.reaper import Reaper
    from parslab.dataflow.clients.connection_file import ConnectionFile
    from parslab.dataflow.graph.backoff import NextAttempt
    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.high_throughput.managers import ManagerService
    from parslab.dataflow.network.remote_workers import RemoteWorkers
    from parslab.wire.stream import Buffer

__all__ = ["Kernel"]

log = logging.getLogger(__name__)

_HOUSEKEEPING = 2.0
_FEW = 10_000
"""Tasks that are walked through in a few milliseconds."""
_SINGLE = 4
"""Replies in one round that are sent before they are written down."""
_FAREWELL = 5.0
"""Seconds that the end may take, for batch jobs to be cancelled."""
_STREAMS = {1: "stdout", 2: "stderr"}


class Kernel(WorkerEvents, Sessions):
    """One run.

    Parameters
    ----------
    settings
        What the client wrote: ``run``, ``run_dir``, ``executors``, ``package``, ``path``, ``cwd``, ``owner_pid``,
        ``notebook``, ``linger``.
    owner
        The inherited socket of the client that started us.
    connection
        The file by which others find the run.
    """

    def __init__(
        self, settings: dict[str, Any], owner: socket.socket, connection: ConnectionFile | None = None
    ) -> None:
        self.run = settings
        executors = settings["executors"]
        self.labels = tuple(e["label"] for e in executors)
        self.codes = FunctionRegistry()
        self.memo = Memo(self.codes, on=settings.get("app_cache", True))
        self.table = TaskTable(self.labels, settings.get("retries", 0), self.memo, lives=True)
        self.remembered = Checkpointing(self.memo, settings, self.at, self.notify)
        self.reasons: list[Callable[[int], str | None]] = []
        """Asked first why a task ran."""
        self.loop = Loop(self.act, self._broke)
        self.keeper = LogService(self)
        self.record = None
        self.heirs: ResumeFromLog | None = None
        self.undertaker: Reaper | None = None
        self.pools: dict[int, WorkerPool | ManagerService] = {
            number: self._pool(number, e) for number, e in enumerate(executors) if e["kind"] != "threads"
        }
        self._hubs: list[Any] = []
        """The run's port, and its socket for managers of this host."""
        self.clients: dict[int, ClientConnection] = {}
        self._numbers = itertools.count()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._collected = 0
        self.monitor: Monitor | None = None
        # For the benchmark alone, which measures what monitoring costs.
        self._unwatched = os.environ.get("PARSLAB_MONITORING") == "off"
        self._dropping: set[int] = set()
        self._dropped_at = (0, 0)
        self.mending = RetryService(self)
        self.orders = ClientCommands(self)
        self._owner_socket = owner
        self._listener: socket.socket | None = None
        self._doors: list[RemoteWorkers] = []
        self.controllers: dict[str, Any] = {}
        """Those of the executors that have blocks, by label."""
        self.reason = ""
        self.ended_by: int | None = None
        """The owner that asked for the end."""
        self.attendance = Presence(self, connection)

    def _pool(self, number: int, settings: dict[str, Any]) -> WorkerPool | ManagerService:
        if settings["kind"] == "high_throughput":
            from parslab.dataflow.high_throughput.managers import ManagerService

            return ManagerService(number, settings, self)
        plan = ProcessPlan({**thread_variables(settings["threads_per_worker"]), **settings["environment"]})
        return WorkerPool(number, settings["label"], settings["label"], [plan] * settings["workers"], self)

    def broke(self, pool: WorkerPool) -> None:
        """An executor has no worker and will never have one."""
        text = f"Executor {pool.label} is stopped: {pool.broken}"
        self.event(NoticeRaised(time(), "error", text))
        self.event(ExecutorStopped(time(), pool.label, str(pool.broken)))
        pool.fail_waiting()

    @staticmethod
    def now() -> float:
        """Seconds since the epoch."""
        return time()

    # ----- begin and end

    def start_workers(self) -> None:
        """Start what takes longest first: the worker processes."""
        for pool in self.pools.values():
            if isinstance(pool, WorkerPool):
                pool.start()
        adopt_orphans()

    def start(self, sockets: Path) -> None:
        """Open the doors: monitoring, the owner, the listening socket."""
        self.monitor = Monitor(Path(self.run["run_dir"]), post=self.loop.post, lives=self.run.get("revived", 0))
        self.record = self.keeper.open()
        if self.record is not None:
            self.heirs = ResumeFromLog(self, self.record, self.run.get("inherits", ()))
            self.reasons.append(self.heirs.why)
        self.event(
            RunStarted(
                self.run.get("began") or time(),  # whoever takes over a run goes on with its clock
                self.run["run"],
                socket.gethostname(),
                os.getpid(),
                self.run["run_dir"],
                self.labels,
                self.run["package"],
                self.run.get("notebook", ""),
            )
        )
        for text in self.run.get("notices", ()):
            self.event(NoticeRaised(time(), "warning", text))
        second = self.keeper.second
        own = second.begin() if second is not None else -1
        owner = self._add_client(self._owner_socket, owner=True, number=own)
        self._open_hub(sockets)
        owner.pid, owner.leashed = self.run["owner_pid"], True
        self._listener = listen(sockets / "dfk.sock")
        still = self.attendance.attached(owner, self.run.get("notebook", ""), socket.gethostname(), owner=True)
        self.keeper.joined(owner)
        self.loop.watch(self._listener, self._accept)
        if second is not None and own >= 0:
            second.welcome(owner)
        self._admit(owner, still if second is not None else None)
        self.remembered.start()  # its notebook has begun already
        self.at(time() + _HOUSEKEEPING, self._keep_house)

    def _open_hub(self, sockets: Path) -> None:
        """Open the one port of the run, if an executor has anybody come from elsewhere."""
        from parslab.dataflow.network import listeners

        wanted = [(e, self.pools[n]) for n, e in enumerate(self.run["executors"]) if n in self.pools]
        self._hubs, self._doors = listeners.open_hub(wanted, self, sockets)
        self.controllers = {
            pool.label: pool.controller for pool in self.pools.values() if not isinstance(pool, WorkerPool)
        }

    def reap(self) -> None:
        """A child process has ended."""
        own: set[int] = set()
        for pool in self.pools.values():
            pool.reap()
            if isinstance(pool, WorkerPool):
                own.update(peer.pid for peer in pool.peers if peer.process is not None)
        if self.undertaker is not None:
            own.add(self.undertaker.popen.pid)
        bury_orphans(own)

    def end(self, reason: str) -> None:
        """Leave after this round."""
        if self.loop.running:
            log.info("the run ends: %s", reason)
            self.reason = reason
            self.loop.running = False

    def close(self) -> None:
        """End the workers, write the last events, say goodbye."""
        deadline = time() + _FAREWELL
        for controller in self.controllers.values():
            controller.leave()  # all schedulers are told before the first is waited for
        for pool in self.pools.values():
            pool.close(deadline)
        if self.undertaker is not None:
            self.undertaker.dismiss()
        end_orphans()
        self.remembered.close()
        self._send_replies()
        self.table.cancel(None, time(), also_threads=True)
        # Only an owner that ends its run cancels tasks, its own: other clients are told what became of the run.
        self.table.out.replies = [reply for reply in self.table.out.replies if reply[0] == self.ended_by]
        self.event(RunEnded(time(), self.reason))
        self.tell_monitor()
        if self.monitor is not None:
            for text in self.monitor.close(time()):
                self._broadcast(text)
        self._send_replies()
        self.keeper.close(self.reason)
        for client in list(self.clients.values()):
            self.send(client, [Refused(self.reason)])
            client.stream.close()
        for door in self._doors:
            door.close()
        for hub in self._hubs:
            hub.close()
        if self._listener is not None:
            self._listener.close()
        self.loop.close()

    def _broke(self, error: Exception) -> None:
        log.error("an error of parslab itself", exc_info=error)
        text = f"An error of parslab itself: {type(error).__name__}: {error}. The run goes on; its log tells more."
        self.event(NoticeRaised(time(), "error", text))

    def _keep_house(self) -> None:
        self.attendance.look_after(time())
        self._drop_codes()
        self._collect()
        self.at(time() + _HOUSEKEEPING, self._keep_house)

    def _collect(self) -> None:
        """Collect old garbage in a quiet moment: the graph has no cycles, but what an error leaves may have."""
        ended = self.table.ended
        if ended != self._collected and len(self.table.tasks) < _FEW:
            gc.collect()
            self._collected = ended

    # ----- what PoolOwner promises

    def event(self, event: Event) -> None:
        """Tell monitoring."""
        self.table.out.events.append(event)

    def emit(self, event: Event) -> None:
        """Pass an event to monitoring."""
        self.table.out.events.append(event)

    def notify(self, level: str, text: str) -> None:
        """Show the user a notice."""
        self.emit(NoticeRaised(time(), level, text))

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread at the time ``when``."""
        self.at(when, call)

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread soon; safe from any thread."""
        self.loop.post(call)

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call at this time, in the loop."""
        heapq.heappush(self._timers, (when, next(self._order), call))

    def printed(self, message: OutputPrinted) -> None:
        """A task printed something: to monitoring, and to the clients that follow it."""
        text = bytes(message.text)
        self.event(OutputWritten(time(), message.task, _STREAMS[message.stream], text.decode(errors="replace")))
        task = self.table.tasks.get(message.task)
        for number in (task.followers if task is not None else None) or ():
            if number in self.clients:
                self.send(self.clients[number], [message])

    # ----- one round

    def act(self) -> float | None:
        """Do what was decided; returns the next deadline."""
        now = time()
        timers = self._timers
        while timers and timers[0][0] <= now:
            heapq.heappop(timers)[2]()
        if self.mending.held_up:
            self.mending.after_round()
        self.remembered.before_replies()
        out = self.table.out
        while out.ready or out.replies or out.stops or out.again:
            if out.ready:
                self._queue_ready()
            if out.again:
                self._queue_again()
            for pool in self.pools.values():
                if pool.queue.waiting:
                    pool.assign(now)
                    if pool.broken:
                        pool.fail_waiting()
            if out.stops:
                stops, out.stops = out.stops, []
                for task in stops:
                    if task.worker is not None:
                        self.pools[task.executor].stop_task(task, now)
            if out.replies:
                self._send_replies()
        if self.record is not None and self.record.due(now):
            self.record.write()
            self.keeper.acknowledge()
        for pool in self.pools.values():
            if pool.queue.waiting:
                pool.assign(now)
                if pool.broken:
                    pool.fail_waiting()
        if out.later:
            self._plan_attempts(now)
        if self._hubs:
            self._hubs[0].after_round()
            if out.ready or out.replies or out.stops or out.again:
                return now
        return self._next_deadline(now)

    def _queue_ready(self) -> None:
        out = self.table.out
        if self.keeper.second is not None:
            self.keeper.second.hold()
        ready, out.ready = out.ready, []
        if len(self.pools) == 1:
            next(iter(self.pools.values())).queue.put(ready)
        else:
            for task in ready:
                self.pools[task.executor].queue.put((task,))

    def _queue_again(self) -> None:
        """Tasks that are tried again go first, so that they do not wait once more for all that came after them."""
        out = self.table.out
        again, out.again = out.again, []
        by_executor: dict[int, list[NextAttempt]] = {}
        for one in again:
            by_executor.setdefault(one.task.executor, []).append(one)
        for executor, some in by_executor.items():
            self.pools[executor].queue.put_again(some, time())

    def _plan_attempts(self, now: float) -> None:
        out = self.table.out
        later, out.later = out.later, []
        for pause, task, attempt in later:
            self.at(now + pause, partial(self._try_again, task, attempt))

    def _try_again(self, task: Task, attempt: int) -> None:
        self.table.try_again(task, attempt, time())

    def _next_deadline(self, now: float) -> float | None:
        deadlines = [self._timers[0][0]] if self._timers else []
        if self.record is not None and self.record.waiting:
            deadlines.append(self.record.latest)
        for pool in self.pools.values():
            due = pool.next_deadline()
            if due is not None:
                if due <= now:
                    pool.look(now)
                    due = pool.next_deadline()
                if due is not None:
                    deadlines.append(due)
        monitor = self.monitor
        if monitor is not None:
            self.tell_monitor()
            monitor.ended = self.table.ended
            due = monitor.next_deadline(now)
            if due is not None and due <= now:
                for pool in self.pools.values():
                    pool.tell_states()
                self.tell_monitor()
                for text in monitor.tick(now):
                    self._broadcast(text)
                due = monitor.next_deadline(now)
            if due is not None:
                deadlines.append(due)
        return min(deadlines) if deadlines else None

    def tell_monitor(self) -> None:
        """Tell monitoring of what has happened so far."""
        out = self.table.out
        if out.events and self.monitor is not None:
            events, out.events = out.events, []
            if not self._unwatched:
                self.monitor.record(events)

    # ----- answers

    def _send_replies(self) -> None:
        out = self.table.out
        replies, out.replies = out.replies, []
        record = self.record
        if record is not None:
            record.ended(replies, out.large)
            # Who waits for a single result is told at once. Should we be killed before it is written, the client does
            # not list the task as unfinished when it comes back, and so it is not run again.
            if len(replies) > _SINGLE:
                record.write()
        if out.large:
            out.large = []
        batches: dict[int, tuple[list[Any], list[Buffer]]] = {}
        for number, message, frames in replies:
            batch = batches.get(number)
            if batch is None:
                batch = batches[number] = ([], [])
            batch[0].append(message)
            if frames:
                batch[1].extend(frames)
        for number, (messages, buffers) in batches.items():
            client = self.clients.get(number)
            if client is not None:
                if record is not None:
                    self.keeper.add_ack(client, messages)
                self.send(client, messages, buffers)

    # ----- functions nobody calls any more

    def drop_code(self, fn: int) -> None:
        """A client will not call this function again."""
        if self.codes.drop(fn):
            self._dropping.add(fn)
            self._dropped_at = (-1, -1)

    def let_go_of_code(self, fn: int) -> None:
        """No client holds this function: it goes when no task needs it."""
        self._dropping.add(fn)

    def _drop_codes(self) -> None:
        table = self.table
        now = table.ended, len(table.tasks)
        if not self._dropping or now == self._dropped_at:
            return
        self._dropped_at = now
        needed = functions_needed(table)
        for fn in self._dropping - needed:
            self.codes.forget(fn)
            for pool in self.pools.values():
                pool.forget_code(fn, ForgetFunctions([fn]))
        self._dropping &= needed
