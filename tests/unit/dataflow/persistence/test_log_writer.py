"""The record of a run: what is noted is read, and nothing is read that is not whole."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from parslab.dataflow.graph.values import StoredValue, joined
from parslab.dataflow.persistence import log_writer as writer_module
from parslab.dataflow.persistence.log_format import (
    LARGE,
    BatchEnd,
    CallItem,
    CallsTakenOver,
    ClientGone,
    ClientJoined,
    DamageItem,
    EndItem,
    FunctionItem,
    FunctionKnown,
    MessageItem,
    MoveItem,
    Position,
    ReleaseItem,
    ReopenedTasks,
    RunClosed,
    RunOpened,
    entries,
    entry_at,
    segments,
    value_at,
)
from parslab.dataflow.persistence.log_writer import LogWriter
from parslab.records.states import TaskState
from parslab.wire.messages.base import DefineFunction
from parslab.wire.messages.client import CallsMatched, CancelTasks, FollowOutput, ReleaseTasks, SubmitTask, TaskResolved
from parslab.wire.messages.client import TasksReopened as ReopenedMessage
from parslab.wire.shared_memory import SharedFrame, allocate, in_memory, shares_memory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from parslab.dataflow.persistence.postponed_files import FileJob

OPENED = RunOpened("000-abc", "1.0", 1, 42, 5.0)
KNOWN = FunctionKnown(0, b"d", "f", b"p", {"body": b"b"}, ((0, 0), (1, 4)))
pack = msgspec.msgpack.encode
sealed = pytest.mark.skipif(not shares_memory, reason="this system has no sealed shared memory")


class Owner:
    def __init__(self) -> None:
        self.posted: list[Callable[[], None]] = []
        self.warnings: list[str] = []
        self.there: list[tuple[Any, bytes | bytearray]] = []
        self.tasks: list[int] = []
        self.later: list[Callable[[], None]] = []

    def call_later(self, seconds: float, call: Callable[[], None]) -> None:
        self.later.append(call)

    def acknowledge_now(self) -> None:
        pass

    def forgotten(self, task: int) -> bool:
        return task not in self.tasks

    def call_soon(self, call: Callable[[], None]) -> None:
        self.posted.append(call)

    def warn(self, text: str) -> None:
        self.warnings.append(text)

    def present(self) -> Iterator[tuple[Any, bytes | bytearray]]:
        return iter(self.there)

    def functions_of(self, tasks: Iterable[int]) -> tuple[tuple[int, int], ...]:
        return tuple((task, 8) for task in tasks)

    def newest(self) -> dict[int, int]:
        return {0: max(self.tasks)} if self.tasks else {}

    def needed(self, newest: dict[int, int]) -> bool:
        return any(task <= newest.get(0, -1) for task in self.tasks)


@pytest.fixture
def owner() -> Owner:
    return Owner()


@pytest.fixture
def writer(tmp_path: Path, owner: Owner) -> Iterator[LogWriter]:
    writer = LogWriter(tmp_path / "event_log", OPENED, owner)
    writer.open()
    yield writer
    writer.close()


def call(task: int, fn: int = 3, frames: int = 0, deps: tuple[int, ...] = ()) -> SubmitTask:
    return SubmitTask(task, fn, 0, 0, b"args", frames, deps, 1.0)


def items(writer: LogWriter) -> list[Any]:
    writer.write()
    return [item for _, item in entries(writer.folder)]


def test_what_clients_say_is_read_as_they_said_it(writer: LogWriter) -> None:
    code = DefineFunction(3, b"digest", "f", 1, b"print", {"body": b"x"})
    raw = pack([code, call(0), call(1, frames=2), ReleaseTasks([0]), CancelTasks([1]), FollowOutput(1)])
    writer.note(ClientJoined(0, "a.ipynb", 1, "host", True))
    writer.batch_received(0, raw, {3: 7}, [b"pickle", b"one", b"two2"])
    writer.batch_received(0, pack([call(2)]), {3: 7}, [])
    writer.note(ClientGone(0))
    writer.note(RunClosed("it was over"))
    found = items(writer)
    assert [type(item) for item in found] == [
        RunOpened, ClientJoined, FunctionItem, CallItem, CallItem, ReleaseItem, MessageItem, MessageItem, BatchEnd,
        CallItem, BatchEnd, ClientGone, RunClosed,
    ]  # fmt: skip
    assert found[2] == FunctionItem(0, 7, code, b"pickle")
    assert found[3].submit.fn == 7
    assert found[4].frames == [b"one", b"two2"]
    assert found[5] == ReleaseItem(0, [0])
    assert found[10] == BatchEnd(0, 2)


@pytest.mark.parametrize("from_client", [True, False])
def test_a_large_function_is_stored_once(
    writer: LogWriter, owner: Owner, monkeypatch: pytest.MonkeyPatch, from_client: bool
) -> None:
    """Each segment stored it again: the log grew by a large global with each of the first calls."""
    monkeypatch.setattr(writer_module, "SEGMENT", LARGE)
    pickle, argument = bytearray(b"p" * (2 * LARGE)), bytearray(b"a" * 10)
    known = FunctionKnown(7, b"digest", "f", b"", {}, ((0, 3),))
    owner.there = [(known, pickle)]
    if from_client:
        code = DefineFunction(3, b"digest", "f", 1, b"", {})
        writer.batch_received(0, pack([call(0, frames=1), code]), {3: 7}, [argument, pickle])
    for task in range(1, 5):
        writer.batch_received(0, pack([call(task, frames=1)]), {3: 7}, [bytearray(LARGE + 1)])
        writer.write()
    writer.close()
    assert len(segments(writer.folder)) > 4
    files = [path for path in writer.folder.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 2 * LARGE + 4 * (LARGE + 1) + 10_000
    found = [item for _, item in entries(writer.folder) if isinstance(item, FunctionItem)]
    assert len(found) >= 4
    assert {bytes(in_memory(item.payload)) for item in found} == {bytes(pickle)}


def test_the_file_of_a_known_function_outlives_its_segment(
    writer: LogWriter, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "SEGMENT", LARGE)
    monkeypatch.setattr(writer_module, "LIMIT", LARGE)
    pickle = bytearray(b"p" * (2 * LARGE))
    owner.there = [(FunctionKnown(7, b"digest", "f", b"", {}, ((0, 3),)), pickle)]
    code = DefineFunction(3, b"digest", "f", 1, b"", {})
    writer.batch_received(0, pack([code]), {3: 7}, [pickle])
    for task in range(3):
        writer.write()
        until_written(writer)
        writer.batch_received(0, pack([call(task, frames=1)]), {3: 7}, [bytearray(LARGE + 1)])
    writer.write()
    until_written(writer)
    assert segments(writer.folder)[0][0] > 1
    (known,) = {bytes(in_memory(item.payload)) for _, item in entries(writer.folder) if isinstance(item, FunctionItem)}
    assert known == bytes(pickle)
    owner.there = []
    writer.batch_received(0, pack([call(4, frames=1)]), {3: 7}, [bytearray(LARGE + 1)])
    writer.write()
    until_written(writer)
    assert not list((writer.folder / "values").glob("000001-*"))


def until_written(writer: LogWriter) -> None:
    """Wait until the thread has written all files of large frames."""
    if writer._writer is not None:
        writer._jobs.put(None)
        writer._writer.join()
        writer._writer = None


def test_each_item_can_be_read_again(writer: LogWriter) -> None:
    writer.batch_received(0, pack([call(0), call(1)]), {3: 7}, [])
    writer.note_replies([(0, TaskResolved(n, TaskState.exec_done, b"v%d" % n), []) for n in range(1000)], [])
    writer.write()
    found = list(entries(writer.folder))
    for position, item in found:
        assert entry_at(writer.folder, position) == item or isinstance(item, EndItem)
    again = entry_at(writer.folder, found[-1][0])
    assert isinstance(again, EndItem)
    assert again.value is not None
    assert again.value.inline == b"v999"
    middle = found[2][0]._replace(item=0)
    assert next(item for _, item in entries(writer.folder, middle)) == found[1][1]
    assert entry_at(writer.folder, Position(9, 0)) is None
    assert entry_at(writer.folder, Position(1, 3)) is None


def test_tasks_that_went_to_workers(writer: LogWriter) -> None:
    writer.moves += [5, 6, ~5]
    writer.attempts.append((6, 2))
    assert items(writer)[-1] == MoveItem([5, 6, ~5], {6: 2})
    writer.moves.append(1 << 41)
    assert items(writer)[-1] == MoveItem([1 << 41], {})


def test_a_call_taken_over_and_tasks_that_run_again(writer: LogWriter) -> None:
    writer.note_replies([(2, CallsMatched([(9, 4)]), []), (2, TaskResolved(4, TaskState.failed), [])], [])
    writer.note_replies([(2, ReopenedMessage([4]), [])], [])
    assert [item for item in items(writer)[1:] if not isinstance(item, EndItem)] == [
        CallsTakenOver(2, [(9, 4)]),
        ReopenedTasks([4], ((4, 8),)),
    ]
    assert isinstance(items(writer)[2], EndItem)


@pytest.mark.parametrize("size", [40_000, LARGE + 1])
def test_a_large_value_lies_elsewhere(writer: LogWriter, size: int) -> None:
    writer.results = True
    value = joined([StoredValue(b"inline", [b"x" * size]), StoredValue(b"", [b"stream", b"y"])])
    writer.note_replies([(0, TaskResolved(4, TaskState.exec_done, b"", value.size), [])], [(4, value)])
    writer.write()
    writer.close()
    (ended,) = (item for _, item in entries(writer.folder) if isinstance(item, EndItem))
    assert ended.value is None
    assert ended.place is not None
    found = value_at(writer.folder, ended.place)
    assert found is not None
    assert found.parts is not None
    assert [(part.inline, part.frames) for part in found.parts] == [
        (b"inline", [b"x" * size]),
        (b"", [b"stream", b"y"]),
    ]
    assert len(list((writer.folder / "values").iterdir())) == (size > LARGE)
    assert value_at(writer.folder, Position(1, 0)) is None


@pytest.mark.parametrize("left", [None, 10])
def test_a_value_whose_file_is_not_whole_is_none(writer: LogWriter, left: int | None) -> None:
    writer.results = True
    value = StoredValue(b"", [b"x" * (LARGE + 1)])
    writer.note_replies([(0, TaskResolved(4, TaskState.exec_done, b"", value.size), [])], [(4, value)])
    writer.write()
    writer.close()
    (file,) = (writer.folder / "values").iterdir()
    if left is None:
        file.unlink()
    else:
        os.truncate(file, left)
    damaged, ended = items(writer)[1:]
    assert isinstance(damaged, DamageItem)
    assert file.name in damaged.what
    assert ended.place is None


def test_a_batch_with_large_frames_is_safe_when_its_file_is(writer: LogWriter, owner: Owner) -> None:
    writer.batch_received(0, pack([call(0)]), {3: 7}, [])
    writer.batch_received(0, pack([call(1, frames=1)]), {3: 7}, [b"x" * (LARGE + 1)])
    writer.batch_received(0, pack([call(2)]), {3: 7}, [])
    assert writer.safe(0) == 0
    writer.write()
    assert writer.safe(0) == 1
    writer.close()
    for posted in owner.posted:
        posted()
    assert writer.safe(0) == 3
    called = [item for _, item in entries(writer.folder) if isinstance(item, CallItem)]
    assert [len(b"".join(map(in_memory, item.frames))) for item in called] == [0, LARGE + 1, 0]
    (file,) = (writer.folder / "values").iterdir()
    file.unlink()
    (damaged,) = (item for _, item in entries(writer.folder) if isinstance(item, DamageItem))
    assert (damaged.client, damaged.batch) == (0, 2)


def test_another_process_goes_on_with_a_segment_of_its_own(tmp_path: Path, owner: Owner) -> None:
    first = LogWriter(tmp_path, OPENED, owner)
    first.open()
    first.batch_received(0, pack([call(0)]), {3: 7}, [])
    first.close()
    second = LogWriter(tmp_path, OPENED, owner)
    second.open({0: 1})
    second.batch_received(0, pack([call(1)]), {3: 7}, [])
    second.close()
    assert [number for number, _ in segments(tmp_path)] == [1, 2]
    assert [item.batch for _, item in entries(tmp_path) if isinstance(item, BatchEnd)] == [1, 2]


def test_damage_costs_what_it_hits(writer: LogWriter) -> None:
    for task in range(3):
        writer.batch_received(0, pack([call(task)]), {3: 7}, [])
    writer.write()
    path = writer.folder / "000001.log"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    found = [item for _, item in entries(writer.folder)]
    assert [item.submit.task for item in found if isinstance(item, CallItem)] == [0, 2]
    assert sum(isinstance(item, DamageItem) for item in found) == 1


def test_a_segment_begins_with_what_is_there(writer: LogWriter, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "SEGMENT", 1000)
    owner.there = [(ClientJoined(1, "", 1, "h", False), b""), (KNOWN, b"pickle")]
    writer.batch_received(0, pack([call(0)]), {3: 7}, [b"x" * 1000])
    writer.write()
    assert len(segments(writer.folder)) == 2
    second = [item for position, item in entries(writer.folder) if position.segment == 2]
    code = DefineFunction(4, b"d", "f", 1, b"p", {"body": b"b"})
    assert second[:2] == [OPENED, ClientJoined(1, "", 1, "h", False)]
    assert second[3] == FunctionItem(1, 0, code, b"pickle")


def test_the_oldest_go_when_nobody_needs_them(writer: LogWriter, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "SEGMENT", 1000)
    monkeypatch.setattr(writer_module, "LIMIT", 3500)
    owner.tasks = [0]
    for task in range(6):
        owner.tasks = [0, task]
        writer.batch_received(0, pack([call(task)]), {3: 7}, [b"x" * 1000])
        writer.write()
    assert [number for number, _ in segments(writer.folder)] == [1, 2, 3, 4, 5, 6, 7]  # task 0 is needed
    assert owner.warnings == []
    owner.tasks = [6]
    writer.batch_received(0, pack([call(6)]), {3: 7}, [b"x" * 1000])
    writer.write()
    assert [number for number, _ in segments(writer.folder)] == [5, 6, 7, 8]
    assert len(owner.warnings) == 1
    assert "has grown over" in owner.warnings[0]


def test_what_cannot_be_written_is_said_once(writer: LogWriter, owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", full)
        for task in range(3):
            writer.batch_received(0, pack([call(task)]), {3: 7}, [])
            writer.moves.append(task)
            writer.write()
    assert len(owner.warnings) == 1
    assert "cannot be written (No space left on device): the run goes on without one" in owner.warnings[0]
    assert writer.broken
    assert not writer.waiting
    assert writer.safe(0) > 1 << 60
    assert (writer.folder / "incomplete").exists()


@pytest.mark.parametrize("size", [10, LARGE + 1])
def test_a_result_in_memory_can_be_written_later(writer: LogWriter, owner: Owner, size: int) -> None:
    """Without ``results``, the log has no large results until a handover asks for them."""
    value = StoredValue(b"", [b"x" * size])
    ended = TaskResolved(4, TaskState.exec_done, b"", value.size)
    writer.note_replies([(0, ended, [])], [(4, value)])
    writer.write()
    written: list[bool] = []
    writer.keep_value(ended, value)
    writer.when_written(lambda: written.append(writer.broken))
    until_written(writer)
    owner.posted.pop()()
    assert written == [False]
    last = [item for _, item in entries(writer.folder) if isinstance(item, EndItem)][-1]
    assert last.place is not None
    found = value_at(writer.folder, last.place)
    assert found is not None
    assert found.frames == [b"x" * size]


def test_who_waits_for_large_results_learns_that_they_could_not_be_written(
    writer: LogWriter, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(file: FileJob) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(writer, "_write_frames", full)
    value = StoredValue(b"", [b"x" * (LARGE + 1)])
    written: list[bool] = []
    writer.keep_value(TaskResolved(4, TaskState.exec_done, b"", value.size), value)
    writer.when_written(lambda: written.append(writer.broken))
    until_written(writer)
    for call in owner.posted:
        call()
    assert written == [True]
    assert "cannot be written (No space left on device)" in owner.warnings[0]


def short_of_descriptors(patch: pytest.MonkeyPatch, times: int = 1 << 30) -> list[str]:
    """Let the next calls of ``os.open`` find no free descriptor; return the list of their paths."""
    real, refused = os.open, list[str]()

    def no_descriptor(path: Any, *args: Any, **options: Any) -> int:
        if len(refused) < times:
            refused.append(str(path))
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return real(path, *args, **options)

    patch.setattr(os, "open", no_descriptor)
    return refused


def test_a_lack_of_descriptors_delays_the_next_segment(
    writer: LogWriter, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log was given up when a segment ended while strangers held all descriptors."""
    monkeypatch.setattr(writer_module, "SEGMENT", 1000)
    with monkeypatch.context() as patch:
        refused = short_of_descriptors(patch)
        for task in range(3):
            writer.batch_received(0, pack([call(task)]), {3: 7}, [b"x" * 1000])
            writer.write()
        assert refused
        assert writer.acked == {0: 3}
        assert [number for number, _ in segments(writer.folder)] == [1]
    writer.batch_received(0, pack([call(3)]), {3: 7}, [b"x" * 1000])
    writer.write()
    assert [number for number, _ in segments(writer.folder)] == [1, 2]
    assert [item.submit.task for _, item in entries(writer.folder) if isinstance(item, CallItem)] == [0, 1, 2, 3]
    assert not owner.warnings


def test_a_lack_of_descriptors_delays_the_files_of_large_frames(
    tmp_path: Path, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The log was given up when the file of a large argument could not be opened."""
    pauses: list[float] = []
    writer = LogWriter(tmp_path / "event_log", OPENED, owner, sleep=pauses.append)
    writer.open()
    refused = short_of_descriptors(monkeypatch, 4)
    writer.batch_received(0, pack([call(0, frames=1)]), {3: 7}, [b"x" * (LARGE + 1)])
    writer.close()
    for call_ in owner.posted:
        call_()
    assert len(refused) == 4
    assert pauses == [0.25, 0.5, 1.0, 1.0]
    assert not owner.warnings
    assert writer.acked == {0: 1}
    (item,) = [item for _, item in entries(writer.folder) if isinstance(item, CallItem)]
    assert len(item.frames[0]) == LARGE + 1


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path, owner: Owner) -> None:
    (tmp_path / "event_log").write_bytes(b"a file")
    writer = LogWriter(tmp_path / "event_log", OPENED, owner)
    writer.open()
    writer.close()
    assert len(owner.warnings) == 1


def test_little_is_written_a_moment_later(writer: LogWriter) -> None:
    assert not writer.due(1.0)
    writer.note_replies([(0, TaskResolved(4, TaskState.exec_done), [])], [])
    assert writer.waiting
    assert not writer.due(1.0)
    assert 1.0 < writer.deadline < writer.latest < 1.1
    assert writer.due(1.1)
    writer.write()
    assert not writer.waiting


def arguments(writer: LogWriter, task: int) -> None:
    """Note the call of a task with large arguments."""
    writer.batch_received(0, pack([call(task, frames=1)]), {3: 7}, [bytearray(LARGE + 1)], task)
    writer.write()


def test_large_arguments_of_a_task_are_written_after_a_moment(writer: LogWriter, owner: Owner) -> None:
    owner.tasks = [5]
    arguments(writer, 5)
    assert list((writer.folder / "values").iterdir()) == []
    assert writer.safe(0) == 0  # the client keeps the batch
    (later,) = owner.later
    later()
    until_written(writer)
    for posted in owner.posted:
        posted()
    assert writer.safe(0) == 1
    (called,) = [item for _, item in entries(writer.folder) if isinstance(item, CallItem)]
    assert [len(in_memory(frame)) for frame in called.frames] == [LARGE + 1]


def block(byte: int) -> SharedFrame:
    made = allocate([bytes([byte]) * (4 * LARGE)])
    assert made is not None
    return made[0]


def calls_with_a_model(writer: LogWriter, model: SharedFrame) -> list[tuple[SharedFrame | bytes, ...]]:
    """Note two calls that share a block, and one that has it beside bytes and a block of its own."""
    frames: list[tuple[SharedFrame | bytes, ...]] = [(model,), (model,), (model, b"bytes", block(2))]
    for number, own in enumerate(frames):
        writer.batch_received(0, pack([call(number, frames=len(own))]), {3: 7}, own)
        writer.write()
    writer.close()
    return frames


@sealed
def test_a_block_of_many_calls_is_written_once(writer: LogWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each call wrote its arguments again: a thousand calls with one model wrote it a thousand times."""
    model = block(1)
    frames = calls_with_a_model(writer, model)
    files = {status.st_ino: status.st_size for path in (writer.folder / "values").iterdir() if (status := path.stat())}
    assert sorted(files.values()) == [5, 4 * LARGE, 4 * LARGE]
    found = [item for _, item in entries(writer.folder) if isinstance(item, CallItem)]
    assert [[bytes(in_memory(one)) for one in item.frames] for item in found] == [
        [bytes(in_memory(one)) for one in own] for own in frames
    ]
    # The calls of the next DataFlowKernel share it, too, and it is not in memory.
    assert len({id(item.frames[0]) for item in found}) == 1
    assert all(frame.on_disk for item in found for frame in item.frames if isinstance(frame, SharedFrame))


@sealed
def test_without_links_a_block_is_written_for_each_call(writer: LogWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise OSError(errno.EPERM, "this file system has no links")

    monkeypatch.setattr(os, "link", refuse)
    calls_with_a_model(writer, block(1))
    found = [item for _, item in entries(writer.folder) if isinstance(item, CallItem)]
    assert [len(item.frames) for item in found] == [1, 1, 3]


@sealed
@pytest.mark.parametrize("left", [None, 10])
def test_a_call_without_its_block_is_damaged(writer: LogWriter, left: int | None) -> None:
    calls_with_a_model(writer, block(1))
    (file,) = (writer.folder / "values").glob("*-2")
    if left is None:
        file.unlink()
    else:
        os.truncate(file, left)
    found = items(writer)
    assert [type(item) for item in found if isinstance(item, (CallItem, DamageItem))] == [
        CallItem,
        CallItem,
        DamageItem,
    ]
    assert [item.batch for item in found if isinstance(item, DamageItem)] == [3]


@sealed
def test_a_block_counts_once_for_the_limit(
    tmp_path: Path, writer: LogWriter, owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "LIMIT", 10 * LARGE)
    monkeypatch.setattr(writer_module, "SEGMENT", LARGE)
    model = block(1)
    for number in range(20):
        writer.batch_received(0, pack([call(number, frames=1)]), {3: 7}, [model])
        writer.write()
    writer.close()
    assert not owner.warnings
    # Nor does a later process count it twenty times.
    later = LogWriter(writer.folder, OPENED, owner)
    later.open({0: 20})
    later.batch_received(0, pack([call(20, frames=1)]), {3: 7}, [block(3)])
    later.close()
    assert not owner.warnings


def test_large_arguments_of_a_forgotten_task_are_not_written(writer: LogWriter, owner: Owner) -> None:
    owner.tasks = [5]
    arguments(writer, 5)
    owner.tasks = []
    writer.batch_received(0, pack([ReleaseTasks([5])]), {}, [])
    writer.write()
    for later in owner.later:
        later()  # it comes too late
    until_written(writer)
    for posted in owner.posted:
        posted()
    assert writer.safe(0) == 2
    (file,) = (writer.folder / "values").iterdir()
    assert file.stat().st_size == 0
    found = [item for _, item in entries(writer.folder)]
    (called,) = [item for item in found if isinstance(item, CallItem)]
    assert called.frames == []
    assert not [item for item in found if isinstance(item, DamageItem)]


def test_large_arguments_that_wait_are_written_at_the_end(writer: LogWriter, owner: Owner) -> None:
    owner.tasks = [5]
    arguments(writer, 5)
    writer.close()
    (called,) = [item for _, item in entries(writer.folder) if isinstance(item, CallItem)]
    assert len(called.frames) == 1


def test_all_large_arguments_are_written_where_the_user_asks(writer: LogWriter, owner: Owner) -> None:
    writer.results = True
    arguments(writer, 5)
    until_written(writer)
    (file,) = (writer.folder / "values").iterdir()
    assert file.stat().st_size == LARGE + 1


def test_a_large_result_is_not_written(writer: LogWriter) -> None:
    value = StoredValue(b"", [b"x" * (LARGE + 1)])
    writer.note_replies([(0, TaskResolved(4, TaskState.exec_done, b"", value.size), [])], [(4, value)])
    writer.close()
    (ended,) = (item for _, item in entries(writer.folder) if isinstance(item, EndItem))
    assert (ended.value, ended.place) == (None, None)
    assert list((writer.folder / "values").iterdir()) == []
