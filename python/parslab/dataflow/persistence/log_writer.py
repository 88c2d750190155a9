"""Writes the event log of a run [shell], at most once in each round of the loop.

The loop's thread calls the writer.  Another thread writes the files of large frames, so that the loop does not wait for
the disk.  If the log cannot be written, the writer warns the user once, and the run goes on without a log.  A lack of
descriptors is no such reason, because it passes: the writer goes on with the files that it has.  When the log is larger
than ``LIMIT``, the writer deletes old segments whose tasks no client can ask for.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from array import array
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

import msgspec

from parslab.dataflow.persistence.block_files import BlockFiles, is_block, places_of_blocks
from parslab.dataflow.persistence.log_format import (
    LARGE,
    BatchReceived,
    CallsTakenOver,
    ClientJoined,
    FunctionKnown,
    LargeValue,
    LogRecord,
    ReopenedTasks,
    RunOpened,
    TasksEnded,
    TasksMoved,
    block_file,
    head_of,
    segments,
)
from parslab.dataflow.persistence.postponed_files import DELAY, FileJob, PostponedFiles
from parslab.remote.transient import retry_pause
from parslab.wire.descriptors import lacks_descriptors, using_spare
from parslab.wire.framed import FrameAppender, encode
from parslab.wire.messages.client import CallsMatched, TaskResolved
from parslab.wire.messages.client import TasksReopened as ReopenedMessage
from parslab.wire.shared_memory import SharedFrame, in_memory, size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from io import FileIO
    from pathlib import Path

    from parslab.dataflow.graph.values import StoredValue
    from parslab.wire.messages.client import KernelMessage
    from parslab.wire.stream import Buffer

__all__ = ["LIMIT", "SEGMENT", "LogOwner", "LogWriter"]

log = logging.getLogger(__name__)

SEGMENT = 64 << 20
"""Bytes after which a new segment begins."""
LIMIT = 2 << 30
"""Bytes after which the writer deletes old segments that are not needed."""

_ENDS_PER_ENTRY = 256
"""Ends of tasks in one entry: so few that a damaged entry costs little."""
_DELAY = 0.002
"""Seconds after the first note after which a round of the loop writes."""
_WAKE_AFTER = 0.01
"""Seconds after which the loop wakes up to write; to wake it sooner makes round trips slower."""
_MAX_WAITING = 32
"""Entries that may wait; with more of them the next round writes at once."""
_NEVER = 1e12
_ALL_BATCHES = 1 << 62
"""More batches than any client sends: a client need not keep any."""
_LONGEST_PAUSE = 1.0
"""Seconds between two attempts to open a file while there is no descriptor."""
_INCOMPLETE = "incomplete"
"""The file that marks a log that the writer has given up."""


class LogOwner(Protocol):
    """The part of the DataFlowKernel that a writer uses."""

    def call_soon(self, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread soon; safe from any thread."""

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        """Run ``call`` in the loop's thread after so many seconds."""

    def acknowledge_now(self) -> None:
        """Tell clients which batches are on the disk."""

    def forgotten(self, task: int) -> bool:
        """Return whether a task has ended and nobody can ask for it, or for what depends on it."""

    def warn(self, text: str) -> None:
        """Show the user a warning."""

    def present(self) -> Iterable[tuple[ClientJoined | FunctionKnown, Buffer]]:
        """Return the attached clients and the known functions, with which a segment begins."""

    def functions_of(self, tasks: Iterable[int]) -> tuple[tuple[int, int], ...]:
        """Return the function of each of these tasks."""

    def newest(self) -> dict[int, int]:
        """Return the newest task of each client's range of numbers."""

    def needed(self, newest: dict[int, int]) -> bool:
        """Return whether a client can still ask for one of these tasks or an older one."""


class LogWriter:
    """The event log of one run.

    Parameters
    ----------
    folder
        The folder of its files; the writer creates it.
    opened
        The first entry of each segment.
    owner
        The DataFlowKernel.
    results
        Whether to write large results, too, which workers could make again.
    sleep
        Lets the thread of the files wait for so many seconds.

    Attributes
    ----------
    moves
        Tasks that were sent to workers since the last write (``~task``: returned before they began).
        ``worker_events`` appends to it.
    attempts
        Pairs (task, attempt) of the attempts among them that are not the first.
    acked
        How many batches of each client are on the disk.
    broken
        Whether the writer has given the log up.
    deadline
        The time of the next write.
    """

    def __init__(
        self,
        folder: Path,
        opened: RunOpened,
        owner: LogOwner,
        *,
        results: bool = False,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.folder = folder
        self.moves: list[int] = []
        self.attempts: list[tuple[int, int]] = []
        self.acked: dict[int, int] = {}
        self.broken, self.results = False, results
        self._opened, self._owner, self._sleep = opened, owner, sleep
        self._batches: dict[int, int] = {}
        self._unsafe: dict[int, set[int]] = {}
        """By client: the batches whose files the thread still writes."""
        self._noted: list[tuple[LogRecord, tuple[Buffer, ...], int]] = []
        """Header, payload, and the task whose arguments are in the payload (-1: none)."""
        self._ends: list[TaskResolved] = []
        self._large: list[tuple[int, StoredValue]] = []
        self._lines: list[bytes] = []
        self._encode = msgspec.msgpack.Encoder().encode
        self._file: FrameAppender | None = None
        self._number = 0
        self._sizes: dict[int, int] = {}
        self._bounds: dict[int, dict[int, int]] = {}
        """By segment: the newest tasks when the next segment began."""
        self._files = 0
        self._pickles: dict[int, tuple[str, int]] = {}
        """The file that has the large pickle of a function, and the offset in it, by the run's number of the function.
        The pickle itself is not kept, because the run forgets functions."""
        self._blocks = BlockFiles()
        self._jobs: SimpleQueue[FileJob | Callable[[], None] | None] = SimpleQueue()
        self._postponed = PostponedFiles()
        self._writer: threading.Thread | None = None
        self._warned = False
        self.deadline = _NEVER

    def open(self, batches: Mapping[int, int] | None = None) -> None:
        """Begin a new segment: a writer never continues a segment of an earlier process.

        Parameters
        ----------
        batches
            How many batches of each client the log has already.
        """
        self._batches = dict(batches or {})
        self.acked = dict(self._batches)
        try:
            for folder in (self.folder, self.folder / "values"):
                folder.mkdir(exist_ok=True, mode=0o700)
            for number, path in segments(self.folder):
                self._number = number
                self._sizes[number] = path.stat().st_size
                self._bounds[number] = self._owner.newest()
            for path in (self.folder / "values").iterdir():
                number = int(path.name.partition("-")[0])
                # The name begins with the segment: files of large frames count for the limit, too.
                status = path.stat()
                self._sizes[number] = self._sizes.get(number, 0) + status.st_size // max(status.st_nlink, 1)
            self._open_segment()
            self._write_head()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def safe(self, client: int) -> int:
        """Return how many batches a client need not keep any more."""
        return _ALL_BATCHES if self.broken else self.acked.get(client, 0)

    # ----- noting what happens

    @property
    def waiting(self) -> bool:
        """Return whether there are notes that are not written."""
        return bool(self._noted or self.moves or self._ends)

    def due(self, now: float) -> bool:
        """Return whether to write now; writing after every short task would cost a tenth of its round trip."""
        if not (self._noted or self.moves or self._ends):
            return False
        # The delay counts from the first note, so that a steady stream of tasks cannot put the write off.
        if self.deadline == _NEVER:
            self.deadline = now + _DELAY
        return now >= self.deadline or len(self._noted) >= _MAX_WAITING

    @property
    def latest(self) -> float:
        """Return when the loop has to wake in order to write."""
        return self.deadline + (_WAKE_AFTER - _DELAY)

    def note(self, header: LogRecord, *rest: Buffer) -> None:
        """Note an entry."""
        if not self.broken:
            self._noted.append((header, rest, -1))

    def batch_received(
        self, client: int, raw: Buffer, functions: dict[int, int], frames: Sequence[Buffer], task: int = -1
    ) -> None:
        """Note a batch as a client sent it.

        Parameters
        ----------
        client, raw, frames
            The batch.
        functions
            The run's numbers of the functions that it names.
        task
            The task whose arguments the frames are; -1: they are something else, or of several tasks.
        """
        if not self.broken:
            number = self._batches[client] = self._batches.get(client, 0) + 1
            self._noted.append((BatchReceived(client, number, functions), (raw, *frames), task))

    def _note_lines(self) -> None:
        """Encode the notes; not earlier, so that workers need not wait for their tasks."""
        noted, self._noted = self._noted, []
        for header, rest, task in noted:
            if type(header) is BatchReceived and len(rest) > 1:
                header.lengths, header.file = self._place(rest[1:], header.client, header.batch, task)
                header.blocks = places_of_blocks(rest[1:]) if header.file else ()
                if header.file:
                    if header.functions:
                        self._find_pickles(rest[1:], header.file)
                    rest = rest[:1]
            self._line(head_of(header), rest)

    def _find_pickles(self, frames: Sequence[Buffer], file: str) -> None:
        """Note the places of large pickles of functions in a file."""
        # By identity: the registry holds the frame of the batch itself, and a comparison of bytes reads megabytes.
        known = {id(rest): header.fn for header, rest in self._owner.present() if type(header) is FunctionKnown}
        offset = 0
        for frame in frames:
            size = size_of(frame)
            if size > LARGE and id(frame) in known:
                self._pickles[known[id(frame)]] = file, offset
            if not is_block(frame):
                offset += size

    def _line(self, header: bytes, rest: Sequence[Buffer] = ()) -> None:
        self._lines.append(encode(header, *map(in_memory, rest)))

    def _place(
        self, frames: Sequence[Buffer], client: int = -1, batch: int = 0, task: int = -1
    ) -> tuple[tuple[int, ...], str]:
        """Return the lengths of frames, and the name of their file if they are large enough for one."""
        lengths = tuple(map(size_of, frames))
        if sum(lengths) <= LARGE:
            return lengths, ""
        self._files += 1
        # With the process id: a writer after a crash must not overwrite files of the earlier one.
        file = f"{self._number:06d}-{os.getpid()}-{self._files}"
        self._sizes[self._number] = self._sizes.get(self._number, 0) + self._blocks.count(frames)
        job = FileJob(file, list(frames), client, batch)
        if batch:
            self._unsafe.setdefault(client, set()).add(batch)
        if task >= 0 and not self.results:
            self._postponed.add(job, task)
            self._owner.call_later(DELAY, lambda: self._begin_file(self._postponed.take(file)))
        else:
            self._begin_file(job)
        return lengths, file

    def _begin_file(self, job: FileJob | None) -> None:
        """Have the thread write a file."""
        if job is None or self.broken:
            return
        if self._writer is None:
            # Only runs with large frames need the thread.
            self._writer = threading.Thread(target=self._write_files, name="parslab-event-log", daemon=True)
            self._writer.start()
        self._jobs.put(job)

    def _drop_unneeded_files(self) -> None:
        """Give up files of tasks whose end, and whose release, the log has."""
        for job in self._postponed.take_unneeded(self._owner.forgotten):
            self._begin_file(job)

    # ----- writing

    def note_replies(
        self, replies: Sequence[tuple[int, KernelMessage, list[Buffer]]], large: Sequence[tuple[int, StoredValue]]
    ) -> None:
        """Note the replies that are about to be sent to clients.

        Parameters
        ----------
        replies
            Each with the number of its client and its frames.
        large
            The results that are too large to be in the replies.
        """
        if self.broken:
            return
        # A worker makes such a result again, if it should be lost with this process: the log has all that this takes.
        self._large += [one for one in large if one[1].size <= LARGE or self.results]
        for client, message, _ in replies:
            if type(message) is TaskResolved:  # first and by identity, because nearly all replies are this one
                self._ends.append(message)
            elif type(message) is CallsMatched:
                self._noted.append((CallsTakenOver(client, message.tasks), (), -1))
            elif type(message) is ReopenedMessage:
                self.write()  # first how the tasks had ended, then that they run again
                self._noted.append((ReopenedTasks(message.tasks, self._owner.functions_of(message.tasks)), (), -1))

    def keep_value(self, resolved: TaskResolved, value: StoredValue) -> None:
        """Note a result that is in memory only; ``resolved`` says once more how its task ended."""
        if not self.broken and not self.results:
            self._large.append((resolved.task, value))
            self._ends.append(resolved)

    def write(self) -> None:
        """Write what was noted."""
        self.deadline = _NEVER
        if self.broken:
            self._clear()
            return
        if self._noted:
            self._note_lines()
        if self.moves:
            moves, self.moves = self.moves, []
            # Encoded once: nearly all entries of moves have no attempts.
            header = _MOVES
            if self.attempts:
                header = head_of(TasksMoved(tuple(self.attempts)))
                self.attempts.clear()
            self._line(header, (array("q", moves).tobytes(),))
        # Before the ends: a reader finds the place of a large value when it reads the end of its task.
        for task, value in self._large:
            frames: list[Buffer] = []
            packed = value.packed(frames)
            lengths, file = self._place(frames)
            large = LargeValue(task, packed, lengths, file, places_of_blocks(frames) if file else ())
            self._line(head_of(large), () if file else frames)
        self._large.clear()
        if self._ends:
            ends, self._ends = self._ends, []
            for at in range(0, len(ends), _ENDS_PER_ENTRY):
                self._line(_ENDS, (self._encode(ends[at : at + _ENDS_PER_ENTRY]),))
        if self._lines:
            self._append()
            self._settle()
        if self._postponed:
            self._drop_unneeded_files()

    def _append(self) -> None:
        lines, self._lines = self._lines, []
        try:
            assert self._file is not None
            # One write for all entries: the cost of a write is mostly that of the system call.
            self._file.append([b"".join(lines)])
            # Files of large frames count, too: otherwise a segment of large values would never be trimmed.
            if self._file.size + self._sizes.get(self._number, 0) > SEGMENT:
                self._end_segment()
        except OSError as error:
            self._give_up(error)

    def _settle(self) -> None:
        """Count batches as safe that are on disk together with their files."""
        for client, number in self._batches.items():
            unsafe = self._unsafe.get(client)
            # Up to the first unsafe batch: a client repeats batches from a number on, and cannot leave one out.
            self.acked[client] = min(unsafe) - 1 if unsafe else number

    def _end_segment(self) -> None:
        before = self._file
        assert before is not None
        try:
            self._open_segment()
        except OSError as error:
            if not lacks_descriptors(error):
                raise
            # This segment goes on, and the next write tries again to begin another one.
            log.warning("no new segment of the event log can begin now: %s", error)
            return
        before.close()
        number = self._number - 1
        self._sizes[number] = self._sizes.get(number, 0) + before.size
        self._bounds[number] = self._owner.newest()
        self._write_head()
        self._trim()

    def _open_segment(self) -> None:
        path = self.folder / f"{self._number + 1:06d}.log"
        self._file = using_spare(lambda: FrameAppender(path))
        self._number += 1

    def _write_head(self) -> None:
        """Write what a segment begins with."""
        assert self._file is not None
        first = head_of(self._opened)
        lines = [encode(first)]
        lines += [self._present_line(header, rest) for header, rest in self._owner.present()]
        self._file.append(lines)

    def _present_line(self, header: ClientJoined | FunctionKnown, rest: Buffer) -> bytes:
        size = size_of(rest)
        if type(header) is not FunctionKnown or size <= LARGE:
            return encode(head_of(header), in_memory(rest))
        if header.fn not in self._pickles:  # an earlier process wrote it
            self._pickles[header.fn] = self._place([rest])[1], 0
        header.file, header.offset = self._pickles[header.fn]
        header.length = size
        return encode(head_of(header))

    def _trim(self) -> None:
        """Delete the oldest segments that are not needed, while the log is too large."""
        if sum(self._sizes.values()) <= LIMIT:
            return
        present = {header.fn for header, _ in self._owner.present() if type(header) is FunctionKnown}
        self._pickles = {fn: place for fn, place in self._pickles.items() if fn in present}
        used = {file for file, _ in self._pickles.values()}
        while sum(self._sizes.values()) > LIMIT:
            oldest = min(self._sizes)
            # Only from the oldest on: a gap would hide how tasks of an earlier segment ended.
            if oldest == self._number or self._owner.needed(self._bounds.get(oldest, {})):
                return
            del self._sizes[oldest]
            self._bounds.pop(oldest, None)
            with contextlib.suppress(OSError):
                for path in (self.folder / "values").iterdir():
                    # A file of an even older segment stayed because it had a function that was in use at that time.
                    if int(path.name.partition("-")[0]) <= oldest and path.name not in used:
                        path.unlink()
                (self.folder / f"{oldest:06d}.log").unlink()
            if not self._warned:
                self._warned = True
                self._owner.warn(
                    f"The event log of this run has grown over {LIMIT >> 30} GB: its oldest results, whose futures "
                    "are gone, are deleted; after a restart of the kernel those calls would run again."
                )

    def _give_up(self, error: Exception) -> None:
        if self.broken:
            return
        self.broken = True
        why = getattr(error, "strerror", None) or error
        log.warning("the event log is given up: %s", error)
        self._clear()
        with contextlib.suppress(OSError):
            # A client must not start the run again from this log, which lacks all that follows.
            (self.folder / _INCOMPLETE).touch()
        self._owner.warn(
            f"The event log of this run in {self.folder} cannot be written ({why}): the run goes on without one, so "
            "its results would be lost with its DataFlowKernel process, and after a restart of the kernel calls run "
            "again."
        )

    def _clear(self) -> None:
        for noted in (self._lines, self._noted, self._ends, self._large, self.moves, self.attempts):
            noted.clear()
        self._postponed.take_all()

    def when_written(self, call: Callable[[], None]) -> None:
        """Write what is left, and run ``call`` in the loop's thread when the files of large frames are written, too."""
        self.write()
        for job in self._postponed.take_all():
            self._begin_file(job)
        if self._writer is None:
            self._owner.call_soon(call)
        else:
            self._jobs.put(call)

    def close(self, patience: float = 5.0) -> None:
        """Write what is left; wait at most so many seconds for the files of large frames."""
        self.write()
        for job in self._postponed.take_all():
            self._begin_file(job)
        if self._writer is not None:
            self._jobs.put(None)
            # Bounded: a hung file system must not keep the run from ending.
            self._writer.join(patience)
        if self._file is not None:
            self._file.close()

    # ----- files of large frames (in the thread)

    def _write_files(self) -> None:
        while self._write_file(self._jobs.get()):
            pass

    def _write_file(self, job: FileJob | Callable[[], None] | None) -> bool:
        if job is None:
            return False
        if callable(job):
            self._owner.call_soon(job)
            return True
        client, batch = job.client, job.batch
        try:
            self._write_frames(job)
        except OSError as error:
            why = error
            # All state belongs to the loop's thread.
            self._owner.call_soon(lambda: self._give_up(why))
        else:
            if batch:
                self._owner.call_soon(lambda: self._safe(client, batch))
        return True

    def _write_frames(self, job: FileJob) -> None:
        for place, frame in enumerate(job.frames):
            if is_block(frame):
                self._write_block(frame, block_file(job.file, place))
        plain = [frame for frame in job.frames if not is_block(frame)]
        if plain or not job.frames:
            with open(self._open_value(job.file), "wb", 0) as file:
                for frame in plain:
                    _write_frame(file, frame)

    def _write_block(self, block: SharedFrame, name: str) -> None:
        """Write a block to a file of its own, or link a file that has it already."""
        path = self.folder / "values" / name
        before = self._blocks.path_of(block)
        if before is not None:
            try:
                os.link(before, path)
            except OSError as error:  # it was deleted, has too many links, or the file system has no links
                log.debug("the file of a block is written again: %s", error)
            else:
                return
        with open(self._open_value(name), "wb", 0) as file:
            block.copy_to(file.fileno())
        self._blocks.add(block, path)

    def _open_value(self, name: str) -> int:
        """Open the file of large frames; wait while there is no descriptor."""
        path, flags = self.folder / "values" / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        failures = 0
        while True:
            try:
                return using_spare(lambda: os.open(path, flags, 0o600))
            except OSError as error:
                if not lacks_descriptors(error):
                    raise
                failures += 1
                log.warning("a file of the event log cannot be opened now: %s", error)
                self._sleep(min(retry_pause(failures), _LONGEST_PAUSE))

    def _safe(self, client: int, batch: int) -> None:
        self._unsafe[client].discard(batch)
        if not self.broken:
            self._settle()
            self._owner.acknowledge_now()  # the client keeps the memory of the arguments until it knows


def _write_frame(file: FileIO, frame: Buffer) -> None:
    if isinstance(frame, SharedFrame):
        frame.copy_to(file.fileno())
        return
    rest = memoryview(frame).cast("B")
    while rest:
        # A raw write may take only a part of a large buffer.
        rest = rest[file.write(rest) :]


_ENDS, _MOVES = head_of(TasksEnded()), head_of(TasksMoved())
