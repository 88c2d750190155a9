"""What the kernel does about its record [shell]: opens and ends it, says who is there, acknowledges what is safe.

Called in the loop's thread.  A client keeps its batches until they are acknowledged, and sends those again to a
DataFlowKernel that takes the place of one that was lost; an acknowledgement rides along with results, and goes alone
only when many wait for one.
"""

from __future__ import annotations

import os
import socket
from time import time
from typing import TYPE_CHECKING, Any

from parslab.dataflow.persistence.log_format import (
    ClientGone,
    ClientJoined,
    KnownResults,
    LingerSet,
    RunClosed,
    RunOpened,
    folder_of,
)
from parslab.dataflow.persistence.log_writer import LogWriter
from parslab.records.events import NoticeRaised
from parslab.wire.messages.base import PROTOCOL
from parslab.wire.messages.client import BatchesAcknowledged, ClientHello

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from parslab.dataflow.clients.connection import ClientConnection
    from parslab.dataflow.kernel import Kernel
    from parslab.dataflow.resume.failover import Failover
    from parslab.wire.stream import Buffer

__all__ = ["LogService"]

_UNTOLD = 32
"""Batches of a client that may be safe before it is told, along with something else."""
_MANY = 256
"""Batches before it is told that alone."""
_LATER = 0.5
"""Seconds after which it is told in any case."""


class LogService:
    """The kernel's side of the record.

    Parameters
    ----------
    kernel
        Whose record it is.
    """

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._record: LogWriter | None = None
        self._due = False
        self.second: Failover | None = None
        """What there is to do when the run has lost a DataFlowKernel before."""

    def open(self) -> LogWriter | None:
        """Begin the record, when this run has one."""
        run = self._kernel.run
        if not run.get("resume", False):
            return None
        folder = folder_of(run["run_dir"])
        batches = None
        if run.get("revived"):
            from parslab.dataflow.resume.failover import Failover

            self.second = Failover(self._kernel, folder)
            batches = self.second.recovery.batches
        opened = RunOpened(run["run"], run["package"], PROTOCOL, os.getpid(), time())
        self._record = LogWriter(folder, opened, self, batches)
        self._record.open()
        return self._record

    def close(self, reason: str) -> None:
        """The run ends in order."""
        if self._record is not None:
            self._record.note(RunClosed(reason))
            self._record.close()

    # ----- clients

    def joined(self, client: ClientConnection, hello: ClientHello | None = None) -> None:
        """A client has come; the owner, without a word."""
        client.host = hello.host if hello is not None else socket.gethostname()
        client.notebook = hello.notebook if hello is not None else self._kernel.run.get("notebook", "")
        if self._record is not None:
            self._record.note(_joined(client))

    def keep(self, seconds: float) -> None:
        """Somebody has said how long the run shall outlive its last client."""
        if self._record is not None:
            self._record.note(LingerSet(seconds))

    def left(self, client: int) -> None:
        """A client has gone for good."""
        if self._record is not None:
            self._record.note(ClientGone(client))

    # ----- acknowledgements

    def add_ack(self, client: ClientConnection, messages: list[Any]) -> None:
        """Tell a client that is being told something else what is safe, when that is much."""
        assert self._record is not None
        safe = self._record.safe(client.number)
        if safe >= client.acked + _UNTOLD:
            client.acked = safe
            messages.append(BatchesAcknowledged(safe))

    def acknowledge(self, untold: int = _MANY) -> None:
        """Tell those who have been told nothing for many batches; the others a moment later."""
        assert self._record is not None
        for client in self._kernel.clients.values():
            safe = self._record.safe(client.number)
            if safe >= client.acked + untold:
                client.acked = safe
                self._kernel.send(client, [BatchesAcknowledged(safe)])
            elif safe > client.acked and not self._due:
                self._due = True
                self._kernel.at(time() + _LATER, self._rest)

    def _rest(self) -> None:
        self._due = False
        self.acknowledge(1)

    # ----- what the recorder needs (RecorderOwner)

    def post(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread; safe from any thread."""
        self._kernel.loop.post(call)

    def warn(self, text: str) -> None:
        """Tell the user."""
        self._kernel.event(NoticeRaised(time(), "warning", text))

    def present(self) -> Iterator[tuple[ClientJoined | KnownResults, Buffer]]:
        """The clients and functions that are there."""
        holders: dict[int, list[tuple[int, int]]] = {}
        for client in self._kernel.clients.values():
            if client.greeted:
                yield _joined(client), b""
            for number, fn in client.fns.items():
                holders.setdefault(fn, []).append((client.number, number))
        codes = self._kernel.codes
        for fn, digest, payload in codes.known():
            held = tuple(holders.get(fn, ()))
            yield KnownResults(fn, digest, codes.names[fn], codes.fingerprints[fn], codes.parts[fn], held), payload

    def functions(self, tasks: Iterable[int]) -> tuple[tuple[int, int], ...]:
        """The functions that these tasks call."""
        there = self._kernel.table.tasks
        return tuple((task, there[task].fn) for task in tasks if task in there)

    def newest(self) -> dict[int, int]:
        """The newest task of each range of numbers."""
        newest: dict[int, int] = {}
        for task in self._kernel.table.tasks:
            newest[task >> 40] = max(task, newest.get(task >> 40, 0))
        return newest

    def needed(self, newest: dict[int, int]) -> bool:
        """Whether a task that is none of the newer ones can still be asked for."""
        return any(task <= newest.get(task >> 40, -1) for task in self._kernel.table.tasks)


def _joined(client: ClientConnection) -> ClientJoined:
    return ClientJoined(client.number, client.notebook, client.pid, client.host, client.owner)
