"""Sends the replies of the task table to clients, one batch for each client [shell]."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from parslab.dataflow.clients.log_service import LogService
    from parslab.dataflow.clients.registry import ClientRegistry
    from parslab.dataflow.graph.task import Effects
    from parslab.wire.messages.base import WireMessage
    from parslab.wire.stream import Buffer

__all__ = ["ReplySender"]

_FEW = 4
"""Replies in one round that are sent before the event log is written."""


class ReplySender:
    """Sends the replies of the table.

    Parameters
    ----------
    effects
        The effects of the table, which hold the replies.
    clients
        The attached clients.
    log_service
        The event log of the run.
    """

    def __init__(self, effects: Effects, clients: ClientRegistry, log_service: LogService) -> None:
        self._effects = effects
        self._clients = clients
        self._log_service = log_service

    def send(self) -> None:
        """Send all replies."""
        effects = self._effects
        replies, effects.replies = effects.replies, []
        log_writer = self._log_service.writer
        if log_writer is not None:
            log_writer.note_replies(replies, effects.large)
            # A client that waits for a single result gets it at once: writing first would cost a tenth of a round
            # trip. If we are killed before the write, the returning client does not list the task as
            # unfinished, so the task does not run again.
            if len(replies) > _FEW:
                log_writer.write()
        if effects.large:
            effects.large = []
        batches: dict[int, tuple[list[WireMessage], list[Buffer]]] = {}
        for number, message, frames in replies:
            batch = batches.get(number)
            if batch is None:
                batch = batches[number] = ([], [])
            batch[0].append(message)
            if frames:
                batch[1].extend(frames)
        for number, (messages, buffers) in batches.items():
            client = self._clients.connected.get(number)
            if client is not None:
                if log_writer is not None:
                    self._log_service.add_acknowledgement(client, messages)
                self._clients.send(client, messages, buffers)
