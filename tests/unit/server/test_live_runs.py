"""The run that a panel wants is found by its name or its notebook's kernel."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
import time
from typing import TYPE_CHECKING

from parslab.server import live_runs as module
from parslab.server.live_runs import LiveRuns, WantedRun
from parslab.wire.notebooks import NotebookPlace
from parslab.wire.run_files import ConnectionInfo, read_connection_info, write_connection_info

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def write(folder: Path, run: str, kernel: str = "", started: float = 1.0, host: str = "") -> Path:
    path = folder / f"parslab-{run}.json"
    info = ConnectionInfo(
        run=run,
        pid=1,
        host=host or socket.gethostname(),
        socket="/nowhere",
        run_dir="/nowhere",
        notebook_place=NotebookPlace("/b.ipynb", "", kernel),
        started=started,
    )
    write_connection_info(path, info)
    return path


def test_the_newest_run_of_a_kernel_is_found(tmp_path: Path) -> None:
    write(tmp_path, "000", "k1", started=5.0)
    write(tmp_path, "001", "k1", started=9.0)
    write(tmp_path, "002", "k2", started=99.0)
    runs = LiveRuns(tmp_path)
    found = runs.find(WantedRun(kernel="k1"))
    assert found is not None
    assert found.run == "001"
    named = runs.find(WantedRun(run="000"))
    assert named is not None
    assert named.started == 5.0
    assert runs.find(WantedRun(kernel="k3")) is None
    assert runs.find(WantedRun()) is None  # not the run of a script, which has no kernel


def test_files_are_read_again_only_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[str] = []

    def counted(path: Path) -> ConnectionInfo:
        reads.append(path.name)
        return read_connection_info(path)

    monkeypatch.setattr(module, "read_connection_info", counted)
    path = write(tmp_path, "000", "k1")
    runs = LiveRuns(tmp_path)
    for _ in range(3):
        assert runs.find(WantedRun(kernel="k1")) is not None
    assert reads == ["parslab-000.json"]
    write(tmp_path, "000", "k2")
    assert runs.find(WantedRun(kernel="k1")) is None
    assert runs.find(WantedRun(kernel="k2")) is not None
    assert len(reads) == 2
    path.unlink()
    assert runs.find(WantedRun(kernel="k2")) is None


def test_a_folder_that_does_not_change_is_not_listed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lists: list[Path] = []
    scandir = os.scandir

    def counted(path: Path) -> object:
        lists.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", counted)
    write(tmp_path, "000", "k1")
    runs = LiveRuns(tmp_path)
    for _ in range(3):
        assert runs.find(WantedRun(kernel="k1")) is not None
    assert len(lists) == 3  # the folder may change again without a new time
    past = time.time() - 60
    os.utime(tmp_path, (past, past))
    for _ in range(3):
        assert runs.find(WantedRun(kernel="k1")) is not None
    assert len(lists) == 4
    write(tmp_path, "001", "k2")
    assert runs.find(WantedRun(kernel="k2")) is not None


def test_all_panels_share_one_thread_that_looks(tmp_path: Path) -> None:
    """A runtime folder that does not answer would else take all threads of the server."""
    write(tmp_path, "000", "k1")
    looks: list[None] = []
    begun, answering = threading.Semaphore(0), threading.Semaphore(0)

    class SlowRuns(LiveRuns):
        def all(self) -> list[ConnectionInfo]:
            looks.append(None)
            begun.release()
            assert answering.acquire(timeout=20)
            return super().all()

    async def scene() -> None:
        runs = SlowRuns(tmp_path)
        gone = asyncio.ensure_future(runs.look(WantedRun(kernel="k1")))
        others = [asyncio.ensure_future(runs.look(WantedRun(kernel=kernel))) for kernel in ("k1", "k2")]
        await asyncio.to_thread(begun.acquire)
        gone.cancel()
        answering.release()
        found = await asyncio.gather(*others)
        assert [info and info.run for info in found] == ["000", None]
        assert len(looks) == 1
        looking = asyncio.ensure_future(runs.look(WantedRun(run="000")))
        answering.release()
        assert await looking is not None
        assert len(looks) == 2

    asyncio.run(scene())


def test_files_that_are_not_to_be_trusted_or_not_ours_are_left_alone(tmp_path: Path) -> None:
    os.chmod(write(tmp_path, "000", "k1"), 0o666)
    (tmp_path / "parslab-001.json").write_text("no run", encoding="utf-8")
    write(tmp_path, "002", "k1", host="elsewhere")
    assert LiveRuns(tmp_path).find(WantedRun(kernel="k1")) is None
    assert LiveRuns(tmp_path / "missing").find(WantedRun(kernel="k1")) is None
