"""Runs one high-throughput executor [shell]: sends tasks to its managers and handles their messages.

The scheduler decides which manager gets which task.  The task events decide what an outcome means.  The blocks that
start managers belong to ``scaling``: this service reports to it who joined and who left, and how much work there is.
"""

from __future__ import annotations

import logging
import shlex
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from parslab.clock import anchor
from parslab.dataflow.graph.run_message import run_message
from parslab.dataflow.high_throughput.connected_manager import ConnectedManager
from parslab.dataflow.high_throughput.lifecycle import ManagerSignal
from parslab.dataflow.high_throughput.mpi_launch import variables_of
from parslab.dataflow.high_throughput.mpi_scheduler import MpiScheduler, spec_of
from parslab.dataflow.high_throughput.quarantine import Quarantine
from parslab.dataflow.high_throughput.scheduler import Scheduler
from parslab.dataflow.high_throughput.sentences import demands, misfit, mpi_demands, tasks_of_lost_manager
from parslab.errors import BadStateException, ConfigurationError, ManagerLost, WorkerLost
from parslab.paths import python_path_prefix
from parslab.records.events import ExecutorStopped, ManagerMoved, NodeSampled, TaskPlaced, TaskSampled, WorkerMoved
from parslab.records.executor_settings import keeps_tasks
from parslab.records.states import FINAL, ManagerState, WorkerState
from parslab.scaling.controller_owner import BlockLoad, ExecutorLoad
from parslab.serialize.failures import failure_from
from parslab.wire import invitations
from parslab.wire.heartbeats import SilenceCheck
from parslab.wire.invitations import ManagerInvitation
from parslab.wire.messages.base import OutputPrinted, WireMessage
from parslab.wire.messages.manager import (
    KeepTasks,
    LinkHeartbeat,
    ManagerAccepted,
    ManagerBroken,
    ManagerDraining,
    ManagerGivenUp,
    ManagerHello,
    ManagerLeft,
    NodeSample,
    TaskSample,
    WorkerStateChanged,
)
from parslab.wire.messages.worker import Demand, InterruptTask, LeaveWhenDone, Outcome, WorkerReport
from parslab.wire.shared_memory import moved

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.host import Host
    from parslab.dataflow.network.hub import Hub, PeerConnection
    from parslab.dataflow.network.local_managers import LocalManagers
    from parslab.records.events import Event
    from parslab.records.executor_settings import HighThroughputSettings
    from parslab.remote.pool.pool import TaskEvents
    from parslab.scaling.controller import ScalingController
    from parslab.wire.messages.base import ForgetFunctions, TaskSpec
    from parslab.wire.messages.manager import HeldTask
    from parslab.wire.run_files import RunSettings
    from parslab.wire.stream import Buffer

__all__ = ["ManagerService"]

log = logging.getLogger(__name__)

RECONNECT_FOR = 30.0
"""Seconds for which a manager that lost its DataFlowKernel looks for the next one.

A DataFlowKernel that is started again serves within a few seconds.  If there is none, blocks must not idle for long.
"""

KEEP_TASKS_FOR = 10.0
"""Seconds for which the tasks of a manager go on after it lost its DataFlowKernel.

The next DataFlowKernel gives tasks to other managers sooner, but only those of managers that are not back by then.
"""

_PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"


class ManagerService:
    """One high-throughput executor.

    Parameters
    ----------
    number
        The number of the executor in the run.
    settings
        What ``HighThroughputExecutor.settings`` returned.
    run
        The settings of the run.
    host
        The process that it runs in.
    tasks
        Receives what happens to tasks.
    find_task
        Returns the task of this number, None where there is none.

    Attributes
    ----------
    broken
        Why no manager will ever join; empty while one may.
    node_lost
        Called with the name of each manager that was lost.
    claim
        Returns those tasks of a list that wait for a manager to come back with them, and since when each runs.
    """

    def __init__(
        self,
        number: int,
        settings: HighThroughputSettings,
        *,
        run: RunSettings,
        host: Host,
        tasks: TaskEvents[Task],
        find_task: Callable[[int], Task | None],
    ) -> None:
        self.number = number
        self.label = settings.label
        self.settings = settings
        self._quarantine = Quarantine(self, settings.hold_after, host, find_task)
        self._mpi: MpiScheduler[ConnectedManager] | None = None
        if settings.manager.mpi_launcher:
            self._mpi = MpiScheduler(lambda manager: manager.nodes)
        self.queue: Scheduler[ConnectedManager] | MpiScheduler[ConnectedManager] = self._mpi or Scheduler(
            settings.manager_selector, suspected=self._quarantine.health.suspected
        )
        self.broken = ""
        self.node_lost: Callable[[str], None] = lambda name: None
        self.claim: Callable[[int, Sequence[HeldTask]], list[tuple[Task, float]]] = lambda executor, held: []
        self.run = run
        self.controller: ScalingController
        self._host = host
        self._tasks = tasks
        self._managers: dict[bytes, ConnectedManager] = {}
        options = settings.manager
        self._silence = SilenceCheck(options.heartbeat_period, options.heartbeat_threshold, host.now())
        self._closing = False
        self._keep_for = 0.0
        """Seconds for which managers keep tasks after the end of this process, once it hands the run over."""

    @property
    def in_mpi_mode(self) -> bool:
        """Whether its tasks are MPI programs."""
        return self._mpi is not None

    # ----- begin and end

    def start(self, hub: Hub, local: LocalManagers, addresses: list[str]) -> None:
        """Listen for managers and ask for the first blocks."""
        from parslab.scaling.controller import ScalingController

        # Both ways in are open before the first block starts, because its manager may connect at once.
        hub.register(ManagerHello, self.number, self)
        local.register(self.number, self)
        python = self.settings.python or sys.executable
        invitation = ManagerInvitation(
            **msgspec.structs.asdict(hub.invitation(self.number, self.label, addresses)),
            manager=self.settings.manager,
            prefix=sys.prefix,
            # Where the user names an address, managers of this host use it, too.
            socket="" if self.settings.address else str(local.path),
            host=socket.gethostname(),
            clock=anchor(),
            reconnect_for=self.settings.reconnect_for,
            keep_tasks_for=KEEP_TASKS_FOR if self.run.resume and keeps_tasks(self.settings) else 0.0,
        )
        file = hub.write_invitation(invitations.file_name(self.label), invitation)
        if self.settings.provider.remote:
            command = f'{shlex.quote(python)} -m parslab.remote.manager "$PARSLAB_INVITATION"'
        else:
            module = "parslab.remote.mpi" if self.settings.mpi_pools else "parslab.remote.manager"
            command = f"{python_path_prefix()}{shlex.quote(python)} -m {module} {shlex.quote(str(file))}"
        folder = Path(self.run.run_dir) / "blocks"
        folder.mkdir(exist_ok=True, mode=0o700)
        self.controller = ScalingController(self.settings, self, command, folder, clock=self._host.now)
        # After the settings file is written: the jobs that it submits read that file.
        self.controller.start()
        self._host.call_at(self._silence.begin(self._host.now()), self._beat)

    def keep_tasks(self, seconds: float = KEEP_TASKS_FOR) -> None:
        """Have the managers keep their tasks for so many seconds after the end of this process."""
        self._keep_for = seconds
        for manager in self._managers.values():
            manager.connection.send([KeepTasks(seconds)])

    def close(self, deadline: float) -> None:
        """Send every manager away, and cancel every block."""
        self._closing = True
        for manager in list(self._managers.values()):
            manager.connection.send([LeaveWhenDone()])
        # Managers that start later read this and end, instead of looking for the run in vain.
        invitations.withdraw_file(Path(self.run.run_dir) / invitations.file_name(self.label), "it has ended")
        # The run may end before ``start``, when the port cannot be opened.
        if hasattr(self, "controller"):
            self.controller.close(deadline)
        for manager in self._managers.values():
            self._move(manager, ManagerSignal.left, "the run is over")
        self._managers.clear()

    # ----- what the scaling controller asks (ScalingOwner)

    def event(self, event: Event) -> None:
        """Pass an event to monitoring."""
        self._host.emit(event)

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread at this time."""
        self._host.call_at(when, call)

    def post(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread soon; safe from any thread."""
        self._host.call_soon(call)

    def load(self) -> ExecutorLoad:
        """Return the work of this executor now."""
        waiting = self.queue.wanted
        # Counted here and not on each change: the controller asks seldom, and tasks end thousands of times a second.
        held = 0
        blocks: dict[str, BlockLoad] = {}
        for slot in self.queue.slots.values():
            held += slot.load
            one = BlockLoad(
                managers=1,
                workers=slot.size,
                tasks=slot.load,
                idle_since=slot.idle_since,
                held=slot.held,
                draining=slot.draining,
            )
            known = blocks.get(slot.block)
            blocks[slot.block] = one if known is None else _sum(known, one)
        return ExecutorLoad(waiting + held, waiting, blocks)

    def release_block(self, block: str) -> None:
        """Have the managers of a block finish their tasks and leave."""
        for manager in self._of_block(block):
            if not manager.draining:
                self._dismiss(manager, "its block is not needed any more")

    def hold_block(self, block: str, hold: bool) -> None:
        """Stop or resume giving new tasks to the managers of a block."""
        for manager in self._of_block(block):
            if manager.draining:
                # A draining manager keeps its state: the table has no way back from draining.
                self.queue.hold(manager, hold)
            elif hold:
                self._hold(manager, "")
            else:
                self._release(manager)

    def command(self, name: str, action: str) -> str:
        """Hold, release or drain the manager of this name.

        Returns
        -------
        str
            What was done, as a sentence; empty when there is no such manager.
        """
        manager = self.queue.slots.get(name)
        if manager is None:
            return ""
        if action == "cancel":
            raise ConfigurationError(
                f"{name} is a manager, which can be drained; its block {manager.block} can be cancelled."
            )
        if manager.draining:
            return f"Manager {name} is leaving already: it finishes the tasks that it holds."
        if action == "drain":
            self._dismiss(manager, "drained by the user")
            return f"Manager {name} finishes the tasks that it holds, and leaves."
        if action == "hold":
            self.hold(manager, "")
            return f"Manager {name} gets no new tasks until it is released."
        self._release(manager)
        self.controller.wake()
        return f"Manager {name} gets tasks again."

    def fail(self, why: str) -> None:
        """Stop the executor: no block can be had."""
        self.broken = why
        log.error("executor %s is stopped: %s", self.label, why)
        self._host.notify("error", f"Executor {self.label} is stopped: {why}")
        self.event(ExecutorStopped(self._host.now(), self.label, why))
        self.fail_waiting()

    # ----- what the quarantine asks (ManagerGroup)

    @property
    def connected(self) -> Collection[ConnectedManager]:
        """The managers that are connected."""
        return self._managers.values()

    def manager(self, name: str) -> ConnectedManager | None:
        """Return the manager of this name."""
        return self.queue.slots.get(name)

    def hold(self, manager: ConnectedManager, reason: str) -> None:
        """Give this manager no new tasks until it is released."""
        self._hold(manager, reason)
        self.controller.wake()

    def _hold(self, manager: ConnectedManager, reason: str) -> None:
        self.queue.hold(manager, True)
        self._move(manager, ManagerSignal.held, reason)

    def _release(self, manager: ConnectedManager) -> None:
        self.queue.hold(manager, False)
        self._quarantine.health.released(manager.name)
        self._move(manager, ManagerSignal.released)

    def _dismiss(self, manager: ConnectedManager, reason: str) -> None:
        self._drain(manager, reason)
        manager.connection.send([LeaveWhenDone()])

    def _of_block(self, block: str) -> list[ConnectedManager]:
        return [manager for manager in self._managers.values() if manager.block == block]

    # ----- tasks go out (what the kernel asks of every pool)

    def assign(self, now: float) -> None:
        """Send ready tasks to managers with room."""
        events = self._tasks
        for manager, tasks in self.queue.assign(now):
            messages: list[WireMessage] = []
            frames: list[Buffer] = []
            known = manager.known
            for task in tasks:
                # A function is sent once to each manager, in front of its first call there.
                if task.fn not in known:
                    known.add(task.fn)
                    code, payload = events.code(task.fn)
                    messages.append(code)
                    frames.append(payload)
                run = run_message(task, frames)
                if task.spec is not None:
                    run.slots = 1 if self._mpi else min(manager.places(task.spec), manager.workers)
                    run.limit = task.spec.max_run_time or 0.0
                    run.software = task.spec.software
                    if self.settings.manager.engine is not None:
                        run.demand = _demand(task.spec)
                messages.append(run)
                events.sent(task, now, manager.name)
                if self._mpi is not None:
                    run.environment = self._launch(self._mpi, manager, task, now)
            manager.connection.send(messages, frames)
        for task in self.queue.unfit():
            self._refuse_unfit(task)
        self.controller.wake()

    def _launch(
        self, queue: MpiScheduler[ConnectedManager], manager: ConnectedManager, task: Task, now: float
    ) -> dict[str, str] | None:
        """Return the variables with which a task starts its ranks, and report where it runs."""
        placement = queue.placement(task.id)
        if placement is None or task.spec is None or task.spec.mpi is None:
            return None
        variables = variables_of(self.settings.manager, task.spec.mpi, placement, manager.mpiexec)
        self.event(
            TaskPlaced(
                time=now,
                task=task.id,
                attempt=task.attempt,
                nodes=",".join(placement.nodes),
                cores=",".join(map(str, placement.core_ids)),
                launch=variables["PARSL_MPI_PREFIX"],
            )
        )
        return variables

    def why(self, task: Task) -> str:
        """Say where an MPI task runs, or why it waits; empty for other tasks, and when there is nothing to say."""
        if self._mpi is None or task.executor != self.number:
            return ""
        placement = self._mpi.placement(task.id)
        if placement is not None:
            cores = f", cores {','.join(map(str, placement.core_ids))}" if placement.core_ids else ""
            return f"It has node{'s' * (len(placement.nodes) > 1)} {', '.join(placement.nodes)}{cores}."
        waits = self._mpi.why_waiting(task)
        return f"It {waits}." if waits else ""

    def _refuse_unfit(self, task: Task) -> None:
        # The task fails at once: no manager of this executor will ever be larger, so it would wait for ever.
        self.queue.discard(task)
        if self._mpi is not None:
            nodes, cores = self._mpi.largest()
            why = (
                f"it asks for {mpi_demands(spec_of(task))}, and no block of executor {self.label} has that: the "
                f"largest block has {nodes} node{'s' * (nodes != 1)}, the largest node {cores} "
                f"core{'s' * (cores != 1)}"
            )
            self._fail_task(task, WorkerLost(task.id, why, "", 0, ""))
            return
        assert task.spec is not None
        # The largest node makes the message concrete: the user sees how far the demand is off.
        most = max(self.queue.slots.values(), key=lambda manager: manager.cores)
        why = (
            f"it asks for {demands(task.spec)}, and no node of executor {self.label} has that: the largest has "
            f"{most.cores} cores, {most.memory >> 20} MB and {most.accelerators} accelerators"
        )
        self._fail_task(task, WorkerLost(task.id, why, "", 0, ""))

    def _fail_task(self, task: Task, error: WorkerLost) -> None:
        self._tasks.failed(task, failure_from(error), self._host.now(), "")

    def next_deadline(self) -> float | None:
        """Return None: managers probe their workers themselves, so this pool never has to."""
        return None

    def probe_silent(self, now: float) -> None:
        """Do nothing; see :meth:`next_deadline`."""

    def stop_task(self, task: Task, now: float) -> None:
        """Have the manager of a cancelled task stop it."""
        manager = task.worker
        assert isinstance(manager, ConnectedManager)
        manager.connection.send([InterruptTask(task.id)])

    def forget_code(self, fn: int, message: ForgetFunctions) -> None:
        """Have managers forget a function that nobody calls any more."""
        for manager in self._managers.values():
            if fn in manager.known:
                manager.known.discard(fn)
                manager.connection.send([message])

    def fail_waiting(self) -> None:
        """Fail the tasks that wait for an executor that has no blocks and will have none."""
        # Managers that are left may still run the tasks, although no new block can be had.
        if not self.broken or self.queue.slots:
            return
        for task in self.queue.take_all():
            if task.state not in FINAL:
                why = f"executor {self.label} is stopped: {self.broken}"
                self._fail_task(task, BadStateException(task.id, why, "", 0, ""))

    def reap(self) -> None:
        """Do nothing: a manager is never a child of this process."""

    def report_states(self) -> None:
        """Do nothing: managers report the states of their workers as they change."""

    # ----- messages of managers (PeerListener)

    def hello(self, connection: PeerConnection, hello: ManagerHello) -> None:
        """Accept a new manager, or refuse it with a sentence that names the side to fix."""
        reason = self._refusal(hello)
        if reason:
            self._refuse(connection, hello, reason)
            return
        manager = ConnectedManager(hello, connection, self._host.now())
        self._managers[connection.identity] = manager
        self.queue.add(manager)
        self._quarantine.health.manager_joined(manager.name, hello.host)
        disowned = self._adopt(manager, hello.held) if hello.held else ()
        # Before any task: the manager reads the batches of a connection in order.
        connection.send([ManagerAccepted(disowned), *([KeepTasks(self._keep_for)] if self._keep_for else ())])
        self._report(manager)
        if hello.dashboard:
            self._host.notify("info", f"Executor {self.label} has a dashboard: {hello.dashboard}")
        self.controller.manager_joined(hello.block, hello.manager, hello.host)

    def _adopt(self, manager: ConnectedManager, held: Sequence[HeldTask]) -> tuple[tuple[int, int], ...]:
        """Go on with tasks that a manager has kept; return those of them that it has to stop."""
        now, queue = self._host.now(), self.queue
        # In MPI mode managers keep no tasks, because nobody else knows the nodes of these.
        adopted = [] if isinstance(queue, MpiScheduler) else self.claim(self.number, held)
        for task, since in adopted:
            if isinstance(queue, Scheduler):
                queue.adopt(manager, task)
            self._tasks.sent(task, since or now, manager.name)
            if since:
                self._tasks.begun(task, since, manager.name)
        kept = {(task.id, task.attempt) for task, _ in adopted}
        return tuple(one[:2] for one in held if one[:2] not in kept)

    def _refusal(self, hello: ManagerHello) -> str:
        reason = misfit(hello, _PYTHON, self.run.package)
        if not reason and self._closing:
            reason = "the run is over"
        if not reason and self.broken:
            reason = f"executor {self.label} is stopped: {self.broken}"
        return reason

    def _refuse(self, connection: PeerConnection, hello: ManagerHello, reason: str) -> None:
        log.warning("manager %s on %s is refused: %s", hello.manager, hello.host, reason)
        self.event(
            ManagerMoved(
                time=self._host.now(),
                manager=hello.manager,
                executor=self.label,
                block=hello.block,
                state=ManagerState.refused,
                host=hello.host,
                pid=hello.pid,
                workers=hello.workers,
                reason=reason,
            )
        )
        self._host.notify("error", f"Manager {hello.manager} is refused: {reason}")
        connection.refuse(reason)
        self.controller.manager_left(hello.block, hello.manager, reason)

    def received(self, identity: bytes, messages: list[WireMessage], frames: list[Buffer]) -> bool:
        """Carry out the messages of a manager; returns False when no manager has this identity."""
        manager = self._managers.get(identity)
        if manager is None:
            return False
        now, at = self._host.now(), 0
        manager.last_seen = now
        streaks = self._quarantine.health.streaks
        for message in messages:
            if type(message) is Outcome:
                buffers: list[Buffer] = []
                if message.frames:
                    buffers = frames[at : at + message.frames]
                    at += message.frames
                    # What came over the network becomes a block: it can be spilled, and goes to each node once.
                    buffers = [moved(buffer) for buffer in buffers]
                task = manager.inflight.get(message.task)
                # The outcome is late or doubled, or belongs to an attempt that was given up.
                if task is None or task.attempt != message.attempt:
                    self._tasks.dropped()
                    continue
                self.queue.ended(manager, message.task, message.ended - message.started, now)
                self._tasks.ended(task, message, buffers, manager.name)
                if message.failure is not None:
                    self._quarantine.failed(manager, task, message, now)
                # Nearly always there is no streak: then a success costs the health check nothing.
                elif streaks:
                    self._quarantine.succeeded(manager, task, now)
            else:
                _HANDLERS[type(message)](self, manager, message, now)
        return True

    def _worker_report(self, manager: ConnectedManager, report: WorkerReport, now: float) -> None:
        back = self.queue.returned(manager, report.returned, now)
        for task in back:
            self._tasks.returned(task, now)
        # The queue drops tasks that are not ready, so the table marks them as returned first.
        self.queue.put_back([task for task in back if task.state not in FINAL])
        running = manager.inflight.get(report.running)
        if running is not None:
            self._tasks.begun(running, report.since, manager.name)

    def _output_printed(self, manager: ConnectedManager, message: OutputPrinted, now: float) -> None:
        self._tasks.printed(message)

    def _worker_changed(self, manager: ConnectedManager, message: WorkerStateChanged, now: float) -> None:
        if message.state is WorkerState.dead:
            manager.worker_states.pop(message.worker, None)
        else:
            manager.worker_states[message.worker] = (message.state, message.pid)
        self._report_worker(manager, message, now)

    def _report_worker(self, manager: ConnectedManager, change: WorkerStateChanged, now: float) -> None:
        self.event(
            WorkerMoved(
                time=now,
                worker=change.worker,
                executor=self.label,
                state=change.state,
                host=manager.host,
                pid=change.pid,
                reason=change.reason,
                manager=manager.name,
            )
        )

    def _node_sampled(self, manager: ConnectedManager, sample: NodeSample, now: float) -> None:
        self.event(NodeSampled(now, manager.name, sample.cpu, sample.memory, sample.load))

    def _task_sampled(self, manager: ConnectedManager, sample: TaskSample, now: float) -> None:
        self.event(
            TaskSampled(
                time=now,
                task=sample.task,
                attempt=sample.attempt,
                cpu=sample.cpu,
                memory=sample.memory,
                read=sample.read,
                written=sample.written,
            )
        )

    def _heartbeat(self, manager: ConnectedManager, beat: LinkHeartbeat, now: float) -> None:
        """Do nothing: ``received`` has noted the time already."""

    def _draining(self, manager: ConnectedManager, message: ManagerDraining, now: float) -> None:
        self._drain(manager, message.reason)

    def _broken(self, manager: ConnectedManager, message: ManagerBroken, now: float) -> None:
        self._host.notify("error", f"Manager {manager.name} has no workers: {message.reason}")
        # The reason is a predicate, because other sentences continue it: "its manager ...", "which ...".
        self._remove(manager, ManagerSignal.left, f"left: {message.reason}")

    def _left(self, manager: ConnectedManager, message: ManagerLeft, now: float) -> None:
        self._remove(manager, ManagerSignal.left, f"left: {message.reason}")

    def _second_hello(self, manager: ConnectedManager, hello: ManagerHello, now: float) -> None:
        log.warning("manager %s said hello twice", manager.name)

    def _drain(self, manager: ConnectedManager, reason: str) -> None:
        self.queue.drain(manager)
        self._move(manager, ManagerSignal.drains, reason)

    # ----- managers leave

    def unreachable(self, identity: bytes) -> None:
        """Remove a manager whose connection broke."""
        manager = self._managers.get(identity)
        if manager is not None:
            # Most versions of MPI end rank 0, too, when another rank dies, and it cannot say anything any more.
            why = ", as it does when a rank of its MPI job has died (the stderr of its block says which)"
            self._remove(manager, ManagerSignal.lost, f"lost its connection{why if self.settings.mpi_pools else ''}")

    def _beat(self) -> None:
        """Send every manager a heartbeat, and remove those that were silent for too long."""
        now = self._host.now()
        due = self._silence.begin(now)
        for manager in list(self._managers.values()):
            # A node whose network was cut closes no connection, so only silence shows its loss.
            if self._silence.is_lost(manager.last_seen, now):
                silent = now - manager.last_seen
                # The manager may only have been slow: it must end its workers, because its tasks run elsewhere now.
                manager.connection.send([ManagerGivenUp(f"it was silent for {silent:.0f} s")])
                self._remove(manager, ManagerSignal.lost, f"was silent for {silent:.0f} s (heartbeat_threshold)")
            else:
                manager.connection.send([LinkHeartbeat()])
        self._host.call_at(due, self._beat)

    def _remove(self, manager: ConnectedManager, signal: ManagerSignal, reason: str) -> None:
        """Remove a manager that left or was lost, fail or retry its tasks, and report the end to its block."""
        now = self._host.now()
        self._managers.pop(manager.connection.identity, None)
        # A late message of this manager must not change tasks that run elsewhere by then.
        manager.connection.forget()
        # Before its tasks fail: the queue must not give them to this manager again.
        held = self.queue.remove(manager)
        unfinished = [task for task in held if task.state not in FINAL]
        for task in unfinished:
            error = ManagerLost(task.id, manager.name, manager.host, manager.block, reason)
            self._tasks.failed(task, failure_from(error), now, manager.name)
        for worker, (_, pid) in manager.worker_states.items():
            died = WorkerStateChanged(worker, WorkerState.dead, pid, f"its manager {reason}")
            self._report_worker(manager, died, now)
        self._move(manager, signal, reason)
        lost = signal is ManagerSignal.lost
        # A manager that left in order says nothing about the health of its node.
        self._quarantine.manager_left(manager, unfinished if lost else [], reason, now)
        if lost:
            self.node_lost(manager.name)
            log.warning("manager %s of block %s %s", manager.name, manager.block, reason)
            failed = sum(task.state in FINAL for task in unfinished)
            what = tasks_of_lost_manager(failed, len(unfinished) - failed)
            self._host.notify("warning", f"Manager {manager.name} (block {manager.block}) {reason}; {what}.")
        self.controller.manager_left(manager.block, manager.name, reason)
        self.fail_waiting()

    def _move(self, manager: ConnectedManager, signal: ManagerSignal, reason: str = "") -> None:
        manager.advance(signal)
        self._report(manager, reason)

    def _report(self, manager: ConnectedManager, reason: str = "") -> None:
        self.event(manager.moved(self.label, reason, self._host.now()))


_HANDLERS: dict[type[WireMessage], Callable[[ManagerService, ConnectedManager, Any, float], None]] = {
    WorkerReport: ManagerService._worker_report,
    OutputPrinted: ManagerService._output_printed,
    WorkerStateChanged: ManagerService._worker_changed,
    NodeSample: ManagerService._node_sampled,
    TaskSample: ManagerService._task_sampled,
    LinkHeartbeat: ManagerService._heartbeat,
    ManagerDraining: ManagerService._draining,
    ManagerBroken: ManagerService._broken,
    ManagerLeft: ManagerService._left,
    ManagerHello: ManagerService._second_hello,
}


def _demand(spec: TaskSpec) -> Demand | None:
    """Return what a call asks of an executor of another library; None if it asks for nothing."""
    asked = Demand(spec.cores, spec.memory, spec.gpus, spec.priority or 0.0)
    return None if asked == Demand() else asked


def _sum(a: BlockLoad, b: BlockLoad) -> BlockLoad:
    """Return the load of two parts of one block together."""
    return BlockLoad(
        managers=a.managers + b.managers,
        workers=a.workers + b.workers,
        tasks=a.tasks + b.tasks,
        idle_since=None if a.idle_since is None or b.idle_since is None else max(a.idle_since, b.idle_since),
        held=a.held and b.held,
        draining=a.draining and b.draining,
    )
