"""The workers of one low-latency executor [shell]: starts them, talks to them, buries them.

What each worker gets is decided by ``low_latency.Queue``; what an outcome means, by the task table. Here messages of
workers become calls of those two. A worker that died is explained and replaced; an executor whose workers die before
they have said hello is broken, and says so on every task that waits for it.
"""

from __future__ import annotations

import contextlib
import logging
import pickle
import signal
import socket
from time import time
from typing import TYPE_CHECKING, Any, Protocol

from parslab.dataflow.low_latency import Queue, Slot, not_begun
from parslab.dataflow.processes import Process, how_it_ended
from parslab.dataflow.values import Value
from parslab.errors import ProtocolError, WorkerLost
from parslab.records.events import Event, NoticeRaised, WorkerMoved
from parslab.records.states import FINAL
from parslab.serialize.failures import one_line
from parslab.wire.messages import (
    PROTOCOL,
    Failure,
    Interrupt,
    Look,
    Outcome,
    Packed,
    Printed,
    Report,
    Run,
    WorkerControlMessage,
    WorkerHello,
)
from parslab.wire.stream import Batch, Buffer, Stream, decoder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from parslab.dataflow.codes import Codes
    from parslab.dataflow.loop import Loop
    from parslab.dataflow.table import Table, Task

__all__ = ["Peer", "Pool", "PoolOwner"]

log = logging.getLogger(__name__)

_decode = decoder(WorkerControlMessage)

_PATIENCE = 1.0
"""Seconds that an interrupted task has before its worker is terminated, and again before it is killed."""
_STARTS = 3
"""Workers in a row that may die before their hello until the executor counts as broken."""


class PoolOwner(Protocol):
    """What a pool needs of the kernel."""

    table: Table
    codes: Codes
    loop: Loop
    run: dict[str, Any]

    def event(self, event: Event) -> None:
        """Tell monitoring."""

    def printed(self, message: Printed) -> None:
        """A task printed something."""

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call at this time, in the loop."""


class Peer(Slot):
    """One worker as the pool sees it: a slot of the queue and a way to reach it."""

    __slots__ = ("control", "data", "done", "greeted", "host", "known", "pid", "process", "shipped", "told")

    def __init__(self, name: str, now: float, data: Any, control: Any, process: Process | None) -> None:
        super().__init__(name, now)
        self.data = data
        self.control = control
        self.process = process
        self.pid = process.pid if process else 0
        self.host = socket.gethostname() if process else ""
        self.greeted = False
        self.usable = process is not None
        self.known: set[int] = set()
        self.told = "starting"
        self.shipped: dict[tuple[int, int], int] = {}
        """Bytes of output received of tasks that have not ended, by task and stream."""


class Pool:
    """All workers of one executor.

    Parameters
    ----------
    number
        Of the executor in the run.
    settings
        What ``LowLatencyExecutor.settings`` told.
    owner
        The kernel.
    """

    def __init__(self, number: int, settings: dict[str, Any], owner: PoolOwner) -> None:
        self.number = number
        self.label: str = settings["label"]
        self.settings = settings
        self.queue = Queue()
        self.peers: list[Peer] = []
        self.broken = ""
        """Why no worker will ever come."""
        self._owner = owner
        self._made = 0
        self._stillborn = 0
        self._closing = False

    # ----- workers come

    def start(self) -> None:
        """Start the workers of this host."""
        for _ in range(self.settings["workers"]):
            self._spawn()

    def _spawn(self) -> None:
        name = f"{self.label}-{self._made}"
        self._made += 1
        try:
            process = Process(name, self.number, self.settings, self._owner.run)
        except OSError as error:
            self._break(f"a worker process cannot be started: {error}")
            return
        peer = Peer(name, time(), Stream(process.data, _decode), Stream(process.control, _decode), process)
        self.add(peer)
        loop = self._owner.loop
        loop.watch(process.data, lambda: self._readable(peer, peer.data), lambda: self._writable(peer, peer.data))
        loop.watch(process.control, lambda: self._readable(peer, peer.control))

    def add(self, peer: Peer) -> None:
        """A worker is there (or on its way)."""
        self.peers.append(peer)
        self.queue.add(peer)
        self._tell(peer, "starting")

    # ----- tasks go out

    def assign(self, now: float) -> None:
        """Send ready tasks to workers with room."""
        table = self._owner.table
        for slot, tasks in self.queue.assign(now):
            peer: Peer = slot  # type: ignore[assignment]
            messages: list[Any] = []
            frames: list[Buffer] = []
            for task in tasks:
                if task.fn not in peer.known:
                    peer.known.add(task.fn)
                    code, payload = self._owner.codes.message(task.fn)
                    messages.append(code)
                    frames.append(payload)
                messages.append(_run(task, frames))
                table.sent(task, now, peer.name)
            self._deliver(peer, messages, frames)

    def _deliver(self, peer: Peer, messages: list[Any], frames: Sequence[Buffer] = ()) -> None:
        """Send on the data link; that a worker has just died is found, and mended, by whoever reads from it."""
        with contextlib.suppress(OSError):
            peer.data.send(messages, frames)
            if peer.data.congested:
                self._owner.loop.wants_write(peer.data, True)

    @staticmethod
    def _tell_control(peer: Peer, message: Any) -> None:
        with contextlib.suppress(OSError):
            peer.control.send([message])

    def next_deadline(self) -> float | None:
        """When :meth:`look` should be called next."""
        return self.queue.next_deadline()

    def look(self, now: float) -> None:
        """Ask workers that have been silent what they are at (D5)."""
        for slot in self.queue.to_look_at(now):
            self._tell_control(slot, Look())  # type: ignore[arg-type]

    def tell_states(self) -> None:
        """Tell monitoring who is busy; called when a delta is due, not for every task."""
        for peer in self.peers:
            if peer.greeted:
                state = "busy" if peer.inflight else "idle"
                if state != peer.told:
                    self._tell(peer, state)

    def stop_task(self, task: Task, now: float) -> None:
        """Interrupt a cancelled task; stop its worker when that does not help."""
        peer: Peer = task.worker  # type: ignore[assignment]
        self._tell_control(peer, Interrupt(task.id))
        if peer.process is None:
            return

        def insist(number: signal.Signals) -> None:
            if task.worker is peer and peer in self.peers and peer.process:
                peer.usable = False
                log.warning("worker %s does not let go of cancelled task %d: %s", peer.name, task.id, number.name)
                peer.process.signal(number)

        self._owner.at(now + _PATIENCE, lambda: insist(signal.SIGTERM))
        self._owner.at(now + 2 * _PATIENCE, lambda: insist(signal.SIGKILL))

    def forget_code(self, fn: int, message: Any) -> None:
        """A function is not called any more."""
        for peer in self.peers:
            if fn in peer.known:
                peer.known.discard(fn)
                self._deliver(peer, [message])

    # ----- what workers say

    def _writable(self, peer: Peer, stream: Stream) -> None:
        with contextlib.suppress(OSError):  # the reader will see the end
            if stream.flush():
                self._owner.loop.wants_write(stream, False)

    def _readable(self, peer: Peer, stream: Stream) -> None:
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

    def received(self, peer: Peer, batches: Iterable[Batch]) -> None:
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
                elif kind is Printed:
                    key = message.task, message.stream
                    peer.shipped[key] = peer.shipped.get(key, 0) + len(message.text)
                    self._owner.printed(message)
                elif kind is Report:
                    self._reported(peer, message, now)
                elif not message.control:
                    self._greeted(peer, message)

    def _ended(self, peer: Peer, outcome: Outcome, frames: list[Buffer], now: float) -> None:
        task = self.queue.ended(peer, outcome.task, outcome.ended - outcome.started, now)
        if peer.shipped:
            peer.shipped.pop((outcome.task, 1), None)
            peer.shipped.pop((outcome.task, 2), None)
        table = self._owner.table
        if task is None:
            table.dropped += 1
        elif outcome.failure is None:
            value = Value(outcome.inline, frames)
            table.succeeded(task, value, outcome.started, outcome.ended, peer.name)
        else:
            table.failed(task, outcome.failure, outcome.started, outcome.ended, peer.name)

    def _reported(self, peer: Peer, report: Report, now: float) -> None:
        back = self.queue.reported(peer, report.running, report.returned, now)
        for task in back:
            self._owner.table.returned(task, now)
        running = peer.inflight.get(report.running)
        if running is not None:
            self._owner.table.begun(running, report.since, peer.name)

    def _greeted(self, peer: Peer, hello: WorkerHello) -> None:
        ours = self._owner.run["package"]
        if hello.protocol != PROTOCOL or hello.package != ours:
            self._break(
                f"worker {hello.worker} runs parslab {hello.package}, this run {ours}: install the same version"
            )
            return
        peer.greeted = peer.usable = True
        peer.host, peer.pid = hello.host, hello.pid
        self._stillborn = 0
        self._tell(peer, "busy" if peer.inflight else "idle")

    # ----- workers go

    def reap(self) -> None:
        """A child has ended: bury it even if a grandchild still holds its sockets."""
        for peer in list(self.peers):
            if peer.process is not None and peer.process.ended is not None:
                self.lost(peer)

    def lost(self, peer: Peer) -> None:
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
        how = how_it_ended(process.ended or 0) if process else "lost its connection"
        words = process.words(2, 0).decode(errors="replace") if process else ""
        self._give_up(peer, how, words)
        self._tell(peer, "dead", how)
        if process is not None:
            process.close()
        if not self._closing:
            self._replace(peer, how, words)

    def _give_up(self, peer: Peer, how: str, words: str) -> None:
        now = time()
        page = peer.process.page if peer.process else None
        held = self.queue.remove(peer)
        again = not_begun(held, page)
        for task in held:
            task.worker = None
            if task in again:
                self._owner.table.returned(task, now)
                continue
            if task.state in FINAL:
                continue
            if peer.process is not None and page == task.id:
                for stream in (1, 2):
                    text = peer.process.words(stream, peer.shipped.get((task.id, stream), 0))
                    if text:
                        self._owner.printed(Printed(task.id, stream, text))
            error = WorkerLost(task.id, how, peer.host, peer.pid, words)
            log.warning("%s", error)
            self._owner.table.failed(task, _lost(error), 0.0, now, peer.name)
        self.queue.tasks.extendleft(reversed(again))

    def _replace(self, peer: Peer, how: str, words: str) -> None:
        if peer.process is None:
            return
        if self.broken:
            self.fail_waiting()
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
        self._spawn()

    def _break(self, why: str) -> None:
        self.broken = f"executor {self.label} is stopped: {why}"
        log.error("%s", self.broken)
        self._owner.event(NoticeRaised(time(), "error", f"E{self.broken[1:]}"))
        self.fail_waiting()

    def fail_waiting(self) -> None:
        """Fail what waits for a broken executor."""
        while self.broken and self.queue.tasks:
            task = self.queue.tasks.popleft()
            if task.state not in FINAL:
                self._owner.table.failed(task, _lost(WorkerLost(task.id, self.broken, "", 0, "")), 0.0, time())

    def _tell(self, peer: Peer, state: str, reason: str = "") -> None:
        peer.told = state
        self._owner.event(WorkerMoved(time(), peer.name, self.label, state, peer.host, peer.pid, reason))

    def close(self) -> None:
        """End all workers: those that are idle at once, the others by TERM and, half a second later, KILL."""
        self._closing = True
        local = [peer.process for peer in self.peers if peer.process is not None]
        for process in local:
            process.signal(signal.SIGTERM)
        deadline = time() + 0.5
        for process in local:
            process.wait(max(0.0, deadline - time()))
        for peer in list(self.peers):
            self._owner.loop.forget(peer.data)
            self._owner.loop.forget(peer.control)
            self._tell(peer, "dead", "the run is over")
            if peer.process is not None:
                peer.process.close()
        self.peers = []


def _lost(error: WorkerLost) -> Failure:
    return Failure(one_line(error), "", pickle.dumps(error))


def _run(task: Task, frames: list[Buffer]) -> Run:
    """The message that carries a task and the values it needs; large buffers go to ``frames``."""
    frames.extend(task.frames)
    values: tuple[Packed, ...] = ()
    if task.needs:
        values = tuple(need.value.packed(frames) for need in task.needs if need.value is not None)
    return Run(task.id, task.attempt, task.fn, task.args, len(task.frames), values)
