"""Reads and writes checkpoint files [shell], in which results outlive their run.

A file is a sequence of entries (:mod:`parslab.wire.framed`).  An entry is either a function (its fingerprint and the
parts of that, once for each file and run) or a result: key, call, value.  Memory holds only the places of results: a
value is read when a task needs it.  Several runs may append to one file and read it at the same time.  A damaged
entry costs that entry alone.  Everything here runs in the loop of the DataFlowKernel.  An error of the disk costs
results, but never the run.
"""

from __future__ import annotations

import contextlib
import logging
import struct
from typing import TYPE_CHECKING

import msgspec

from parslab.checkpoints import files_in, is_parsl_checkpoint
from parslab.dataflow.graph.task import MemoCall
from parslab.dataflow.graph.values import StoredValue
from parslab.errors import UntrustedPathError
from parslab.trust import check_folder
from parslab.wire.descriptors import using_spare
from parslab.wire.framed import HEAD, DamagedRange, FrameAppender, encode, head, read, read_at
from parslab.wire.messages.base import PackedValue
from parslab.wire.shared_memory import PlainBuffer, in_memory, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

    from parslab.dataflow.graph.memoization.memo import Memo, MemoEntry
    from parslab.wire.stream import Buffer

__all__ = ["LIMIT", "Checkpoints"]

log = logging.getLogger(__name__)

LIMIT = 1 << 30
"""Bytes of the largest value that is written, because one write writes a whole value."""

_AT_ONCE = 64 << 20
"""Bytes that one write collects at most."""

_PLACE = 44
"""Bits of a place that are the offset in the file; the bits above them are the number of the file."""

_LENGTH = struct.Struct("<I")


class _Function(msgspec.Struct, tag=1, array_like=True):
    """A function; results of it follow."""

    fingerprint: bytes
    parts: dict[str, bytes]


class _Result(msgspec.Struct, tag=2, array_like=True):
    """A call and its result; the frames of the result follow."""

    key: bytes
    app: str
    fingerprint: bytes
    shown: str
    inputs: tuple[bytes, ...]
    at: float
    run: str
    value: PackedValue
    lengths: tuple[int, ...] = ()
    """Of the frames."""


_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[_Function | _Result] = msgspec.msgpack.Decoder(_Function | _Result)


class Checkpoints:
    """The checkpoint that a run writes, and those that it has loaded.

    Parameters
    ----------
    memo
        The results of the run's calls.
    run
        The name of the run.
    path
        Path of the file that the run writes; the file is created by the first write.
    notify
        Called with a notice for the user: (level, sentence).
    shared
        Whether other runs append to the file, too, perhaps on other hosts.
    owners
        User numbers whose checkpoints are trusted besides our own and root's.

    Attributes
    ----------
    written
        How many results this run has written.
    broken
        Why nothing can be written at the moment; the user has been warned. Empty while writing works.
    """

    def __init__(
        self,
        memo: Memo,
        run: str,
        path: Path,
        notify: Callable[[str, str], None],
        *,
        shared: bool = False,
        owners: Collection[int] = (),
    ) -> None:
        self.memo = memo
        self.run = run
        self.path = path
        self.written = 0
        self._notify = notify
        self._shared = shared
        self._owners = owners
        self._files: list[str] = []
        self._own = -1
        """Index of our own file in ``_files``."""
        self._appender: FrameAppender | None = None
        self._functions: set[bytes] = set()
        """Fingerprints of the functions that are in our file."""
        self._parts: dict[bytes, dict[str, bytes]] = {}
        self.broken = ""
        self._unreadable: set[int] = set()
        # The memo is a core and opens no files, so it reads through this call.
        memo.fetch = self.fetch

    # ----- loading

    def load(self, places: Iterable[str]) -> int:
        """Load the results in these folders and files, of which later ones win; return how many there are."""
        before = len(self.memo)
        foreign = []
        for place in places:
            for path in files_in(place):
                if is_parsl_checkpoint(path):
                    foreign.append(str(path))
                else:
                    self._load(path)
        if foreign:
            others = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
            self._notify(
                "info",
                f"{foreign[0]}{others}: a checkpoint of Parsl is not read, because its keys do not tell when a "
                "function has changed; its results are computed again, and kept in this run's checkpoint from then on.",
            )
        return len(self.memo) - before

    def _load(self, path: Path) -> None:
        # Places hold the number of a file instead of its path, which saves memory for each result.
        number = self._number(path)
        damaged: list[int] = []
        lost = 0
        size = 0
        try:
            # A checkpoint holds pickles, which run code: a file that others can write is not read.
            check_folder(path.parent, self._owners)
            size = path.stat().st_size
            for entry in read(path, owners=self._owners):
                if isinstance(entry, DamagedRange):
                    if entry.offset + entry.length < size or not damaged:
                        damaged.append(entry.offset)
                        lost += entry.length
                elif not self._take(number, entry.offset, entry.payload):
                    damaged.append(entry.offset)
                    lost += len(entry.payload)
        # An error costs this file only: the run begins without its results.
        except UntrustedPathError as error:
            self._notify("warning", f"A checkpoint is left out. {error}")
        except OSError as error:
            self._notify(
                "warning", f"The checkpoint {path} cannot be read ({error.strerror or error}); it is left out."
            )
        if damaged:
            where = ", ".join(map(str, damaged[:3])) + (", ..." if len(damaged) > 3 else "")
            some = "1 place" if len(damaged) == 1 else f"{len(damaged)} places"
            self._notify(
                "warning",
                f"The checkpoint {path} is damaged at {some} ({lost:,} bytes, at offset {where}): the results there "
                "are computed again, all others are used.",
            )

    def _number(self, path: Path) -> int:
        text = str(path)
        with contextlib.suppress(ValueError):
            return self._files.index(text)
        self._files.append(text)
        return len(self._files) - 1

    def _take(self, number: int, offset: int, payload: bytes) -> bool:
        """Note the content of an entry; return False if it cannot be decoded."""
        entry = _head_of(payload)
        if isinstance(entry, _Function):
            self._parts[entry.fingerprint] = entry.parts
        elif entry is not None:
            self.memo.loaded(self._call(number, entry), number << _PLACE | offset)
        return entry is not None

    def _call(self, number: int, entry: _Result) -> MemoCall:
        call = MemoCall(-1, entry.app, entry.fingerprint, shown=entry.shown, deps=(), at=entry.at)
        call.key, call.inputs, call.kept = entry.key, entry.inputs, -1
        call.parts = self._parts.get(entry.fingerprint, {})
        call.where = (self._files[number], entry.run)
        return call

    def fetch(self, place: int) -> tuple[MemoCall, StoredValue] | None:
        """Read a result; return None if it cannot be read any more."""
        number, offset = place >> _PLACE, place & ((1 << _PLACE) - 1)
        try:
            payload = using_spare(lambda: read_at(self._files[number], offset, self._owners))
            why = "it was changed or cut"
        except OSError as error:
            payload, why = None, error.strerror or str(error)
        entry = _head_of(payload) if payload is not None else None
        if payload is None or not isinstance(entry, _Result):
            # One notice for each file, because thousands of its results may be gone.
            if number not in self._unreadable:
                self._unreadable.add(number)
                self._notify(
                    "warning",
                    f"A result in the checkpoint {self._files[number]} (at offset {offset}) cannot be read "
                    f"any more ({why}): it is computed again.",
                )
            return None
        return self._call(number, entry), _value_of(payload, entry)

    # ----- writing

    def write(self) -> int:
        """Append all results that are only in memory; return how many were written."""
        count = 0
        held = list(self.memo.unwritten.values())
        at = 0
        while at < len(held):
            batch: list[MemoEntry] = []
            size = 0
            # At least one result in each batch, however large it is.
            while at < len(held) and (not batch or size + held[at].size <= _AT_ONCE):
                size += held[at].size
                batch.append(held[at])
                at += 1
            try:
                count += self._append(batch)
            except OSError as error:
                self._failed(error)
                break
            else:
                self._works_again()
        self.written += count
        self.memo.relieve(durable=not self.broken)
        return count

    def _append(self, batch: Sequence[MemoEntry]) -> int:
        if self._appender is None:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o755 if self._shared else 0o700)
            # Those who share the folder may read what we write: the umask says whether all others may.
            mode = 0o644 if self._owners else 0o600
            self._appender = using_spare(lambda: FrameAppender(self.path, self._shared, mode))
            self._own = self._number(self.path)
        buffers: list[PlainBuffer] = []
        places: list[tuple[bytes, int]] = []
        functions: list[bytes] = []
        at = 0
        for held in batch:
            fingerprint = held.call.fingerprint
            assert held.call.key is not None
            if held.size > LIMIT:
                self._too_large(held)
                continue
            if fingerprint not in self._functions and fingerprint not in functions:
                # Noted as written only after the append: a write that fails must not leave results without their
                # function.
                functions.append(fingerprint)
                at += _add(buffers, [_packed(_Function(fingerprint, dict(held.call.parts)))])
            places.append((held.call.key, at))
            at += _add(buffers, _encoded(held, self.run))
        start = self._appender.append(buffers) if buffers else 0
        self._functions.update(functions)
        for key, place in places:
            self.memo.wrote(key, self._own << _PLACE | (start + place))
        return len(places)

    def _too_large(self, held: MemoEntry) -> None:
        assert held.call.key is not None
        self.memo.wrote(held.call.key, None)
        self._notify(
            "warning",
            f"The result of task {held.call.task} ({held.call.app}) is not written to the checkpoint: it has "
            f"{held.value.size:,} bytes, and the limit is {LIMIT:,}.",
        )

    def _failed(self, error: OSError) -> None:
        self._functions.clear()  # the failed write may have cut any function, so the next write repeats them
        if not self.broken:
            self.broken = error.strerror or str(error)
            self._notify(
                "warning",
                f"Results cannot be written to the checkpoint {self.path} ({self.broken}): they are in the memory of "
                "this run alone, and it tries again every half a minute.",
            )
        log.warning("the checkpoint %s cannot be written: %s", self.path, error)

    def _works_again(self) -> None:
        if self.broken:
            self.broken = ""
            self._notify("info", f"Results are written to the checkpoint {self.path} again, earlier ones included.")

    def close(self) -> None:
        """Close the file."""
        if self._appender is not None:
            self._appender.close()
            self._appender = None


def _add(buffers: list[PlainBuffer], parts: Sequence[PlainBuffer]) -> int:
    """Append an entry with this payload; return how many bytes it has."""
    if len(parts) == 1:
        # One buffer for a small entry, because one system call takes a limited number of buffers.
        whole = encode(parts[0])
        buffers.append(whole)
        return len(whole)
    own = sum(map(size_of, parts))
    buffers += [head(*parts), *parts]
    return HEAD + own


def _packed(entry: _Function | _Result) -> bytes:
    text = _encoder.encode(entry)
    return _LENGTH.pack(len(text)) + text


def _encoded(held: MemoEntry, run: str) -> list[PlainBuffer]:
    call = held.call
    assert call.key is not None
    frames: list[Buffer] = []
    value = held.value.packed(frames)
    lengths = tuple(map(size_of, frames))
    entry = _Result(
        key=call.key,
        app=call.app,
        fingerprint=call.fingerprint,
        shown=call.shown,
        inputs=call.inputs,
        at=call.at,
        run=run,
        value=value,
        lengths=lengths,
    )
    return [_packed(entry), *map(in_memory, frames)]


def _head_of(payload: bytes) -> _Function | _Result | None:
    try:
        (length,) = _LENGTH.unpack_from(payload)
        entry = _decoder.decode(memoryview(payload)[_LENGTH.size : _LENGTH.size + length])
    except (struct.error, msgspec.MsgspecError):
        return None
    # A cut entry may still have a readable head, but not all of its frames.
    if isinstance(entry, _Result) and _LENGTH.size + length + sum(entry.lengths) != len(payload):
        return None
    return entry


def _value_of(payload: bytes, entry: _Result) -> StoredValue:
    (length,) = _LENGTH.unpack_from(payload)
    at = _LENGTH.size + length
    frames: list[Buffer] = []
    for size in entry.lengths:
        # A copy, as a worker would send it: its user may write into it, and it does not hold the whole entry in memory.
        frames.append(bytearray(memoryview(payload)[at : at + size]))
        at += size
    return _unpacked(entry.value, frames, [0])


def _unpacked(packed: PackedValue, frames: list[Buffer], at: list[int]) -> StoredValue:
    if packed.parts is not None:
        return StoredValue(b"", [], tuple(_unpacked(part, frames, at) for part in packed.parts))
    begin = at[0]
    at[0] += packed.frames
    return StoredValue(packed.inline, frames[begin : at[0]])
