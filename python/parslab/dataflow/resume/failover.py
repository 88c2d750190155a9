"""A DataFlowKernel that takes the place of a lost one [shell]: it goes on from the record, and meets its clients.

Made by ``keeper`` before the doors open.  Clients come back under their old numbers, say which of their futures are
unfinished, and are told what became of those.  Who does not come back within ``RETURN`` has gone with the process that
was lost, and is treated as everybody who leaves.
"""

from __future__ import annotations

import logging
from time import time
from typing import TYPE_CHECKING, Any

from parslab.dataflow.persistence.log_format import entries, entry_at, value_at
from parslab.dataflow.persistence.replay import Replay, restore
from parslab.records.events import NoticeRaised
from parslab.records.reasons import Reason
from parslab.records.states import FINAL, SUCCESSES, TaskState
from parslab.wire.messages.base import Failure, TaskKind
from parslab.wire.messages.client import BatchesAcknowledged, ClientResumed, RequestValue, RunLocalTask, TaskResolved

if TYPE_CHECKING:
    from pathlib import Path

    from parslab.dataflow.clients.connection import ClientConnection
    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.kernel import Kernel

__all__ = ["RETURN", "Failover"]

log = logging.getLogger(__name__)

RETURN = 10.0
"""Seconds that clients have to come back."""
_OWNER = 5.0
"""Seconds that tasks wait at most for the owner to say what it knows already."""
_UNHEARD = 2.0
"""Seconds after which a call that a client waits for and nobody knows is lost: it may be on its way."""
_PARKED = 0.5
"""Seconds between two looks at tasks whose results are known to their clients alone."""
_TOGETHER = 500
_LOST = Failure(
    "CallLost: the DataFlowKernel was lost before this call was in the run's record, and it cannot be sent again: "
    "call it once more",
    reason=Reason.dependency.value,
)


class Failover:
    """What the record has given, and what is still to do.

    Parameters
    ----------
    kernel
        The new one; its table is empty.
    folder
        Of the record.

    Attributes
    ----------
    recovery
        What the record says.
    """

    def __init__(self, kernel: Kernel, folder: Path) -> None:
        self._kernel = kernel
        self.recovery = recovery = Replay()
        recovery.read(entries(folder))
        table = kernel.table
        held = {number: dict(fns) for number, fns in recovery.fns.items() if number not in recovery.gone}
        for fns in held.values():
            for number in [number for number, fn in fns.items() if fn not in recovery.codes]:
                del fns[number]
        self._fns = held
        holders = [fn for fns in held.values() for fn in fns.values()]
        unheld = kernel.codes.restore(recovery.functions(), recovery.codes, holders)
        for fn in unheld:
            kernel.let_go_of_code(fn)
        self.running = restore(
            table, recovery, time(), lambda place: value_at(folder, place), lambda position: entry_at(folder, position)
        )
        kernel.number_from(max([*recovery.clients, *recovery.batches, -1]) + 1)
        # What clients are to do they are told when they have said what they know.
        table.out.replies = [reply for reply in table.out.replies if type(reply[1]) is TaskResolved]
        self._expected = {number for number in recovery.clients if number not in recovery.gone}
        self._holds = False
        self._held: list[Task] = []
        """Tasks that wait for the owner, in the order of their calls."""
        self._parked: dict[int, tuple[Task, ClientConnection]] = {}
        """Tasks whose results are known to their clients, but not to us."""
        self._kept = sum(task.state in SUCCESSES for task in set(table.tasks.values()))

    def begin(self) -> int:
        """Wait for clients; answers the number of the owner (-1: it has none yet)."""
        kernel, run = self._kernel, self._kernel.run
        now, own = time(), int(run.get("client", -1))
        leases = kernel.attendance.leases
        if self.recovery.linger is not None:
            leases.keep(self.recovery.linger)
        for number in sorted(self._expected - {own}):
            joined = self.recovery.clients[number]
            leases.attached(number, joined.notebook, joined.owner)
            leases.left(number, now)
        kernel.at(now + RETURN, self._missing)
        if own >= 0:
            self._holds = True
            self.hold()
            kernel.at(now + _OWNER, self._release)
        self._say(now)
        return own

    def _say(self, now: float) -> None:
        run = self._kernel.run
        how = run.get("lost") or "was lost"
        took = now - run.get("lost_at", now)
        text = (
            f"The DataFlowKernel of run {run['run']} {how}; it was started again within {took:.1f} s: "
            f"{_count(self._kept, 'result')} kept, {_count(len(self.running), 'task')} that workers had run again."
        )
        if self.recovery.damaged:
            text += f" {_count(self.recovery.damaged, 'part')} of its record could not be read."
        log.warning("%s", text)
        self._kernel.event(NoticeRaised(now, "warning", text))

    def hold(self) -> None:
        """Keep what is ready while the owner is waited for: what it sends anew comes after what was called before."""
        if self._holds:
            out = self._kernel.table.out
            self._held += out.ready
            out.ready = []

    # ----- clients

    def returning(self, client: ClientConnection, number: int) -> bool:
        """A client says what its number was; whether it has it again."""
        kernel = self._kernel
        if number < 0 or number in kernel.clients:
            return False
        kernel.renumber(client, number)
        self.welcome(client)
        return True

    def welcome(self, client: ClientConnection) -> None:
        """Give a client what it had."""
        client.returned = True
        client.fns = self._fns.pop(client.number, {})
        self._expected.discard(client.number)

    def acked(self, client: ClientConnection) -> BatchesAcknowledged:
        """How many of its batches we have."""
        client.acked = self.recovery.batches.get(client.number, 0)
        return BatchesAcknowledged(client.acked)

    def _missing(self) -> None:
        """These have not come back."""
        kernel = self._kernel
        kept = kernel.attendance.leases
        for number in sorted(self._expected):
            for fn in self._fns.pop(number, {}).values():
                kernel.drop_code(fn)
            if not kept.is_kept(number):
                kernel.keeper.left(number)
                kernel.table.client_left(number, time())
        self._expected.clear()

    # ----- what clients know

    def resumed(self, client: ClientConnection, message: ClientResumed) -> None:
        """A client has sent again what we had not, and says which of its futures are unfinished."""
        kernel, pending = self._kernel, set(message.pending)
        table = kernel.table
        tell: list[Any] = []
        for task in set(table.tasks.values()):
            if task.client != client.number:
                continue
            numbers = {task.id, task.alias} if task.alias else {task.id}
            waited_for = not pending.isdisjoint(numbers)
            pending -= numbers
            if task.state in FINAL:
                if waited_for:
                    tell.append(table.resolved(task))
                elif task.wanted and task.value is None and task.state is TaskState.exec_done:
                    tell.append(RequestValue(task.id))
            elif task.kind != TaskKind.remote:
                if task.state is TaskState.launched or task.state is TaskState.running:
                    tell.append(RunLocalTask(task.id, again=True))
            elif not waited_for and task.worker is None and not task.dependents:
                # It had been told before it was written down: it runs when its value is asked for.
                self._parked[task.id] = (task, client)
        if self._parked:
            table.out.ready = [task for task in table.out.ready if task.id not in self._parked]
            self._held = [task for task in self._held if task.id not in self._parked]
            self._look_after()
        for at in range(0, len(tell), _TOGETHER):
            kernel.send(client, tell[at : at + _TOGETHER])
        if pending:
            kernel.at(time() + _UNHEARD, lambda: self._unheard(client, pending))
        if client.owner:
            self._release()

    def fetched(self, number: int) -> None:
        """A client wants the value of a task."""
        task, _ = self._parked.pop(number, (None, None))
        if task is not None and task.state is TaskState.ready:
            self._kernel.table.out.ready.append(task)

    def _look_after(self) -> None:
        """Run what others need now, or whose result went with its client, and forget what nobody can ask for."""
        clients = self._kernel.clients
        for number, (task, client) in list(self._parked.items()):
            if task.dependents or clients.get(client.number) is not client:
                self.fetched(number)
            elif task.released:
                del self._parked[number]
                self._kernel.table.cancel((number,), time())
        if self._parked:
            self._kernel.at(time() + _PARKED, self._look_after)

    def _unheard(self, client: ClientConnection, tasks: set[int]) -> None:
        """These are waited for, and nobody knows them."""
        lost = [task for task in tasks if task not in self._kernel.table.tasks]
        if lost and client.number in self._kernel.clients:
            self._kernel.send(client, [TaskResolved(task, TaskState.failed, failure=_LOST) for task in lost])

    def _release(self) -> None:
        """Let the tasks run that have waited for the owner."""
        self.hold()
        self._holds = False
        held, self._held = self._held, []
        # One that was cancelled and opened again meanwhile is there twice.
        once = {task.id: task for task in held if task.state is TaskState.ready}
        self._kernel.table.out.ready += once.values()


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
