"""Checkpoint files: what is written is found again, whatever is cut, damaged or written by others at the time."""

from __future__ import annotations

import errno
import os
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from parslab.checkpoints import PARSL, RESULTS, get_all_checkpoints, get_last_checkpoint, refuse_parsl_checkpoint
from parslab.dataflow.graph.function_registry import FunctionRegistry
from parslab.dataflow.graph.memoization.memo import Memo
from parslab.dataflow.graph.task import MemoCall
from parslab.dataflow.graph.values import StoredValue, joined
from parslab.dataflow.persistence import checkpoint as module
from parslab.dataflow.persistence.checkpoint import Checkpoints
from parslab.dataflow.persistence.checkpointing import Checkpointing
from parslab.errors import ConfigurationError, ParslabError
from parslab.testing.fakes import run_settings
from parslab.wire.framed import read
from parslab.wire.shared_memory import in_memory
from tests.unit.dataflow.fake_host import FakeHost

if TYPE_CHECKING:
    from pathlib import Path


class Run:
    """A run's memory and its checkpoint."""

    def __init__(self, path: Path, name: str = "000-abc", bound: int = 1 << 20) -> None:
        self.memo = Memo(FunctionRegistry(), bound=bound)
        self.notices: list[str] = []
        self.file = Checkpoints(self.memo, name, path, lambda level, text: self.notices.append(f"{level}: {text}"))

    def keep(self, key: str, value: StoredValue | None = None, app: str = "f", fingerprint: bytes = b"fp") -> None:
        call = MemoCall(7, app, fingerprint, shown=f"{key}, 'shown'", deps=(), at=12.5)
        call.key, call.inputs = key.encode().ljust(16), (b"i" * 16,)
        call.parts = {"body": b"1"}
        self.memo.keep(call, value or StoredValue(key.encode(), []))

    def found(self, key: str) -> tuple[MemoCall, StoredValue] | None:
        call = MemoCall(8, "f", b"fp", shown="", deps=(), at=0.0)
        value = self.memo._find(call, key.encode().ljust(16))
        return None if value is None or call.source is None else (call.source, value)

    def inline(self, key: str) -> bytes | None:
        found = self.found(key)
        return None if found is None else found[1].inline


def written(path: Path, *keys: str, name: str = "000-abc") -> Run:
    run = Run(path, name)
    for key in keys:
        run.keep(key)
        assert run.file.write() == 1
    run.file.close()
    return run


def test_what_was_written_is_found_by_a_later_run(tmp_path: Path) -> None:
    path = tmp_path / "000" / "checkpoint" / RESULTS
    run = Run(path)
    parts = joined(
        [
            StoredValue(b"a", [bytearray(b"large")]),
            StoredValue(b"b", []),
            joined([StoredValue(b"", [bytearray(9), b"buf"])]),
        ]
    )
    run.keep("one", StoredValue(b"inline", [bytearray(b"frame"), memoryview(b"other")]))
    run.keep("two", parts)
    run.keep("three", StoredValue(b"", [bytearray(100_000)]))
    assert run.file.write() == 3
    assert run.file.write() == 0
    run.file.close()

    later = Run(tmp_path / "own", "001-def")
    assert later.file.load([str(path.parent)]) == 3
    assert later.notices == []
    assert later.memo.held == 0  # nothing is read before somebody asks
    found = later.found("one")
    assert found is not None
    call, value = found
    assert (call.app, call.fingerprint, call.shown, call.at) == ("f", b"fp", "one, 'shown'", 12.5)
    assert (call.inputs, dict(call.parts), call.where) == ((b"i" * 16,), {"body": b"1"}, (str(path), "000-abc"))
    assert (value.inline, [bytes(in_memory(frame)) for frame in value.frames]) == (b"inline", [b"frame", b"other"])
    assert all(isinstance(frame, bytearray) for frame in value.frames)
    two = later.found("two")
    assert two is not None
    assert two[1].digest == parts.digest
    assert later.inline("four") is None


def test_the_last_one_counts(tmp_path: Path) -> None:
    for name, text in (("a", b"old"), ("b", b"new")):
        run = Run(tmp_path / name)
        run.keep("x", StoredValue(text, []))
        run.file.write()
        run.file.close()
    later = Run(tmp_path / "own")
    assert later.file.load([str(tmp_path / "a"), str(tmp_path / "b")]) == 1
    assert later.inline("x") == b"new"


def test_cut_at_any_byte_all_whole_entries_are_found(tmp_path: Path) -> None:
    path = tmp_path / "whole"
    written(path, "one", "two")
    data = path.read_bytes()
    borders = [*(entry.offset for entry in read(path)), len(data)]  # a function, then two results
    assert len(borders) == 4
    cut = tmp_path / "cut"
    for size in range(len(data) + 1):
        cut.write_bytes(data[:size])
        # The next run appends behind what was cut.
        written(cut, "three", name="001-x")
        later = Run(tmp_path / "own")
        whole = sum(size >= end for end in borders[2:])
        assert later.file.load([str(cut)]) == whole + 1, size
        assert later.inline("three") == b"three"
        assert bool(later.notices) == (size not in borders), size


def test_damage_is_reported_and_costs_itself(tmp_path: Path) -> None:
    path = tmp_path / "file"
    written(path, "one", "two", "three")
    data = bytearray(path.read_bytes())
    second = data.index(b"two, 'shown'")
    data[second] ^= 1
    path.write_bytes(data)
    later = Run(tmp_path / "own")
    assert later.file.load([str(path)]) == 2
    assert (later.inline("two"), later.inline("three")) == (None, b"three")
    (notice,) = later.notices
    offset = [entry.offset for entry in read(path)][2]
    assert f"The checkpoint {path} is damaged at 1 place" in notice
    assert f"at offset {offset}" in notice


def test_an_entry_of_a_later_version_is_reported_too(tmp_path: Path) -> None:
    from parslab.wire.framed import FrameAppender, encode

    path = tmp_path / "file"
    file = FrameAppender(path)
    file.append([encode(b"\x02\x00\x00\x00\x91\x63"), encode(b"x")])
    file.close()
    written(path, "one")
    later = Run(tmp_path / "own")
    assert later.file.load([str(path)]) == 1
    assert "damaged at 2 places" in later.notices[0]


def test_several_runs_append_to_one_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    runs = [Run(path, f"00{n}-x") for n in range(3)]
    for n in range(30):
        run = runs[n % 3]
        run.keep(f"k{n}", StoredValue(b"%d" % n, [bytearray(n)]))
        run.file.write()
    for n in range(30):
        run = runs[n % 3]
        for key in list(run.memo._written):
            run.memo._drop(key)  # from its own place in the file they all write
        assert run.inline(f"k{n}") == b"%d" % n
    later = Run(tmp_path / "own")
    assert later.file.load([str(path)]) == 30
    found = later.found("k4")
    assert found is not None
    assert found[0].where == (str(path), "001-x")
    for run in runs:
        run.file.close()


def test_results_cut_off_later_are_reported_once(tmp_path: Path) -> None:
    path = tmp_path / "file"
    written(path, "one", "two")
    later = Run(tmp_path / "own")
    later.file.load([str(path)])
    path.write_bytes(b"")
    assert (later.inline("one"), later.inline("two")) == (None, None)
    (notice,) = later.notices
    assert "cannot be read any more (it was changed or cut): it is computed again." in notice
    path.unlink()
    assert later.inline("one") is None


class Trap:
    """A value whose pickle ends the test when somebody loads it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("a pickle of Parsl was loaded",)


@pytest.mark.parametrize("name", PARSL)
def test_a_checkpoint_of_parsl_is_not_read(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "000" / "checkpoint"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(pickle.dumps({"hash": "a", "exception": None, "result": Trap()}))
    later = Run(tmp_path / "own")
    assert later.file.load([str(folder), str(folder / name)]) == 0
    (notice,) = later.notices
    assert notice.startswith(f"info: {folder / name} and 1 more: a checkpoint of Parsl is not read")


@pytest.mark.parametrize("name", PARSL)
def test_a_checkpoint_of_parsl_that_is_named_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "000" / "checkpoint"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(b"")
    for place in (folder, folder / name):
        with pytest.raises(
            ConfigurationError, match="is a checkpoint of Parsl: parslab does not read Parsl's"
        ) as error:
            refuse_parsl_checkpoint(place)
        assert str(error.value).startswith(str(place))
    with pytest.warns(UserWarning, match="000/checkpoint is left out: parslab does not read Parsl's checkpoints"):
        assert get_all_checkpoints(tmp_path) == []
    with pytest.warns(UserWarning, match="is left out"):
        assert get_last_checkpoint(tmp_path) == []
    (folder / RESULTS).write_bytes(b"")
    refuse_parsl_checkpoint(folder)
    assert get_all_checkpoints(tmp_path) == [str(folder)]


def test_a_file_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    later = Run(tmp_path / "own")
    assert later.file.load([str(tmp_path / "gone")]) == 0
    assert "cannot be read (No such file or directory); it is left out." in later.notices[0]


class FullDisk:
    """Takes so many writes, then cuts one and refuses."""

    room = 0

    def __init__(self, path: Path, shared: bool, mode: int) -> None:
        self.path = path

    def append(self, buffers: Any) -> int:
        data = b"".join(bytes(b) for b in buffers)
        with open(self.path, "ab") as file:
            start = file.tell()
            file.write(data if FullDisk.room else data[: len(data) // 2])
        if not FullDisk.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return start

    def close(self) -> None:
        pass


def test_full_disk_is_reported_once_and_the_rest_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FrameAppender", FullDisk)
    FullDisk.room = 0
    path = tmp_path / "file"
    run = Run(path)
    for key in ("one", "two"):
        run.keep(key)
        assert run.file.write() == 0
    assert run.inline("one") == b"one"
    assert [n for n in run.notices if "No space left on device" in n] == run.notices
    assert len(run.notices) == 1
    FullDisk.room = 1
    run.keep("three")
    assert run.file.write() == 3
    assert run.notices[1:] == [f"info: Results are written to the checkpoint {path} again, earlier ones included."]
    later = Run(tmp_path / "own")
    assert later.file.load([str(path)]) == 3
    assert dict((later.found("one") or (run, run))[0].parts) == {"body": b"1"}  # type: ignore[union-attr]


def test_too_large_values_are_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT", 1000)
    run = Run(tmp_path / "file")
    run.keep("large", StoredValue(b"", [bytearray(2000)]))
    run.keep("small")
    assert run.file.write() == 1
    assert "is not written to the checkpoint: it has 2,000 bytes" in run.notices[0]
    assert run.file.write() == 0
    run.file.close()


# --- modes -----------------------------------------------------------------------------------------------------------


def remembered(tmp_path: Path, mode: str | None, bound: int = 1 << 20) -> tuple[Checkpointing, Run, FakeHost]:
    host, run = FakeHost(), Run(tmp_path / "unused", bound=bound)
    host.notices = run.notices
    settings = run_settings(tmp_path / "000", checkpoint_mode=mode, checkpoint_period=5.0)
    made = Checkpointing(run.memo, settings, host)
    made.start()
    return made, run, host


@pytest.mark.parametrize(
    ("mode", "in_its_round", "at_its_time", "at_the_end"),
    [
        ("task_exit", 1, 1, 1),
        ("periodic", 0, 1, 1),
        ("dfk_exit", 0, 0, 1),
        ("manual", 0, 0, 1),
        (None, 0, 0, 0),
    ],
)
def test_when_results_are_written(
    tmp_path: Path, mode: str | None, in_its_round: int, at_its_time: int, at_the_end: int
) -> None:
    made, run, host = remembered(tmp_path, mode)

    def on_disk() -> int:
        later = Run(tmp_path / "own")
        return later.file.load([str(tmp_path / "000" / "checkpoint")]) if made.path.exists() else 0

    run.keep("x")
    made.before_replies()
    assert on_disk() == in_its_round
    host.run_timers()
    assert on_disk() == at_its_time
    assert bool(host.timers) == (mode == "periodic")
    made.close()
    assert on_disk() == at_the_end


@pytest.mark.parametrize("mode", ["manual", None])
def test_it_is_written_when_somebody_asks(tmp_path: Path, mode: str | None) -> None:
    made, run, _ = remembered(tmp_path, mode)
    run.keep("x")
    folder = made.checkpoint()
    assert folder == str(tmp_path / "000" / "checkpoint")
    later = Run(tmp_path / "own")
    assert later.file.load([folder]) == 1
    made.close()


def test_what_does_not_fit_into_memory_is_written_early(tmp_path: Path) -> None:
    made, run, _ = remembered(tmp_path, "dfk_exit", bound=5000)
    for n in range(20):
        run.keep(f"k{n}", StoredValue(bytes(900) + b"%d" % n, []))
        made.before_replies()
        assert run.memo.held <= 5000
    assert [run.inline(f"k{n}") for n in range(20)] == [bytes(900) + b"%d" % n for n in range(20)]
    made.close()


def test_a_kernel_that_takes_the_place_of_a_lost_one_goes_on(tmp_path: Path) -> None:
    made, run, _ = remembered(tmp_path, "task_exit")
    run.keep("x")
    made.before_replies()
    made.file.close()
    _, again, _ = remembered(tmp_path, "task_exit")
    assert again.inline("x") == b"x"


def test_a_checkpoint_that_cannot_be_written_is_an_error_for_who_asks(tmp_path: Path) -> None:
    made, run, _ = remembered(tmp_path, "manual")
    (tmp_path / "000").write_text("in the way")
    run.keep("x")
    with pytest.raises(ParslabError, match="cannot be written"):
        made.checkpoint()
    assert len(run.notices) == 1
    made.close()


def test_checkpoints_of_runs_are_found_in_order(tmp_path: Path) -> None:
    assert (get_all_checkpoints(tmp_path / "no"), get_last_checkpoint(tmp_path / "no")) == ([], [])
    for name in ("2", "010", "001", "x"):
        (tmp_path / name / "checkpoint").mkdir(parents=True)
    (tmp_path / "003").mkdir()
    assert get_all_checkpoints(tmp_path) == [str(tmp_path / name / "checkpoint") for name in ("001", "2", "010")]
    assert get_last_checkpoint(str(tmp_path)) == [str(tmp_path / "010" / "checkpoint")]
