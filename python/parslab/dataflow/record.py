"""The record of a run: what its clients said and how its tasks ended, in files that outlive the DataFlowKernel.

Written by ``recorder``; read here, by a DataFlowKernel that is started again and by one that looks for results of an
earlier run.  An entry is ``header length, header, the client's batch as it came, frames``: what clients send is not
encoded a second time.  One entry therefore holds many calls, and a :class:`Position` names one of them.

A segment that is read alone makes sense but for tasks of earlier ones: it begins with the clients and functions that
were there.  Frames of more than ``LARGE`` bytes together lie in a file of their own, which may be missing or short when
the process was killed while it was written: the entry then counts as if it were not there.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec

from parslab.dataflow.values import Value, joined
from parslab.wire import framed
from parslab.wire.messages import ClientMessage, Code, Joins, Packed, Release, Resolved, Submit, frame_count
from parslab.wire.messages import Value as ValueMessage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.wire.stream import Buffer

__all__ = [
    "LARGE",
    "Called",
    "Closed",
    "Coded",
    "Damaged",
    "Ended",
    "Gave",
    "Item",
    "Joined",
    "Known",
    "Left",
    "Moved",
    "Opened",
    "Position",
    "Released",
    "Reopened",
    "Said",
    "Taken",
    "entries",
    "entry_at",
    "folder_of",
    "head_of",
    "segments",
]

LARGE = 1 << 20
"""Bytes of frames from which they get a file of their own, written by a thread."""

_LENGTH = struct.Struct("<I")
_MINUS = 1 << 63


class _Head(msgspec.Struct, array_like=True, gc=False):
    pass


# ----- headers of entries, as they lie on the disk


class Opened(_Head, tag=0):
    """First entry of a segment; ``since`` says when the process began that writes it."""

    run: str
    package: str
    protocol: int
    pid: int
    since: float


class Joined(_Head, tag=1):
    """A client has come, or is there when a segment begins."""

    client: int
    notebook: str
    pid: int
    host: str
    owner: bool


class Left(_Head, tag=2):
    """A client is gone for good: nobody asks for its tasks any more."""

    client: int


class Taken(_Head, tag=3):
    """A batch of a client, the ``batch``-th (from 1), which follows as it came, then its frames."""

    client: int
    batch: int
    fns: dict[int, int]
    """The run's numbers of the functions that the batch names by the client's."""
    lengths: tuple[int, ...] = ()
    file: str = ""


class Ends(_Head, tag=4):
    """Tasks have ended: a list of ``Resolved`` follows."""


class Gave(_Head, tag=5):
    """The value of a task whose end comes next, because it is too large for ``Resolved``; its frames follow."""

    task: int
    packed: Packed
    lengths: tuple[int, ...] = ()
    file: str = ""


class Moves(_Head, tag=6):
    """Numbers of 8 bytes follow: a task that was given to a worker, or ``~task`` for one that came back not begun.

    ``attempts`` are those that are not a task's first."""

    attempts: tuple[tuple[int, int], ...] = ()


class Known(_Head, tag=7):
    """A function that is known when a segment begins: by these (client, number) pairs; its pickle follows."""

    fn: int
    digest: bytes
    name: str
    fingerprint: bytes
    parts: dict[str, bytes]
    holders: tuple[tuple[int, int], ...]


class Reopened(_Head, tag=8):
    """These tasks had ended and run again, those of ``mended`` with another function of the run."""

    tasks: list[int]
    mended: tuple[tuple[int, int], ...] = ()


class Closed(_Head, tag=9):
    """The run ended in order."""

    reason: str


_HEADS = Opened | Joined | Left | Taken | Ends | Gave | Moves | Known | Reopened | Closed
_head: msgspec.msgpack.Decoder[_HEADS] = msgspec.msgpack.Decoder(_HEADS)
_batch = msgspec.msgpack.Decoder(list[ClientMessage])
_ends = msgspec.msgpack.Decoder(list[Resolved])
_encoder = msgspec.msgpack.Encoder()


# ----- what a reader gets


class Position(NamedTuple):
    """Where an item lies: the number of the segment, the entry's offset, and its place in the entry."""

    segment: int
    offset: int
    index: int = 0


class Coded(NamedTuple):
    """A function, known to the run as ``fn`` and to ``client`` as ``code.fn``."""

    client: int
    fn: int
    code: Code
    payload: Buffer


class Called(NamedTuple):
    """A call; ``submit.fn`` is the run's number."""

    client: int
    submit: Submit
    frames: list[Buffer]


class Ended(NamedTuple):
    """How a task ended; ``value`` is what a worker gave (None: it failed, or its value lies at its client)."""

    task: int
    resolved: Resolved
    value: Value | None


class Moved(NamedTuple):
    """Tasks were given to workers, or came back (``~task``)."""

    tasks: list[int]
    attempts: dict[int, int]


class Released(NamedTuple):
    """Nobody at this client can ask for these tasks any more."""

    client: int
    tasks: list[int]


class Said(NamedTuple):
    """Anything else that a client said, with its frames."""

    client: int
    message: ClientMessage
    frames: list[Buffer]


class BatchEnd(NamedTuple):
    """All of the client's ``batch``-th batch has been told."""

    client: int
    batch: int


class Damaged(NamedTuple):
    """Bytes that are no entry, or an entry whose file is missing (``client`` and ``batch`` say whose)."""

    length: int
    what: str
    client: int = -1
    batch: int = 0


Item: TypeAlias = (
    Opened
    | Joined
    | Left
    | Coded
    | Called
    | Ended
    | Moved
    | Released
    | Reopened
    | Said
    | BatchEnd
    | Damaged
    | Closed
)


def folder_of(run_dir: str | Path) -> Path:
    """Where the record of a run lies."""
    return Path(run_dir) / "record"


def segments(folder: Path) -> list[tuple[int, Path]]:
    """The segments of a record, oldest first."""
    return sorted((int(path.stem), path) for path in folder.glob("*.log") if path.stem.isdigit())


def head_of(header: _Head) -> bytes:
    """The beginning of an entry's payload."""
    encoded = _encoder.encode(header)
    return _LENGTH.pack(len(encoded)) + encoded


def entries(folder: Path, since: Position | None = None) -> Iterator[tuple[Position, Item]]:
    """Everything that is in the record now, in order.

    Parameters
    ----------
    folder
        Of the record.
    since
        Where to begin: a position that was given before, or None for the beginning.

    Raises
    ------
    OSError
        A segment cannot be read.
    """
    for number, path in segments(folder):
        if since is not None and number < since.segment:
            continue
        offset = since.offset if since is not None and number == since.segment else 0
        values: dict[int, Value] = {}
        for piece in framed.read(path, offset):
            at = Position(number, piece.offset)
            if isinstance(piece, framed.Damage):
                yield at, Damaged(piece.length, "bytes that cannot be read")
                continue
            for index, item in enumerate(_items(folder, piece.payload, values)):
                yield Position(number, piece.offset, index), item


def entry_at(folder: Path, position: Position) -> Item | None:
    """One item of the record again; None when it is not there any more, or was damaged meanwhile.

    The value of an ``Ended`` is only there when it is in the item itself (up to 16 kB); larger ones lie in the entry
    before it: read on from there with :func:`entries`.
    """
    try:
        payload = framed.read_at(folder / f"{position.segment:06d}.log", position.offset)
    except OSError:
        return None
    if payload is not None:
        for index, item in enumerate(_items(folder, payload, {})):
            if index == position.index:
                return item
    return None
