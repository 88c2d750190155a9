"""Clients of a run come, are welcomed, and leave [shell].

The owner's socket is inherited, guests come through the listening one; only processes of the same user are let in.
What a client's leaving means for its tasks is for ``attendance`` to say.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from abc import ABC, abstractmethod
from collections import deque
from time import time
from typing import TYPE_CHECKING, Any

from parslab.dataflow.clients.connection import ClientConnection, peer_pid, peer_uid
from parslab.dataflow.clients.presence import GONE
from parslab.errors import InternalError, ProtocolError
from parslab.records.events import NoticeRaised
from parslab.wire.messages.base import PROTOCOL, Refused, TaskKind
from parslab.wire.messages.client import ClientHello, PanelUpdate, Welcome

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from parslab.dataflow.clients.presence import Presence
    from parslab.dataflow.clients.retry_service import RetryService
    from parslab.dataflow.high_throughput.managers import ManagerService
    from parslab.dataflow.persistence.log_service import LogService
    from parslab.dataflow.persistence.log_writer import LogWriter
    from parslab.dataflow.resume.resume_from_log import ResumeFromLog
    from parslab.records.events import Event
    from parslab.remote.loop import Loop
    from parslab.remote.pool.pool import WorkerPool
    from parslab.wire.messages.client import KernelMessage, PriorTasks
    from parslab.wire.stream import Buffer

__all__ = ["Sessions"]

log = logging.getLogger(__name__)


class Sessions(ABC):
    """Mixed into the kernel.

    Attributes
    ----------
    clients
        Those that are here, by number.
    """

    run: dict[str, Any]
    labels: tuple[str, ...]
    loop: Loop
    pools: dict[int, WorkerPool | ManagerService]
    record: LogWriter | None
    keeper: LogService
    heirs: ResumeFromLog | None
    attendance: Presence
    mending: RetryService
    clients: dict[int, ClientConnection]
    _numbers: Iterator[int]
    _listener: socket.socket | None

    @abstractmethod
    def event(self, event: Event) -> None:
        """Tell monitoring."""

    @abstractmethod
    def drop_code(self, fn: int) -> None:
        """A client will not call this function again."""

    def _add_client(self, sock: socket.socket, owner: bool, number: int = -1) -> ClientConnection:
        sock.setblocking(False)
        client = ClientConnection(next(self._numbers) if number < 0 else number, sock, owner)
        if self.record is not None:
            client.stream.raw = deque()
        self.clients[client.number] = client
        self.loop.watch(client.stream, lambda: self._readable(client), lambda: self._flush(client))
        return client

    def _accept(self) -> None:
        assert self._listener is not None
        with contextlib.suppress(BlockingIOError):
            sock, _ = self._listener.accept()
            uid = peer_uid(sock)
            if uid is not None and uid not in (os.getuid(), 0):
                log.warning("a process of user %d tried to attach and was turned away", uid)
                self.event(
                    NoticeRaised(time(), "warning", f"A process of user {uid} tried to attach; it was turned away.")
                )
                sock.close()
                return
            self._add_client(sock, owner=False)

    def greet(self, client: ClientConnection, hello: ClientHello) -> None:
        """A guest has introduced itself."""
        if hello.protocol != PROTOCOL:
            reason = (
                f"This run speaks protocol {PROTOCOL} (parslab {self.run['package']}), you speak {hello.protocol} "
                f"(parslab {hello.package}): use the same version of parslab on both sides."
            )
            self.send(client, [Refused(reason)])
            self._left(client, "refused")
            return
        client.greeted, client.pid = True, hello.pid
        client.leashed = peer_pid(client.stream.sock) == hello.pid
        if self.keeper.second is not None:
            self.keeper.second.returning(client, hello.client)
        still = self.attendance.attached(client, hello.notebook, hello.host)
        self.keeper.joined(client, hello)
        self._admit(client, still)

    def renumber(self, client: ClientConnection, number: int) -> None:
        """A client had another number before its DataFlowKernel was lost."""
        del self.clients[client.number]
        client.number = number
        self.clients[number] = client
        self.number_from(number + 1)

    def number_from(self, number: int) -> None:
        """Clients' numbers are never used again."""
        self._numbers = itertools.count(max(number, next(self._numbers)))

    def _admit(self, client: ClientConnection, still: PriorTasks | None = None) -> None:
        """Say welcome, when it is known what a kernel that has come back to its notebook may take over."""
        heirs = self.heirs
        if heirs is not None and not client.returned and heirs.expected(client.notebook):
            heirs.come(client, lambda first: self._send_welcome(client, still, first))
        else:
            self._send_welcome(client, still)

    def _send_welcome(self, client: ClientConnection, still: PriorTasks | None, first: int = -1) -> None:
        messages: list[Any] = [self._welcome(client, still, first)]
        if self.keeper.second is not None:
            messages.append(self.keeper.second.acked(client))
        self.send(client, messages)

    def _welcome(self, client: ClientConnection, still: PriorTasks | None = None, first: int = -1) -> Welcome:
        if still is not None and client.adoption is not None:  # also what the kernel before had let go of
            still.results = max(still.results, client.adoption.waiting()[0])
        kinds = tuple(
            (label, TaskKind.remote if i in self.pools else TaskKind.local) for i, label in enumerate(self.labels)
        )
        return Welcome(client.number, self.run["run"], PROTOCOL, self.run["package"], kinds, first, still)

    def _readable(self, client: ClientConnection) -> None:
        if client.number not in self.clients:
            return
        try:
            for messages, frames in client.stream.receive():
                if not client.greeted and not (messages and type(messages[0]) is ClientHello):
                    raise ProtocolError("its first message is no Hello")
                client.handle(self, messages, frames)
        except EOFError:
            self._left(client, GONE)
        except (ProtocolError, InternalError, LookupError, MemoryError) as error:
            log.exception("client %d is dropped", client.number)
            self.event(
                NoticeRaised(time(), "error", f"Client {client.number} is dropped: {type(error).__name__}: {error}")
            )
            self._left(client, str(error))

    def _left(self, client: ClientConnection, reason: str) -> None:
        if self.clients.pop(client.number, None) is None:
            return
        self.loop.forget(client.stream)
        client.stream.close()
        for fn in client.fns.values():
            self.drop_code(fn)
        self.attendance.left(client, reason)
        self.mending.left(client.number)

    def gone(self, client: ClientConnection) -> None:
        """The process of a client is not there any more."""
        self._left(client, GONE)

    def tell_all(self, message: KernelMessage) -> None:
        """Send a message to every client that has been greeted."""
        for client in self.clients.values():
            if client.greeted:
                self.send(client, [message])

    def _broadcast(self, text: bytes) -> None:
        for client in self.clients.values():
            self.send(client, [PanelUpdate(text)])

    def send(self, client: ClientConnection, messages: list[Any], frames: list[Buffer] | None = None) -> None:
        """Send a batch now."""
        try:
            client.stream.send(messages, frames or ())
        except OSError:
            return  # reading will find the end
        if client.stream.congested and client.number in self.clients:
            self.loop.wants_write(client.stream, True)

    def _flush(self, client: ClientConnection) -> None:
        with contextlib.suppress(OSError):
            if client.stream.flush():
                self.loop.wants_write(client.stream, False)
