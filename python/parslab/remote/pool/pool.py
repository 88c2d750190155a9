"""The worker processes of one host [shell]: starts them, talks to them, buries them.

Owned by the DataFlowKernel (the workers of a low-latency executor) or by the manager of a node (D11). What each worker
gets is decided by ``queue.Queue``; what an outcome means, by the owner. Here messages of workers become calls of those
two. A worker that died is explained and replaced; a pool whose workers die before they have said hello is broken.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import socket
from time import time
from typing import TYPE_CHECKING, Any, Protocol

from parslab.errors import AppTimeout, ParslabError, ProtocolError, WorkerLost
from parslab.records.events import Event, NoticeRaised, WorkerMoved
from parslab.records.reasons import Reason
from parslab.records.states import FINAL
from parslab.remote.pool.memory import OutOfMemory
from parslab.remote.pool.processes import ProcessPlan, WorkerProcess, end_strays, how_it_ended
from parslab.remote.pool.queue import PoolQueue, QueuedTask, WorkerSlot, not_begun
from parslab.remote.pool.stopping import StopRequests
from parslab.serialize.failures import failure_from
from parslab.wire.messages.base import PROTOCOL, DefineFunction, Failure, OutputPrinted
from parslab.wire.messages.worker import (
    InterruptTask,
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

    from parslab.remote.loop import Loop

__all__ = ["PoolOwner", "PoolWorker", "WorkerPool"]

log = logging.getLogger(__name__)

_decode = decoder(WorkerControlMessage)

_STARTS = 3
"""Workers in a row that may die before their hello until the executor counts as broken."""


class PoolOwner(Protocol):
    """What a pool needs of the DataFlowKernel or the manager that owns it."""

    loop: Loop
    run: dict[str, Any]

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call at this time, in the loop."""

    def event(self, event: Event) -> None:
        """Tell monitoring."""

    def code(self, fn: int) -> tuple[DefineFunction, Buffer]:
        """What a worker needs to know before it can run this function."""

    def message(self, task: Any, frames: list[Buffer]) -> RunTask:
        """The message that carries a task; large buffers go to ``frames``."""

    def sent(self, task: Any, now: float, worker: str) -> None:
        """A task was given to a worker."""

    def begun(self, task: Any, since: float, worker: str) -> None:
        """Its body runs."""

    def returned(self, task: Any, now: float) -> None:
        """A worker gave it back, not begun; the queue has it again."""

    def ended(self, task: Any, outcome: Outcome, frames: list[Buffer], worker: str) -> None:
        """It has ended on the worker."""

    def failed(self, task: Any, failure: Failure, now: float, worker: str) -> None:
        """It ends without an outcome: its worker died, or no worker will ever come."""

    def dropped(self) -> None:
        """An outcome came late or twice, and is ignored."""

    def printed(self, message: OutputPrinted) -> None:
        """A task printed something."""

    def demands(self, task: Any) -> tuple[int, float]:
        """How many workers a task with a specification takes the place of, and the seconds it may run (0: any)."""

    def broke(self, pool: WorkerPool) -> None:
        """No worker can be started; ``pool.broken`` says why."""


class PoolWorker(WorkerSlot):
    """One worker as the pool sees it: a slot of the queue and a way to reach it."""

    __slots__ = ("control", "data", "greeted", "host", "known", "pid", "process", "rank", "shipped", "since", "told")

    def __init__(
        self, name: str, now: float, data: Any, control: Any, process: WorkerProcess | None, rank: int = 0
    ) -> None:
        super().__init__(name, now)
        self.rank = rank
        """Its place among the workers of its host; who replaces it takes the same one."""
        self.data = data
        self.control = control
        self.process = process
        self.pid = process.pid if process else 0
        self.host = socket.gethostname() if process else ""
        self.greeted = False
        self.usable = process is not None
        self.since = now
        """When it said hello; later, when it began the task that it said it runs."""
        self.known: set[int] = set()
        self.told = "starting"
        self.shipped: dict[tuple[int, int], int] = {}
        """Bytes of output received of tasks that have not ended, by task and stream."""


class WorkerPool:
    """All workers of one executor, or of one manager.

    Parameters
    ----------
    number
        Of the executor in the run.
    label
        Of the executor.
    name
        Workers are called ``<name>-0``, ``<name>-1``, ...
    plans
        What each worker of this host is given.
    owner
        The DataFlowKernel or the manager.
    """

    def __init__(self, number: int, label: str, name: str, plans: Sequence[ProcessPlan], owner: PoolOwner) -> None:
        self.number = number
        self.label = label
        self._name = name
        self._plans = plans
        self.queue = PoolQueue(owner.demands)
        self.peers: list[PoolWorker] = []
        self._stops = StopRequests(
            time, owner.at, lambda peer, task: self._tell_control(peer, InterruptTask(task)), log.warning, self.peers
        )
        self.broken = ""
        """Why no worker will ever come."""
        self._owner = owner
        self._made = 0
        self._stillborn = 0
        self._closing = False
        self._memory = OutOfMemory()

    # ----- workers come

    def start(self) -> None:
        """Start the workers of this host."""
        for rank in range(len(self._plans)):
            self._spawn(rank)

    def _spawn(self, rank: int) -> None:
        name = f"{self._name}-{self._made}"
        self._made += 1
        try:
            process = WorkerProcess(name, self.number, self._plans[rank], self._owner.run)
        except OSError as error:
            self._break(f"a worker process cannot be started: {error}")
            return
        data, control = Stream(process.data, _decode), Stream(process.control, _decode)
        peer = PoolWorker(name, time(), data, control, process, rank)
        self.add(peer)
        loop = self._owner.loop
        loop.watch(process.data, lambda: self._readable(peer, peer.data), lambda: self._writable(peer, peer.data))
        loop.watch(process.control, lambda: self._readable(peer, peer.control))

    def add(self, peer: PoolWorker) -> None:
        """A worker is there (or on its way)."""
        self.peers.append(peer)
        self.queue.add(peer)
        self._tell(peer, "starting")

    # ----- tasks go out

    def assign(self, now: float) -> None:
        """Send ready tasks to workers with room."""
        owner = self._owner
        for slot, tasks in self.queue.assign(now):
            peer: PoolWorker = slot  # type: ignore[assignment]
            messages: list[Any] = []
            frames: list[Buffer] = []
            for task in tasks:
                if task.fn not in peer.known:
                    peer.known.add(task.fn)
                    code, payload = owner.code(task.fn)
                    messages.append(code)
                    frames.append(payload)
                messages.append(owner.message(task, frames))
                owner.sent(task, now, peer.name)
                if task.spec is not None and (limit := owner.demands(task)[1]) > 0:
                    self._stops.limit(task, limit, now)
            self._deliver(peer, messages, frames)

    def _deliver(self, peer: PoolWorker, messages: list[Any], frames: Sequence[Buffer] = ()) -> None:
        """Send on the data link; that a worker has just died is found, and mended, by whoever reads from it."""
        with contextlib.suppress(OSError):
            peer.data.send(messages, frames)
            if peer.data.congested:
                self._owner.loop.wants_write(peer.data, True)

    @staticmethod
    def _tell_control(peer: PoolWorker, message: Any) -> None:
        with contextlib.suppress(OSError):
            peer.control.send([message])

    def next_deadline(self) -> float | None:
        """When :meth:`look` should be called next."""
        return self.queue.next_deadline()

    def look(self, now: float) -> None:
        """Ask workers that have been silent what they are at (D5)."""
        for slot in self.queue.to_look_at(now):
            self._tell_control(slot, ProbeWorker())  # type: ignore[arg-type]

    def tell_states(self) -> None:
        """Tell monitoring who is busy; called when a delta is due, not for every task."""
        for peer in self.peers:
            if peer.greeted:
                state = "busy" if peer.inflight else "idle"
                if state != peer.told:
                    self._tell(peer, state)

    def stop_task(self, task: QueuedTask, now: float) -> None:
        """Interrupt a cancelled task; stop its worker when that does not help."""
        self._stops.stop(task, now)

    def forget_code(self, fn: int, message: Any) -> None:
        """A function is not called any more."""
        for peer in self.peers:
            if fn in peer.known:
                peer.known.discard(fn)
                self._deliver(peer, [message])

    # ----- what workers say

    def _writable(self, peer: PoolWorker, stream: Stream) -> None:
        with contextlib.suppress(OSError):  # the reader will see the end
            if stream.flush():
                self._owner.loop.wants_write(stream, False)

    def _readable(self, peer: PoolWorker, stream: Stream) -> None:
        if peer not in self.peers:
            return  # buried earlier in this very round
        try:
            self.received(peer, stream.receive())
        except EOFError:
            if stream is peer.data:
                self.lost(peer)
            else:
                self._owner.loop.forget(stream)
        except ProtocolError as error:
            log.error("worker %s is stopped: %s", peer.name, error)
            if peer.process:
                peer.process.signal(signal.SIGKILL)
            self._owner.loop.forget(stream)

    def received(self, peer: PoolWorker, batches: Iterable[Batch]) -> None:
        """Messages of a worker, of either link."""
        now = time()
        for messages, frames in batches:
            at = 0
            for message in messages:
                kind = type(message)
                if kind is Outcome:
                    buffers: list[Buffer] = []
                    if message.frames:
                        buffers = list(frames[at : at + message.frames])
                        at += message.frames
                    self._ended(peer, message, buffers, now)
                elif kind is OutputPrinted:
                    key = message.task, message.stream
                    peer.shipped[key] = peer.shipped.get(key, 0) + len(message.text)
                    self._owner.printed(message)
                elif kind is WorkerReport:
                    self._reported(peer, message, now)
                elif not message.control:
                    self._greeted(peer, message)

    def _ended(self, peer: PoolWorker, outcome: Outcome, frames: list[Buffer], now: float) -> None:
        if peer.shipped:
            peer.shipped.pop((outcome.task, 1), None)
            peer.shipped.pop((outcome.task, 2), None)
        task = peer.inflight.get(outcome.task)
        if task is None or task.attempt != outcome.attempt:
            self._owner.dropped()
            return
        self.queue.ended(peer, outcome.task, outcome.ended - outcome.started, now)
        if task.spec is not None and (limit := self._stops.overtime(task.id)) and outcome.failure is not None:
            outcome.failure = failure_from(AppTimeout(outcome.task, limit))
        self._owner.ended(task, outcome, frames, peer.name)

    def _reported(self, peer: PoolWorker, report: WorkerReport, now: float) -> None:
        back = self.queue.reported(peer, report.running, report.returned, now)
        for task in back:
            self._owner.returned(task, now)
        running = peer.inflight.get(report.running)
        if running is not None:
            peer.since = report.since
            self._owner.begun(running, report.since, peer.name)

    def _greeted(self, peer: PoolWorker, hello: WorkerHello) -> None:
        ours = self._owner.run["package"]
        if hello.protocol != PROTOCOL or hello.package != ours:
            self._break(
                f"worker {hello.worker} runs parslab {hello.package}, this run {ours}: install the same version"
            )
            return
        peer.greeted = peer.usable = True
        peer.host, peer.pid = hello.host, hello.pid
        peer.since = time()
        self._stillborn = 0
        self._tell(peer, "busy" if peer.inflight else "idle")

    # ----- workers go

    def reap(self) -> None:
        """A child has ended: bury it even if a grandchild still holds its sockets."""
        for peer in list(self.peers):
            if peer.process is not None and peer.process.ended is not None:
                self.lost(peer)

    def lost(self, peer: PoolWorker) -> None:
        """A worker has gone: its last outcomes still count, then its tasks are failed or given to others."""
        if peer not in self.peers:
            return
        process = peer.process
        if process is not None:
            with contextlib.suppress(EOFError, ProtocolError, OSError):
                while batches := peer.data.receive():
                    self.received(peer, batches)
            if not process.wait(1.0):
                process.signal(signal.SIGKILL)
                process.wait(5.0)
        self.peers.remove(peer)
        for link in (peer.data, peer.control):
            self._owner.loop.forget(link)
        how, reason = how_it_ended(process.ended or 0) if process else "lost its connection", Reason.worker_lost
        if process is not None and process.ended == -signal.SIGKILL and peer.usable and self._memory.struck(time()):
            how, reason = "was killed by the out-of-memory killer", Reason.out_of_memory
        words = process.words(2, 0).decode(errors="replace") if process else ""
        self._give_up(peer, how, words, reason)
        self._tell(peer, "dead", how)
        if process is not None:
            process.close()
            end_strays(peer.name)
        if not self._closing:
            self._replace(peer, how, words)

    def _give_up(self, peer: PoolWorker, how: str, words: str, reason: Reason) -> None:
        now = time()
        page = peer.process.page if peer.process else None
        held = self.queue.remove(peer)
        again = not_begun(held, page, peer.process.attempt if peer.process else 0)
        for task in held:
            task.worker = None
            if task in again:
                self._owner.returned(task, now)
                continue
            if task.state in FINAL:
                self._owner.returned(task, now)
                continue
            if peer.process is not None and page == task.id:
                for stream in (1, 2):
                    text = peer.process.words(stream, peer.shipped.get((task.id, stream), 0))
                    if text:
                        self._owner.printed(OutputPrinted(task.id, stream, text))
            error: ParslabError = WorkerLost(task.id, how, peer.host, peer.pid, words, str(reason))
            log.warning("%s", error)
            if limit := self._stops.overtime(task.id):
                error = AppTimeout(task.id, limit)
            self._owner.failed(task, failure_from(error), now, peer.name)
        self.queue.tasks.extendleft(reversed(again))

    def _replace(self, peer: PoolWorker, how: str, words: str) -> None:
        if peer.process is None:
            return
        if self.broken:
            return
        if not peer.greeted:
            self._stillborn += 1
            if self._stillborn >= _STARTS:
                said = words.strip()[-1000:]
                self._break(
                    "its workers cannot start (look at its environment, then load a new run): the last one "
                    f"{how}{f', its last words:{chr(10)}{said}' if said else ' and said nothing'}"
                )
                return
        else:
            self._owner.event(
                NoticeRaised(time(), "warning", f"Worker {peer.name} {how}; another one takes its place.")
            )
        self._spawn(peer.rank)

    def _break(self, why: str) -> None:
        self.broken = why
        log.error("no worker can be started: %s", why)
        self._owner.broke(self)

    def fail_waiting(self) -> None:
        """Fail what waits for a broken executor."""
        while self.broken and self.queue.tasks:
            task = self.queue.tasks.popleft()
            if task.state not in FINAL:
                why = f"executor {self.label} is stopped: {self.broken}"
                self._owner.failed(task, failure_from(WorkerLost(task.id, why, "", 0, "")), time(), "")

    def _tell(self, peer: PoolWorker, state: str, reason: str = "") -> None:
        peer.told = state
        self._owner.event(WorkerMoved(time(), peer.name, self.label, state, peer.host, peer.pid, reason))

    def close(self, deadline: float | None = None) -> None:
        """End all workers: those that are idle at once, the others by TERM and, half a second later, KILL."""
        self._closing = True
        local = [peer.process for peer in self.peers if peer.process is not None]
        for process in local:
            process.signal(signal.SIGTERM)
        until = min(time() + 0.5, deadline or time() + 0.5)
        for process in local:
            process.wait(max(0.0, until - time()))
        for peer in list(self.peers):
            self._owner.loop.forget(peer.data)
            self._owner.loop.forget(peer.control)
            self._tell(peer, "dead", "the run is over")
            if peer.process is not None:
                peer.process.close()
        self.peers.clear()
