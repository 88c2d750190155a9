"""Messages that move files between nodes and the DataFlowKernel, in both directions, and between nodes.

A content is named by its hash and its size.  A receiver asks for chunks, and never has more than a window of them on
the way: so a sender needs no memory for slow receivers, and chunks cannot fill a connection.
"""

from __future__ import annotations

from typing import TypeAlias

import msgspec

from parslab.wire.messages.base import Refused, WireMessage

__all__ = [
    "Chunk",
    "ChunkMessage",
    "ChunkRefused",
    "ContentDropped",
    "ContentHeld",
    "ContentId",
    "FetchContent",
    "FetchFrom",
    "FetchStopped",
    "FileHello",
    "FileLocated",
    "FileStored",
    "GetChunks",
    "KeepFile",
    "LocateFile",
    "NodeFileMessage",
    "StoreFile",
    "ToNodeFileMessage",
]


class ContentId(msgspec.Struct, array_like=True, gc=False, frozen=True):
    """The name of a content: equal contents have equal names on every host."""

    digest: bytes
    """BLAKE2b, 32 bytes."""
    size: int

    @property
    def hex(self) -> str:
        """The name of its file in a cache."""
        return f"{self.digest.hex()}-{self.size}"


class GetChunks(WireMessage, tag=110):
    """Send this part of a content, in chunks and in order."""

    ask: int
    """The number of the request; the chunks carry it."""
    content: ContentId
    offset: int
    length: int


class Chunk(WireMessage, tag=111):
    """A part of a content; its bytes are the frame that belongs to this message."""

    ask: int
    offset: int
    length: int


class ChunkRefused(WireMessage, tag=112):
    """The sender cannot serve a request: it has lost the content, or cannot read it."""

    ask: int
    reason: str


ChunkMessage: TypeAlias = GetChunks | Chunk | ChunkRefused
"""The messages between two nodes."""


class FileHello(WireMessage, tag=113):
    """First message of a node's file service."""

    node: str
    """The name of its manager."""
    executor: int
    protocol: int
    package: str
    host: str
    addresses: tuple[str, ...]
    """Where other nodes may connect: ``tcp://HOST:PORT``."""
    server_key: str
    """The public key of that port."""


class LocateFile(WireMessage, tag=114):
    """(node) Say what a file of the DataFlowKernel's host contains."""

    ask: int
    path: str
    seen: tuple[int, int, int] = (0, 0, 0)
    """Inode, time of the last change (ns) and size of the file with this path on the node; zeros: there is none."""
    task: int = -1
    """The task that needs it."""


class FileLocated(WireMessage, tag=115):
    """Answer to ``LocateFile``."""

    ask: int
    content: ContentId | None = None
    mode: int = 0o644
    visible: bool = False
    """Whether the node sees this very file, so that nothing needs to be moved."""
    error: str = ""
    temporary: bool = False
    """Whether a task has written it as a temporary file, so that this host never had it."""
    recovers: bool = False
    """Whether the file was lost and another task makes it again; ``error`` says which."""


class FetchContent(WireMessage, tag=116):
    """(node) Name a source of a content; ``failed`` names the one that failed last."""

    content: ContentId
    failed: str = ""
    reason: str = ""
    unreachable: bool = False
    """Whether the node could not connect to it."""


class FetchFrom(WireMessage, tag=117):
    """Answer to ``FetchContent``: who sends the content."""

    content: ContentId
    source: str = ""
    """The name of a node, or ``hub``; empty: nobody can send it now."""
    addresses: tuple[str, ...] = ()
    server_key: str = ""
    error: str = ""


class FetchStopped(WireMessage, tag=118):
    """(node) It does not fetch this content any more."""

    content: ContentId


class ContentHeld(WireMessage, tag=119):
    """(node) It has these contents, and can send them."""

    contents: list[ContentId]


class ContentDropped(WireMessage, tag=120):
    """(node) It does not have these contents any more."""

    contents: list[ContentId]


class StoreFile(WireMessage, tag=121):
    """(node) Fetch this content from here, and store it at a path of the DataFlowKernel's host."""

    ask: int
    path: str
    content: ContentId
    mode: int = 0o644


class KeepFile(WireMessage, tag=123):
    """(node) A task has written a temporary file of this path, whose content stays on the node."""

    ask: int
    """0: the DataFlowKernel has answered already, and may have lost what it knew."""
    path: str
    content: ContentId
    mode: int = 0o644
    task: int = -1
    """The task that has written it."""


class FileStored(WireMessage, tag=122):
    """Answer to ``StoreFile`` and ``KeepFile``; ``error`` is empty if the file is there."""

    ask: int
    error: str = ""


NodeFileMessage: TypeAlias = (
    FileHello
    | LocateFile
    | FetchContent
    | FetchStopped
    | ContentHeld
    | ContentDropped
    | StoreFile
    | KeepFile
    | GetChunks
    | Chunk
    | ChunkRefused
)
"""The messages that the file service of a node sends to the DataFlowKernel."""


ToNodeFileMessage: TypeAlias = FileLocated | FetchFrom | FileStored | GetChunks | Chunk | ChunkRefused | Refused
"""The messages that the file service of a node receives from the DataFlowKernel."""
