"""Sends the contents of one host to others, and receives those that are wanted here [shell, without sockets].

The DataFlowKernel and each node have an exchange; its links carry the messages.  ``Transfer`` decides the course of
what arrives.  A content that is still arriving is passed on as far as it is here: so a chain of nodes receives it at
the same time.  One thread uses an exchange.
"""

from __future__ import annotations

import errno
import itertools
import logging
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from parslab.files.cache_index import CacheFull
from parslab.files.content import state_of
from parslab.files.transfer import (
    CHUNK,
    WINDOW,
    AskForSource,
    GiveUp,
    RequestChunks,
    StartAgain,
    Transfer,
    TransferState,
    VerifyHash,
)
from parslab.wire.messages.files import Chunk, ChunkRefused, GetChunks
from parslab.wire.shared_memory import in_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from parslab.files.cache import ContentCache, PartialContent
    from parslab.files.cache_index import Lifetime
    from parslab.files.content import FileState
    from parslab.files.transfer import Command
    from parslab.wire.messages.base import WireMessage
    from parslab.wire.messages.files import ContentId
    from parslab.wire.stream import Buffer

__all__ = ["MOST_TRANSFERS", "Exchange", "ExchangeLinks"]

log = logging.getLogger(__name__)

_BATCH = 4
"""Chunks that are sent in one batch."""
MOST_TRANSFERS = 16
"""Contents that arrive at the same time; each may have a window of chunks in memory, so others wait."""


class ExchangeLinks(Protocol):
    """How an exchange reaches other hosts."""

    def send(self, peer: str, messages: Sequence[WireMessage], frames: Sequence[Buffer] = ()) -> None:
        """Send a batch to a peer; a peer that cannot be reached is reported to ``Exchange.peer_lost``."""

    def seek(self, content: ContentId, failed: AskForSource, unreachable: bool) -> None:
        """Find a source; the answer goes to ``Exchange.sourced`` or ``Exchange.no_source``."""

    def arrived(self, content: ContentId) -> None:
        """Note that this host has a content now."""

    def stopped(self, content: ContentId) -> None:
        """Note that this host does not fetch a content any more."""

    def dropped(self, contents: Sequence[ContentId]) -> None:
        """Note that this host does not have these contents any more."""


@dataclass
class _Incoming:
    """A content that arrives."""

    transfer: Transfer
    partial: PartialContent
    waiters: list[tuple[str, Callable[[str], None]]] = field(default_factory=list)
    """Who wants it, and what to call with the error (empty: none)."""
    unreachable: bool = False
    """Whether the last source failed because no connection could be made."""


@dataclass(slots=True)
class _Outgoing:
    """A request of another host that is not answered in full."""

    peer: str
    ask: int
    at: int
    end: int


class Exchange:
    """The contents of one host, as other hosts see them.

    Parameters
    ----------
    cache
        Where received contents go.
    links
        The way to other hosts.
    clock
        Returns the time.
    """

    def __init__(self, cache: ContentCache, links: ExchangeLinks, clock: Callable[[], float]) -> None:
        self.cache = cache
        self._links = links
        self._clock = clock
        self._asks = itertools.count(1)
        self._incoming: dict[ContentId, _Incoming] = {}
        self._by_ask: dict[int, _Incoming] = {}
        self._pending: dict[ContentId, list[tuple[Lifetime, str, Callable[[str], None]]]] = {}
        """What waits until other transfers have ended, the oldest first."""
        self._starting = False
        """Whether waiting transfers are being started; one that ends at once must not start them a second time."""
        self._outgoing: dict[ContentId, list[_Outgoing]] = {}
        self._originals: dict[ContentId, tuple[Path, FileState]] = {}
        """Files outside of the cache that other hosts may fetch, with the state for which the hash is right."""
        self.sent: dict[ContentId, int] = {}
        """Bytes of each content that were sent so far."""

    # ----- what is wanted here

    @property
    def transfers(self) -> int:
        """How many contents arrive at this moment."""
        return len(self._incoming)

    def want(
        self, content: ContentId, lifetime: Lifetime, holder: str, done: Callable[[str], None], *, at_once: bool = False
    ) -> None:
        """Get a content into the cache and keep it for ``holder``; call ``done`` with an error, or an empty text.

        ``at_once`` starts the transfer whatever else arrives, because another host waits for its chunks already.
        """
        incoming = self._incoming.get(content)
        if incoming is not None:
            self.cache.reserve(content, lifetime, self._clock())
            incoming.waiters.append((holder, done))
        elif self.cache.path(content) is not None:
            now = self._clock()
            self.cache.reserve(content, lifetime, now)
            self.cache.index.use(content, holder, now)
            done("")
        elif len(self._incoming) >= MOST_TRANSFERS and not at_once:
            self._pending.setdefault(content, []).append((lifetime, holder, done))
        else:
            self._begin(content, lifetime, holder, done)

    def _begin(self, content: ContentId, lifetime: Lifetime, holder: str, done: Callable[[str], None]) -> None:
        try:
            self._report_dropped(self.cache.reserve(content, lifetime, self._clock()))
            partial = self.cache.partial(content)
        except (CacheFull, OSError) as error:
            self.cache.discard(content)
            done(f"the cache at {self.cache.folder} cannot take it: {_words(error)}")
            return
        incoming = self._incoming[content] = _Incoming(Transfer(content, partial.written), partial)
        incoming.waiters.append((holder, done))
        self._carry_out(incoming, incoming.transfer.begin())

    def _begin_pending(self) -> None:
        """Start transfers that wait, as many as there is room for."""
        if self._starting:
            return
        self._starting = True
        try:
            while self._pending and len(self._incoming) < MOST_TRANSFERS:
                content = next(iter(self._pending))
                for lifetime, holder, done in self._pending.pop(content):
                    self.want(content, lifetime, holder, done, at_once=True)
        finally:
            self._starting = False

    def _report_dropped(self, contents: list[ContentId]) -> None:
        gone = [content for content in contents if content not in self._originals]
        if gone:
            self._links.dropped(gone)

    def sourced(self, content: ContentId, source: str) -> None:
        """Take the answer to ``ExchangeLinks.seek``."""
        incoming = self._incoming.get(content)
        if incoming is not None:
            ask = next(self._asks)
            self._by_ask[ask] = incoming
            self._carry_out(incoming, incoming.transfer.sourced(source, ask, self._clock()))

    def no_source(self, content: ContentId, reason: str) -> None:
        """Note that nobody can send a content now."""
        incoming = self._incoming.get(content)
        if incoming is not None:
            self._carry_out(incoming, incoming.transfer.no_source(reason, self._clock()))

    def stop(self, content: ContentId, reason: str) -> None:
        """End the transfer of a content, because no other source can help."""
        incoming = self._incoming.get(content)
        if incoming is not None:
            self._carry_out(incoming, incoming.transfer.stop(reason))

    def _carry_out(self, incoming: _Incoming, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case AskForSource():
                    unreachable, incoming.unreachable = incoming.unreachable, False
                    self._links.seek(incoming.transfer.content, command, unreachable)
                case RequestChunks(source=source, ask=ask, offset=offset, length=length):
                    self._links.send(source, [GetChunks(ask, incoming.transfer.content, offset, length)])
                case VerifyHash():
                    self._verify(incoming)
                case StartAgain():
                    incoming.partial.start_again()
                case GiveUp(reason=reason):
                    self._end(incoming, reason)

    def _verify(self, incoming: _Incoming) -> None:
        content = incoming.transfer.content
        right = incoming.partial.digest.digest() == content.digest
        if right:
            try:
                self.cache.finish(content, incoming.partial)
            except OSError as error:
                self._carry_out(incoming, incoming.transfer.stop(self._disk_words(error)))
                return
        self._carry_out(incoming, incoming.transfer.verified(right, self._clock()))
        if right:
            self._end(incoming, "")

    def _end(self, incoming: _Incoming, reason: str) -> None:
        content = incoming.transfer.content
        del self._incoming[content]
        self._by_ask = {ask: one for ask, one in self._by_ask.items() if one is not incoming}
        incoming.partial.close()
        if reason:
            log.warning("the transfer of %s has failed: %s", content.hex, reason)
            # A part of it is right and saves a later attempt the time; all of it with a wrong hash does not.
            if incoming.partial.written in (0, content.size):
                incoming.partial.path.unlink(missing_ok=True)
            self.cache.index.discard(content)
            self._links.stopped(content)
        else:
            self._links.arrived(content)
        self._pump(content)
        for holder, done in incoming.waiters:
            if not reason:
                self.cache.index.use(content, holder, self._clock())
            done(reason)
        self._begin_pending()

    def release(self, holder: str) -> None:
        """End what ``holder`` uses."""
        self._report_dropped(self.cache.release(holder))

    # ----- messages of other hosts

    def received(self, peer: str, messages: Sequence[WireMessage], frames: Sequence[Buffer]) -> None:
        """Carry out the chunk messages of a batch; others do not belong here."""
        at = 0
        for message in messages:
            match message:
                case Chunk():
                    self._chunk(message, memoryview(in_memory(frames[at])))
                    at += 1
                case GetChunks(ask=ask, content=content, offset=offset, length=length):
                    end = min(offset + length, content.size)
                    self._outgoing.setdefault(content, []).append(_Outgoing(peer, ask, offset, end))
                    self._pump(content)
                case ChunkRefused(ask=ask, reason=reason):
                    incoming = self._by_ask.pop(ask, None)
                    if incoming is not None:
                        self._carry_out(incoming, incoming.transfer.source_failed(ask, reason, self._clock()))
                case _:
                    log.warning("%s sent %s, which no exchange understands", peer, type(message).__name__)

    def _chunk(self, chunk: Chunk, data: memoryview) -> None:
        incoming = self._by_ask.get(chunk.ask)
        if incoming is None or data.nbytes != chunk.length:
            return
        transfer = incoming.transfer
        if not transfer.accepts(chunk.ask, chunk.offset, chunk.length):
            return
        try:
            self._write(incoming, chunk, data)
        except OSError as error:
            # Its bytes must not keep the disk full.
            incoming.partial.start_again()
            self._carry_out(incoming, transfer.stop(self._disk_words(error)))
            return
        self._carry_out(incoming, transfer.wrote(chunk.length, self._clock()))
        self._pump(transfer.content)

    def _write(self, incoming: _Incoming, chunk: Chunk, data: memoryview) -> None:
        """Write a chunk; when the disk is full, remove contents that nobody uses."""
        while True:
            try:
                # A write that failed may have written a part.
                incoming.partial.write(data[incoming.partial.written - chunk.offset :])
                return
            except OSError as error:
                dropped = self.cache.shed(WINDOW) if error.errno == errno.ENOSPC else []
                if not dropped:
                    raise
                self._report_dropped(dropped)

    def _disk_words(self, error: OSError) -> str:
        return f"{self.cache.folder} cannot be written: {_words(error)}"

    def peer_lost(self, peer: str, reason: str, unreachable: bool = False) -> None:
        """Note that a peer is gone, or cannot be reached."""
        for requests in self._outgoing.values():
            requests[:] = [request for request in requests if request.peer != peer]
        for incoming in list(self._incoming.values()):
            if incoming.transfer.source == peer:
                incoming.unreachable = unreachable
                failed = incoming.transfer.source_failed(incoming.transfer.ask, reason, self._clock())
                self._carry_out(incoming, failed)

    # ----- what others want

    @property
    def contents(self) -> list[ContentId]:
        """The contents that other hosts can fetch here: those of the cache, and files outside of it."""
        return list({**dict.fromkeys(self.cache.index.complete), **dict.fromkeys(self._originals)})

    def offer(self, content: ContentId, path: Path, state: FileState) -> None:
        """Let other hosts fetch a file of this host that is not in the cache."""
        self._originals[content] = path, state

    def _pump(self, content: ContentId) -> None:
        """Send the chunks of a content that were requested and are here."""
        requests = self._outgoing.get(content)
        if not requests:
            return
        incoming = self._incoming.get(content)
        if incoming is not None:
            for request in list(requests):
                self._serve(request, content, incoming.partial.read, incoming.partial.written)
        else:
            self._serve_file(content, requests)
        left = [request for request in requests if request.at < request.end]
        if left:
            self._outgoing[content] = left
        else:
            self._outgoing.pop(content, None)

    def _serve_file(self, content: ContentId, requests: list[_Outgoing]) -> None:
        try:
            descriptor = self._open(content)
        except OSError as error:
            self._report_dropped([content])
            for request in requests:
                request.at = request.end
                self._links.send(request.peer, [ChunkRefused(request.ask, _words(error))])
            return
        try:
            for request in list(requests):
                self._serve(request, content, lambda at, length: os.pread(descriptor, length, at), content.size)
        finally:
            os.close(descriptor)

    def _open(self, content: ContentId) -> int:
        path = self.cache.path(content)
        if path is not None:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        if content not in self._originals:
            raise FileNotFoundError(errno.ENOENT, "the content is not here any more", content.hex)
        original, state = self._originals.pop(content)
        descriptor = os.open(original, os.O_RDONLY | os.O_CLOEXEC)
        if state_of(os.fstat(descriptor)) != state:
            os.close(descriptor)
            raise OSError(errno.ESTALE, "the file was changed during its transfer", str(original))
        # It is offered on, because it is as it was.
        self._originals[content] = original, state
        return descriptor

    def _serve(self, request: _Outgoing, content: ContentId, read: Callable[[int, int], bytes], available: int) -> None:
        """Send as much of a request as is available."""
        end = min(request.end, available)
        # Whole chunks only, but for the last: a slow source must not make each of its chunks many small ones.
        if end < request.end:
            end -= (end - request.at) % CHUNK
        while request.at < end:
            chunks: list[WireMessage] = []
            frames: list[Buffer] = []
            while request.at < end and len(chunks) < _BATCH:
                try:
                    data = read(request.at, min(CHUNK, end - request.at))
                    problem = "" if data else "the file has become shorter"
                except OSError as error:
                    data, problem = b"", _words(error)
                if problem:
                    request.at = request.end
                    self._links.send(request.peer, [*chunks, ChunkRefused(request.ask, problem)], frames)
                    return
                chunks.append(Chunk(request.ask, request.at, len(data)))
                frames.append(data)
                request.at += len(data)
            self.sent[content] = self.sent.get(content, 0) + sum(map(len, frames))
            self._links.send(request.peer, chunks, frames)

    def seek_again(self) -> None:
        """Ask for sources again: the DataFlowKernel has lost the questions that were on the way."""
        for incoming in list(self._incoming.values()):
            if incoming.transfer.state is TransferState.seeking and incoming.transfer.next_deadline() is None:
                self._links.seek(incoming.transfer.content, AskForSource(), False)

    # ----- time

    def check(self) -> float | None:
        """Do what is due; return when something is due next."""
        now = self._clock()
        for incoming in list(self._incoming.values()):
            due = incoming.transfer.next_deadline()
            if due is not None and due <= now:
                self._carry_out(incoming, incoming.transfer.check(now))
        dues = [due for one in self._incoming.values() if (due := one.transfer.next_deadline()) is not None]
        return min(dues, default=None)

    def close(self) -> None:
        """Close the files of transfers that have not ended."""
        for incoming in self._incoming.values():
            incoming.partial.close()
        self._incoming.clear()


def _words(error: Exception) -> str:
    if isinstance(error, OSError):
        return error.strerror or str(error)
    return str(error)
