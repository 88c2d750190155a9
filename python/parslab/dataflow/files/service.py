"""The files of the DataFlowKernel's host, for nodes that do not see them [shell].

Nodes connect to the hub a second time for files.  The loop's thread only passes their messages on: a thread of this
service reads, writes and hashes, so that tasks never wait for a disk.  Replies go back through the loop, which owns the
port.  ``Locations`` decides who fetches from whom.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
import queue
import shutil
import socket
import stat
import threading
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from parslab.clock import steady_time
from parslab.dataflow.files.locations import HUB, Locations
from parslab.dataflow.graph.recovery.file_recovery import LostFile
from parslab.files.cache import ContentCache, remove_run_of_killed
from parslab.files.cache_index import Lifetime
from parslab.files.content import content_of, state_of
from parslab.files.exchange import Exchange
from parslab.wire.messages.base import PROTOCOL
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

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.host import Host
    from parslab.dataflow.network.hub import PeerConnection
    from parslab.files.content import FileState
    from parslab.files.transfer import AskForSource
    from parslab.wire.messages.base import WireMessage
    from parslab.wire.messages.files import ContentId
    from parslab.wire.stream import Buffer

__all__ = ["FileService"]

log = logging.getLogger(__name__)

_UNLIMITED = 1 << 62


class _FileNode:
    """A node with a file service, as this service sees it."""

    def __init__(self, hello: FileHello, identity: bytes) -> None:
        self.name = hello.node
        self.identity = identity
        self.addresses = hello.addresses
        self.server_key = hello.server_key
        self.host = hello.host


class _TemporaryFile(NamedTuple):
    """A file that stays on the nodes."""

    content: ContentId
    mode: int


class FileService:
    """The files of this host, and the locations of contents on all nodes.

    Parameters
    ----------
    host
        The process that it runs in.
    run, run_dir
        Name and folder of the run; what nodes send passes through a folder in it.
    table
        The task table, which has temporary files made again that were lost.
    """

    def __init__(self, host: Host, run: str, run_dir: str, table: TaskTable) -> None:
        self._host = host
        self._table = table
        """The loop's thread uses it."""
        self._run_name = run
        self._folder = Path(run_dir) / "files"
        self._connections: dict[bytes, PeerConnection] = {}
        """Owned by the loop's thread; everything below belongs to the thread of this service."""
        self.locations = Locations()
        self._nodes: dict[str, _FileNode] = {}
        self._names: dict[bytes, str] = {}
        self._exchange = Exchange(ContentCache(self._folder, _UNLIMITED, run), self, steady_time)
        self._hashes: dict[str, tuple[FileState, ContentId]] = {}
        """Content of each file that was asked for, and the state for which that is right."""
        self._hashing: dict[str, list[tuple[str, LocateFile]]] = {}
        """Who waits for the hash of a file."""
        self._temporary: dict[str, _TemporaryFile] = {}
        """By path: the files that stay on the nodes."""
        self._lost: dict[ContentId, str] = {}
        """How contents were lost that no host has, as the end of a sentence."""
        self._numbers = itertools.count()
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="parslab-files", daemon=True)
        self._thread.start()

    # ----- messages of nodes (PeerListener), in the loop's thread

    def hello(self, connection: PeerConnection, hello: FileHello) -> None:
        """Accept the file service of a node."""
        if hello.protocol != PROTOCOL:
            connection.refuse(f"its protocol is {hello.protocol}, and that of this run {PROTOCOL}")
            return
        self._connections[connection.identity] = connection
        self._inbox.put(lambda: self._join(_FileNode(hello, connection.identity)))

    def received(self, identity: bytes, messages: list[WireMessage], frames: list[Buffer]) -> bool:
        """Pass a batch on to the thread; returns False when no node has this identity."""
        if identity not in self._connections:
            return False
        self._inbox.put(lambda: self._received(identity, messages, frames))
        return True

    def unreachable(self, identity: bytes) -> None:
        """Remove a node whose connection broke."""
        if self._connections.pop(identity, None) is not None:
            self._inbox.put(lambda: self._leave(identity))

    def node_lost(self, name: str) -> None:
        """Remove a node whose manager was lost; its tasks run elsewhere, and no transfer may wait for it."""
        for identity in [one for one in self._connections if one.startswith(f"{name}/files-".encode())]:
            self.unreachable(identity)

    def close(self) -> None:
        """End the thread, and remove what nodes have sent and what managers of this host have left."""
        self._inbox.put(None)
        self._thread.join(5.0)
        log.info("this host has sent %s bytes of files to nodes", f"{sum(self._exchange.sent.values()):,}")
        shutil.rmtree(self._folder, ignore_errors=True)
        # A local block is killed as soon as its script has ended, maybe before its manager has removed its files.
        remove_run_of_killed(self._run_name)

    @property
    def connected(self) -> list[bytes]:
        """The identities of the connections of nodes."""
        return list(self._connections)

    def sent(self, content: ContentId) -> int:
        """Return how many bytes of a content this host has sent so far; safe from any thread."""
        return self._exchange.sent.get(content, 0)

    # ----- the thread

    def _run(self) -> None:
        while True:
            due = self._exchange.check()
            timeout = None if due is None else max(0.0, due - steady_time())
            try:
                call = self._inbox.get(timeout=timeout)
            except queue.Empty:
                continue
            if call is None:
                self._exchange.close()
                return
            try:
                call()
            except Exception:
                # One broken request must not end the service for all nodes.
                log.exception("an error of parslab itself")

    def _join(self, node: _FileNode) -> None:
        before = self._nodes.get(node.name)
        if before is not None:  # it lost its connection, and this process has not noticed
            self._leave(before.identity)
        self._nodes[node.name] = node
        self._names[node.identity] = node.name
        self.locations.join(node.name)

    def _leave(self, identity: bytes) -> None:
        name = self._names.pop(identity, "")
        if name:
            node = self._nodes.pop(name)
            lost = self.locations.leave(name)
            self._lost.update(dict.fromkeys(lost, f"was lost with host {node.host}"))
            self._exchange.peer_lost(name, "its connection broke")

    def _received(self, identity: bytes, messages: list[WireMessage], frames: list[Buffer]) -> None:
        name = self._names.get(identity)
        if name is None:
            return
        chunks: list[WireMessage] = []
        for message in messages:
            match message:
                case FetchContent():
                    self._choose(name, message)
                case LocateFile():
                    self._locate(name, message)
                case StoreFile():
                    self._store(name, message)
                case KeepFile():
                    self._keep(name, message)
                case ContentHeld(contents=contents):
                    for content in contents:
                        self._lost.pop(content, None)
                        self.locations.hold(name, content)
                case ContentDropped(contents=contents):
                    self._drop(name, contents, "was removed from the cache of host")
                case FetchStopped(content=content):
                    self.locations.stop(name, content)
                case _:
                    chunks.append(message)
        if chunks:
            self._exchange.received(name, chunks, frames)

    def _choose(self, name: str, message: FetchContent) -> None:
        content = message.content
        if message.failed:
            log.info("%s cannot fetch %s: %s", name, content.hex, message.reason)
            self.locations.fail(name, content, message.failed, message.unreachable)
        source = self.locations.choose(name, content)
        if source == HUB and HUB not in self.locations.holders(content):
            # Nobody but the hub reaches a node that has it.
            self._exchange.want(
                content, Lifetime.run, "relay", lambda error: self._relayed(content, error), at_once=True
            )
        answer = FetchFrom(content, source)
        if not source:
            answer.error = "no host of the run has its content any more"
        elif source != HUB:
            node = self._nodes[source]
            answer.addresses, answer.server_key = node.addresses, node.server_key
        self.send(name, [answer])

    def _relayed(self, content: ContentId, error: str) -> None:
        """Count nodes as nodes without a content if this host, which reaches all nodes, cannot fetch it from them."""
        if error:
            for name in self.locations.holders(content) - {HUB}:
                self._drop(name, [content], "can be fetched no more from host")

    def _drop(self, name: str, contents: Sequence[ContentId], how: str) -> None:
        for content in contents:
            if self.locations.drop(name, content):
                self._lost[content] = f"{how} {self._nodes[name].host}"

    # ----- temporary files, which stay on the nodes

    def _keep(self, name: str, message: KeepFile) -> None:
        """Note which node has a temporary file, and which task has written it."""
        task, path = message.task, message.path
        if message.ask or path not in self._temporary:
            self._temporary[path] = _TemporaryFile(message.content, message.mode)
        # Before the answer: the task has not ended then, so the table has the arguments of its call.
        self._host.call_soon(lambda: self._table.recovery.wrote(task, path))
        if message.ask:
            self.send(name, [FileStored(message.ask)])

    def _locate_temporary(self, name: str, message: LocateFile, file: _TemporaryFile) -> None:
        # Nobody needs to have an empty content.
        if self.locations.holders(file.content) or not file.content.size:
            self.send(name, [FileLocated(message.ask, file.content, file.mode, temporary=True)])
            return
        lost = LostFile(message.task, message.path, self._lost.get(file.content, "is on no host of the run"))
        identity = self._nodes[name].identity
        self._host.call_soon(lambda: self._recover(identity, message.ask, lost))

    def _recover(self, identity: bytes, ask: int, lost: LostFile) -> None:
        """Have a lost file made again (in the loop's thread, which owns the tasks)."""
        answer = self._table.file_lost(lost, steady_time())
        if answer.started is not None:
            log.info("%s %s: a recovery task makes it again", lost.path, lost.why)
        self._send_now(identity, [FileLocated(ask, error=answer.text, recovers=answer.recovers)], ())

    # ----- files of this host

    def _locate(self, name: str, message: LocateFile) -> None:
        """Say what a file contains; its hash is computed once for each change, in a thread of its own."""
        path = message.path
        temporary = self._temporary.get(path)
        if temporary is not None:
            self._locate_temporary(name, message, temporary)
            return
        try:
            status = os.stat(path)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(errno.EINVAL, "it is not a regular file")
        except OSError as error:
            self.send(name, [FileLocated(message.ask, error=_where(path, error))])
            return
        state = state_of(status)
        known = self._hashes.get(path)
        if state == message.seen:
            self.send(name, [FileLocated(message.ask, visible=True)])
        elif known is not None and known[0] == state:
            self.send(name, [FileLocated(message.ask, known[1], status.st_mode & 0o777)])
        else:
            waiting = self._hashing.setdefault(path, [])
            waiting.append((name, message))
            if len(waiting) == 1:
                threading.Thread(target=self._hash, args=(path,), name="parslab-files-hash", daemon=True).start()

    def _hash(self, path: str) -> None:
        """Compute the hash of a file (in a thread of its own)."""
        try:
            content, status = content_of(path)
        except OSError as error:
            failed = error
            self._inbox.put(lambda: self._not_hashed(path, failed))
        else:
            self._inbox.put(lambda: self._hashed(path, content, state_of(status)))

    def _hashed(self, path: str, content: ContentId, state: FileState) -> None:
        self._hashes[path] = state, content
        self._exchange.offer(content, Path(path), state)
        self.locations.hold(HUB, content)
        for name, message in self._hashing.pop(path, []):
            self._locate(name, message)

    def _not_hashed(self, path: str, error: OSError) -> None:
        for name, message in self._hashing.pop(path, []):
            self.send(name, [FileLocated(message.ask, error=_where(path, error))])

    def _store(self, name: str, message: StoreFile) -> None:
        """Fetch what a task wrote on a node, and give it its path here."""
        holder = f"store-{next(self._numbers)}"
        content = message.content

        def arrived(error: str) -> None:
            if not error:
                error = self._deliver(message)
            self.send(name, [FileStored(message.ask, error)])
            self._exchange.release(holder)

        # It has a path of its own when it has arrived, so the copy in the folder of the run is for this task only.
        self._exchange.want(content, Lifetime.task, holder, arrived)

    def _deliver(self, message: StoreFile) -> str:
        target = Path(message.path)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            self._exchange.cache.lend(message.content, target)
            os.chmod(target, message.mode)
            state = state_of(target.stat())
        except OSError as error:
            return _where(message.path, error)
        self._temporary.pop(message.path, None)
        self._hashes[message.path] = state, message.content
        self._exchange.offer(message.content, target, state)
        return ""

    # ----- how the exchange reaches nodes (ExchangeLinks)

    def send(self, peer: str, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        """Send a batch to a node, through the loop."""
        node = self._nodes.get(peer)
        if node is not None:
            identity = node.identity
            self._host.call_soon(lambda: self._send_now(identity, messages, frames))

    def _send_now(self, identity: bytes, messages: Sequence[WireMessage], frames: Sequence[Buffer]) -> None:
        connection = self._connections.get(identity)
        if connection is not None:
            connection.send(messages, frames)

    def seek(self, content: ContentId, failed: AskForSource, unreachable: bool) -> None:
        """Choose a node from which this host fetches a content."""
        if failed.failed:
            self.locations.fail(HUB, content, failed.failed, unreachable)
        source = self.locations.choose(HUB, content)
        # Not at once: the exchange is in the middle of what it does.
        if source:
            self._inbox.put(lambda: self._exchange.sourced(content, source))
        else:
            self._inbox.put(lambda: self._exchange.no_source(content, "no host of the run has it any more"))

    def arrived(self, content: ContentId) -> None:
        """Note that this host has a content."""
        self.locations.hold(HUB, content)

    def stopped(self, content: ContentId) -> None:
        """Note that this host does not fetch a content any more."""
        self.locations.stop(HUB, content)

    def dropped(self, contents: Sequence[ContentId]) -> None:
        """Note that this host does not have these contents any more."""
        for content in contents:
            self.locations.drop(HUB, content)


def _where(path: str, error: OSError) -> str:
    return f"{path} on host {socket.gethostname()}, where the run's process is: {error.strerror or error}"
