"""Retries tasks on request [shell]: asks notebooks for redefined functions, then reopens the tasks.

A notebook sends a request (``future.retry()``, ``%parsl retry``), or passes on that of a panel:

1. Every notebook that called some of the tasks is asked what their apps call now (``RequestDefinitions``).
2. The notebook answers with ``RetryTasks``.  The service waits only a moment for one that is gone or busy in a cell.
3. The service reopens the tasks as soon as no worker has any of them.

The DataFlowKernel's loop owns the service.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from parslab.clock import steady_time
from parslab.dataflow.operations.retry_plan import RetryPlan, held_tasks, of_app, plan, reopen
from parslab.dataflow.persistence.log_format import ReopenedTasks
from parslab.monitoring.monitor import Monitor
from parslab.records.states import FAILURES, TaskState
from parslab.wire.messages.base import TaskKind
from parslab.wire.messages.client import RedefinedApp, RequestDefinitions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from parslab.dataflow.clients.connection import ClientConnection
    from parslab.dataflow.clients.registry import ClientRegistry
    from parslab.dataflow.graph.function_registry import FunctionRegistry
    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.host import ExecutorPool, Host
    from parslab.dataflow.persistence.log_writer import LogWriter
    from parslab.records.panel import RetryRequest
    from parslab.wire.messages.client import RetryTasks

__all__ = ["ANSWER_TIMEOUT", "RetryService"]

ANSWER_TIMEOUT = 5.0
"""Seconds within which a notebook must answer which functions its apps call now."""


class _PendingRetry:
    """One request to retry tasks, and the answers of notebooks so far."""

    def __init__(self, ids: list[int], command: RetryRequest, reply: Callable[[bytes], None]) -> None:
        self.ids = ids
        self.command = command
        self.reply = reply
        self.waiting_for: set[int] = set()
        """Clients that have not answered yet."""
        self.silent: set[int] = set()
        """Clients that did not answer in time."""
        self.redefined: dict[tuple[int, str], RedefinedApp] = {}
        """By client and origin; the functions have the run's numbers."""
        self.bodies: list[int] = []
        """Tasks whose bodies run in a notebook, which has answered that it can run them again."""
        self.changed: dict[str, None] = {}
        """Apps whose tasks call another function from now on."""


class RetryService:
    """Carries out the requests of a run to retry tasks.

    Parameters
    ----------
    host
        The process that it runs in.
    table, functions, clients, pools
        The tasks, the functions, the attached clients and the executors of the run.
    log_writer
        Writes the event log; None if the run has none.
    failed_alike
        Returns the numbers of the tasks of a group of failures.

    Attributes
    ----------
    blocked
        Requests for tasks that a worker still has; they are tried again after each round of the loop.
    """

    def __init__(
        self,
        host: Host,
        *,
        table: TaskTable,
        functions: FunctionRegistry,
        clients: ClientRegistry,
        pools: Mapping[int, ExecutorPool],
        log_writer: LogWriter | None,
        failed_alike: Callable[[int], list[int]],
    ) -> None:
        self._host = host
        self._table = table
        self._functions = functions
        self._clients = clients
        self._pools = pools
        self._log_writer = log_writer
        self._failed_alike = failed_alike
        self._requests: dict[int, _PendingRetry] = {}
        self._numbers = itertools.count(1)
        self.blocked: list[_PendingRetry] = []

    def retry(
        self, command: RetryRequest, by: ClientConnection, *, waits: bool, reply: Callable[[bytes], None]
    ) -> None:
        """Retry tasks.

        Parameters
        ----------
        command
            Names the tasks.
        by
            The client that sent the command.
        waits
            Whether that client waits for the reply; then it is not busy, and will answer.
        reply
            Called with the answer, at once or later.
        """
        table = self._table
        ids = command.tasks
        if command.failures is not None:
            ids = held_tasks(table, sorted(self._failed_alike(command.failures)))
        elif command.everything:
            ids = sorted({task.id for task in table.tasks.values() if task.state in FAILURES})
        request = _PendingRetry(of_app(table, ids, command.app) if command.app else list(ids), command, reply)
        number = next(self._numbers)
        self._ask(number, request, plan(table, request.ids, here=self._clients.connected))
        if not request.waiting_for:
            self._reopen(request)
            return
        self._requests[number] = request
        # A client that waits for the reply answers in any case, so its answer needs no time limit.
        patient = {by.number} if waits else set()
        self._host.call_at(steady_time() + ANSWER_TIMEOUT, lambda: self._timed_out(number, patient))

    def _ask(self, number: int, request: _PendingRetry, found: RetryPlan) -> None:
        """Ask the notebooks what their tasks call now."""
        tasks: dict[int, list[Task]] = {}
        for task in found.tasks:
            tasks.setdefault(task.client, []).append(task)
        for client, own in tasks.items():
            origins = {origin for task in own if (origin := self._origin(task))}
            runs_there = any(task.kind != TaskKind.remote for task in own)
            # The notebook has nothing to say about functions that their place does not identify.
            if not (origins or runs_there):
                continue
            if client not in self._clients.connected:
                request.silent.add(client)
                continue
            request.waiting_for.add(client)
            message = RequestDefinitions(number, [task.id for task in own], sorted(origins))
            self._table.out.replies.append((client, message, []))

    def _origin(self, task: Task) -> str:
        """Return where the function of a task was defined; empty if its notebook cannot find it by that."""
        return self._functions.origins[task.fn] if task.kind == TaskKind.remote else ""

    # ----- notebooks answer, or do not

    def answered(self, client: ClientConnection, message: RetryTasks) -> None:
        """Take the answer of a notebook: the functions that its apps call now."""
        request = self._requests.get(message.ask)
        if request is None or client.number not in request.waiting_for:
            return
        if message.problem:
            del self._requests[message.ask]
            request.reply(Monitor.error_reply(request.command.request_id, message.problem))
            return
        request.waiting_for.discard(client.number)
        request.bodies += message.bodies
        for redefined in message.redefined:
            # Translated at once, because the client may leave and take its numbers along.
            redefined.fn = client.functions[redefined.fn]
            request.redefined[client.number, redefined.origin] = redefined
        self._go_on(message.ask, request)

    def client_left(self, client: int) -> None:
        """Stop waiting for the answer of a client that has left."""
        for number, request in list(self._requests.items()):
            if client in request.waiting_for:
                request.waiting_for.discard(client)
                request.silent.add(client)
                self._go_on(number, request)

    def _timed_out(self, number: int, patient: set[int]) -> None:
        request = self._requests.get(number)
        if request is not None:
            # Late answers are ignored: the tasks run with the functions of before, and the reply says so.
            request.silent |= request.waiting_for - patient
            request.waiting_for &= patient
            self._go_on(number, request)

    def _go_on(self, number: int, request: _PendingRetry) -> None:
        if not request.waiting_for:
            del self._requests[number]
            self._reopen(request)

    # ----- tasks run again

    def after_round(self) -> None:
        """Try the blocked requests again: workers may have returned the tasks."""
        blocked, self.blocked = self.blocked, []
        for request in blocked:
            self._reopen(request)

    def _reopen(self, request: _PendingRetry) -> None:
        table = self._table
        # A new plan: the table has changed while the notebooks were asked.
        found = plan(table, request.ids, request.bodies, self._clients.connected)
        # A reopened task must not run twice at once: the worker may still be in its body.
        if found.held_up:
            self.blocked.append(request)
            return
        cancelled = {task.id for task in found.tasks if task.state is TaskState.cancelled}
        if cancelled:  # they may still be in a queue, and must not be there twice
            for pool in self._pools.values():
                pool.queue.drop(cancelled)
        if found.tasks:
            functions = {task.id: task.fn for task in found.tasks}
            reopen(table, found, lambda task: self._redefined(request, task), steady_time())
            self._log(found, functions)
        text = _summary(request, found)
        if found.tasks or not found.refused:
            request.reply(Monitor.command_reply(request.command.request_id, text))
        else:
            request.reply(Monitor.error_reply(request.command.request_id, text))

    def _log(self, found: RetryPlan, before: dict[int, int]) -> None:
        """Note in the event log that tasks were reopened, and which of them call another function than before."""
        if self._log_writer is not None:
            self._log_writer.write()  # the log must have the ends of the tasks before it reopens them
            changed = tuple((task.id, task.fn) for task in found.tasks if task.fn != before[task.id])
            self._log_writer.note(ReopenedTasks([task.id for task in found.tasks], changed))

    def _redefined(self, request: _PendingRetry, task: Task) -> RedefinedApp | None:
        redefined = request.redefined.get((task.client, self._origin(task)))
        if redefined is not None and redefined.fn != task.fn:
            request.changed[task.app] = None
        return redefined


def _summary(request: _PendingRetry, found: RetryPlan) -> str:
    """Say in a sentence or two what was done."""
    count = len(found.tasks)
    sentences = []
    if count:
        others = count - found.asked
        more = f", {others} of them because they hang together with what was asked for" if others else ""
        text = f"{count} task{'s run' if count > 1 else ' runs'} again{more}"
        if request.changed:
            text += f"; {' and '.join(request.changed)} as now defined"
        sentences.append(f"{text}.")
    elif not found.refused:
        sentences.append(_nothing_to_retry(request))
    if found.refused:
        reasons = list(found.refused.values())
        sentences.append(reasons[0])
        if len(reasons) > 1:
            sentences.append(f"({len(reasons) - 1} more cannot be tried again.)")
    if count and request.silent:
        sentences.append("The notebook was busy or has gone, so the functions are those of before.")
    return " ".join(sentences)


def _nothing_to_retry(request: _PendingRetry) -> str:
    if request.command.failures is not None:
        return "No task of this group has failed any more."
    if request.ids and not request.command.everything:
        return "These tasks have not ended yet."
    return f"No task of app {request.command.app} has failed." if request.command.app else "No task has failed."
