"""Carries out the messages of clients and notes them for the event log [shell].

``sessions`` reads the messages; everything here runs in the loop's thread.  A burst of calls is a batch of thousands of
``SubmitTask`` messages: ``_carry_out`` handles these itself, and passes all others to further methods.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeAlias, get_args

from parslab.clock import steady_time
from parslab.dataflow.graph.values import StoredValue, sliced
from parslab.errors import ProtocolError
from parslab.wire.messages.base import DefineFunction, ForgetFunctions
from parslab.wire.messages.base import TaskValue as ValueMessage
from parslab.wire.messages.client import (
    CancelTasks,
    ClientResumed,
    FetchValue,
    FollowOutput,
    JoinBodyReturned,
    LocalTaskFinished,
    LocalTaskStarted,
    PanelRequest,
    ReleaseTasks,
    ReproducerWritten,
    RetryCost,
    RetryHandlerChanged,
    RetryTasks,
    SetLinger,
    ShutDownRun,
    SubmitTask,
    ValueNotPicklable,
)
from parslab.wire.messages.worker import Outcome

if TYPE_CHECKING:
    from parslab.dataflow.clients.commands import ClientCommands
    from parslab.dataflow.clients.connection import ClientConnection
    from parslab.dataflow.clients.presence import Presence
    from parslab.dataflow.clients.resumption import PriorCallFinder, ReturningClients
    from parslab.dataflow.clients.retry_service import RetryService
    from parslab.dataflow.clients.unused_functions import UnusedFunctions
    from parslab.dataflow.graph.function_registry import FunctionRegistry
    from parslab.dataflow.graph.rich_output import RichOutput
    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.host import Host
    from parslab.dataflow.persistence.log_writer import LogWriter
    from parslab.wire.messages.base import WireMessage
    from parslab.wire.stream import Buffer

__all__ = ["ClientRequests"]

log = logging.getLogger(__name__)


class ClientRequests:
    """Carries out what clients ask for.

    Parameters
    ----------
    host
        The process that it runs in.
    table, functions
        The tasks and the functions of the run.
    unused_functions
        Removes functions that no client will call again.
    presence
        Tracks the attached clients and the lease of the run.
    commands
        Carries out the requests of panels.
    retry_service
        Retries tasks on request.
    log_writer
        Writes the event log; None if the run has none.
    failover
        Handles the clients of a lost DataFlowKernel; None if none was lost.
    rich_output
        Keeps the rich output of cells.

    Attributes
    ----------
    prior_calls
        Finds earlier calls of a notebook; None if the run has no event log.
    ended_by
        The number of the owner that ended the run; None if none did.
    """

    def __init__(
        self,
        host: Host,
        *,
        table: TaskTable,
        functions: FunctionRegistry,
        unused_functions: UnusedFunctions,
        presence: Presence,
        commands: ClientCommands,
        retry_service: RetryService,
        log_writer: LogWriter | None,
        failover: ReturningClients | None,
        prior_calls: PriorCallFinder | None,
        rich_output: RichOutput,
    ) -> None:
        self._host = host
        self._table = table
        self._functions = functions
        self._unused_functions = unused_functions
        self._presence = presence
        self._commands = commands
        self._retry_service = retry_service
        self._log_writer = log_writer
        self._failover = failover
        self._prior_calls = prior_calls
        self._rich_output = rich_output
        self.ended_by: int | None = None

    def carry_out(
        self, client: ClientConnection, messages: list[WireMessage], frames: list[Buffer], *, first: bool = False
    ) -> None:
        """Carry out one batch of a client, and note it for the event log.

        Parameters
        ----------
        client
            The sender.
        messages, frames
            The batch.
        first
            The batch began with the client's introduction, which is not in ``messages`` any more.
        """
        raw = client.stream.raw
        if raw is None or self._log_writer is None:
            self._carry_out(client, messages, frames, {})
            return
        # The bytes as the client sent them: the log stores these and encodes nothing a second time.
        header = raw.popleft()
        used: dict[int, int] = {}
        try:
            self._carry_out(client, messages, frames, used)
        finally:
            # A client that returns does not count the batch of its hello, and numbers of batches must agree.
            if not (first and client.returned):
                # A message with frames is a batch of its own.
                task = messages[0].task if frames and type(messages[0]) is SubmitTask else -1
                self._log_writer.batch_received(client.number, header, used, frames, task)

    def _carry_out(
        self, client: ClientConnection, messages: list[WireMessage], frames: list[Buffer], used: dict[int, int]
    ) -> None:
        if client.panel:
            self._carry_out_for_panel(client, messages)
            return
        table, names = self._table, self._functions.names
        number, functions = client.number, client.functions
        at = 0
        for message in messages:
            if type(message) is SubmitTask:
                own: list[Buffer] = []
                if message.frames:
                    own = list(frames[at : at + message.frames])
                    at += message.frames
                if message.fn >= 0:
                    # The log keeps this translation, because the raw bytes have the client's numbers.
                    used[message.fn] = message.fn = functions[message.fn]
                app = message.name or names[message.fn]
                if client.matcher is None or not self._matched(client, message, own, app):
                    table.submit(number, message, own, app)
            elif type(message) is DefineFunction:
                used[message.fn] = functions[message.fn] = self._functions.add(message, frames[at])
                at += 1
            elif type(message) is ValueMessage:
                at += self._take_value(message, list(frames), at)
            elif isinstance(message, _OF_ONE_TASK):
                # The table may have dropped the task while the message was on its way.
                task = table.tasks.get(message.task)
                if task is not None:
                    self._handle_task_message(client, task, message)
            else:
                self._handle(client, message)

    def _carry_out_for_panel(self, client: ClientConnection, messages: list[WireMessage]) -> None:
        """Carry out the requests of a panel that is no client."""
        for message in messages:
            if type(message) is not PanelRequest:
                raise ProtocolError(f"a panel sent {type(message).__name__}, and may only send requests of panels")
            self._commands.handle(client, message)

    def _matched(self, client: ClientConnection, message: SubmitTask, frames: list[Buffer], app: str) -> bool:
        """Return whether a lost kernel has made this call already, so that its result serves."""
        matcher = client.matcher
        assert matcher is not None
        assert self._prior_calls is not None
        if not matcher.adopted + matcher.anew:
            # From the first call on: only then do the cells of the notebook run again.
            self._prior_calls.matching_began(matcher)
        found = matcher.submit(client.number, message, frames, app)
        # From now on calls of this client are ordinary ones and cost nothing extra.
        if matcher.done:
            client.matcher = None
        return found

    def _take_value(self, message: ValueMessage, frames: list[Buffer], at: int) -> int:
        """Take the value of a task that ran at the client; return the number of frames that belong to it."""
        task = self._table.tasks.get(message.task)
        # Frames are counted even if the task is gone, because the next message's frames follow them.
        value: StoredValue = sliced(message.inline, message.frames, frames, at)
        if task is not None:
            self._table.value_arrived(task, value, steady_time())
        return message.frames

    def _handle(self, client: ClientConnection, message: WireMessage) -> None:
        """Carry out a message that is not about one task that runs at the client."""
        match message:
            case ReleaseTasks():
                self._table.release(message.tasks)
                if client.matcher is not None:
                    client.matcher.forget(message.tasks)
            case CancelTasks():
                self._table.cancel(message.tasks, steady_time())
            case FetchValue():
                self._table.fetch(client.number, message.task)
                if self._failover is not None:
                    self._failover.fetched(message.task)
            case PanelRequest():
                self._commands.handle(client, message)
            case ForgetFunctions():
                for fn in message.fns:
                    self._unused_functions.drop(client.functions.pop(fn))
            case RetryTasks():
                self._retry_service.answered(client, message)
            case ReproducerWritten():
                self._commands.reproducer_written(message)
            case RetryHandlerChanged():
                # Tasks of the notebook's lost kernels have no handler of their own any more.
                absent = self._presence.leases.absent(client.notebook)
                handler = client.number if message.handler else None
                self._table.set_retry_handler(handler, (client.number, *absent), steady_time())
            case SetLinger():
                self._presence.set_linger(message.seconds)
            case ClientResumed():
                if self._failover is not None:
                    self._failover.resumed(client, message)
            case ShutDownRun():
                # A guest may leave, but may not end the run of others.
                if client.owner:
                    self.ended_by = client.number
                    self._host.end_run(message.reason)
            case _:
                raise ProtocolError(f"it sent {type(message).__name__} in the middle of its session")

    def _handle_task_message(self, client: ClientConnection, task: Task, message: _OfOneTask) -> None:
        """Carry out a client's report about a task that it runs, or its request for the task's output."""
        table = self._table
        match message:
            case LocalTaskStarted():
                table.started(task, message.at)
            case LocalTaskFinished():
                outcome = Outcome(
                    task=task.id,
                    attempt=task.attempt,
                    inline=b"",
                    frames=0,
                    started=message.started,
                    ended=message.ended,
                    failure=message.failure,
                )
                table.attempt_ended(task, outcome)
            case JoinBodyReturned():
                table.join_body_returned(task, message, steady_time())
            case RetryCost():
                table.retry_cost_received(task, message, steady_time())
            case ValueNotPicklable():
                table.value_not_picklable(task, message.failure, steady_time())
            case FollowOutput():
                # A new set: most tasks have none, and an empty set for each would cost memory.
                task.followers = (task.followers or set()) | {client.number}
                for shown in self._rich_output.of(task.id):
                    table.out.replies.append((client.number, shown, []))


_OfOneTask: TypeAlias = (
    LocalTaskStarted | LocalTaskFinished | JoinBodyReturned | RetryCost | ValueNotPicklable | FollowOutput
)
"""Messages about one task; a client may send them for a task that the table has dropped."""
_OF_ONE_TASK = get_args(_OfOneTask)
