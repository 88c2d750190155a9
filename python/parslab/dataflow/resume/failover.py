"""Restores the run of a lost DataFlowKernel from the event log, and takes its clients back [shell].

1. :meth:`Failover.restore` fills the empty table from the log, before any client is served.
2. :meth:`Failover.begin` waits for the clients.  Ready tasks are held back until the owner has sent what the log lacks.
   Tasks that managers had wait for these, and go on there.
3. Clients return under their old numbers, and say which of their futures are unfinished.  Each client
   receives the outcome of those.
4. A client that does not return within ``RETURN_TIMEOUT`` is treated like any client that leaves.

A timer ends every wait here, so that no task and no client waits for ever for a silent client.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from parslab.clock import steady_time
from parslab.dataflow.clients.leases import FIRST_CLIENT
from parslab.dataflow.graph.resolution import resolution
from parslab.dataflow.persistence.log_format import entries, entry_at, value_at
from parslab.dataflow.persistence.replay import Replay, restore
from parslab.dataflow.resume.held_tasks import HeldTasks
from parslab.records.executor_settings import keeps_tasks
from parslab.records.reasons import Reason
from parslab.records.states import EXECUTING, FINAL, SUCCESSES, TaskState
from parslab.wire.messages.base import Failure, TaskKind
from parslab.wire.messages.client import BatchesAcknowledged, ClientResumed, RequestValue, RunLocalTask, TaskResolved

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from parslab.dataflow.clients.connection import ClientConnection
    from parslab.dataflow.clients.log_service import LogService
    from parslab.dataflow.clients.presence import Presence
    from parslab.dataflow.clients.registry import ClientRegistry
    from parslab.dataflow.clients.unused_functions import UnusedFunctions
    from parslab.dataflow.graph.function_registry import FunctionRegistry
    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.host import Host
    from parslab.wire.messages.manager import HeldTask
    from parslab.wire.run_files import RunSettings

__all__ = ["RETURN_TIMEOUT", "Failover"]

log = logging.getLogger(__name__)

RETURN_TIMEOUT = 10.0
"""Seconds that clients have to return."""
_OWNER_TIMEOUT = 5.0
"""Seconds that ready tasks wait at most for the owner's list of unfinished futures."""
_UNKNOWN_CALL_TIMEOUT = 2.0
"""Seconds after which a call that only its client knows counts as lost: its batch may arrive until then."""
_PARKED_CHECK = 0.5
"""Seconds between two checks of tasks whose results only their clients have."""
# A client may wait for very many futures: with small batches it handles the first results early.
_MESSAGES_PER_BATCH = 500
_LOST = Failure(
    "CallLost: the DataFlowKernel was lost before this call was in the run's event log, and it cannot be sent again: "
    "call it once more",
    reason=Reason.dependency.value,
)
_TAKEN_OVER = Failure(
    "CallLost: this process did not return to its run in time after the DataFlowKernel was lost, and another kernel of "
    "the notebook has taken this call over: call it once more",
    reason=Reason.dependency.value,
)


class Failover:
    """Restores a run, and takes care of its clients until they have returned or are given up.

    Parameters
    ----------
    host
        The process that it runs in.
    settings, table, functions, clients
        The settings, the tasks, the functions and the attached clients of the run.
    unused_functions
        Removes functions of clients that do not return.
    presence
        Waits for clients that do not return.
    log_service
        Notes in the event log which clients are gone.
    folder
        The folder of the event log.

    Attributes
    ----------
    replay
        What the event log says.
    """

    def __init__(
        self,
        host: Host,
        settings: RunSettings,
        folder: Path,
        *,
        table: TaskTable,
        functions: FunctionRegistry,
        clients: ClientRegistry,
        unused_functions: UnusedFunctions,
        presence: Presence,
        log_service: LogService,
    ) -> None:
        self._host = host
        self._settings = settings
        self._folder = folder
        self._table = table
        self._functions = functions
        self._clients = clients
        self._unused_functions = unused_functions
        self._presence = presence
        self._log_service = log_service
        self.replay = Replay()
        self._client_functions: dict[int, dict[int, int]] = {}
        """The functions of each client that has not returned yet, as ``ClientConnection.functions``."""
        self._expected: set[int] = set()
        """Clients that have not returned yet."""
        self._rerun = 0
        """How many tasks run again, because workers had them."""
        self._at_managers = HeldTasks()
        """Tasks that managers may bring back."""
        self._holding = False
        self._held: list[Task] = []
        """Ready tasks that wait for the owner, in the order of their calls."""
        self._parked: dict[int, tuple[Task, ClientConnection]] = {}
        """Tasks whose results their clients have, but the event log does not: they need not run."""

    # ----- before clients return

    def restore(self) -> Mapping[int, int]:
        """Fill the table from the event log; return how many batches of each client the log has."""
        replay, folder, table = self.replay, self._folder, self._table
        replay.read(entries(folder))
        # Before the tasks, which refer to functions by number.
        self._restore_functions()
        now = steady_time()
        restored = restore(
            table,
            replay,
            now,
            lambda place: value_at(folder, place),
            lambda position: entry_at(folder, position),
            kept_by={number for number, one in enumerate(self._settings.executors) if keeps_tasks(one)},
        )
        self._at_managers = HeldTasks(restored.at_managers, now)
        # A new client with the number of a lost one would be given that one's tasks.
        self._clients.reserve_numbers(max([*replay.clients, *replay.batches, -1]) + 1)
        # A request waits until its client has listed its unfinished futures: ``_reconcile`` makes it again then.
        table.out.replies = [reply for reply in table.out.replies if type(reply[1]) is TaskResolved]
        self._expected = {number for number in replay.clients if number not in replay.gone}
        self._rerun = len(restored.rerun)
        return replay.batches

    def _restore_functions(self) -> None:
        replay = self.replay
        for number, functions in replay.functions.items():
            if number not in replay.gone:
                self._client_functions[number] = {own: fn for own, fn in functions.items() if fn in replay.codes}
        holders = [fn for functions in self._client_functions.values() for fn in functions.values()]
        for fn in self._functions.restore(replay.function_count(), replay.codes, holders):
            self._unused_functions.add(fn)

    def _announce(self) -> None:
        """Notify the user of what was lost and what was kept."""
        settings = self._settings
        kept = sum(task.state in SUCCESSES for task in set(self._table.tasks.values()))
        took = steady_time() - settings.lost_at if settings.lost_at else 0.0
        text = (
            f"The DataFlowKernel of run {settings.run} {settings.loss or 'was lost'}; it was started again within "
            f"{took:.1f} s: {_count(kept, 'result')} kept, {_count(self._rerun, 'task')} that workers had run again"
        )
        text += f", {_count(len(self._at_managers), 'task')} at managers." if self._at_managers else "."
        if self.replay.damaged:
            text += f" {_count(self.replay.damaged, 'part')} of its event log could not be read."
        log.warning("%s", text)
        self._host.notify("warning", text)

    def begin(self) -> int:
        """Begin to wait for clients; return the former number of the owner (-1: it had none)."""
        now, owner = steady_time(), self._settings.owner_client
        leases = self._presence.leases
        if self.replay.linger is not None:
            leases.set_linger(self.replay.linger)
        linger = leases.linger
        if owner < 0:
            # The next kernel of the notebook has started this process, and takes the tasks over, whatever the linger.
            leases.set_linger(max(linger, FIRST_CLIENT))
        for number in sorted(self._expected - {owner}):
            joined = self.replay.clients[number]
            # Each client gets a lease that runs out from now on, as if it had just left.
            leases.attached(number, joined.notebook, joined.owner)
            leases.left(number, now)
        leases.set_linger(linger)
        self._host.call_at(now + RETURN_TIMEOUT, self._drop_missing_clients)
        if owner >= 0:
            self._holding = True
            self.hold_ready_tasks()
            self._host.call_at(now + _OWNER_TIMEOUT, self._release_held_tasks)
        self._announce()
        if self._at_managers:
            self.hold_ready_tasks()
            self._wait_for_managers()
        return owner

    def _wait_for_managers(self) -> None:
        """Have the tasks run again, after a while, that no manager has brought back."""
        if steady_time() < self._at_managers.deadline and self._at_managers:
            self._host.call_at(self._at_managers.deadline, self._wait_for_managers)
            return
        left = self._at_managers.expired()
        self._table.out.ready += left
        if left:
            them, run = ("it", "runs") if len(left) == 1 else ("them", "run")
            text = f"{_count(len(left), 'task')} that managers had {run} again: no manager has come back with {them}"
            self._host.notify("warning", f"{text}; {self._at_managers.returned:,} go on where they were.")

    def claim(self, executor: int, held: Sequence[HeldTask]) -> list[tuple[Task, float]]:
        """Hand tasks to the manager that has come back with them; see :meth:`HeldTasks.claim`."""
        return self._at_managers.claim(executor, held, steady_time())

    def hold_ready_tasks(self) -> None:
        """Hold back ready tasks until the owner has returned, so that it can say which results it has already."""
        if self._at_managers:
            ready = self._table.out.ready
            self._table.out.ready = [task for task in ready if not self._at_managers.holds(task)]
        if self._parked:
            # Such a task is ready when its needs have run for the sake of another one.
            ready = self._table.out.ready
            self._table.out.ready = [task for task in ready if task.id not in self._parked]
        if self._holding:
            effects = self._table.out
            # The order of calls is kept: held tasks run as they would have run without the loss.
            self._held += effects.ready
            effects.ready = []

    def _release_held_tasks(self) -> None:
        """Let the tasks run that have waited for the owner."""
        self.hold_ready_tasks()
        self._holding = False
        held, self._held = self._held, []
        # A task that was cancelled and reopened meanwhile is in the list twice.
        once = {task.id: task for task in held if task.state is TaskState.ready}
        self._table.out.ready += once.values()

    # ----- clients return

    def rejoin(self, client: ClientConnection, number: int) -> bool:
        """Give a client its former number; False if it had none that is free."""
        if number < 0:
            return False
        earlier = self._clients.connected.get(number)
        # A number in use may be that of the same process, whose old connection has not ended here yet.
        if earlier is not None and not self._replace_connection(earlier, client):
            return False
        self._clients.renumber(client, number)
        if earlier is None:
            self.restore_client(client)
        return True

    def _replace_connection(self, earlier: ClientConnection, client: ClientConnection) -> bool:
        """Replace a connection by a newer one of the same process; False if it is another process."""
        if earlier.pid != client.pid:
            return False
        # The process has closed the earlier connection, but we have not read its end yet. Under a new number, the
        # client would wait for ever for tasks that belong to its former number.
        self._clients.remove(earlier)
        client.returned, client.owner = True, earlier.owner
        # The process believes that it has defined these functions, and does not send them again.
        client.functions, client.matcher = earlier.functions, earlier.matcher
        return True

    def restore_client(self, client: ClientConnection) -> None:
        """Give a client back the functions that it had."""
        client.returned = True
        client.functions = self._client_functions.pop(client.number, {})
        self._expected.discard(client.number)

    def acknowledgement(self, client: ClientConnection) -> BatchesAcknowledged:
        """Return how many batches of a client the event log has: the client sends the others again."""
        client.acknowledged = self.replay.batches.get(client.number, 0)
        return BatchesAcknowledged(client.acknowledged)

    def _drop_missing_clients(self) -> None:
        """Treat the clients that did not return like clients that leave."""
        for number in sorted(self._expected):
            for fn in self._client_functions.pop(number, {}).values():
                self._unused_functions.drop(fn)
            # A client with a lease keeps its tasks: ``presence`` drops them when the lease ends.
            if not self._presence.leases.is_absent(number):
                self._log_service.client_left(number)
                self._table.client_left(number, steady_time())
        self._expected.clear()

    # ----- clients say what they know

    def resumed(self, client: ClientConnection, message: ClientResumed) -> None:
        """A client has sent again what the log lacked, and says which of its futures are unfinished."""
        pending, replies = set(message.pending), []
        # A set, because a task with an alias is in the table under two numbers.
        for task in set(self._table.tasks.values()):
            if task.client == client.number:
                numbers = {task.id, task.alias} if task.alias else {task.id}
                reply = self._reconcile(task, client, unfinished=not pending.isdisjoint(numbers))
                pending -= numbers
                if reply is not None:
                    replies.append(reply)
        self._park()
        for at in range(0, len(replies), _MESSAGES_PER_BATCH):
            self._clients.send(client, replies[at : at + _MESSAGES_PER_BATCH])
        if pending:
            self._host.call_at(
                steady_time() + _UNKNOWN_CALL_TIMEOUT, lambda: self._settle_foreign_calls(client, pending)
            )
        # The owner has sent again what the log lacked, so nothing older can arrive.
        if client.owner:
            self._release_held_tasks()

    def _reconcile(
        self, task: Task, client: ClientConnection, unfinished: bool
    ) -> TaskResolved | RequestValue | RunLocalTask | None:
        """Compare what the table and its client know of a task; return the message that the client lacks.

        Parameters
        ----------
        task, client
            The task and its client.
        unfinished
            Whether the client still waits for the task.
        """
        if task.state in FINAL:
            if unfinished:
                return resolution(task)
            # ``restore`` has dropped the first request for this value.
            if task.wanted and task.value is None and task.state is TaskState.exec_done:
                return RequestValue(task.id)
        elif task.state is TaskState.joining and not unfinished:
            self._parked[task.id] = (task, client)  # as below: it joins again if somebody needs its value
        elif task.kind != TaskKind.remote:
            if task.state is TaskState.launched or task.state in EXECUTING:
                return RunLocalTask(task.id, again=True)
        elif not unfinished and task.worker is None:
            # The client knows the end, but the value is lost. The task runs only if somebody needs its value.
            self._parked[task.id] = (task, client)
            self._at_managers.give_up(task)
        return None

    def _park(self) -> None:
        """Keep the parked tasks from running, except those that other tasks need."""
        if self._parked:
            for task in set(self._table.tasks.values()):
                if task.state not in FINAL and task.id not in self._parked:
                    self._unpark_needs(task)
            effects = self._table.out
            effects.ready = [task for task in effects.ready if task.id not in self._parked]
            self._held = [task for task in self._held if task.id not in self._parked]
            self._check_parked()

    def _unpark_needs(self, task: Task) -> None:
        """Let everything run that this task needs, and what that needs, in turn."""
        left = [task]
        while left:
            one = left.pop()
            for need in (*one.needs, *(one.joins or ())):
                if need.id in self._parked:
                    self._unpark(need)
                    left.append(need)

    def _unpark(self, task: Task) -> None:
        """Let a parked task run, when it is ready."""
        del self._parked[task.id]
        ready = self._table.out.ready
        if task.state is TaskState.ready and task not in ready and task not in self._held:
            ready.append(task)

    def fetched(self, task: int) -> None:
        """Run a task if it is parked, and all that it needs, because a client wants its value."""
        parked = self._parked.get(task)
        if parked is not None:
            self._unpark(parked[0])
            self._unpark_needs(parked[0])

    def _check_parked(self) -> None:
        """Run parked tasks that others need now or whose client is gone, and drop those that nobody can ask for."""
        connected = self._clients.connected
        for number, (task, client) in list(self._parked.items()):
            if number not in self._parked:
                continue  # a task that needs it has left before it in this loop
            waiting = [other for other in task.dependents or () if other.state not in FINAL]
            needed = any(other.id not in self._parked for other in waiting)
            # The task of a client that is gone, or of another kernel of its notebook, has a future that waits for it.
            if needed or task.client != client.number or connected.get(client.number) is not client:
                self.fetched(number)
            elif task.released and not waiting:
                del self._parked[number]
                self._table.cancel((number,), steady_time())
        if self._parked:
            # A timer, because no event reports that a parked task has become an input or was released.
            self._host.call_at(steady_time() + _PARKED_CHECK, self._check_parked)

    def _settle_foreign_calls(self, client: ClientConnection, tasks: set[int]) -> None:
        """Settle futures whose tasks do not belong to their client, so that none waits for ever."""
        if self._clients.connected.get(client.number) is not client:
            return
        messages: list[TaskResolved] = []
        for number in tasks:
            task = self._table.tasks.get(number)
            if task is None:
                messages.append(TaskResolved(number, TaskState.failed, failure=_LOST))
            elif task.client != client.number:
                failed = TaskResolved(number, TaskState.failed, failure=_TAKEN_OVER)
                messages.append(resolution(task) if task.state in FINAL else failed)
        if messages:
            self._clients.send(client, messages)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
