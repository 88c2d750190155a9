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
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgspec

from parslab.dataflow.graph.values import StoredValue, joined
from parslab.wire import framed
from parslab.wire.messages.base import DefineFunction, PackedValue
from parslab.wire.messages.base import TaskValue as ValueMessage
from parslab.wire.messages.client import ClientMessage, ReleaseTasks, SubmitTask, TaskResolved

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.wire.stream import Buffer

__all__ = [
    "LARGE",
    "BatchEnd",
    "BatchTaken",
    "CallItem",
    "CallsTaken",
    "ClientGone",
    "ClientJoined",
    "DamageItem",
    "EndItem",
    "FunctionItem",
    "KnownResults",
    "LingerSet",
    "LogItem",
    "LogRecord",
    "MessageItem",
    "MoveItem",
    "Position",
    "ReleaseItem",
    "ReopenedTasks",
    "ResultsGiven",
    "RunClosed",
    "RunOpened",
    "entries",
    "entry_at",
    "folder_of",
    "head_of",
    "items_at",
    "segments",
    "value_at",
]

LARGE = 1 << 20
"""Bytes of frames from which they get a file of their own, written by a thread."""

_LENGTH = struct.Struct("<I")


class LogRecord(msgspec.Struct, array_like=True, gc=False):
    """What an entry begins with."""


# ----- headers of entries, as they lie on the disk


class RunOpened(LogRecord, tag=0):
    """First entry of a segment; ``since`` says when the process began that writes it."""

    run: str
    package: str
    protocol: int
    pid: int
    since: float


class ClientJoined(LogRecord, tag=1):
    """A client has come, or is there when a segment begins."""

    client: int
    notebook: str
    pid: int
    host: str
    owner: bool


class ClientGone(LogRecord, tag=2):
    """A client is gone for good: nobody asks for its tasks any more."""

    client: int


class BatchTaken(LogRecord, tag=3):
    """A batch of a client, the ``batch``-th (from 1), which follows as it came, then its frames."""

    client: int
    batch: int
    fns: dict[int, int]
    """The run's numbers of the functions that the batch names by the client's."""
    lengths: tuple[int, ...] = ()
    file: str = ""


class TasksEnded(LogRecord, tag=4):
    """Tasks have ended: a list of ``TaskResolved`` follows."""


class ResultsGiven(LogRecord, tag=5):
    """The value of a task whose end comes next, because it is too large for ``TaskResolved``; its frames follow."""

    task: int
    packed: PackedValue
    lengths: tuple[int, ...] = ()
    file: str = ""


class TasksMoved(LogRecord, tag=6):
    """Numbers of 8 bytes follow: a task that was given to a worker, or ``~task`` for one that came back not begun.

    ``attempts`` are those that are not a task's first."""

    attempts: tuple[tuple[int, int], ...] = ()


class KnownResults(LogRecord, tag=7):
    """A function that is known when a segment begins: by these (client, number) pairs; its pickle follows."""

    fn: int
    digest: bytes
    name: str
    fingerprint: bytes
    parts: dict[str, bytes]
    holders: tuple[tuple[int, int], ...]


class ReopenedTasks(LogRecord, tag=8):
    """These tasks had ended and run again, those of ``mended`` with another function of the run."""

    tasks: list[int]
    mended: tuple[tuple[int, int], ...] = ()


class CallsTaken(LogRecord, tag=10):
    """A client took tasks of an earlier one over, for calls of its own: (number of its call, task)."""

    client: int
    tasks: list[tuple[int, int]]


class LingerSet(LogRecord, tag=11):
    """So many seconds the run outlives its last client, from now on."""

    seconds: float


class RunClosed(LogRecord, tag=9):
    """The run ended in order."""

    reason: str


_HEADS = (
    RunOpened
    | ClientJoined
    | ClientGone
    | BatchTaken
    | TasksEnded
    | ResultsGiven
    | TasksMoved
    | KnownResults
    | ReopenedTasks
    | CallsTaken
    | LingerSet
    | RunClosed
)
_head: msgspec.msgpack.Decoder[_HEADS] = msgspec.msgpack.Decoder(_HEADS)
_batch: msgspec.msgpack.Decoder[list[ClientMessage]] = msgspec.msgpack.Decoder(list[ClientMessage])
_ends = msgspec.msgpack.Decoder(list[TaskResolved])
_encoder = msgspec.msgpack.Encoder()


# ----- what a reader gets


class Position(NamedTuple):
    """Where an item lies: the number of the segment, the entry's offset, and its place in the entry."""

    segment: int
    offset: int
    item: int = 0


class FunctionItem(NamedTuple):
    """A function, known to the run as ``fn`` and to ``client`` as ``code.fn``."""

    client: int
    fn: int
    code: DefineFunction
    payload: Buffer


class CallItem(NamedTuple):
    """A call; ``submit.fn`` is the run's number."""

    client: int
    submit: SubmitTask
    frames: list[Buffer]


class EndItem(NamedTuple):
    """How a task ended; ``value`` is what a worker gave (None: see ``place``, it failed, or its value lies at its
    client)."""

    task: int
    resolved: TaskResolved
    value: StoredValue | None
    place: Position | None
    """Where a value lies that is too large to be here; :func:`value_at` reads it."""


class MoveItem(NamedTuple):
    """Tasks were given to workers, or came back (``~task``)."""

    tasks: list[int]
    attempts: dict[int, int]


class ReleaseItem(NamedTuple):
    """Nobody at this client can ask for these tasks any more."""

    client: int
    tasks: list[int]


class MessageItem(NamedTuple):
    """Anything else that a client said, with its frames."""

    client: int
    message: ClientMessage
    frames: list[Buffer]


class BatchEnd(NamedTuple):
    """All of the client's ``batch``-th batch has been told."""

    client: int
    batch: int


class DamageItem(NamedTuple):
    """Bytes that are no entry, or an entry whose file is missing (``client`` and ``batch`` say whose)."""

    length: int
    what: str
    client: int = -1
    batch: int = 0


LogItem: TypeAlias = (
    RunOpened
    | ClientJoined
    | ClientGone
    | FunctionItem
    | CallItem
    | EndItem
    | MoveItem
    | ReleaseItem
    | ReopenedTasks
    | CallsTaken
    | LingerSet
    | MessageItem
    | BatchEnd
    | DamageItem
    | RunClosed
)


def folder_of(run_dir: str | Path) -> Path:
    """Where the record of a run lies."""
    return Path(run_dir) / "record"


def segments(folder: Path) -> list[tuple[int, Path]]:
    """The segments of a record, oldest first."""
    return sorted((int(path.stem), path) for path in folder.glob("*.log") if path.stem.isdigit())


def head_of(header: LogRecord) -> bytes:
    """The beginning of an entry's payload."""
    encoded = _encoder.encode(header)
    return _LENGTH.pack(len(encoded)) + encoded


def entries(folder: Path, since: Position | None = None) -> Iterator[tuple[Position, LogItem]]:
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
        places: dict[int, Position] = {}
        for piece in framed.read(path, offset):
            at = Position(number, piece.offset)
            if isinstance(piece, framed.DamagedRange):
                yield at, DamageItem(piece.length, "bytes that cannot be read")
                continue
            for index, item in enumerate(_items(folder, piece.payload, at, places)):
                yield Position(number, piece.offset, index), item


def entry_at(folder: Path, position: Position) -> LogItem | None:
    """One item of the record again; None when it is not there any more, or was damaged meanwhile."""
    items = items_at(folder, position)
    return items[position.item] if position.item < len(items) else None


def items_at(folder: Path, position: Position) -> list[LogItem]:
    """All items of the entry at a position; none when it is not there any more, or was damaged meanwhile."""
    payload = _payload_at(folder, position)
    return [] if payload is None else list(_items(folder, payload, position, {}))


def value_at(folder: Path, place: Position) -> StoredValue | None:
    """The value that lies at ``Ended.place``; None when it is not there any more, or is not whole."""
    payload = _payload_at(folder, place)
    if payload is None:
        return None
    try:
        header, rest = _split(payload)
        if isinstance(header, ResultsGiven):
            return _unpacked(header.packed, _frames(folder, header, rest), [0])
    except (_Missing, *_UNREADABLE):
        pass
    return None


def _payload_at(folder: Path, position: Position) -> bytes | None:
    try:
        return framed.read_at(folder / f"{position.segment:06d}.log", position.offset)
    except OSError:
        return None


# ----- from bytes to items


class _Missing(Exception):
    """The file of an entry is not there, or not whole."""


_UNREADABLE = (msgspec.MsgspecError, struct.error, LookupError, TypeError, ValueError)


def _split(payload: bytes) -> tuple[_HEADS, memoryview]:
    view = memoryview(payload)
    (length,) = _LENGTH.unpack_from(view)
    start = _LENGTH.size + length
    return _head.decode(view[_LENGTH.size : start]), view[start:]


def _items(folder: Path, payload: bytes, at: Position, places: dict[int, Position]) -> Iterator[LogItem]:
    """What an entry says; ``places`` tells where the values of tasks lie whose end comes next."""
    header: Any = None
    try:
        header, rest = _split(payload)
        if isinstance(header, BatchTaken):
            yield from _taken(folder, header, rest)
        elif isinstance(header, TasksEnded):
            for resolved in _ends.decode(rest):
                value = StoredValue(resolved.inline, []) if resolved.inline else None
                yield EndItem(resolved.task, resolved, value, places.pop(resolved.task, None))
        elif isinstance(header, ResultsGiven):
            _check(folder, header)
            places[header.task] = at
        elif isinstance(header, TasksMoved):
            yield MoveItem(list(rest.cast("q")), dict(header.attempts))
        elif isinstance(header, KnownResults):
            for client, number in header.holders or ((-1, -1),):
                code = DefineFunction(number, header.digest, header.name, 1, header.fingerprint, header.parts)
                yield FunctionItem(client, header.fn, code, bytes(rest))
        else:
            yield header
    except _Missing as missing:
        taken = isinstance(header, BatchTaken)
        yield DamageItem(0, str(missing), header.client if taken else -1, header.batch if taken else 0)
    except _UNREADABLE as error:
        yield DamageItem(len(payload), f"an entry that is not understood ({error})")


def _taken(folder: Path, header: BatchTaken, rest: memoryview) -> Iterator[LogItem]:
    frames = _frames(folder, header, rest)
    raw = rest if header.file else rest[: rest.nbytes - sum(header.lengths)]
    client, fns, at = header.client, header.fns, 0
    messages: list[Any] = _batch.decode(raw)
    for message in messages:
        kind = type(message)
        if kind is SubmitTask:
            own: list[Buffer] = frames[at : at + message.frames] if message.frames else []
            at += message.frames
            if message.fn >= 0:
                message.fn = fns[message.fn]
            yield CallItem(client, message, own)
        elif kind is DefineFunction:
            yield FunctionItem(client, fns[message.fn], message, frames[at])
            at += 1
        elif kind is ReleaseTasks:
            yield ReleaseItem(client, message.tasks)
        else:
            count = message.frames if kind is ValueMessage else 0
            yield MessageItem(client, message, frames[at : at + count])
            at += count
    yield BatchEnd(client, header.batch)


def _frames(folder: Path, header: BatchTaken | ResultsGiven, rest: memoryview) -> list[Buffer]:
    """The frames of an entry, from its end or from a file of its own."""
    if not header.lengths:
        return []
    if header.file:
        path = _check(folder, header)
        try:
            rest = memoryview(path.read_bytes())
        except OSError as error:
            raise _Missing(f"{path} cannot be read ({error.strerror or error})") from error
    at = rest.nbytes - sum(header.lengths)
    frames: list[Buffer] = []
    for length in header.lengths:
        frames.append(bytearray(rest[at : at + length]))
        at += length
    return frames


def _check(folder: Path, header: BatchTaken | ResultsGiven) -> Path:
    """The file of an entry, when it is whole."""
    path = folder / "values" / Path(header.file).name
    if header.file:
        try:
            size = path.stat().st_size
        except OSError as error:
            raise _Missing(f"{path} cannot be read ({error.strerror or error})") from error
        if size != sum(header.lengths):
            raise _Missing(f"{path} is not whole")
    return path


def _unpacked(packed: PackedValue, frames: list[Buffer], at: list[int]) -> StoredValue:
    """A value from what :meth:`StoredValue.packed` made of it."""
    if packed.parts is not None:
        return joined([_unpacked(part, frames, at) for part in packed.parts])
    begin = at[0]
    at[0] += packed.frames
    return StoredValue(packed.inline, frames[begin : at[0]])
