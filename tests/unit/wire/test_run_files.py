"""The files by which the processes of a run find each other: what is written is read, and nothing else is."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from parslab.records.executor_settings import ThreadPoolSettings
from parslab.wire.run_files import (
    ConnectionInfo,
    RunSettings,
    read_connection_info,
    read_settings,
    settings_path,
    write_connection_info,
    write_settings,
)

if TYPE_CHECKING:
    from pathlib import Path


def settings(run_dir: Path, **options: object) -> RunSettings:
    return RunSettings(
        run="000-abc",
        run_dir=str(run_dir),
        connection="/run/parslab-000-abc.json",
        sockets="/tmp/parslab-1",
        package="1.0",
        path=["/lib"],
        cwd="/home",
        owner_pid=7,
        executors=[ThreadPoolSettings(label="threads", max_threads=2)],
        **options,  # type: ignore[arg-type]
    )


def info() -> ConnectionInfo:
    return ConnectionInfo(run="000-abc", pid=7, host="here", socket="/tmp/dfk.sock", run_dir="/runs/000")


def test_settings_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = settings(tmp_path, notebook="/a.ipynb", restarts=2, owner_client=3, checkpoint_files=["/c"])
    path = write_settings(written)
    assert path == settings_path(tmp_path)
    assert read_settings(path) == written
    assert path.stat().st_mode & 0o777 == 0o600, "they may hold secrets"


def test_paths_need_not_be_utf_8(tmp_path: Path) -> None:
    odd = os.fsdecode(b"/caf\xe9")
    assert read_settings(write_settings(settings(tmp_path, notebook=odd))).notebook == odd


def test_a_connection_file_says_when_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "parslab-000-abc.json"
    write_connection_info(path, info())
    os.utime(path, (1000.0, 1000.0))
    found = read_connection_info(path)
    assert (found.run, found.written_at, found.started) == ("000-abc", 1000.0, 1000.0)
    assert found.notebook == ""


def test_fields_of_a_newer_version_are_ignored(tmp_path: Path) -> None:
    path = tmp_path / "parslab-000-abc.json"
    write_connection_info(path, info())
    path.write_text(json.dumps({**json.loads(path.read_text()), "flavour": "new"}))
    assert read_connection_info(path).pid == 7


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", '{"run": 3}', "\udce9"])
def test_other_files_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "file.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    path.chmod(0o600)
    with pytest.raises(ValueError, match=r"no (settings|connection file)"):
        read_settings(path)
    with pytest.raises(ValueError, match=r"no (settings|connection file)"):
        read_connection_info(path)
