"""The processes of a stopped task end with it: also those that start, or lose their parent, while the others end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cloudpickle
import psutil
import pytest

from parslab import bash_app, python_app
from tests.process.blocks import blocks_run
from tests.process.sandbox import alive, is_gone, until

if TYPE_CHECKING:
    from parslab import AppFuture
    from tests.process.sandbox import Sandbox

cloudpickle.register_pickle_by_value(sys.modules[__name__])

BEGETS = """
import pathlib, signal, subprocess, sys
# It lives on for a moment after TERM, as a launcher does that waits for its ranks.
signal.signal(signal.SIGTERM, lambda *_: signal.setitimer(signal.ITIMER_REAL, 0.1))
while True:
    child = subprocess.Popen(["sleep", "300"])
    pathlib.Path(sys.argv[1], str(child.pid)).touch()
"""


def pids(folder: Path) -> list[int]:
    return [int(path.name) for path in folder.iterdir()]


def command(folder: Path) -> list[str]:
    program = folder.parent / "begets.py"
    program.write_text(BEGETS)
    return [sys.executable, str(program), str(folder)]


@bash_app
def of_bash(words: list[str]) -> str:
    return " ".join(words)


@python_app
def of_python(words: list[str]) -> None:
    subprocess.run(words, check=True)


@python_app
def orphan(words: list[str], folder: Path) -> None:
    """Start a command whose parent is killed, so that it has another parent, and wait."""
    import time

    launcher = subprocess.Popen(["sh", "-c", 'sleep 300 & echo > "$1/$!"; wait', "sh", str(folder)])
    while not list(folder.iterdir()):
        time.sleep(0.01)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    Path(folder.parent / "killed").touch()
    time.sleep(300)


@python_app
def who() -> int:
    return os.getpid()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "children"
    path.mkdir()
    return path


@pytest.mark.parametrize("app", [of_bash, of_python])
def test_children_that_start_meanwhile_end_too(sandbox: Sandbox, folder: Path, app: Any) -> None:
    with blocks_run(sandbox, workers=1):
        task: AppFuture = app(command(folder))
        until(lambda: len(pids(folder)) > 5, 30)
        task.cancel()
        assert who().result(60)
        assert [pid for pid in pids(folder) if alive(pid) and psutil.Process(pid).name() == "sleep"] == []


def test_a_process_whose_parent_was_killed_ends_too(sandbox: Sandbox, folder: Path) -> None:
    with blocks_run(sandbox, workers=1):
        task = orphan([], folder)
        until((folder.parent / "killed").exists, 30)
        task.cancel()
        assert who().result(60)
        (pid,) = pids(folder)
        assert is_gone(pid)()
