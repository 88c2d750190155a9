"""Which runs count as dead: those of this host, in this space of process numbers, whose process is gone."""

from __future__ import annotations

import json
import os
import socket
from typing import TYPE_CHECKING, Any

import pytest

from parslab.cleanup.dead_runs import find_dead_runs, removable_at, remove_dead_runs
from parslab.paths import pid_namespace
from parslab.wire.run_files import ConnectionInfo

if TYPE_CHECKING:
    from pathlib import Path

GONE = 2**22 + 1
"""No process has this number on Linux."""


def connection(folder: Path, **changes: Any) -> Path:
    path = folder / "parslab-000-a.json"
    sockets = folder / "parslab-0123abcd"
    sockets.mkdir(exist_ok=True)
    (folder / "000").mkdir(exist_ok=True)
    info = {
        "run": "000-a",
        "pid": GONE,
        "host": socket.gethostname(),
        "pid_namespace": pid_namespace(),
        "socket": str(sockets / "dfk.sock"),
        "run_dir": str(folder / "000"),
    }
    path.write_text(json.dumps(info | changes))
    return path


def dead(folder: Path) -> list[str]:
    return [info.run for _, info in find_dead_runs(folder)]


@pytest.mark.parametrize(
    ("changes", "is_dead"),
    [
        ({}, True),
        ({"pid_namespace": ""}, True),  # written where there are no such spaces
        ({"pid": os.getpid()}, False),
        ({"host": "another"}, False),
        ({"pid_namespace": "pid:[1]"}, False),  # a container of the same name: its numbers mean nothing here
    ],
)
def test_which_runs_are_dead(tmp_path: Path, changes: dict[str, Any], is_dead: bool) -> None:
    connection(tmp_path, **changes)
    assert dead(tmp_path) == (["000-a"] if is_dead else [])


def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    for n, text in enumerate(("no json", "[]", "{}", '{"host": 3}')):
        (tmp_path / f"parslab-{n}.json").write_text(text)
    assert dead(tmp_path) == []
    assert remove_dead_runs(tmp_path) == []
    assert len(list(tmp_path.glob("parslab-*.json"))) == 4


def test_what_a_dead_run_has_left_goes(tmp_path: Path) -> None:
    path = connection(tmp_path)
    assert remove_dead_runs(tmp_path) == []  # it had no jobs
    assert not path.exists()
    assert not (tmp_path / "parslab-0123abcd").exists()


# ----- runs for which somebody may come back

SCRIPT: dict[str, Any] = {"written_at": 1000.0, "notebook": "", "linger": 0.0, "ends": None, "heartbeat_period": 60.0}
NOTEBOOK = SCRIPT | {"notebook": "/data/me/a.ipynb", "linger": 600.0}


@pytest.mark.parametrize(
    ("info", "attended", "when"),
    [
        ({"written_at": 1000.0}, False, 0.0),  # of an older version
        (SCRIPT, False, 0.0),
        (SCRIPT, True, float("inf")),  # its script starts it again, or buries it
        (SCRIPT | {"linger": 600.0}, False, 0.0),  # nobody comes back for a script's
        (NOTEBOOK | {"linger": 0.0}, False, 0.0),
        (NOTEBOOK, True, float("inf")),
        (NOTEBOOK, False, 1660.0),
        (NOTEBOOK | {"ends": 1300.0}, False, 1300.0),  # the notebook had left before it died
        (NOTEBOOK | {"handed_over": True, "linger": 0.0, "ends": 2860.0}, False, 2860.0),  # another host may take it
    ],
)
def test_when_a_dead_run_may_be_removed(info: dict[str, Any], attended: bool, when: float) -> None:
    content = ConnectionInfo(run="000-a", pid=GONE, host="here", socket="/x", run_dir="/x", **info)
    assert removable_at(content, attended) == when


def test_nobody_touches_a_run_that_is_being_started_again(tmp_path: Path) -> None:
    path = connection(tmp_path, owners=[GONE, os.getpid()])
    assert remove_dead_runs(tmp_path) == []
    assert path.exists()
    assert (tmp_path / "parslab-0123abcd").exists()
    connection(tmp_path, owners=[GONE])
    remove_dead_runs(tmp_path)
    assert not path.exists()


def test_a_run_whose_folder_was_deleted_waits_for_nobody(tmp_path: Path) -> None:
    """No kernel can continue it without its event log."""
    lease = {"linger": 600.0, "heartbeat_period": 60.0, "ends": None}
    path = connection(tmp_path, notebook="/data/me/a.ipynb", owners=[GONE], **lease)
    remove_dead_runs(tmp_path, path.stat().st_mtime)
    assert path.exists()
    (tmp_path / "000").rmdir()
    remove_dead_runs(tmp_path, path.stat().st_mtime)
    assert not path.exists()


def test_a_run_waits_for_its_notebook_until_its_time_is_over(tmp_path: Path) -> None:
    lease = {"linger": 600.0, "heartbeat_period": 60.0, "ends": None}
    path = connection(tmp_path, notebook="/data/me/a.ipynb", owners=[GONE], **lease)
    died = path.stat().st_mtime
    remove_dead_runs(tmp_path, died + 659.0)
    assert path.exists()
    remove_dead_runs(tmp_path, died + 661.0)
    assert not path.exists()
