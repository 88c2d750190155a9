"""Runs the sessions of clients: accepts, introduces, reads and drops them [shell].

The process inherits the owner's socket; guests connect to the listening socket.  A guest's process must belong to our
user, whatever the permissions of the folder are.  ``presence`` decides what happens to the tasks of a client that
leaves, and ``requests`` carries out the messages of clients.
"""

from __future__ import annotations

import logging
import os
from collections import deque
from typing import TYPE_CHECKING

from parslab.dataflow.acceptor import Acceptor
from parslab.dataflow.clients.presence import GONE
from parslab.errors import InternalError, ProtocolError
from parslab.records.executor_settings import runs_mpi
from parslab.wire.messages.base import PROTOCOL, Refused
from parslab.wire.messages.client import ClientHello, Welcome
from parslab.wire.unix_sockets import listen, peer_pid, peer_uid

if TYPE_CHECKING:
    import socket
    from pathlib import Path

    from parslab.dataflow.clients.connection import ClientConnection
    from parslab.dataflow.clients.log_service import LogService
    from parslab.dataflow.clients.presence import Presence
    from parslab.dataflow.clients.registry import ClientRegistry
    from parslab.dataflow.clients.requests import ClientRequests
    from parslab.dataflow.clients.resumption import PriorCallFinder, ReturningClients
    from parslab.dataflow.clients.retry_service import RetryService
    from parslab.dataflow.clients.unused_functions import UnusedFunctions
    from parslab.dataflow.host import Host
    from parslab.wire.messages.base import WireMessage
    from parslab.wire.messages.client import PriorTasks
    from parslab.wire.run_files import RunSettings

__all__ = ["Sessions"]

log = logging.getLogger(__name__)


class Sessions:
    """The sessions of all clients of a run.

    Parameters
    ----------
    host
        The process that it runs in.
    settings
        The settings of the run.
    kinds
        The label of each executor and where its tasks run.
    clients
        Holds the attached clients.
    requests
        Carries out their messages.
    presence
        Decides what happens when they leave.
    log_service
        Notes them in the event log.
    retry_service
        Waits for answers of clients, and stops waiting when they leave.
    unused_functions
        Removes the functions of clients that left.
    failover
        Handles the clients of a lost DataFlowKernel; None if none was lost.
    prior_calls
        Finds earlier calls of a notebook; None if the run has no event log.
    """

    def __init__(
        self,
        host: Host,
        settings: RunSettings,
        kinds: tuple[tuple[str, int], ...],
        *,
        clients: ClientRegistry,
        requests: ClientRequests,
        presence: Presence,
        log_service: LogService,
        retry_service: RetryService,
        unused_functions: UnusedFunctions,
        failover: ReturningClients | None,
        prior_calls: PriorCallFinder | None,
    ) -> None:
        self._host = host
        self._settings = settings
        self._kinds = kinds
        self._clients = clients
        self._requests = requests
        self._presence = presence
        self._log_service = log_service
        self._retry_service = retry_service
        self._unused_functions = unused_functions
        self._failover = failover
        self._prior_calls = prior_calls
        self._acceptor: Acceptor | None = None

    # ----- clients attach

    def listen(self, path: Path) -> None:
        """Let guests attach through a unix socket."""
        self._acceptor = Acceptor(listen(path), self._host, self._accepted)

    def add(self, sock: socket.socket, owner: bool, number: int = -1) -> ClientConnection:
        """Add a client, and read from it; it gets a new number unless it had one before a restart."""
        client = self._clients.add(sock, owner, number)
        if self._log_service.writer is not None:
            # The stream keeps the raw bytes of batches only if a log will store them.
            client.stream.raw = deque()
        loop = self._host.loop
        loop.watch(client.stream, lambda: self._readable(client), lambda: self._clients.flush(client))
        return client

    def _accepted(self, sock: socket.socket) -> None:
        uid = peer_uid(sock)
        # The system names the user of the other end; root may read our memory anyway.
        if uid is not None and uid not in (os.getuid(), 0):
            log.warning("a process of user %d tried to attach and was turned away", uid)
            self._host.notify("warning", f"A process of user {uid} tried to attach; it was turned away.")
            sock.close()
            return
        self.add(sock, owner=False)

    def _introduce(self, client: ClientConnection, hello: ClientHello) -> bool:
        """A guest has introduced itself: welcome it, or refuse it and return False."""
        if hello.protocol != PROTOCOL:
            reason = (
                f"This run speaks protocol {PROTOCOL} (parslab {self._settings.package}), you speak {hello.protocol} "
                f"(parslab {hello.package}): use the same version of parslab on both sides."
            )
            self._clients.send(client, [Refused(reason)])
            self.drop(client, "refused")
            return False
        client.greeted, client.pid = True, hello.pid
        if hello.panel:
            # Nothing of a panel is in the event log, so nobody would take the raw bytes away.
            client.panel, client.stream.raw = True, None
            self._send_welcome(client, None)
            return True
        # A client in another pid namespace names a number that means another process here, or none.
        client.pid_is_local = peer_pid(client.stream.sock) == hello.pid
        if self._failover is not None:
            # Before all else, because lease and log name the client by its number.
            self._failover.rejoin(client, hello.client)
        prior = self._presence.attached(client, hello.notebook, hello.host, owner=client.owner)
        if client.owner and hello.notebook_place is not None:
            self._presence.notebook_at(hello.notebook_place)
        self._log_service.client_joined(client, hello.host, hello.notebook)
        self.welcome(client, prior)
        return True

    def welcome(self, client: ClientConnection, prior: PriorTasks | None) -> None:
        """Send the welcome, for a returning kernel only after its earlier calls have been found."""
        finder = self._prior_calls
        if finder is not None and not client.returned and finder.expected(client.notebook):
            finder.find(client, lambda first: self._send_welcome(client, prior, first))
        else:
            self._send_welcome(client, prior)

    def _send_welcome(self, client: ClientConnection, prior: PriorTasks | None, first: int = -1) -> None:
        if prior is not None and client.matcher is not None:
            # The log also has results whose futures the earlier kernel had dropped.
            prior.results = max(prior.results, client.matcher.waiting()[0])
        settings = self._settings
        messages: list[WireMessage] = [
            Welcome(
                client=client.number,
                run=settings.run,
                protocol=PROTOCOL,
                package=settings.package,
                executors=self._kinds,
                first=first,
                still=prior,
                mpi=tuple(number for number, executor in enumerate(settings.executors) if runs_mpi(executor)),
            )
        ]
        if self._failover is not None and not client.panel:
            messages.append(self._failover.acknowledgement(client))
        self._clients.send(client, messages)

    # ----- clients speak

    def _readable(self, client: ClientConnection) -> None:
        # An earlier callback of the same round may have dropped the client.
        if client.number not in self._clients.connected:
            return
        try:
            for messages, frames in client.stream.receive():
                first = not client.greeted
                if first:
                    hello = messages.pop(0) if messages else None
                    if type(hello) is not ClientHello:
                        raise ProtocolError("its first message is no ClientHello")
                    if not self._introduce(client, hello):
                        return
                self._requests.carry_out(client, messages, frames, first=first)
        except EOFError:
            self.drop(client, GONE)
        # A mistake of one client must end neither the run nor the sessions of other clients.
        except (ProtocolError, InternalError, LookupError, MemoryError) as error:
            log.exception("client %d is dropped", client.number)
            self._host.notify("error", f"Client {client.number} is dropped: {type(error).__name__}: {error}")
            self.drop(client, str(error))

    # ----- clients leave

    def drop(self, client: ClientConnection, reason: str) -> None:
        """End the session of a client; twice is safe."""
        # A failed read and the search for dead clients may both find the same end.
        if not self._clients.remove(client) or client.panel:
            return
        for fn in client.functions.values():
            self._unused_functions.drop(fn)
        self._presence.left(client, reason)
        self._retry_service.client_left(client.number)

    def drop_dead(self) -> None:
        """End the sessions of clients whose process is gone (every few seconds)."""
        for client in self._presence.dead_clients():
            self.drop(client, GONE)

    def stop_listening(self) -> None:
        """Refuse new clients, because the run ends and would not answer them."""
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None

    def close(self, reason: str) -> None:
        """End all sessions: the run is over."""
        self.stop_listening()
        for client in list(self._clients.connected.values()):
            self._clients.send(client, [Refused(reason)])
            client.stream.close()
