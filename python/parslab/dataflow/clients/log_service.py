"""Opens and closes the event log, notes clients in it, and acknowledges their batches [shell].

The loop's thread calls it.  A client keeps each batch that it sent until the batch is acknowledged, because it sends
the batch again if the DataFlowKernel is lost.  Most acknowledgements travel with results; the service sends one alone
only when many batches wait for it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from parslab.clock import steady_time
from parslab.dataflow.persistence.log_format import (
    ClientGone,
    ClientJoined,
    FunctionKnown,
    LingerSet,
    RunClosed,
    RunOpened,
    log_folder,
)
from parslab.dataflow.persistence.log_writer import LogWriter
from parslab.wire.messages.base import PROTOCOL
from parslab.wire.messages.client import BatchesAcknowledged

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from parslab.dataflow.clients.connection import ClientConnection
    from parslab.dataflow.clients.registry import ClientRegistry
    from parslab.dataflow.graph.function_registry import FunctionRegistry
    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.host import Host
    from parslab.wire.messages.base import WireMessage
    from parslab.wire.run_files import RunSettings
    from parslab.wire.stream import Buffer

__all__ = ["LogService"]

_WITH_RESULTS = 32
"""Batches that are acknowledged together with results; fewer batches wait."""
_ALONE = 256
"""Batches that are acknowledged by a message of their own."""
_AT_LATEST = 0.5
"""Seconds after which any number of batches is acknowledged."""


class LogService:
    """The event log of a run.

    Parameters
    ----------
    host
        The process that it runs in.
    settings, clients, table, functions
        The settings, the attached clients, the tasks and the functions of the run.

    Attributes
    ----------
    writer
        Writes the log; None if the run has none.
    """

    def __init__(
        self,
        host: Host,
        settings: RunSettings,
        *,
        clients: ClientRegistry,
        table: TaskTable,
        functions: FunctionRegistry,
    ) -> None:
        self._host = host
        self._clients = clients
        self._table = table
        self._functions = functions
        self._timer_set = False
        self.writer: LogWriter | None = None
        # A run that nobody will resume saves the cost of a log.
        if settings.resume:
            opened = RunOpened(settings.run, settings.package, PROTOCOL, os.getpid(), steady_time())
            self.writer = LogWriter(log_folder(settings.run_dir), opened, self, results=settings.values.keep_results)

    def open(self, batches: Mapping[int, int]) -> None:
        """Begin to write; ``batches`` says how many batches of each client the log has already."""
        if self.writer is not None:
            self.writer.open(batches)

    def close(self, reason: str) -> None:
        """Note that the run ended normally, and stop writing."""
        if self.writer is not None:
            self.writer.note(RunClosed(reason))
            self.writer.close()

    def hand_over(self, patience: float) -> None:
        """Stop writing, because another DataFlowKernel goes on; wait so many seconds for large values."""
        if self.writer is not None:
            self.writer.close(patience)

    # ----- clients

    def client_joined(self, client: ClientConnection, host: str, notebook: str) -> None:
        """Note that a client has attached."""
        client.host, client.notebook = host, notebook
        if self.writer is not None:
            self.writer.note(_joined(client))

    def set_linger(self, seconds: float) -> None:
        """Note how long the run outlives its last client."""
        if self.writer is not None:
            self.writer.note(LingerSet(seconds))

    def client_left(self, client: int) -> None:
        """Note that a client is gone and will not return."""
        if self.writer is not None:
            self.writer.note(ClientGone(client))

    # ----- acknowledgements

    def add_acknowledgement(self, client: ClientConnection, messages: list[WireMessage]) -> None:
        """Append an acknowledgement to messages for a client, if enough batches wait for it."""
        assert self.writer is not None
        safe = self.writer.safe(client.number)
        if safe >= client.acknowledged + _WITH_RESULTS:
            client.acknowledged = safe
            messages.append(BatchesAcknowledged(safe))

    def acknowledge(self, at_least: int = _ALONE) -> None:
        """Send an acknowledgement to each client that waits for many, and to the others a moment later."""
        assert self.writer is not None
        for client in self._clients.connected.values():
            safe = self.writer.safe(client.number)
            if safe >= client.acknowledged + at_least:
                client.acknowledged = safe
                self._clients.send(client, [BatchesAcknowledged(safe)])
            # One timer serves all clients.
            elif safe > client.acknowledged and not self._timer_set:
                self._timer_set = True
                self._host.call_at(steady_time() + _AT_LATEST, self._acknowledge_rest)

    def _acknowledge_rest(self) -> None:
        self._timer_set = False
        self.acknowledge(1)

    # ----- what the writer asks (LogOwner)

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread soon; safe from any thread."""
        self._host.call_soon(call)

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread after so many seconds."""
        self._host.call_at(steady_time() + seconds, call)

    def acknowledge_now(self) -> None:
        """Tell clients which batches are on the disk."""
        self.acknowledge(1)

    def forgotten(self, task: int) -> bool:
        """Return whether a task has ended and nobody can ask for it, or for what depends on it."""
        return task not in self._table.tasks

    def warn(self, text: str) -> None:
        """Show the user a warning."""
        self._host.notify("warning", text)

    def present(self) -> Iterator[tuple[ClientJoined | FunctionKnown, Buffer]]:
        """Yield the attached clients and the known functions, with which each segment begins."""
        holders: dict[int, list[tuple[int, int]]] = {}
        for client in self._clients.connected.values():
            # A guest without a hello has no pid and no notebook yet; its own entry follows when it has.
            if client.greeted and not client.panel:
                yield _joined(client), b""
            for number, fn in client.functions.items():
                holders.setdefault(fn, []).append((client.number, number))
        functions = self._functions
        for fn, digest, payload in functions.known():
            # Functions without holders are written, too: tasks that have not ended may need them.
            held = tuple(holders.get(fn, ()))
            name, fingerprint, parts = functions.names[fn], functions.fingerprints[fn], functions.parts[fn]
            yield FunctionKnown(fn, digest, name, fingerprint, parts, held), payload

    def functions_of(self, tasks: Iterable[int]) -> tuple[tuple[int, int], ...]:
        """Return the function of each of these tasks."""
        known = self._table.tasks
        return tuple((task, known[task].fn) for task in tasks if task in known)

    def newest(self) -> dict[int, int]:
        """Return the newest task of each client's range of numbers."""
        # The upper bits of a task's number are the number of its client.
        newest: dict[int, int] = {}
        for task in self._table.tasks:
            newest[task >> 40] = max(task, newest.get(task >> 40, 0))
        return newest

    def needed(self, newest: dict[int, int]) -> bool:
        """Return whether a client can still ask for one of these tasks or an older one."""
        # Numbers of a client only rise, so one number for each client describes all of an old segment.
        return any(task <= newest.get(task >> 40, -1) for task in self._table.tasks)


def _joined(client: ClientConnection) -> ClientJoined:
    return ClientJoined(client.number, client.notebook, client.pid, client.host, client.owner)
