"""The DataFlowKernel [shell]: carries out what the task table and the queues decide.

Everything here runs in the loop's thread.  One round: the loop reads sockets, and the messages change the table; then
:meth:`Kernel.after_round` sends ready tasks to workers and results to clients, writes the event log, passes events to
monitoring, and returns the next deadline.  ``wiring`` builds the components that do the work.
"""

from __future__ import annotations

import gc
import logging
import os
import socket
from functools import partial
from typing import TYPE_CHECKING

from parslab.clock import steady_time
from parslab.dataflow.graph.run_message import has_shared_inputs
from parslab.dataflow.high_throughput.listeners import Listeners, open_listeners
from parslab.dataflow.own_job import look_for_own_job
from parslab.dataflow.wiring import Components
from parslab.records.events import RunEnded, RunStarted
from parslab.remote.loop import Loop
from parslab.remote.pool.processes import adopt_orphans, collect_orphans, end_orphans
from parslab.wire.shared_memory import holds_blocks

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from parslab.cleanup.reaper import Reaper
    from parslab.dataflow.clients.connection_file import ConnectionFile
    from parslab.dataflow.graph.task import NextAttempt, Task
    from parslab.wire.run_files import RunSettings

__all__ = ["Kernel"]

log = logging.getLogger(__name__)

_HOUSEKEEPING = 2.0
"""Seconds between two rounds of housekeeping."""
_FEW_TASKS = 10_000
"""Tasks that a garbage collection walks through in a few milliseconds."""
_HANDOVER_TIMEOUT = 600.0
"""Seconds that results of many gigabytes may take to be written before another host goes on."""
_CLOSE_TIMEOUT = 5.0
"""Seconds that the end may take, for batch jobs to be cancelled."""


class Kernel:
    """One run.

    Parameters
    ----------
    settings
        The settings that the client wrote.
    owner_socket
        The inherited socket of the client that started this process.
    connection_file
        The file by which other processes find the run; None for a run that nobody else finds.

    Attributes
    ----------
    reaper
        Removes the run if this process and its client are killed; None where it could not be started.
    """

    def __init__(
        self, settings: RunSettings, owner_socket: socket.socket, connection_file: ConnectionFile | None = None
    ) -> None:
        self.settings = settings
        self.loop = Loop(self.after_round, self._report_own_error)
        self.reaper: Reaper | None = None
        self._owner_socket = owner_socket
        self._components = components = Components(settings, self.loop, connection_file)
        # Every round needs these: one attribute is found faster than a chain of two.
        self._host = components.host
        self._table = components.table
        self._pools = components.pools
        self._pool_list = list(components.pools.values())
        self._log_service = components.log_service
        self._log_writer = components.log_service.writer
        self._failover = components.failover
        self._replies = components.replies
        self._retry_service = components.retry_service
        self._checkpointing = components.checkpointing
        self._value_spill = components.value_spill
        self._panel_feed = components.panel_feed
        self._assigned_pools = self._pool_list
        """The executors that get tasks."""
        components.handover.give_tasks_to = self._give_tasks_to
        self._listeners = Listeners()
        self._collected = 0
        """How many tasks had ended at the last garbage collection."""

    # ----- begin

    def start_workers(self) -> None:
        """Start the worker processes, which take longest to start."""
        for pool in self._components.worker_pools.values():
            pool.start()
        adopt_orphans()

    def start(self, sockets: Path) -> None:
        """Begin to serve: restore a lost run, welcome the owner, listen for guests and managers."""
        settings, components, failover = self.settings, self._components, self._failover
        components.panel_feed.open(settings.run_dir, settings.restarts)
        # The log is read before a new segment begins: the replay must see only what the lost process wrote.
        batches = failover.restore() if failover is not None else {}
        self._log_service.open(batches)
        self._announce_run()
        owner_number = failover.begin() if failover is not None else -1
        owner = components.sessions.add(self._owner_socket, owner=True, number=owner_number)
        self._open_hub(sockets)
        owner.pid, owner.pid_is_local = settings.owner_pid, True
        host = socket.gethostname()
        prior = components.presence.attached(owner, settings.notebook, host, owner=True)
        self._log_service.client_joined(owner, host, settings.notebook)
        components.sessions.listen(sockets / "dfk.sock")
        if failover is not None and owner_number >= 0:
            failover.restore_client(owner)
        # The owner of a new run gets no count of earlier tasks: there are none.
        components.sessions.welcome(owner, prior if failover is not None else None)
        look_for_own_job(self._host, os.environ)
        components.checkpointing.start()  # last, because the client need not wait for these files
        self._host.call_at(steady_time() + _HOUSEKEEPING, self._keep_house)

    def _announce_run(self) -> None:
        settings = self.settings
        self._host.emit(
            RunStarted(
                settings.started or steady_time(),  # a restart keeps the clock of the run
                run=settings.run,
                host=socket.gethostname(),
                pid=os.getpid(),
                run_dir=settings.run_dir,
                executors=self._table.labels,
                version=settings.package,
                notebook=settings.notebook,
            )
        )
        for text in settings.notices:
            self._host.notify("warning", text)

    def _open_hub(self, sockets: Path) -> None:
        """Open the one port of the run, if workers or managers of an executor connect there."""
        wanted = [(e, self._pools[n]) for n, e in enumerate(self.settings.executors) if n in self._pools]
        self._listeners = open_listeners(wanted, run=self.settings, host=self._host, sockets=sockets, table=self._table)

    # ----- end

    @property
    def end_reason(self) -> str:
        """The reason why the run ends; empty while it does not end."""
        return self._host.end_reason

    def task_counts(self) -> dict[str, int]:
        """Return the number of tasks in each state, as monitoring has counted them."""
        return self._components.panel_feed.task_counts()

    def end(self, reason: str) -> None:
        """End the run after this round, or hand it over soon if that is under way."""
        if self._components.handover.hurry():
            log.info("the handover waits for no more tasks: %s", reason)
        else:
            self._host.end_run(reason)

    def close(self, reason: str) -> None:
        """End the workers, write the last events, and take leave of the clients."""
        deadline = steady_time() + _CLOSE_TIMEOUT
        components = self._components
        components.sessions.stop_listening()
        for service in components.manager_services.values():
            service.controller.leave()  # all schedulers are asked before we wait for the first
        # One deadline for all: a run with many executors must not take longer to end.
        for pool in self._pool_list:
            pool.close(deadline)
        if self.reaper is not None:
            self.reaper.dismiss()
        # After the workers: their children become ours only when they end.
        end_orphans()
        components.checkpointing.close()
        self._value_spill.close()
        # Results that are ready reach their clients before all other tasks are cancelled.
        self._replies.send()
        self._cancel_tasks()
        self._host.emit(RunEnded(steady_time(), reason))
        components.panel_feed.close()
        self._replies.send()
        self._log_service.close(reason)
        components.sessions.close(reason)
        self._listeners.close()
        self.loop.close()

    @property
    def handed_over(self) -> bool:
        """Whether the run ends because another host goes on with it."""
        return bool(self.end_reason) and self.end_reason == self._components.handover.reason

    def close_for_successor(self, reason: str) -> None:
        """End the workers of this host, and leave everything else as another DataFlowKernel needs it."""
        deadline = steady_time() + _CLOSE_TIMEOUT
        components = self._components
        handover = components.handover
        components.sessions.stop_listening()
        for pool in components.worker_pools.values():
            pool.close(deadline)
        for service in components.manager_services.values():
            if handover.stays(service):
                service.controller.stop_watching()
            else:
                service.close(deadline)
        if self.reaper is not None:
            self.reaper.dismiss()
        end_orphans()
        components.checkpointing.close()
        # A manager sends a large result once.  Without a connection it keeps what it has not sent.
        if self._listeners.hub is not None:
            self._listeners.hub.receive()
        self._listeners.close(run_goes_on=True)
        self._replies.send()
        handover.write_results()  # of tasks that have ended since the others were written
        self._log_service.hand_over(_HANDOVER_TIMEOUT)
        self._value_spill.close()
        components.panel_feed.close()
        # Another host may start the run from now on.  A client that loses its connection earlier would start it here.
        handover.finish()
        components.sessions.close(reason)
        self.loop.close()

    def _cancel_tasks(self) -> None:
        """Cancel all tasks, and reply only to the owner that ended the run.

        This owner asked for the end.  Other clients receive the reason of the end instead (``Sessions.close``).
        """
        self._table.cancel(None, steady_time(), also_threads=True)
        ended_by = self._components.requests.ended_by
        effects = self._table.out
        effects.replies = [reply for reply in effects.replies if reply[0] == ended_by]

    # ----- now and then

    def reap(self) -> None:
        """A child process has ended."""
        # Orphans of tasks are our children, too. Their collection must leave the exit status of workers to the pools.
        own: set[int] = set()
        for pool in self._components.worker_pools.values():
            pool.reap()
            own.update(peer.pid for peer in pool.peers if peer.process is not None)
        if self.reaper is not None:
            own.add(self.reaper.popen.pid)
        collect_orphans(own)

    def _report_own_error(self, error: Exception) -> None:
        log.error("an error of parslab itself", exc_info=error)
        text = f"An error of parslab itself: {type(error).__name__}: {error}. The run goes on; its log tells more."
        self._host.notify("error", text)

    def _keep_house(self) -> None:
        # A socket may stay open in a forked child after its client has died.
        self._components.sessions.drop_dead()
        self._components.presence.send_heartbeat(steady_time())
        # In housekeeping, because the search walks through all unfinished tasks.
        self._components.unused_functions.remove()
        self._collect_garbage()
        self._components.handover.look_for_request()
        self._host.call_at(steady_time() + _HOUSEKEEPING, self._keep_house)

    def _collect_garbage(self) -> None:
        """Collect old garbage in a quiet moment: tasks form no cycles, but tracebacks of errors may."""
        ended = self._table.ended
        # With many tasks a collection would stop the loop for a noticeable time.
        if ended != self._collected and len(self._table.tasks) < _FEW_TASKS:
            gc.collect()
            self._collected = ended

    # ----- one round

    def after_round(self) -> float | None:
        """Carry out what was decided in this round; return the next deadline."""
        now = steady_time()
        self._host.run_timers(now)
        if holds_blocks():
            self._value_spill.after_round(now)
        if self._retry_service.blocked:
            self._retry_service.after_round()
        # In mode ``task_exit`` a client that has a result may rely on its being in the checkpoint.
        self._checkpointing.before_replies()
        self._carry_out_effects(now)
        log_writer = self._log_writer
        if log_writer is not None and log_writer.due(now):
            # After the replies of few results: a write before them would cost a tenth of a round trip.
            log_writer.write()
            self._log_service.acknowledge()
        self._assign(now)
        effects = self._table.out
        if effects.later:
            self._plan_attempts(now)
        if self._listeners.hub is not None:
            self._listeners.hub.after_round()
            # The hub has just received messages that changed the table: the loop must not wait.
            if effects.ready or effects.replies or effects.stops or effects.again:
                return now
        return self._next_deadline(now)

    def _carry_out_effects(self, now: float) -> None:
        """Carry out the effects of the table, again and again, because each may cause others."""
        effects = self._table.out
        while effects.ready or effects.replies or effects.stops or effects.again:
            if effects.ready:
                self._queue_ready()
            if effects.again:
                self._queue_again(now)
            self._assign(now)
            if effects.stops:
                stops, effects.stops = effects.stops, []
                for task in stops:
                    # The worker may have reported or returned the task later in the same round.
                    if task.worker is not None:
                        self._pools[task.executor].stop_task(task, now)
            if effects.replies:
                self._replies.send()

    def _give_tasks_to(self, executors: Collection[int] | None) -> None:
        """Give tasks to these executors only; None: to all."""
        pools = self._pools.items()
        self._assigned_pools = [pool for number, pool in pools if executors is None or number in executors]

    def _assign(self, now: float) -> None:
        for pool in self._assigned_pools:
            if pool.queue.waiting:
                pool.assign(now)
                if pool.broken:
                    pool.fail_waiting()

    def _queue_ready(self) -> None:
        effects = self._table.out
        if self._failover is not None:
            self._failover.hold_ready_tasks()
        ready, effects.ready = effects.ready, []
        if holds_blocks():
            ready = self._queue_consumers(ready)
        # Nearly all runs have one pool: it takes the whole list in one call.
        if len(self._pool_list) == 1:
            self._pool_list[0].queue.put(ready)
        else:
            for task in ready:
                self._pools[task.executor].queue.put((task,))

    def _queue_consumers(self, ready: list[Task]) -> list[Task]:
        """Queue tasks in front that have large inputs; return the others.

        Their end frees the memory of the inputs, while a task without inputs only adds to what is in memory.
        """
        consumers = [task for task in ready if task.spec is None and has_shared_inputs(task)]
        if not consumers:
            return ready
        for number, pool in self._pools.items():
            pool.queue.put_back([task for task in consumers if task.executor == number])
        first = {task.id for task in consumers}
        return [task for task in ready if task.id not in first]

    def _queue_again(self, now: float) -> None:
        """Queue tasks for their next attempt in front, so that they do not wait behind all later tasks."""
        effects = self._table.out
        again, effects.again = effects.again, []
        by_executor: dict[int, list[NextAttempt]] = {}
        for attempt in again:
            by_executor.setdefault(attempt.task.executor, []).append(attempt)
        for executor, attempts in by_executor.items():
            self._pools[executor].queue.put_again(attempts, now)

    def _plan_attempts(self, now: float) -> None:
        effects = self._table.out
        later, effects.later = effects.later, []
        for pause, task, attempt in later:
            self._host.call_at(now + pause, partial(self._try_again, task, attempt))

    def _try_again(self, task: Task, attempt: int) -> None:
        self._table.try_again(task, attempt, steady_time())

    def _next_deadline(self, now: float) -> float | None:
        """Do what is due now, and return when something is due next."""
        deadline = _earlier(self._host.next_deadline(), self._probe_workers(now))
        # Notes that this round did not write must not wait for the next message.
        if self._log_writer is not None and self._log_writer.waiting:
            deadline = _earlier(deadline, self._log_writer.latest)
        # Last, because the others may have produced events.
        return _earlier(deadline, self._panel_feed.next_deadline(now))

    def _probe_workers(self, now: float) -> float | None:
        """Probe workers that have been silent for long; return when the next probe is due."""
        earliest: float | None = None
        for pool in self._pool_list:
            due = pool.next_deadline()
            if due is not None and due <= now:
                pool.probe_silent(now)
                due = pool.next_deadline()
            earliest = _earlier(earliest, due)
        return earliest


def _earlier(a: float | None, b: float | None) -> float | None:
    """Return the earlier one of two deadlines; None means never."""
    return b if a is None or (b is not None and b < a) else a
