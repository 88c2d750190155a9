"""Reads the event log of a run, which outlives the DataFlowKernel: batches of clients and ends of tasks.

``log_writer`` writes the log.  A DataFlowKernel reads it when it replaces a lost one, and when it looks for results of
an earlier run.  An entry is ``header length, header, the client's batch as it came, frames``: what
clients send is not encoded a second time.  One entry therefore holds many calls, and a :class:`Position` names one.

Each segment begins with the present clients and functions, so that it can be read without earlier segments.  Frames
of more than ``LARGE`` bytes together are in a file of their own.  Each large block of shared memory among them has its
own file.  The entries of several calls with one block have links to one file.  A file may be missing or short, if the
process was killed while it wrote the file: a reader skips the entry then.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import msgspec

from parslab.dataflow.graph.values import StoredValue, joined
from parslab.dataflow.persistence.postponed_files import UNUSED
from parslab.trust import open_file
from parslab.wire import framed
from parslab.wire.messages.base import DefineFunction, PackedValue
from parslab.wire.messages.base import TaskValue as ValueMessage
from parslab.wire.messages.client import ClientMessage, ReleaseTasks, SubmitTask, TaskResolved
from parslab.wire.run_files import EVENT_LOG
from parslab.wire.shared_memory import SharedFrame, received

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.wire.stream import Buffer

__all__ = [
    "LARGE",
    "BatchEnd",
    "BatchReceived",
    "CallItem",
    "CallsTakenOver",
    "ClientGone",
    "ClientJoined",
    "DamageItem",
    "EndItem",
    "FunctionItem",
    "FunctionKnown",
    "LargeValue",
    "LingerSet",
    "LogItem",
    "LogRecord",
    "MessageItem",
    "MoveItem",
    "Position",
    "ReleaseItem",
    "ReopenedTasks",
    "RunClosed",
    "RunOpened",
    "block_file",
    "entries",
    "entry_at",
    "head_of",
    "items_at",
    "log_folder",
    "segments",
    "value_at",
]

LARGE = 1 << 18
"""Frames of more bytes than this get a file of their own, which a thread writes."""

_LENGTH = struct.Struct("<I")


class LogRecord(msgspec.Struct, array_like=True, gc=False):
    """The header of an entry."""


# ----- headers of entries, as they are on the disk


class RunOpened(LogRecord, tag=0):
    """The first entry of a segment; ``since`` is when the process that writes it began."""

    run: str
    package: str
    protocol: int
    pid: int
    since: float


class ClientJoined(LogRecord, tag=1):
    """A client has attached, or is attached when a segment begins."""

    client: int
    notebook: str
    pid: int
    host: str
    owner: bool


class ClientGone(LogRecord, tag=2):
    """A client is gone and will not return: no other client can ask for its tasks."""

    client: int


class BatchReceived(LogRecord, tag=3):
    """The ``batch``-th batch of a client (from 1).  The batch follows as it came, then its frames."""

    client: int
    batch: int
    functions: dict[int, int]
    """The run's number of each function that the batch names by the client's number."""
    lengths: tuple[int, ...] = ()
    file: str = ""
    blocks: tuple[int, ...] = ()
    """The frames with a file each, :func:`block_file`, by their places among the frames."""


class TasksEnded(LogRecord, tag=4):
    """Tasks have ended.  A list of ``TaskResolved`` follows."""


class LargeValue(LogRecord, tag=5):
    """A result that is too large for the ``TaskResolved`` in a later entry.  Its frames follow."""

    task: int
    packed: PackedValue
    lengths: tuple[int, ...] = ()
    file: str = ""
    blocks: tuple[int, ...] = ()


class TasksMoved(LogRecord, tag=6):
    """Tasks were sent to workers or returned by them.

    Numbers of 8 bytes follow: ``task`` was sent to a worker, ``~task`` was returned before it began.  ``attempts`` are
    the pairs (task, attempt) of attempts that are not a task's first.
    """

    attempts: tuple[tuple[int, int], ...] = ()


class FunctionKnown(LogRecord, tag=7):
    """A function that a client may call when a segment begins.  Its pickle follows, or lies in a file if it is large.

    ``holders`` are pairs (client, the client's number of the function).
    """

    fn: int
    digest: bytes
    name: str
    fingerprint: bytes
    parts: dict[str, bytes]
    holders: tuple[tuple[int, int], ...]
    file: str = ""
    """The file of an earlier batch that has the pickle, so that each segment does not store a large one again."""
    offset: int = 0
    length: int = 0


class ReopenedTasks(LogRecord, tag=8):
    """Ended tasks run again, those of ``changed`` (task, function) with another function of the run."""

    tasks: list[int]
    changed: tuple[tuple[int, int], ...] = ()


class CallsTakenOver(LogRecord, tag=10):
    """A client took over tasks of an earlier client for its own calls: pairs (number of its call, task)."""

    client: int
    tasks: list[tuple[int, int]]


class LingerSet(LogRecord, tag=11):
    """From now on the run outlives its last client by so many seconds."""

    seconds: float


class RunClosed(LogRecord, tag=9):
    """The run ended normally."""

    reason: str


_HEADS = (
    RunOpened
    | ClientJoined
    | ClientGone
    | BatchReceived
    | TasksEnded
    | LargeValue
    | TasksMoved
    | FunctionKnown
    | ReopenedTasks
    | CallsTakenOver
    | LingerSet
    | RunClosed
)
_head: msgspec.msgpack.Decoder[_HEADS] = msgspec.msgpack.Decoder(_HEADS)
# Typed decoders, so that damaged bytes raise here and not somewhere in the reader.
_batch: msgspec.msgpack.Decoder[list[ClientMessage]] = msgspec.msgpack.Decoder(list[ClientMessage])
_ends = msgspec.msgpack.Decoder(list[TaskResolved])
_encoder = msgspec.msgpack.Encoder()


# ----- the items that a reader yields


class Position(NamedTuple):
    """The place of an item: the number of the segment, the offset of the entry, and the index in the entry."""

    segment: int
    offset: int
    item: int = 0


class FunctionItem(NamedTuple):
    """A function; its number is ``fn`` in the run and ``code.fn`` at ``client``."""

    client: int
    fn: int
    code: DefineFunction
    payload: Buffer


class CallItem(NamedTuple):
    """A call; ``submit.fn`` is the run's number.

    There are fewer frames than ``submit.frames`` if the log does not have them: the task had been forgotten.
    """

    client: int
    submit: SubmitTask
    frames: list[Buffer]


class EndItem(NamedTuple):
    """The end of a task.

    ``value`` is what a worker returned.  It is None if the task failed, if its client has the value, or if the value is
    at ``place``.
    """

    task: int
    resolved: TaskResolved
    value: StoredValue | None
    place: Position | None
    """The place of a value that is too large to be here; :func:`value_at` reads it."""


class MoveItem(NamedTuple):
    """Tasks were sent to workers, or returned by them (``~task``)."""

    tasks: list[int]
    attempts: dict[int, int]


class ReleaseItem(NamedTuple):
    """The client has dropped the futures of these tasks."""

    client: int
    tasks: list[int]


class MessageItem(NamedTuple):
    """Any other message of a client, with its frames."""

    client: int
    message: ClientMessage
    frames: list[Buffer]


class BatchEnd(NamedTuple):
    """The end of the ``batch``-th batch of a client."""

    client: int
    batch: int


class DamageItem(NamedTuple):
    """Bytes that are no entry, or an entry whose file is missing (a batch of ``client``)."""

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
    | CallsTakenOver
    | LingerSet
    | MessageItem
    | BatchEnd
    | DamageItem
    | RunClosed
)


def log_folder(run_dir: str | Path) -> Path:
    """Return the folder of a run's event log."""
    return Path(run_dir) / EVENT_LOG


def block_file(file: str, place: int) -> str:
    """Return the name of the file of a block, which is the ``place``-th frame of an entry with such a file."""
    return f"{file}-{place}"


def segments(folder: Path) -> list[tuple[int, Path]]:
    """Return the segments of an event log, oldest first."""
    # Other files in the folder, such as the mark of an incomplete log, are no segments.
    return sorted((int(path.stem), path) for path in folder.glob("*.log") if path.stem.isdigit())


def head_of(header: LogRecord) -> bytes:
    """Encode the header of an entry."""
    encoded = _encoder.encode(header)
    return _LENGTH.pack(len(encoded)) + encoded


def entries(folder: Path, since: Position | None = None) -> Iterator[tuple[Position, LogItem]]:
    """Yield everything that is in the event log now, in order.

    Parameters
    ----------
    folder
        Of the event log.
    since
        Where to begin: a position that was yielded before, or None for the beginning.

    Raises
    ------
    OSError
        A segment cannot be read.
    """
    for number, path in segments(folder):
        if since is not None and number < since.segment:
            continue
        offset = since.offset if since is not None and number == since.segment else 0
        # One for each segment: a large value and the end of its task are written together.
        places: dict[int, Position] = {}
        for piece in framed.read(path, offset):
            at = Position(number, piece.offset)
            if isinstance(piece, framed.DamagedRange):
                yield at, DamageItem(piece.length, "bytes that cannot be read")
                continue
            for index, item in enumerate(_items(folder, piece.payload, at, places)):
                yield Position(number, piece.offset, index), item


def entry_at(folder: Path, position: Position) -> LogItem | None:
    """Read one item again; None if it is not there any more, or was damaged meanwhile."""
    items = items_at(folder, position)
    return items[position.item] if position.item < len(items) else None


def items_at(folder: Path, position: Position) -> list[LogItem]:
    """Read all items of one entry; none if it is not there any more, or was damaged meanwhile."""
    payload = _payload_at(folder, position)
    return [] if payload is None else list(_items(folder, payload, position, {}))


def value_at(folder: Path, place: Position) -> StoredValue | None:
    """Read the value at ``EndItem.place``; None if it is not there any more, or incomplete."""
    payload = _payload_at(folder, place)
    if payload is None:
        return None
    try:
        header, rest = _split(payload)
        if isinstance(header, LargeValue):
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
    """The file of an entry is missing or incomplete."""


class _Unused(Exception):
    """The frames of an entry were not written, because nobody needed them."""


# What decoding damaged or foreign bytes may raise: such an entry is skipped, not the whole log.
_UNREADABLE = (msgspec.MsgspecError, struct.error, LookupError, TypeError, ValueError)


def _split(payload: bytes) -> tuple[_HEADS, memoryview]:
    view = memoryview(payload)
    (length,) = _LENGTH.unpack_from(view)
    start = _LENGTH.size + length
    return _head.decode(view[_LENGTH.size : start]), view[start:]


def _items(folder: Path, payload: bytes, at: Position, places: dict[int, Position]) -> Iterator[LogItem]:
    """Decode an entry; ``places`` keeps the places of large values until their tasks' ends are read."""
    header: _HEADS | None = None
    try:
        header, rest = _split(payload)
        match header:
            case BatchReceived():
                yield from _batch_items(folder, header, rest)
            case TasksEnded():
                for resolved in _ends.decode(rest):
                    # An empty ``inline`` says that the value is large, or at its client, or that the task failed.
                    value = StoredValue(resolved.inline, []) if resolved.inline else None
                    yield EndItem(resolved.task, resolved, value, places.pop(resolved.task, None))
            case LargeValue():
                _check(folder, header)
                # The value stays on disk: a log of many large values must not fill the memory of its reader.
                places[header.task] = at
            case TasksMoved():
                yield MoveItem(list(rest.cast("q")), dict(header.attempts))
            case FunctionKnown():
                yield from _function_items(header, _pickle(folder, header, rest))
            case _:
                yield header
    except _Missing as missing:
        # The reader must know the batch, because the client has to send it again.
        client, batch = (header.client, header.batch) if isinstance(header, BatchReceived) else (-1, 0)
        yield DamageItem(0, str(missing), client, batch)
    except _UNREADABLE as error:
        yield DamageItem(len(payload), f"an entry that is not understood ({error})")


def _function_items(header: FunctionKnown, payload: bytes) -> Iterator[FunctionItem]:
    """One item for each client that holds the function, or one for a function that no client holds."""
    for client, number in header.holders or ((-1, -1),):
        code = DefineFunction(
            fn=number,
            digest=header.digest,
            name=header.name,
            frames=1,
            fingerprint=header.fingerprint,
            parts=header.parts,
        )
        yield FunctionItem(client, header.fn, code, payload)


def _batch_items(folder: Path, header: BatchReceived, rest: memoryview) -> Iterator[LogItem]:
    try:
        frames = _frames(folder, header, rest)
    except _Unused:
        frames = []
    # With a file only the batch follows; without one the frames follow the batch.
    raw = rest if header.file else rest[: rest.nbytes - sum(header.lengths)]
    client, functions, at = header.client, header.functions, 0
    for message in _batch.decode(raw):
        if type(message) is SubmitTask:
            own: list[Buffer] = frames[at : at + message.frames] if message.frames else []
            at += message.frames
            if message.fn >= 0:
                # From here on all numbers are the run's: those of a client mean nothing to a reader.
                message.fn = functions[message.fn]
            yield CallItem(client, message, own)
        elif type(message) is DefineFunction:
            yield FunctionItem(client, functions[message.fn], message, frames[at])
            at += 1
        elif type(message) is ReleaseTasks:
            yield ReleaseItem(client, message.tasks)
        else:
            count = message.frames if type(message) is ValueMessage else 0
            yield MessageItem(client, message, frames[at : at + count])
            at += count
    yield BatchEnd(client, header.batch)


def _frames(folder: Path, header: BatchReceived | LargeValue, rest: memoryview) -> list[Buffer]:
    """Return the frames of an entry, from its end or from a file of their own."""
    if not header.lengths:
        return []
    if header.file:
        path = _check(folder, header)
        try:
            # A pickle runs code, so the open files must belong to us.
            blocks = {place: _block(path, place, header.lengths[place]) for place in header.blocks}
            rest = memoryview(b"")
            if _plain_length(header):
                with open(open_file(path), "rb") as file:
                    rest = memoryview(file.read())
        except OSError as error:
            raise _Missing(f"{path} cannot be read ({error.strerror or error})") from error
    else:
        blocks = {}
    at = rest.nbytes - _plain_length(header)
    frames: list[Buffer] = []
    for place, length in enumerate(header.lengths):
        if place in blocks:
            frames.append(blocks[place])
            continue
        # A copy that can be written to, as from a socket, and that does not hold the whole entry in memory.
        frames.append(bytearray(rest[at : at + length]))
        at += length
    return frames


def _block(path: Path, place: int, length: int) -> Buffer:
    """Return a block from its file; it stays on the disk, and calls that share it get the same frame."""
    frame = received(open_file(path.with_name(block_file(path.name, place))), length)
    if isinstance(frame, SharedFrame):
        frame.on_disk = True
    return frame


def _pickle(folder: Path, header: FunctionKnown, rest: memoryview) -> bytes:
    """Return the pickle of a function, from its entry or from the file that has it."""
    if not header.file:
        return bytes(rest)
    path = folder / "values" / Path(header.file).name
    try:
        with open(open_file(path), "rb") as file:
            file.seek(header.offset)
            payload = file.read(header.length)
    except OSError as error:
        raise _Missing(f"{path} cannot be read ({error.strerror or error})") from error
    # The process may have been killed before its thread had written the file.
    if len(payload) < header.length:
        raise _Missing(f"{path} is incomplete")
    return payload


def _check(folder: Path, header: BatchReceived | LargeValue) -> Path:
    """Return the file of an entry; raise :class:`_Missing` if it is not complete."""
    path = folder / "values" / Path(header.file).name
    if not header.file:
        return path
    wanted = {block_file(path.name, place): header.lengths[place] for place in header.blocks}
    if plain := _plain_length(header):
        wanted[path.name] = plain
    try:
        sizes = {name: path.with_name(name).stat().st_size for name in wanted}
    except OSError as error:
        if path.with_name(path.name + UNUSED).exists():
            raise _Unused from error
        raise _Missing(f"{path} cannot be read ({error.strerror or error})") from error
    # A thread wrote the files, and the process may have been killed before the thread was done.
    if sizes != wanted:
        raise _Missing(f"{path} is incomplete")
    return path


def _plain_length(header: BatchReceived | LargeValue) -> int:
    """Return how many bytes the frames have that are not in files of their own."""
    return sum(header.lengths) - sum(header.lengths[place] for place in header.blocks)


def _unpacked(packed: PackedValue, frames: list[Buffer], at: list[int]) -> StoredValue:
    """Rebuild a value from what :meth:`StoredValue.packed` made of it."""
    if packed.parts is not None:
        return joined([_unpacked(part, frames, at) for part in packed.parts])
    begin = at[0]
    at[0] += packed.frames
    return StoredValue(packed.inline, frames[begin : at[0]])
