"""Files that other processes read are there whole or not at all."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Any

import pytest

from parslab import atomic_files

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_for_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for text in ("first", "second, and longer"):
        atomic_files.write_atomically(path, text)
        assert path.read_text() == text
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    atomic_files.write_atomically(str(tmp_path / "script"), "exit 0", 0o700)
    assert stat.S_IMODE((tmp_path / "script").stat().st_mode) == 0o700
    assert sorted(os.listdir(tmp_path)) == ["file", "script"]


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_what_was_there_stays_when_writing_ends_early(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "file"
    atomic_files.write_atomically(path, "first")

    def fail(new: str, old: Any) -> None:
        with open(new) as file, open(old) as before:
            assert (file.read(), before.read()) == ("second", "first")
        raise error

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(type(error)):
        atomic_files.write_atomically(path, "second")
    assert path.read_text() == "first"
    assert os.listdir(tmp_path) == ["file"]
