"""Carries out the requests of panels, and of users through the handle of a run [shell].

Monitoring answers questions by itself.  A request that changes something becomes a command, which this module carries
out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.clock import steady_time
from parslab.dataflow.operations.cancellation import cancel
from parslab.dataflow.operations.explain import explain
from parslab.errors import ParslabError
from parslab.monitoring.monitor import Monitor
from parslab.records.panel import (
    BlockActionRequest,
    CancelRequest,
    CheckpointRequest,
    CommandReply,
    ExplainRequest,
    HandoverRequest,
    LingerRequest,
    ReproducerRequest,
    RetryRequest,
    ScaleRequest,
)
from parslab.records.states import FINAL
from parslab.wire.encoding import encode_json
from parslab.wire.messages.client import PanelReply, PanelRequest, PanelUpdate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from parslab.dataflow.clients.connection import ClientConnection
    from parslab.dataflow.clients.panel_feed import PanelFeed
    from parslab.dataflow.clients.presence import Presence
    from parslab.dataflow.clients.registry import ClientRegistry
    from parslab.dataflow.clients.retry_service import RetryService
    from parslab.dataflow.graph.memoization.memo import Memo
    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.host import Host
    from parslab.dataflow.operations.reproducers import Reproducers
    from parslab.dataflow.persistence.checkpointing import Checkpointing
    from parslab.wire.messages.client import ReproducerWritten

__all__ = ["ClientCommands"]


class ClientCommands:
    """Carries out the commands of a run's clients.

    Parameters
    ----------
    host
        The process that it runs in.
    clients, table, memo
        The attached clients, the tasks and the memo of the run.
    panel_feed
        Answers questions.
    presence
        Sets how long the run outlives its clients.
    retry_service
        Retries tasks.
    reproducers
        Asks clients for cells that repeat a call.
    checkpointing
        Writes checkpoints.
    hand_over
        Begins to hand the run over to another host, and returns what happens now in a sentence.
    block_command
        Carries out a command about blocks, and returns what was done in a sentence.
    reasons
        Functions from a task's number to the reason why the task ran, or None if they do not know it.
    places
        Functions from a task to a sentence about where it runs or why it waits; empty if they do not know it.
    """

    def __init__(
        self,
        host: Host,
        *,
        clients: ClientRegistry,
        table: TaskTable,
        memo: Memo,
        panel_feed: PanelFeed,
        presence: Presence,
        retry_service: RetryService,
        reproducers: Reproducers,
        checkpointing: Checkpointing,
        hand_over: Callable[[float, float], str],
        block_command: Callable[[ScaleRequest | BlockActionRequest], str],
        reasons: Iterable[Callable[[int], str | None]],
        places: Iterable[Callable[[Task], str]] = (),
    ) -> None:
        self._host = host
        self._clients = clients
        self._table = table
        self._memo = memo
        self._panel_feed = panel_feed
        self._presence = presence
        self._retry_service = retry_service
        self._reproducers = reproducers
        self._checkpointing = checkpointing
        self._hand_over = hand_over
        self._block_command = block_command
        self._reasons = reasons
        self._places = places

    def handle(self, client: ClientConnection, request: PanelRequest) -> None:
        """Answer a request of the panel protocol, from a panel behind a client or from the client itself."""

        def encoded(text: bytes) -> PanelReply | PanelUpdate:
            return PanelReply(request.ask, text) if request.ask else PanelUpdate(text)

        def reply(text: bytes) -> None:  # called in any thread
            self._host.call_soon(lambda: self._send(client, encoded(text)))

        def reply_in_order(text: bytes) -> None:
            # Behind the replies of the table: the client must reopen its futures before it reads that they run again.
            self._table.out.replies.append((client.number, encoded(text), []))

        match self._panel_feed.request(request.text, client, reply, self._notebook_of(client)):
            case None:
                pass  # monitoring has answered
            case RetryRequest() as command:
                self._retry_service.retry(command, client, waits=bool(request.ask), reply=reply_in_order)
            case ReproducerRequest(request_id=id, task=task):
                try:
                    self._reproducers.ask(task, lambda found: reply(_written(id, found)))
                except ParslabError as error:
                    reply(Monitor.error_reply(id, str(error)))
            case command:
                try:
                    reply(Monitor.command_reply(command.request_id, self._carry_out(command, client)))
                except ParslabError as error:
                    reply(Monitor.error_reply(command.request_id, str(error)))

    def reproducer_written(self, message: ReproducerWritten) -> None:
        """Pass on the cell that a client has written for a panel."""
        self._reproducers.answered(message)

    def _send(self, client: ClientConnection, answer: PanelReply | PanelUpdate) -> None:
        # Monitoring answers from a thread: the client may have left since it asked.
        if client.number in self._clients.connected:
            self._clients.send(client, [answer])

    def _carry_out(
        self,
        command: LingerRequest
        | ScaleRequest
        | BlockActionRequest
        | ExplainRequest
        | CheckpointRequest
        | CancelRequest
        | HandoverRequest,
        by: ClientConnection,
    ) -> str:
        """Carry out a command, and return what was done in a sentence."""
        match command:
            case LingerRequest():
                return self._presence.set_linger(command.seconds)
            case ExplainRequest():
                return self._explain(command.task)
            case HandoverRequest():
                return self._hand_over(command.wait, command.keep)
            case CheckpointRequest():
                return self._checkpointing.checkpoint()
            case ScaleRequest() | BlockActionRequest():
                return self._block_command(command)
            case CancelRequest():
                return cancel(command, self._notebook_of(by), self._table, self._panel_feed.view, steady_time())

    def _explain(self, number: int) -> str:
        """Say why a task ran or whose result it has, and for an MPI task also where it runs or why it waits."""
        sentences = [explain(number, self._table, self._memo, self._reasons)]
        task = self._table.tasks.get(number)
        if task is not None and task.state not in FINAL:
            sentences += [text for place in self._places if (text := place(task))]
        return " ".join(sentences)

    def _notebook_of(self, client: ClientConnection) -> int:
        """Return the number of the client whose cells a request means: for a panel, the run's own notebook."""
        if not client.panel:
            return client.number
        return self._presence.newest_owner()


def _written(request_id: str, found: ReproducerWritten) -> bytes:
    """Encode the answer of a client for the panel."""
    if found.problem:
        return Monitor.error_reply(request_id, found.problem)
    # Not ``command_reply``, which shortens its sentence: this is the text of a whole cell.
    return encode_json(CommandReply(request_id, found.text))
