"""The managers of one high-throughput executor [shell]: the hub's door to them, and the kernel's pool of them.

What each gets is decided by ``high_throughput.Dispatch``; what an outcome means, by the ledger. The blocks that bring
managers are the business of ``scaling``: here it is told who came and who left, and answers how much work there is.
"""

from __future__ import annotations

import logging
import shlex
import socket
import sys
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any

from parslab.dataflow.high_throughput.quarantine import Quarantine
from parslab.dataflow.high_throughput.scheduler import ManagerSlot, Scheduler
from parslab.dataflow.worker_events import run_message
from parslab.errors import ConfigurationError, ManagerLost, WorkerLost
from parslab.paths import python_path_prefix
from parslab.records.events import ExecutorStopped, ManagerMoved, NodeSampled, NoticeRaised, TaskSampled, WorkerMoved
from parslab.records.states import FINAL, ManagerState
from parslab.scaling.controller_owner import BlockLoad, ExecutorLoad
from parslab.serialize.failures import failure_from
from parslab.wire import invitations
from parslab.wire.messages.base import PROTOCOL, OutputPrinted
from parslab.wire.messages.manager import (
    LinkHeartbeat,
    ManagerAccepted,
    ManagerBroken,
    ManagerDraining,
    ManagerHello,
    ManagerLeft,
    NodeSample,
    TaskSample,
    WorkerStateChanged,
)
from parslab.wire.messages.worker import InterruptTask, LeaveWhenDone, Outcome, WorkerReport

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.network.hub import Hub, PeerConnection
    from parslab.dataflow.network.local_managers import LocalManagers
    from parslab.dataflow.worker_events import WorkerEvents
    from parslab.records.events import Event
    from parslab.scaling.controller import ScalingController
    from parslab.wire.stream import Buffer

__all__ = ["ManagerService"]

log = logging.getLogger(__name__)

RECONNECT_FOR = 30.0
"""Seconds for which a manager that lost us looks for us again before it leaves: a DataFlowKernel that is started again
is there within a few, and when none is, blocks shall not idle for long."""


class _ReportedState:
    """What the shell keeps of a manager beside its slot."""

    __slots__ = ("host", "pid", "workers")

    def __init__(self, hello: ManagerHello) -> None:
        self.host = hello.host
        self.pid = hello.pid
        self.workers: dict[str, tuple[str, int]] = {}
        """The state and the process number of each of its workers."""


class ManagerService:
    """One high-throughput executor.

    Parameters
    ----------
    number
        Of the executor in the run.
    settings
        What ``HighThroughputExecutor.settings`` told.
    owner
        Receives what happens to tasks.
    """

    def __init__(self, number: int, settings: dict[str, Any], owner: WorkerEvents) -> None:
        self.number = number
        self.label: str = settings["label"]
        self.settings = settings
        self._holding = Quarantine(self, settings.get("hold_after", 0))
        self.queue = Scheduler(settings.get("selector", "random"), doubtful=self._holding.suspects.doubtful)
        self.broken = ""
        """Why no manager will ever come."""
        self.run: dict[str, Any] = owner.run
        self.controller: ScalingController
        self._owner = owner
        self._slots: dict[bytes, ManagerSlot] = {}
        self._period: float = settings["manager"]["heartbeat_period"]
        self._threshold: float = settings["manager"]["heartbeat_threshold"]
        self._closing = False

    # ----- begin and end

    def start(self, hub: Hub, near: LocalManagers, addresses: list[str]) -> None:
        """Open the door and ask for the first blocks."""
        from parslab.scaling.controller import ScalingController

        hub.open(ManagerHello, self.number, self)
        near.open(self.number, self)
        python = self.settings.get("python") or sys.executable
        file = hub.write_settings(
            invitations.file_name(self.label),
            self.number,
            self.label,
            addresses,
            python=f"{sys.version_info[0]}.{sys.version_info[1]}",
            prefix=sys.prefix,
            manager=self.settings["manager"],
            # Where an address is named, everybody is to come there.
            socket="" if self.settings.get("address") else str(near.path),
            host=socket.gethostname(),
            reconnect_for=self.settings.get("reconnect_for", RECONNECT_FOR),
        )
        command = f"{python_path_prefix()}{shlex.quote(python)} -m parslab.remote.manager {shlex.quote(str(file))}"
        folder = Path(self.run["run_dir"]) / "blocks"
        folder.mkdir(exist_ok=True, mode=0o700)
        self.controller = ScalingController(self.settings, self, command, folder)
        self.controller.start()
        self._owner.at(time() + self._period, self._beat)

    def close(self, deadline: float) -> None:
        """Send every manager away, and cancel every block."""
        self._closing = True
        for slot in list(self._slots.values()):
            slot.line.send([LeaveWhenDone()])
        invitations.withdraw(Path(self.run["run_dir"]), "it has ended")
        if hasattr(self, "controller"):
            self.controller.close(deadline)
        for slot in self._slots.values():
            self.tell(slot, ManagerState.gone, "the run is over")
        self._slots.clear()

    # ----- what the controller asks (ScalingOwner)

    def event(self, event: Event) -> None:
        """Tell monitoring."""
        self._owner.event(event)

    def at(self, when: float, call: Callable[[], None]) -> None:
        """Call at this time, in the loop."""
        self._owner.at(when, call)

    def post(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread."""
        self._owner.loop.post(call)

    def load(self) -> ExecutorLoad:
        """The work of this executor now."""
        waiting = self.queue.waiting
        held = 0
        blocks: dict[str, BlockLoad] = {}
        for slot in self.queue.slots.values():
            held += slot.load
            one = BlockLoad(1, slot.workers, slot.load, slot.idle_since, slot.held, slot.draining)
            known = blocks.get(slot.block)
            blocks[slot.block] = one if known is None else _together(known, one)
        return ExecutorLoad(waiting + held, waiting, blocks)

    def release_block(self, block: str) -> None:
        """Its managers end what they hold, and leave."""
        for slot in self._of_block(block):
            if not slot.draining:
                self._drain(slot, "its block is not needed any more")
                slot.line.send([LeaveWhenDone()])

    def hold_block(self, block: str, hold: bool) -> None:
        """Its managers get no new tasks, or get them again."""
        for slot in self._of_block(block):
            self.queue.hold(slot, hold)
            if not slot.draining:
                self.tell(slot, ManagerState.held if hold else ManagerState.ready)

    def command(self, name: str, action: str) -> str:
        """Hold, release or drain the manager of this name; tells what was done, empty when there is no such manager."""
        slot = self.queue.slots.get(name)
        if slot is None:
            return ""
        if action == "cancel":
            raise ConfigurationError(
                f"{name} is a manager, which can be drained; its block {slot.block} can be cancelled."
            )
        if slot.draining:
            return f"Manager {name} is leaving already: it finishes the tasks that it holds."
        if action == "drain":
            self._drain(slot, "drained by the user")
            slot.line.send([LeaveWhenDone()])
            return f"Manager {name} finishes the tasks that it holds, and leaves."
        held = action == "hold"
        self.queue.hold(slot, held)
        self.tell(slot, ManagerState.held if held else ManagerState.ready)
        self.controller.wake()
        return (
            f"Manager {name} gets no new tasks until it is released." if held else f"Manager {name} gets tasks again."
        )

    def fail(self, why: str) -> None:
        """No block can be had."""
        self.broken = why
        log.error("executor %s is stopped: %s", self.label, why)
        self.event(NoticeRaised(time(), "error", f"Executor {self.label} is stopped: {why}"))
        self.event(ExecutorStopped(time(), self.label, why))
        self.fail_waiting()

    @property
    def there(self) -> Collection[ManagerSlot]:
        """The managers that are connected."""
        return self._slots.values()

    def task(self, number: int) -> Task | None:
        """A task of the run."""
        return self._owner.table.tasks.get(number)

    def _of_block(self, block: str) -> list[ManagerSlot]:
        return [slot for slot in self._slots.values() if slot.block == block]

    # ----- tasks go out (what the kernel asks of every pool)

    def assign(self, now: float) -> None:
        """Send ready tasks to managers with room."""
        owner = self._owner
        for slot, tasks in self.queue.assign(now):
            messages: list[Any] = []
            frames: list[Buffer] = []
            known = slot.known
            for task in tasks:
                if task.fn not in known:
                    known.add(task.fn)
                    code, payload = owner.code(task.fn)
                    messages.append(code)
                    frames.append(payload)
                run = run_message(task, frames)
                if task.spec is not None:
                    run.slots = min(slot.places(task.spec), slot.workers)
                    run.limit = task.spec.max_run_time or 0.0
                messages.append(run)
                owner.sent(task, now, slot.name)
            slot.line.send(messages, frames)
        for task in self.queue.unfit():
            self._refuse_unfit(task)
        self.controller.wake()

    def _refuse_unfit(self, task: Task) -> None:
        self.queue.discard(task)
        most = max(self.queue.slots.values(), key=lambda slot: slot.cores)
        why = (
            f"it asks for {_asked(task.spec)}, and no node of executor {self.label} has that: the largest has "
            f"{most.cores} cores, {most.memory >> 20} MB and {most.accelerators} accelerators"
        )
        self._owner.failed(task, failure_from(WorkerLost(task.id, why, "", 0, "")), time(), "")

    def next_deadline(self) -> float | None:
        """Nothing here is looked at: managers look at their workers."""
        return None

    def look(self, now: float) -> None:
        """See ``next_deadline``."""

    def stop_task(self, task: Task, now: float) -> None:
        """Have the manager stop a cancelled task."""
        slot: ManagerSlot = task.worker  # type: ignore[assignment]
        slot.line.send([InterruptTask(task.id)])

    def forget_code(self, fn: int, message: Any) -> None:
        """A function is not called any more."""
        for slot in self._slots.values():
            if fn in slot.known:
                slot.known.discard(fn)
                slot.line.send([message])

    def fail_waiting(self) -> None:
        """Fail what waits for an executor that has no blocks and will have none."""
        if not self.broken or self.queue.slots:
            return
        for task in self.queue.take_all():
            if task.state not in FINAL:
                why = f"executor {self.label} is stopped: {self.broken}"
                self._owner.failed(task, failure_from(WorkerLost(task.id, why, "", 0, "")), time(), "")

    def reap(self) -> None:
        """A child of this process has ended: not a manager of ours."""

    def tell_states(self) -> None:
        """Workers are told of by their managers, as they change."""

    # ----- the hub's door

    def hello(self, line: PeerConnection, hello: ManagerHello) -> None:
        """A manager has come: take it in, or say which side to mend."""
        reason = self._misfit(hello)
        if reason:
            log.warning("manager %s on %s is refused: %s", hello.manager, hello.host, reason)
            self.event(
                ManagerMoved(
                    time(),
                    hello.manager,
                    self.label,
                    hello.block,
                    ManagerState.refused,
                    hello.host,
                    hello.pid,
                    hello.workers,
                    reason=reason,
                )
            )
            self.event(NoticeRaised(time(), "error", f"Manager {hello.manager} is refused: {reason}"))
            line.refuse(reason)
            self.controller.manager_left(hello.block, hello.manager, reason)
            return
        slot = ManagerSlot(
            hello.manager,
            hello.block,
            hello.workers,
            time(),
            hello.prefetch,
            hello.cores,
            hello.memory,
            hello.accelerators,
        )
        slot.line = line
        slot.shared = _ReportedState(hello)
        self._slots[line.identity] = slot
        self.queue.add(slot)
        self._holding.suspects.came(slot.name, hello.host)
        line.send([ManagerAccepted()])
        self.tell(slot, ManagerState.ready)
        self.controller.manager_joined(hello.block, hello.manager, hello.host)

    def _misfit(self, hello: ManagerHello) -> str:
        """Why a manager cannot work for this run; empty when it can."""
        ours, python = self.run["package"], f"{sys.version_info[0]}.{sys.version_info[1]}"
        where = f"host {hello.host} (block {hello.block})"
        if hello.python != python:
            return (
                f"{where} runs Python {hello.python}, this notebook {python}: activate an environment with Python "
                f"{python} in worker_init, or name its interpreter with HighThroughputExecutor(python=...)."
            )
        if hello.protocol != PROTOCOL or hello.package != ours:
            return (
                f"{where} has parslab {hello.package}, this notebook {ours}: install parslab {ours} in the environment "
                "that worker_init activates there."
            )
        if self._closing or self.broken:
            return "the run is over" if self._closing else f"executor {self.label} is stopped: {self.broken}"
        return ""

    def received(self, identity: bytes, messages: list[Any], frames: list[Buffer]) -> bool:
        """What a manager tells."""
        slot = self._slots.get(identity)
        if slot is None:
            return False
        now, at = time(), 0
        slot.heard = now
        suspected = self._holding.suspects.streaks
        for message in messages:
            kind = type(message)
            if kind is Outcome:
                buffers: list[Buffer] = []
                if message.frames:
                    buffers = frames[at : at + message.frames]
                    at += message.frames
                task = slot.inflight.get(message.task)
                if task is None or task.attempt != message.attempt:
                    self._owner.dropped()
                    continue
                self.queue.ended(slot, message.task, message.ended - message.started, now)
                self._owner.ended(task, message, buffers, slot.name)
                if message.failure is not None:
                    self._holding.failed(slot, task, message, now)
                elif suspected:
                    self._holding.succeeded(slot, task, now)
            else:
                _TELLS[kind](self, slot, message, now)
        return True

    def _reported(self, slot: ManagerSlot, report: WorkerReport, now: float) -> None:
        back = self.queue.returned(slot, report.returned, now)
        for task in back:
            self._owner.returned(task, now)
        self.queue.put_back([task for task in back if task.state not in FINAL])
        running = slot.inflight.get(report.running)
        if running is not None:
            self._owner.begun(running, report.since, slot.name)

    def _printed(self, slot: ManagerSlot, message: OutputPrinted, now: float) -> None:
        self._owner.printed(message)

    def _worker_told(self, slot: ManagerSlot, told: WorkerStateChanged, now: float) -> None:
        host = slot.shared.host
        if told.state == "dead":
            slot.shared.workers.pop(told.worker, None)
        else:
            slot.shared.workers[told.worker] = (told.state, told.pid)
        self.event(WorkerMoved(now, told.worker, self.label, told.state, host, told.pid, told.reason, slot.name))

    def _node_sampled(self, slot: ManagerSlot, sample: NodeSample, now: float) -> None:
        self.event(NodeSampled(now, slot.name, sample.cpu, sample.memory, sample.load))

    def _task_sampled(self, slot: ManagerSlot, s: TaskSample, now: float) -> None:
        self.event(TaskSampled(now, s.task, s.attempt, s.cpu, s.memory, s.read, s.written))

    def _heard(self, slot: ManagerSlot, beat: LinkHeartbeat, now: float) -> None:
        """That it lives is written down already."""

    def _draining(self, slot: ManagerSlot, message: ManagerDraining, now: float) -> None:
        self._drain(slot, message.reason)

    def _broken(self, slot: ManagerSlot, message: ManagerBroken, now: float) -> None:
        self.event(NoticeRaised(now, "error", f"Manager {slot.name} has no workers: {message.reason}"))
        self._part(slot, ManagerState.gone, f"left: {message.reason}")  # as a predicate: "which ...", "its manager ..."

    def _farewell(self, slot: ManagerSlot, message: ManagerLeft, now: float) -> None:
        self._part(slot, ManagerState.gone, f"left: {message.reason}")  # as a predicate: "which ...", "its manager ..."

    def _again(self, slot: ManagerSlot, hello: ManagerHello, now: float) -> None:
        log.warning("manager %s said hello twice", slot.name)

    def _drain(self, slot: ManagerSlot, reason: str) -> None:
        self.queue.drain(slot)
        self.tell(slot, ManagerState.draining, reason)

    # ----- managers go

    def unreachable(self, identity: bytes) -> None:
        """Its connection is over."""
        slot = self._slots.get(identity)
        if slot is not None:
            self._part(slot, ManagerState.lost, "lost its connection")

    def _beat(self) -> None:
        """Show every manager that we are here, and give up those that were silent for too long."""
        now = time()
        for slot in list(self._slots.values()):
            silent = now - slot.heard
            if silent > self._threshold:
                slot.line.refuse(f"You were silent for {silent:.0f} s and have been given up.")
                self._part(slot, ManagerState.lost, f"was silent for {silent:.0f} s (heartbeat_threshold)")
            else:
                slot.line.send([LinkHeartbeat()])
        self._owner.at(now + self._period, self._beat)

    def _part(self, slot: ManagerSlot, state: ManagerState, reason: str) -> None:
        """A manager has gone: what it held fails (or is tried again, by the table), its block is told."""
        now = time()
        self._slots.pop(slot.line.identity, None)
        slot.line.forget()
        held = self.queue.remove(slot)
        told: _ReportedState = slot.shared
        unfinished = [task for task in held if task.state not in FINAL]
        for task in unfinished:
            error = ManagerLost(task.id, slot.name, told.host, slot.block, reason)
            self._owner.failed(task, failure_from(error), now, slot.name)
        for worker, (_, pid) in told.workers.items():
            self.event(WorkerMoved(now, worker, self.label, "dead", told.host, pid, f"its manager {reason}"))
        self.tell(slot, state, reason)
        self._holding.left(slot, unfinished if state is ManagerState.lost else [], reason, now)
        if state is ManagerState.lost:
            log.warning("manager %s of block %s %s", slot.name, slot.block, reason)
            failed = sum(task.state in FINAL for task in unfinished)
            what = what_became(failed, len(unfinished) - failed)
            self.event(NoticeRaised(now, "warning", f"Manager {slot.name} (block {slot.block}) {reason}; {what}."))
        self.controller.manager_left(slot.block, slot.name, reason)
        self.fail_waiting()

    def tell(self, slot: ManagerSlot, state: ManagerState, reason: str = "") -> None:
        """Tell monitoring of a manager."""
        told: _ReportedState = slot.shared
        self.event(
            ManagerMoved(
                time(),
                slot.name,
                self.label,
                slot.block,
                state,
                told.host,
                told.pid,
                slot.workers,
                slot.cores,
                slot.memory,
                reason,
            )
        )


_TELLS: dict[type[Any], Callable[[ManagerService, ManagerSlot, Any, float], None]] = {
    WorkerReport: ManagerService._reported,
    OutputPrinted: ManagerService._printed,
    WorkerStateChanged: ManagerService._worker_told,
    NodeSample: ManagerService._node_sampled,
    TaskSample: ManagerService._task_sampled,
    LinkHeartbeat: ManagerService._heard,
    ManagerDraining: ManagerService._draining,
    ManagerBroken: ManagerService._broken,
    ManagerLeft: ManagerService._farewell,
    ManagerHello: ManagerService._again,
}


def _together(a: BlockLoad, b: BlockLoad) -> BlockLoad:
    """Two managers of one block, as one."""
    idle = None if a.idle_since is None or b.idle_since is None else max(a.idle_since, b.idle_since)
    return BlockLoad(
        a.managers + b.managers,
        a.workers + b.workers,
        a.tasks + b.tasks,
        idle,
        a.held and b.held,
        a.draining and b.draining,
    )


def what_became(failed: int, again: int) -> str:
    """What became of the tasks of a lost manager, as part of a sentence.

    Examples
    --------
    >>> what_became(1, 2)
    'of the 3 tasks that it held 1 has failed and 2 are tried again'
    """
    if not failed + again:
        return "it held no task"
    if failed and again:
        these = f"{failed} {'has' if failed == 1 else 'have'} failed and {again} {'is' if again == 1 else 'are'}"
        return f"of the {failed + again} tasks that it held {these} tried again"
    task = "the task" if failed + again == 1 else f"the {failed + again} tasks"
    one = failed + again == 1
    if failed:
        return f"{task} that it held {'has' if one else 'have'} failed"
    return f"{task} that it held {'is' if one else 'are'} tried again"


def _asked(spec: Any) -> str:
    parts = [
        f"{spec.cores:g} cores" if spec.cores else "",
        f"{spec.memory >> 20} MB of memory" if spec.memory else "",
        f"{spec.gpus} accelerators" if spec.gpus else "",
    ]
    return " and ".join(part for part in parts if part)
