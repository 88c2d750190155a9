"""The worker processes of one host [shell]: start them, exchange messages with them, replace those that died.

The DataFlowKernel owns the pool of a low-latency executor, a manager that of its node (D11).  ``queue.PoolQueue``
decides which tasks each worker gets.  The owner decides what an outcome means.  This module turns messages of workers
into calls of these two.  It explains and replaces a worker that died.  A pool whose workers die before their hello is
broken.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from parslab.clock import steady_time
from parslab.errors import AppTimeout, BadStateException, ParslabError, ProtocolError, WorkerLost
from parslab.records.events import Event, NoticeRaised, WorkerMoved
from parslab.records.reasons import Reason
from parslab.records.state_machine import step
from parslab.records.states import FINAL, WorkerState
from parslab.remote.pool.lifecycle import WORKER, WorkerSignal
from parslab.remote.pool.memory import OutOfMemory
from parslab.remote.pool.processes import ProcessPlan, WorkerProcess, end_strays, how_it_ended
from parslab.remote.pool.queue import PoolQueue, QueuedTask, TaskT, WorkerSlot, not_begun
from parslab.remote.pool.software_slots import SoftwareSlots
from parslab.remote.pool.software_workers import PoolSoftware
from parslab.remote.pool.stopping import StopRequests
from parslab.remote.transient import is_transient, retry_pause
from parslab.serialize.failures import failure_from
from parslab.wire.descriptors import using_spare
from parslab.wire.messages.base import PROTOCOL, DefineFunction, Failure, OutputPrinted
from parslab.wire.messages.worker import (
    InterruptTask,
    LeaveWhenDone,
    Outcome,
    ProbeWorker,
    RunTask,
    WorkerControlMessage,
    WorkerHello,
    WorkerReport,
)
from parslab.wire.stream import Batch, Buffer, Stream, decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from parslab.errors import SoftwareError
    from parslab.records.software import Software
    from parslab.remote.loop import Loop
    from parslab.remote.pool.processes import WorkerRun
    from parslab.remote.software.preparation import Prepared
    from parslab.wire.messages.base import ForgetFunctions, WireMessage

__all__ = ["PoolHost", "PoolWorker", "TaskEvents", "WorkerLinkEnd", "WorkerPool"]

log = logging.getLogger(__name__)

_decode = decoder(WorkerControlMessage)

_REMOVAL = 5.0
"""Seconds that engines may take to remove the containers of a pool that ends."""
_STARTS = 3
"""Workers in a row that may die before their hello until the executor counts as broken."""


TaskT_contra = TypeVar("TaskT_contra", bound=QueuedTask, contravariant=True)


class PoolHost(Protocol):
    """The services that a pool needs from the process that it runs in."""

    loop: Loop

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread at the time ``when``."""

    def emit(self, event: Event) -> None:
        """Pass an event to monitoring."""


class TaskEvents(Protocol[TaskT_contra]):
    """Receives what happens to the tasks of a pool, and supplies what a worker needs in order to run one.

    The DataFlowKernel writes the calls into its task table; the manager of a node turns them into messages.
    """

    def code(self, fn: int) -> tuple[DefineFunction, Buffer]:
        """Return the message and the pickle that define this function on a worker."""

    def message(self, task: TaskT_contra, frames: list[Buffer]) -> RunTask:
        """Return the message that carries a task; large buffers go to ``frames``."""

    def sent(self, task: TaskT_contra, now: float, worker: str) -> None:
        """Note that the pool sent this task to a worker."""

    def begun(self, task: TaskT_contra, since: float, worker: str) -> None:
        """Note that the body of this task runs."""

    def returned(self, task: TaskT_contra, now: float) -> None:
        """Note that a worker gave this task back before it began; the queue holds it again."""

    def ended(self, task: TaskT_contra, outcome: Outcome, frames: list[Buffer], worker: str) -> None:
        """Note that this task ended on the worker."""

    def failed(self, task: TaskT_contra, failure: Failure, now: float, worker: str) -> None:
        """Note that this task ends without an outcome: its worker died, or no worker can be started."""

    def dropped(self) -> None:
        """Count an outcome that arrived late or twice."""

    def printed(self, message: OutputPrinted) -> None:
        """Pass on what a task printed."""

    def demands(self, task: TaskT_contra) -> tuple[int, float]:
        """Return how many workers a task with a specification occupies, and its limit in seconds."""

    def software(self, task: TaskT_contra) -> Software | None:
        """Return the software of a task with a specification; None: that of its executor."""


class WorkerLinkEnd(Protocol):
    """Our end of a link of a worker: a ``Stream``, or a connection through the hub."""

    @property
    def congested(self) -> bool:
        """Whether bytes wait because the worker does not read fast enough."""

    def fileno(self) -> int:
        """Return the descriptor, for selectors."""

    def send(self, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        """Send a batch; never blocks."""

    def receive(self) -> list[Batch]:
        """Return the batches that are complete now."""

    def flush(self) -> bool:
        """Send the bytes that wait; return whether nothing is left."""


class PoolWorker(WorkerSlot[TaskT]):
    """One worker as the pool sees it: a slot of the queue and a way to reach it.

    Parameters
    ----------
    data, control
        Our ends of its links.
    process
        Its process; None for a worker of another host.
    rank
        Its position among the workers of its host; the worker that replaces it gets the same one.
    software
        The software that it was started with; None: that of the pool.

    Attributes
    ----------
    state
        Its state, as it was last reported to monitoring.
    dismissed
        Whether it was idle, and the pool has ended it.
    ready_since
        When its hello arrived; later, when it began the task that it reported.
    known
        Numbers of the functions that were sent to it.
    shipped
        Bytes of output received from tasks that have not ended, by task and stream.
    """

    __slots__ = (
        "control",
        "data",
        "dismissed",
        "greeted",
        "host",
        "known",
        "pid",
        "process",
        "ready_since",
        "shipped",
        "state",
    )

    def __init__(
        self,
        name: str,
        now: float,
        *,
        data: WorkerLinkEnd,
        control: WorkerLinkEnd,
        process: WorkerProcess | None = None,
        rank: int = -1,
        software: Software | None = None,
    ) -> None:
        super().__init__(name, now, rank, software)
        self.data = data
        self.control = control
        self.process = process
        self.pid = process.pid if process else 0
        self.host = socket.gethostname() if process else ""
        self.greeted = self.dismissed = False
        self.usable = process is not None
        self.ready_since = now
        self.known: set[int] = set()
        self.state = WorkerState.starting
        self.shipped: dict[tuple[int, int], int] = {}

    def advance(self, signal: WorkerSignal) -> None:
        """Change the state as the table of workers says."""
        self.state = step(WORKER, self.state, signal, f"worker {self.name} on {self.host}")


class WorkerPool(Generic[TaskT]):
    """All workers of one executor, or of one manager.

    Parameters
    ----------
    number
        Number of the executor in the run.
    label
        Label of the executor.
    name
        Prefix of the workers' names: ``<name>-0``, ``<name>-1``, ...
    plans
        The environment and the cores of each worker of this host.
    run
        The run.
    host
        The process that it runs in.
    tasks
        Receives what happens to tasks.
    on_broken
        Called when no worker can be started; ``broken`` says why.
    software
        The software of its plain workers; None: that of this process.

    Attributes
    ----------
    broken
        Why no worker can be started; empty while the pool works.
    own_processes
        Whether another library waits for the child processes of this one: never here.
    """

    def __init__(
        self,
        number: int,
        label: str,
        name: str,
        *,
        plans: Sequence[ProcessPlan],
        run: WorkerRun,
        host: PoolHost,
        tasks: TaskEvents[TaskT],
        on_broken: Callable[[WorkerPool[TaskT]], None],
        software: Software | None = None,
    ) -> None:
        self.number = number
        self.label = label
        self._name = name
        self._plans = plans
        self._run = run
        self._host = host
        self._tasks = tasks
        self._on_broken = on_broken
        self._software: PoolSoftware[TaskT] = PoolSoftware(host, run.run, self)
        self._own_software = software
        self.queue: PoolQueue[TaskT] = PoolQueue(tasks.demands, SoftwareSlots(self._software_of, self._software))
        self.peers: list[PoolWorker[TaskT]] = []
        self._stops: StopRequests[PoolWorker[TaskT]] = StopRequests(
            steady_time,
            host.call_at,
            lambda peer, task: self._send_control(peer, InterruptTask(task)),
            log.warning,
            self.peers,
        )
        self.broken = ""
        self.own_processes = False
        self._made = 0
        self._stillborn = 0  # workers in a row that died before their hello
        self._failed_starts = 0  # attempts in a row to start a worker process that failed
        self._closing = False
        self._memory = OutOfMemory()
        self._next_probe: float | None = None

    # ----- workers start

    def start(self) -> None:
        """Start the workers of this host, as soon as their software is ready."""
        if self._own_software is not None:
            prepared = self._software.prepared(self._own_software)
            if prepared is None:
                return  # ``software_changed`` calls this method again
            if isinstance(prepared, str):
                self._break(f"its {self._own_software} cannot be used: {prepared}")
                return
            self._plans = [plan.with_software(prepared) for plan in self._plans]
        for rank in range(len(self._plans)):
            self._spawn(rank)

    def _software_of(self, task: TaskT) -> Software | None:
        """Return the software of a task; None: that of the plain workers."""
        software = self._tasks.software(task)
        return None if software == self._own_software else software

    def _spawn(self, rank: int) -> None:
        try:
            peer = self._start_process(rank, self._plans[rank], None)
        except OSError as error:
            self._start_failed(rank, error)
            return
        self._failed_starts = 0
        self.add(peer)

    def _start_process(self, rank: int, plan: ProcessPlan, software: Software | None) -> PoolWorker[TaskT]:
        # Never the name of a dead worker: events and logs would mix up the two, and ``end_strays`` needs the name.
        name = f"{self._name}-{self._made}"
        self._made += 1
        process = using_spare(lambda: WorkerProcess(name, self.number, plan, self._run))
        data, control = Stream(process.data, _decode), Stream(process.control, _decode)
        peer: PoolWorker[TaskT] = PoolWorker(
            name, steady_time(), data=data, control=control, process=process, rank=rank, software=software
        )
        loop = self._host.loop
        loop.watch(process.data, lambda: self._readable(peer, data), lambda: self._writable(data))
        loop.watch(process.control, lambda: self._readable(peer, control))
        return peer

    def _start_failed(self, rank: int, error: OSError) -> None:
        """Try again later, unless no worker is left and the cause is permanent."""
        # While another worker lives the pool still does its work, and the cause may end with that worker's task.
        if not self.peers and not is_transient(error):
            self._break(f"a worker process cannot be started: {error}")
            return
        if not self._failed_starts:
            text = f"A worker of {self._name} cannot be started now ({error}); it is tried again until it can."
            log.warning("%s", text)
            self._host.emit(NoticeRaised(steady_time(), "warning", text))
        self._start_later(rank)

    def _start_later(self, rank: int) -> None:
        self._failed_starts += 1
        self._host.call_at(steady_time() + retry_pause(self._failed_starts), lambda: self._start_again(rank))

    def _start_again(self, rank: int) -> None:
        if not self._closing and not self.broken:
            self._spawn(rank)

    def add(self, peer: PoolWorker[TaskT]) -> None:
        """Add a worker whose process is starting, or that joined from another host."""
        self.peers.append(peer)
        self.queue.add(peer)
        self._report(peer)

    # ----- workers with software (WorkerStarter)

    def start_with(self, software: Software, prepared: Prepared, rank: int) -> PoolWorker[TaskT] | None:
        """Start a worker with software on a rank; None if that is not possible now."""
        try:
            peer = self._start_process(rank, self._plans[rank].with_software(prepared), software)
        except OSError as error:
            log.warning("a worker with %s cannot be started now: %s", software, error)
            if is_transient(error):
                # Nothing else may happen in this pool, so the next attempt needs a round of the loop.
                self._failed_starts += 1
                self._host.call_at(steady_time() + retry_pause(self._failed_starts), lambda: None)
            else:
                self._software.fail(software, f"its worker cannot be started: {error}")
            return None
        self._failed_starts = 0
        self.peers.append(peer)
        self._report(peer)
        return peer

    def dismiss(self, slot: WorkerSlot[TaskT]) -> None:
        """End an idle worker."""
        peer: PoolWorker[TaskT] = slot  # type: ignore[assignment]
        peer.dismissed = True
        self._deliver(peer, [LeaveWhenDone()])

    def refuse(self, task: TaskT, error: SoftwareError) -> None:
        """Fail a task that no worker has."""
        if task.state not in FINAL:
            self._tasks.failed(task, failure_from(error), steady_time(), "")

    def software_changed(self, software: Software) -> None:
        """Queue the tasks that waited for this software, or start the plain workers that did."""
        if self._closing:
            return
        if software == self._own_software and not self._made:
            self.start()
        self.queue.unpark(software)

    def stop_unused(self, now: float) -> None:
        """Stop the workers with software that have been idle for long."""
        self.queue.stop_unused(now)

    # ----- tasks go out

    def assign(self, now: float) -> None:
        """Send ready tasks to workers with room."""
        events = self._tasks
        for slot, tasks in self.queue.assign(now):
            peer: PoolWorker[TaskT] = slot  # type: ignore[assignment]
            messages: list[WireMessage] = []
            frames: list[Buffer] = []
            for task in tasks:
                # Once for each worker: the pickle of a function is often larger than the arguments of a call.
                if task.fn not in peer.known:
                    peer.known.add(task.fn)
                    code, payload = events.code(task.fn)
                    messages.append(code)
                    frames.append(payload)
                messages.append(events.message(task, frames))
                events.sent(task, now, peer.name)
                if task.spec is not None:
                    self._limit(task, peer, now)
            self._deliver(peer, messages, frames)

    def _limit(self, task: TaskT, peer: PoolWorker[TaskT], now: float) -> None:
        """Stop a task that was sent just now when it has run for as long as it may."""
        if (limit := self._tasks.demands(task)[1]) > 0:
            self._stops.limit(task, peer, limit, now)

    def _deliver(self, peer: PoolWorker[TaskT], messages: list[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        """Send on the data link; if the worker has just died, the reader of the link notices."""
        with contextlib.suppress(OSError):
            peer.data.send(messages, frames)
            if peer.data.congested:
                self._host.loop.wants_write(peer.data, True)

    @staticmethod
    def _send_control(peer: PoolWorker[TaskT], message: ProbeWorker | InterruptTask) -> None:
        with contextlib.suppress(OSError):
            peer.control.send([message])

    def next_deadline(self) -> float | None:
        """Return when :meth:`probe_silent` should be called next, or an earlier time."""
        # Workers that got a task or were heard meanwhile are due later, so most rounds need not ask them all.
        if self._next_probe is None or self._next_probe <= steady_time():
            self._next_probe = self.queue.next_deadline()
        return self._next_probe

    def probe_silent(self, now: float) -> None:
        """Ask silent workers which task they run (D5)."""
        for slot in self.queue.silent_workers(now):
            self._send_control(slot, ProbeWorker())  # type: ignore[arg-type]

    def report_states(self) -> None:
        """Report to monitoring which workers are busy; called when an update is due, not for every task."""
        for peer in self.peers:
            if peer.greeted and (peer.state is WorkerState.busy) != bool(peer.inflight):
                peer.advance(WorkerSignal.given if peer.inflight else WorkerSignal.finished)
                self._report(peer)

    def stop_task(self, task: TaskT, now: float) -> None:
        """Interrupt a cancelled task; stop its worker if the interrupt has no effect."""
        peer = task.worker
        assert isinstance(peer, PoolWorker)
        self._stops.stop(task, peer, now)

    def forget_code(self, fn: int, message: ForgetFunctions) -> None:
        """Have workers forget a function that nobody calls any more."""
        for peer in self.peers:
            if fn in peer.known:
                peer.known.discard(fn)
                self._deliver(peer, [message])

    def send_code_again(self) -> None:
        """Send each function again before its next call: its number may belong to another function now."""
        for peer in self.peers:
            peer.known.clear()

    # ----- messages of workers

    def _writable(self, stream: Stream) -> None:
        with contextlib.suppress(OSError):  # the reader notices the end of the connection
            if stream.flush():
                self._host.loop.wants_write(stream, False)

    def _readable(self, peer: PoolWorker[TaskT], stream: Stream) -> None:
        if peer not in self.peers:
            return  # removed earlier in this round, whose events the loop had collected before
        try:
            self.received(peer, stream.receive())
        except EOFError:
            if stream is peer.data:
                self.lost(peer)
            else:
                # The data link may still hold outcomes: only its end, or that of the process, removes the worker.
                self._host.loop.forget(stream)
        except ProtocolError as error:
            log.error("worker %s is stopped: %s", peer.name, error)
            # Its exit removes it, and its tasks fail as those of any worker that died.
            if peer.process:
                peer.process.signal(signal.SIGKILL)
            self._host.loop.forget(stream)

    def received(self, peer: PoolWorker[TaskT], batches: Iterable[Batch]) -> None:
        """Carry out messages of a worker, of either link."""
        now = steady_time()
        for messages, frames in batches:
            at = 0
            for message in messages:
                if type(message) is Outcome:
                    buffers: list[Buffer] = []
                    if message.frames:
                        buffers = list(frames[at : at + message.frames])
                        at += message.frames
                    self._ended(peer, message, buffers, now)
                elif type(message) is OutputPrinted:
                    key = message.task, message.stream
                    peer.shipped[key] = peer.shipped.get(key, 0) + len(message.text)
                    self._tasks.printed(message)
                elif type(message) is WorkerReport:
                    self._reported(peer, message, now)
                # Both links begin with a hello; a second greeting of the same worker would be an impossible signal.
                elif type(message) is WorkerHello and not message.control:
                    self._greeted(peer, message)

    def _ended(self, peer: PoolWorker[TaskT], outcome: Outcome, frames: list[Buffer], now: float) -> None:
        if peer.shipped:
            peer.shipped.pop((outcome.task, 1), None)
            peer.shipped.pop((outcome.task, 2), None)
        # A task that was cancelled or given to another worker since must not end twice.
        task = peer.inflight.get(outcome.task)
        if task is None or task.attempt != outcome.attempt:
            self._tasks.dropped()
            return
        self.queue.ended(peer, outcome.task, outcome.ended - outcome.started, now)
        if task.spec is not None and (limit := self._stops.overtime(task.id)) and outcome.failure is not None:
            outcome.failure = failure_from(AppTimeout(outcome.task, limit))
        self._tasks.ended(task, outcome, frames, peer.name)

    def _reported(self, peer: PoolWorker[TaskT], report: WorkerReport, now: float) -> None:
        back = self.queue.reported(peer, report.running, report.returned, now)
        for task in back:
            self._tasks.returned(task, now)
        running = peer.inflight.get(report.running)
        if running is not None:
            peer.ready_since = report.since
            self._tasks.begun(running, report.since, peer.name)

    def _greeted(self, peer: PoolWorker[TaskT], hello: WorkerHello) -> None:
        ours = self._run.package
        # Pickles and messages of another version may decode without an error, and mean something else.
        if hello.protocol != PROTOCOL or hello.package != ours:
            self._break(
                f"worker {hello.worker} runs parslab {hello.package}, this run {ours}: install the same version"
            )
            return
        if peer.software is not None:
            self._software.greeted(peer.software)
        peer.greeted = peer.usable = True
        # A worker in a container knows itself by other names than its host does.
        if peer.process is None:
            peer.host, peer.pid = hello.host, hello.pid
        peer.ready_since = steady_time()
        self._stillborn = 0
        peer.advance(WorkerSignal.greeted)
        if peer.inflight:  # it was sent tasks while its process was starting
            peer.advance(WorkerSignal.given)
        self._report(peer)

    # ----- workers end

    def reap(self) -> None:
        """Remove workers whose process has ended, even if a grandchild still holds their sockets."""
        for peer in list(self.peers):
            if peer.process is not None and peer.process.ended is not None:
                self.lost(peer)

    def lost(self, peer: PoolWorker[TaskT]) -> None:
        """Remove a worker that ended: its last outcomes count, then its tasks fail or go to other workers."""
        if peer not in self.peers:
            return
        process = peer.process
        if process is not None:
            # Outcomes that it sent before its death count: those tasks must neither fail nor run again.
            with contextlib.suppress(EOFError, ProtocolError, OSError):
                while batches := peer.data.receive():
                    self.received(peer, batches)
            # The link breaks a moment before the process has ended, and the exit status explains the death.
            if not process.wait(1.0):
                process.signal(signal.SIGKILL)
                process.wait(5.0)
        self.peers.remove(peer)
        for link in (peer.data, peer.control):
            self._host.loop.forget(link)
        words = process.last_words(2, 0).decode(errors="replace") if process else ""
        how, reason = how_it_ended(process.ended or 0, words) if process else "lost its connection", Reason.worker_lost
        if (
            process is not None
            and process.ended == -signal.SIGKILL
            and peer.usable  # otherwise the pool itself sent the signal
            and self._memory.struck(steady_time())
        ):
            how, reason = "was killed by the out-of-memory killer", Reason.out_of_memory
        if peer.dismissed:
            how = "was idle, and is not needed any more"
        self._release_tasks(peer, how, words, reason)
        peer.advance(WorkerSignal.died)
        self._report(peer, how)
        if process is not None:
            # First the group, then the rest: strays are processes that left the group, or whose parent just ended.
            process.close()
            end_strays(peer.name)
        if not self._closing:
            self._replace(peer, how, words)

    def _release_tasks(self, peer: PoolWorker[TaskT], how: str, words: str, reason: Reason) -> None:
        now = steady_time()
        page = peer.process.page if peer.process else None
        held = self.queue.remove(peer)
        again = not_begun(held, page, peer.process.attempt if peer.process else 0)
        for task in held:
            task.worker = None
            if task in again:
                self._tasks.returned(task, now)
                continue
            # A cancelled task has its final state already, and cannot fail any more.
            if task.state in FINAL:
                self._tasks.returned(task, now)
                continue
            # Only the task on the page was running, so the output that nobody has read belongs to it.
            if peer.process is not None and page == task.id:
                for stream in (1, 2):
                    text = peer.process.last_words(stream, peer.shipped.get((task.id, stream), 0))
                    if text:
                        self._tasks.printed(OutputPrinted(task.id, stream, text))
            error: ParslabError = WorkerLost(task.id, how, peer.host, peer.pid, words, str(reason))
            log.warning("%s", error)
            # The pool stopped this worker itself: the limit is the cause, not the lost worker.
            if limit := self._stops.overtime(task.id):
                error = AppTimeout(task.id, limit)
            self._tasks.failed(task, failure_from(error), now, peer.name)
        self.queue.tasks.extendleft(reversed(again))

    def _replace(self, peer: PoolWorker[TaskT], how: str, words: str) -> None:
        if peer.process is None:
            return
        if self.broken:
            return
        if peer.software is not None:
            # The next task starts another one.
            if not peer.greeted:
                self._software.died_early(peer.software, how, words)
            return
        if not peer.greeted:
            self._stillborn += 1
            if self._stillborn >= _STARTS and any(other.greeted for other in self.peers):
                self._start_later(peer.rank)  # others of the same kind live, so the cause may end
                return
            if self._stillborn >= _STARTS:
                output = words.strip()[-1000:]
                self._break(
                    "its workers cannot start (look at its environment, then load a new run): the last one "
                    f"{how}{f', its last words:{chr(10)}{output}' if output else ' and said nothing'}"
                )
                return
        else:
            self._host.emit(
                NoticeRaised(steady_time(), "warning", f"Worker {peer.name} {how}; another one takes its place.")
            )
        self._spawn(peer.rank)

    def _break(self, why: str) -> None:
        self.broken = why
        log.error("no worker can be started: %s", why)
        self._on_broken(self)

    def fail_waiting(self) -> None:
        """Fail the tasks that wait for a broken executor."""
        for task in self.queue.take_all() if self.broken else ():
            if task.state not in FINAL:
                why = f"executor {self.label} is stopped: {self.broken}"
                self._tasks.failed(task, failure_from(BadStateException(task.id, why, "", 0, "")), steady_time(), "")

    def _report(self, peer: PoolWorker[TaskT], reason: str = "") -> None:
        self._host.emit(
            WorkerMoved(
                time=steady_time(),
                worker=peer.name,
                executor=self.label,
                state=peer.state,
                host=peer.host,
                pid=peer.pid,
                reason=reason,
            )
        )

    def close(self, deadline: float | None = None) -> None:
        """End all workers by TERM and, half a second later, by KILL; containers get longer, to be removed."""
        # All get the signal before the first wait, so that they end at the same time.
        self._closing = True
        self._software.close()
        local = [peer.process for peer in self.peers if peer.process is not None]
        for process in local:
            process.signal(signal.SIGTERM)
        patience = _REMOVAL if any(process.in_container for process in local) else 0.5
        until = min(steady_time() + patience, deadline or steady_time() + patience)
        for process in local:
            process.wait(max(0.0, until - steady_time()))
        for peer in list(self.peers):
            self._host.loop.forget(peer.data)
            self._host.loop.forget(peer.control)
            peer.advance(WorkerSignal.died)
            self._report(peer, "the run is over")
            if peer.process is not None:
                peer.process.close()
        self.peers.clear()
