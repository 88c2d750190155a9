"""The folder of a cache: names, crashes, changed files, and two processes on one host."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

import pytest

from parslab.files.cache import ContentCache, lock_folder, unlock_folder
from parslab.files.cache_index import Lifetime
from parslab.files.content import content_of, new_hash
from parslab.wire.messages.files import ContentId

if TYPE_CHECKING:
    from pathlib import Path


def content(data: bytes) -> ContentId:
    digest = new_hash()
    digest.update(data)
    return ContentId(digest.digest(), len(data))


def put(cache: ContentCache, data: bytes, lifetime: Lifetime = Lifetime.run) -> ContentId:
    one = content(data)
    cache.reserve(one, lifetime, 0.0)
    partial = cache.partial(one)
    partial.write(data)
    cache.finish(one, partial)
    partial.close()
    return one


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture
def cache(tmp_path: Path) -> ContentCache:
    return ContentCache(tmp_path / "cache", 1000, "run-1")


def test_a_content_has_its_name_only_when_it_is_whole(cache: ContentCache) -> None:
    one = content(b"hello")
    cache.reserve(one, Lifetime.run, 0.0)
    partial = cache.partial(one)
    partial.write(b"he")
    assert cache.path(one) is None
    partial.write(b"llo")
    cache.finish(one, partial)
    path = cache.path(one)
    assert path is not None
    assert path.read_bytes() == b"hello"
    partial.close()


def test_a_killed_process_leaves_a_part_that_the_next_one_continues(cache: ContentCache) -> None:
    one = content(b"hello world")
    cache.reserve(one, Lifetime.run, 0.0)
    partial = cache.partial(one)
    partial.write(b"hello ")
    partial.close()
    later = ContentCache(cache.folder, 1000, "run-1")
    assert later.path(one) is None
    later.reserve(one, Lifetime.run, 0.0)
    again = later.partial(one)
    assert again.written == 6
    again.write(b"world")
    assert again.digest.digest() == one.digest
    again.close()


def test_the_next_process_of_the_run_finds_all_and_the_next_run_only_what_lives_for_ever(cache: ContentCache) -> None:
    short, kept = put(cache, b"short"), put(cache, b"kept", Lifetime.forever)
    same = ContentCache(cache.folder, 1000, "run-1")
    assert same.path(short) is not None
    other = ContentCache(cache.folder, 1000, "run-2")
    assert other.path(short) is None
    assert other.path(kept) is not None


def test_a_content_that_came_for_a_run_can_be_kept_for_ever(cache: ContentCache) -> None:
    one = put(cache, b"hello")
    cache.reserve(one, Lifetime.forever, 1.0)
    assert cache.path(one) is not None
    assert ContentCache(cache.folder, 1000, "run-2").path(one) is not None


def test_a_file_that_a_crash_of_the_host_has_damaged_is_not_used(cache: ContentCache) -> None:
    one = put(cache, b"hello", Lifetime.forever)
    path = cache.path(one)
    assert path is not None
    os.chmod(path, 0o600)
    path.write_bytes(b"\0" * 5)
    later = ContentCache(cache.folder, 1000, "run-1")
    assert one in later.index
    assert later.path(one) is None
    assert one not in later.index
    assert not path.exists()


def test_a_file_into_which_a_task_has_written_is_not_used_again(cache: ContentCache, tmp_path: Path) -> None:
    one = put(cache, b"hello")
    cache.lend(one, tmp_path / "input")
    assert (tmp_path / "input").stat().st_mode & 0o777 == 0o444
    os.chmod(tmp_path / "input", 0o644)
    with (tmp_path / "input").open("a") as file:
        file.write("!")
    assert cache.path(one) is None
    with pytest.raises(FileNotFoundError):
        cache.lend(one, tmp_path / "second")


def test_the_limit_removes_files(cache: ContentCache) -> None:
    first = put(cache, b"a" * 600)
    put(cache, b"b" * 600)
    assert cache.path(first) is None
    assert len(names(cache.folder / "run")) == 1


def test_a_file_of_this_host_is_taken_in_without_a_copy(cache: ContentCache, tmp_path: Path) -> None:
    source = tmp_path / "result"
    source.write_bytes(b"hello")
    one, _ = content_of(source)
    cache.adopt(source, one, Lifetime.run, 0.0)
    path = cache.path(one)
    assert path is not None
    assert path.stat().st_ino == source.stat().st_ino


def test_strange_files_in_the_folder_are_removed(cache: ContentCache) -> None:
    (cache.folder / "run" / "strange").write_text("x")
    (cache.folder / "kept" / content(b"hello").hex).write_text("hell")
    later = ContentCache(cache.folder, 1000, "run-1")
    assert later.index.complete == []
    assert names(cache.folder / "run") == names(cache.folder / "kept") == set()


def test_the_end_of_the_run_leaves_only_what_lives_for_ever(cache: ContentCache) -> None:
    put(cache, b"short")
    kept = put(cache, b"kept", Lifetime.forever)
    cache.partial(content(b"half")).close()
    cache.end_run()
    assert names(cache.folder / "run") == names(cache.folder / "partial") == set()
    assert names(cache.folder / "kept") == {kept.hex}


def test_each_process_has_a_folder_of_its_own_and_the_next_one_takes_it_over(tmp_path: Path) -> None:
    first, lock = lock_folder(tmp_path / "base")
    second, other = lock_folder(tmp_path / "base")
    assert first != second
    os.close(lock)
    third, again = lock_folder(tmp_path / "base")
    assert third == first
    os.close(other)
    os.close(again)


def test_a_folder_goes_with_its_process_unless_it_holds_something_for_later_runs(tmp_path: Path) -> None:
    folder, lock = lock_folder(tmp_path / "base")
    cache = ContentCache(folder, 1000, "run-1")
    put(cache, b"short")
    cache.end_run()
    unlock_folder(folder, lock)
    assert not (tmp_path / "base").exists()
    folder, lock = lock_folder(tmp_path / "base")
    put(ContentCache(folder, 1000, "run-1"), b"kept", Lifetime.forever)
    unlock_folder(folder, lock)
    assert names(folder / "kept") == {content(b"kept").hex}


def test_a_lock_whose_folder_is_removed_at_that_moment_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, lock = lock_folder(tmp_path / "base")
    real = fcntl.flock

    def flock(descriptor: int, how: int) -> None:
        if folder.exists():  # the first process ends between our open and our lock
            monkeypatch.setattr("parslab.files.cache.fcntl.flock", real)
            unlock_folder(folder, lock)
        real(descriptor, how)

    monkeypatch.setattr("parslab.files.cache.fcntl.flock", flock)
    later, again = lock_folder(tmp_path / "base")
    assert later == folder
    assert folder.exists()
    os.close(again)


def test_a_folder_that_others_can_use_is_refused(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir(mode=0o777)
    os.chmod(tmp_path / "base", 0o777)
    with pytest.raises(OSError, match="only its owner can use"):
        lock_folder(tmp_path / "base")


def test_a_file_that_changes_while_it_is_read_has_no_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "growing"
    path.write_bytes(b"x" * 10)
    real, calls = os.fstat, []

    def fstat(descriptor: int) -> os.stat_result:
        calls.append(descriptor)
        if len(calls) == 2:
            path.write_bytes(b"x" * 11)
        return real(descriptor)

    monkeypatch.setattr("parslab.files.content.os.fstat", fstat)
    with pytest.raises(OSError, match="was changed while it was read"):
        content_of(path)
