"""The file service of a node [shell]: one thread that gets files for tasks, and sends what tasks of other nodes need.

It belongs to a manager whose node does not see the files of the DataFlowKernel's host.  It has a connection of its own
to the hub, a port for other nodes, and a unix socket for the tasks of this node.  After its connection to the hub broke
it connects again, and asks again what was not answered.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import queue
import shutil
import socket
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq

from parslab.clock import steady_time
from parslab.files.cache import ContentCache, lock_folder, note_socket, remove_socket, unlock_folder
from parslab.files.cache_index import CacheFull, Lifetime
from parslab.files.content import state_of
from parslab.files.exchange import Exchange
from parslab.files.requests import FOLDER, SOCKET, FileReply, GetFile, PutFile, content_id
from parslab.remote.files.connections import OutgoingConnection, PeerPort
from parslab.remote.files.tasks_socket import TaskConnection, TasksSocket
from parslab.wire.messages.base import PROTOCOL, Refused
from parslab.wire.messages.files import (
    ContentDropped,
    ContentHeld,
    FetchContent,
    FetchFrom,
    FetchStopped,
    FileHello,
    FileLocated,
    FileStored,
    KeepFile,
    LocateFile,
    StoreFile,
)
from parslab.wire.reachable import reachable

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.files.content import FileState
    from parslab.files.transfer import AskForSource
    from parslab.wire.invitations import Invitation
    from parslab.wire.messages.base import WireMessage
    from parslab.wire.messages.files import ContentId
    from parslab.wire.stream import Buffer

__all__ = ["NodeFileService"]

log = logging.getLogger("parslab.files")

HUB = "hub"
"""The name of the DataFlowKernel's host among the sources of a content."""
_PATIENCE = 1.5
"""Seconds within which another node must accept a connection: a firewall that drops packets costs this once a node."""
_HUB_PATIENCE = 5.0
_HUB_PAUSE = 0.5
"""Seconds between two attempts to connect to the hub."""

_TRANSFERS = 3
"""How often a temporary file is looked for again after a transfer failed: its node may have been lost meanwhile."""

Answer = FileLocated | FileStored
Question = LocateFile | StoreFile | KeepFile


class NodeFileService:
    """The files of one node.

    Parameters
    ----------
    invitation
        Where the hub is, and the keys of the run.
    node
        The name of the manager.
    base
        The folder below which this service makes its cache.
    limit
        The most bytes of the cache.

    Attributes
    ----------
    folder
        Its cache.
    socket_path
        Where tasks connect.
    environment
        The environment variables by which workers find that.
    """

    def __init__(self, invitation: Invitation, node: str, base: Path, limit: int) -> None:
        self._invitation = invitation
        self._node = node
        self.folder, self._lock = lock_folder(base)
        self._exchange = Exchange(ContentCache(self.folder, limit, invitation.run), self, steady_time)
        self._context: zmq.Context[Any] = zmq.Context()
        self._port = PeerPort(self._context, invitation, any("[" in address for address in invitation.addresses))
        remove_socket(self.folder)  # of a killed process
        self._tasks = TasksSocket()
        note_socket(self.folder, self._tasks.path)
        self._task_connections: dict[int, TaskConnection] = {}
        """By descriptor."""
        self.socket_path = str(self._tasks.path)
        folder = self.folder / "tasks"
        shutil.rmtree(folder, ignore_errors=True)  # what the tasks of a killed process have left
        folder.mkdir(mode=0o700)
        self.environment = {SOCKET: self.socket_path, FOLDER: str(folder)}
        self._hub: OutgoingConnection | None = None
        self._connecting = False
        """Whether a thread looks for the hub."""
        self._peers: dict[str, OutgoingConnection] = {}
        self._waiting: dict[str, list[tuple[Sequence[WireMessage], Sequence[Buffer]]]] = {}
        """Batches for nodes to which a connection is being made."""
        self._places: dict[str, tuple[tuple[str, ...], str]] = {}
        """Addresses and public key of other nodes."""
        self._questions: dict[int, tuple[Question, Callable[[Answer], None]]] = {}
        """What the hub has not answered, and who waits for it."""
        self._kept: dict[str, KeepFile] = {}
        """By path: the temporary files of this node, for a DataFlowKernel that has lost what it knew."""
        self._numbers = itertools.count(1)
        self._hub_numbers = itertools.count(1)
        """The hub must not take a new connection for one that broke."""
        self._ended = False
        self._run_goes_on = False
        self._posted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_out.setblocking(False)
        self._poller = zmq.Poller()
        self._watched: dict[object, Callable[[], None]] = {}
        self._thread = threading.Thread(target=self._run, name="parslab-files", daemon=True)

    # ----- begin and end

    def start(self) -> None:
        """Start the thread."""
        self._watch(self._wake_out.fileno(), self._woken)
        self._watch(self._tasks.socket.fileno(), lambda: self._tasks.accept(self._add_task))
        self._watch(self._port.socket, self._receive_from_nodes)
        self._watch(self._port.gate.socket, self._port.gate.answer)
        self._thread.start()

    def close(self, run_goes_on: bool = False) -> None:
        """End the thread, and remove what nobody needs any more.

        Parameters
        ----------
        run_goes_on
            Whether another process of this node takes over, so that contents of the run stay.
        """
        self._run_goes_on = run_goes_on
        if not self._thread.is_alive():
            self._close_all()
            return
        self._post(self._end)
        self._thread.join(5.0)

    def _end(self) -> None:
        self._ended = True

    def _post(self, call: Callable[[], None]) -> None:
        self._posted.put(call)
        with contextlib.suppress(OSError):
            self._wake_in.send(b"x")

    def _woken(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_out.recv(4096)
        with contextlib.suppress(queue.Empty):
            while True:
                self._posted.get_nowait()()

    def _watch(self, sock: zmq.Socket[Any] | int, call: Callable[[], None]) -> None:
        self._poller.register(sock, zmq.POLLIN)
        self._watched[sock] = call

    def _forget(self, sock: zmq.Socket[Any] | int) -> None:
        if self._watched.pop(sock, None) is not None:
            self._poller.unregister(sock)

    def _run(self) -> None:
        try:
            self._find_hub()
            while not self._ended:
                due = self._exchange.check()
                timeout = None if due is None else max(0, int(1000 * (due - steady_time())) + 1)
                for sock, _ in self._poller.poll(timeout):
                    call = self._watched.get(sock)
                    if call is not None:
                        self._safely(call)
        finally:
            self._close_all()

    def _safely(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            # One broken request must not end the service for all tasks of the node.
            log.exception("an error of parslab itself")

    def _close_all(self) -> None:
        for peer in self._peers.values():
            peer.close()
        if self._hub is not None:
            self._hub.close()
        self._port.close()
        self._tasks.close()
        remove_socket(self.folder)
        for task in self._task_connections.values():
            task.socket.close()
        self._exchange.close()
        if not self._run_goes_on:
            self._exchange.cache.end_run()
        shutil.rmtree(self.folder / "tasks", ignore_errors=True)
        self._wake_in.close()
        self._wake_out.close()
        if self._run_goes_on:
            os.close(self._lock)
        else:
            unlock_folder(self.folder, self._lock)
        self._context.term()

    # ----- the hub

    def _find_hub(self) -> None:
        if self._connecting or self._ended:
            return
        self._connecting = True
        addresses = self._invitation.addresses
        self._in_thread(lambda: reachable(addresses, _HUB_PATIENCE)[0], self._hub_found)

    def _in_thread(self, work: Callable[[], str], then: Callable[[str], None]) -> None:
        """Do work that may wait in a thread of its own; continue here with its result."""

        def run() -> None:
            result = work()
            self._post(lambda: then(result))

        threading.Thread(target=run, name="parslab-files-connect", daemon=True).start()

    def _hub_found(self, address: str) -> None:
        self._connecting = False
        if not address:
            log.warning("the hub cannot be reached at %s", ", ".join(self._invitation.addresses))
            self._find_hub_later()
            return
        identity = f"{self._node}/files-{next(self._hub_numbers)}".encode()
        hub = OutgoingConnection(self._context, address, self._invitation.server_key, self._invitation, identity)
        self._hub = hub
        self._watch(hub.socket, self._receive_from_hub)
        self._watch(hub.monitor, self._check_hub)
        hello = FileHello(
            node=self._node,
            executor=self._invitation.executor,
            protocol=PROTOCOL,
            package=self._invitation.package,
            host=socket.gethostname(),
            addresses=tuple(f"{own}:{self._port.number}" for own in _own_addresses(address)),
            server_key=self._port.server_key,
        )
        hub.send([hello, ContentHeld(self._exchange.contents), *self._kept.values()])
        for question, _ in self._questions.values():
            hub.send([question])
        self._exchange.seek_again()

    def _find_hub_later(self) -> None:
        timer = threading.Timer(_HUB_PAUSE, lambda: self._post(self._find_hub))
        timer.daemon = True
        timer.start()

    def _check_hub(self) -> None:
        hub = self._hub
        if hub is None:
            return
        hub.watch()
        if hub.over:
            log.warning("the connection to the hub broke")
            self._hub = None
            self._forget(hub.socket)
            self._forget(hub.monitor)
            hub.close()
            self._exchange.peer_lost(HUB, "the connection broke")
            self._find_hub_later()

    def _receive_from_hub(self) -> None:
        if self._hub is None:
            return
        for messages, frames in self._hub.receive():
            chunks: list[WireMessage] = []
            for message in messages:
                match message:
                    case FileLocated() | FileStored():
                        _, answer = self._questions.pop(message.ask, (None, None))
                        if answer is not None:
                            answer(message)
                    case FetchFrom():
                        self._fetch_from(message)
                    case Refused(reason=reason):
                        log.error("the hub has refused the file service of this node: %s", reason)
                        self._hub.over = True
                    case _:
                        chunks.append(message)
            if chunks:
                self._exchange.received(HUB, chunks, frames)
        self._check_hub()

    def _tell_hub(self, message: WireMessage) -> None:
        # Without a connection nothing is lost: all that matters is sent again when there is one.
        if self._hub is not None:
            self._hub.send([message])

    def _ask(self, question: Question, answer: Callable[[Answer], None]) -> None:
        self._questions[question.ask] = question, answer
        self._tell_hub(question)

    def _fetch_from(self, message: FetchFrom) -> None:
        if not message.source:
            self._exchange.no_source(message.content, message.error or "no host has it")
            return
        if message.source != HUB:
            self._places[message.source] = message.addresses, message.server_key
        self._exchange.sourced(message.content, message.source)

    # ----- other hosts (ExchangeLinks)

    def send(self, peer: str, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        """Send a batch to the hub, to a node, or to one that has connected here (its identity behind a ``<``)."""
        if peer.startswith("<"):
            if not self._port.send(bytes.fromhex(peer[1:]), messages, frames):
                self._post(lambda: self._exchange.peer_lost(peer, "it has closed its connection"))
        elif peer == HUB:
            if self._hub is None:
                self._post(lambda: self._exchange.peer_lost(HUB, "there is no connection now"))
            else:
                self._hub.send(messages, frames)
        elif peer in self._peers:
            self._peers[peer].send(messages, frames)
        elif peer in self._waiting:
            self._waiting[peer].append((messages, frames))
        else:
            self._waiting[peer] = [(messages, frames)]
            addresses = self._places[peer][0]
            self._in_thread(lambda: reachable(addresses, _PATIENCE)[0], lambda found: self._peer_found(peer, found))

    def _peer_found(self, peer: str, address: str) -> None:
        batches = self._waiting.pop(peer, [])
        if not address:
            self._exchange.peer_lost(peer, f"it cannot be reached from {socket.gethostname()}", unreachable=True)
            return
        connection = OutgoingConnection(self._context, address, self._places[peer][1], self._invitation)
        self._peers[peer] = connection
        self._watch(connection.socket, lambda: self._receive_from(peer))
        self._watch(connection.monitor, lambda: self._check_peer(peer))
        for messages, frames in batches:
            connection.send(messages, frames)

    def _receive_from(self, peer: str) -> None:
        connection = self._peers.get(peer)
        if connection is not None:
            for messages, frames in connection.receive():
                self._exchange.received(peer, messages, frames)
            self._check_peer(peer)

    def _check_peer(self, peer: str) -> None:
        connection = self._peers.get(peer)
        if connection is None:
            return
        connection.watch()
        if connection.over:
            del self._peers[peer]
            self._forget(connection.socket)
            self._forget(connection.monitor)
            connection.close()
            self._exchange.peer_lost(peer, "the connection broke")

    def _receive_from_nodes(self) -> None:
        for identity, (messages, frames) in self._port.receive():
            self._exchange.received(f"<{identity.hex()}", messages, frames)

    def seek(self, content: ContentId, failed: AskForSource, unreachable: bool) -> None:
        """Ask the hub for a source."""
        self._tell_hub(FetchContent(content, failed.failed, failed.reason, unreachable))

    def arrived(self, content: ContentId) -> None:
        """Tell the hub that other nodes can fetch a content here."""
        self._tell_hub(ContentHeld([content]))

    def stopped(self, content: ContentId) -> None:
        """Tell the hub that this node does not fetch a content any more."""
        self._tell_hub(FetchStopped(content))

    def dropped(self, contents: Sequence[ContentId]) -> None:
        """Tell the hub that these contents are not here any more."""
        self._tell_hub(ContentDropped(list(contents)))

    # ----- tasks

    def _add_task(self, task: TaskConnection) -> None:
        number = task.socket.fileno()
        self._task_connections[number] = task
        self._watch(number, lambda: self._read_task(number))

    def _read_task(self, number: int) -> None:
        task = self._task_connections[number]
        try:
            request = task.read()
        except EOFError:
            self._forget(number)
            del self._task_connections[number]
            task.socket.close()
            # The task, or its process, has ended: it does not need what it got.
            self._exchange.release(task.holder)
            return
        if isinstance(request, GetFile):
            self._get(task, request)
        elif request is not None:
            self._put(task, request)

    def _refuse(self, task: TaskConnection, path: str, reason: str) -> None:
        task.reply(FileReply(error=reason, host=socket.gethostname(), path=path))

    def _get(self, task: TaskConnection, request: GetFile) -> None:
        seen = (0, 0, 0)
        with contextlib.suppress(OSError):
            seen = state_of(os.stat(request.path))
        self._locate(task, request, seen, _TRANSFERS)

    def _locate(self, task: TaskConnection, request: GetFile, seen: FileState, transfers: int) -> None:
        question = LocateFile(next(self._numbers), request.path, seen, request.task)
        self._ask(question, lambda answer: self._located(task, request, answer, transfers))

    def _located(self, task: TaskConnection, request: GetFile, answer: Answer, transfers: int) -> None:
        assert isinstance(answer, FileLocated)
        if answer.visible:
            self._make(task, request.target, lambda: _name_again(Path(request.path), Path(request.target)))
        elif answer.content is None:
            host = socket.gethostname()
            task.reply(FileReply(error=answer.error, host=host, path=request.path, recovers=answer.recovers))
        else:
            content, cache = answer.content, self._exchange.cache
            if answer.temporary and content in cache.index and cache.path(content) is None:
                # Somebody has changed the copy of this node: the hub must not name this node as a source to it.
                self.dropped([content])
                self._locate(task, request, (0, 0, 0), transfers)
                return

            def arrived(error: str) -> None:
                if error and answer.temporary and transfers > 1:
                    self._locate(task, request, (0, 0, 0), transfers - 1)
                elif error:
                    self._refuse(task, request.path, error)
                else:
                    self._make(task, request.target, lambda: cache.lend(content, Path(request.target), answer.mode))
                if task.socket.fileno() < 0:  # the task ended meanwhile
                    self._exchange.release(task.holder)

            self._exchange.want(content, Lifetime[request.lifetime], task.holder, arrived)

    def _make(self, task: TaskConnection, target: str, make: Callable[[], None]) -> None:
        try:
            os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
            make()
        except OSError as error:
            self._refuse(task, target, error.strerror or str(error))
        else:
            task.reply(FileReply())

    def _put(self, task: TaskConnection, request: PutFile) -> None:
        content, source = content_id(request), Path(request.source)
        keeps = request.keeps
        try:
            state = state_of(source.stat())
            # The task may remove its file as soon as it is stored; the cache keeps it for tasks of other nodes.
            try:
                dropped = self._exchange.cache.adopt(source, content, Lifetime[request.lifetime], steady_time())
            except CacheFull:
                keeps = False  # the host of the run has room
            else:
                if dropped:
                    self.dropped(dropped)
            if not keeps:
                self._exchange.offer(content, source, state)
        except OSError as error:
            self._refuse(task, request.source, error.strerror or str(error))
            return
        self.arrived(content)
        question: Question = StoreFile(next(self._numbers), request.path, content, request.mode)
        if keeps:
            question = KeepFile(question.ask, request.path, content, request.mode, request.task)
            self._kept[request.path] = KeepFile(0, request.path, content, request.mode, request.task)

        def stored(answer: Answer) -> None:
            assert isinstance(answer, FileStored)
            if answer.error:
                self._refuse(task, request.path, answer.error)
            else:
                task.reply(FileReply())

        self._ask(question, stored)


def _own_addresses(hub: str) -> list[str]:
    """Return the addresses of this host at which other nodes may connect, that towards the hub first."""
    host, _, port = hub.removeprefix("tcp://").rpartition(":")
    found: list[str] = []
    family = socket.AF_INET6 if "[" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect((host.strip("[]"), int(port)))  # for datagrams this only chooses a route, and sends nothing
        found.append(str(probe.getsockname()[0]))
    return [f"tcp://[{own}]" if ":" in own else f"tcp://{own}" for own in found]


def _name_again(path: Path, target: Path) -> None:
    """Give a file that this node sees a second name."""
    target.unlink(missing_ok=True)
    target.symlink_to(path)
