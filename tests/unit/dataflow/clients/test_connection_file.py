"""The connection file of a run is removed with all that its processes left beside it."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from parslab.dataflow.clients.connection_file import ConnectionFile
from parslab.wire.run_files import ConnectionInfo

if TYPE_CHECKING:
    from pathlib import Path


def connection_file(folder: Path, run: str) -> ConnectionFile:
    info = ConnectionInfo(run=run, pid=os.getpid(), host=socket.gethostname(), socket="/x", run_dir="/x")
    file = ConnectionFile(folder / f"parslab-{run}.json", info)
    file.write(linger=1.0, away=None, ends=None, heartbeat_period=60.0, clients=1, owners=[])
    return file


def test_what_a_killed_process_left_is_removed_with_the_file(tmp_path: Path) -> None:
    ended, other = connection_file(tmp_path, "000-abc"), connection_file(tmp_path, "001-abc")
    ended.prepare_handover(ends=0.0)
    for name in (".parslab-000-abc.json.17", ".parslab-000-abc.handover.17", ".parslab-001-abc.json.17"):
        (tmp_path / name).touch()
    ended.remove()
    assert {path.name for path in tmp_path.iterdir()} == {other.path.name, ".parslab-001-abc.json.17"}


def test_a_run_of_which_nothing_is_left_can_end(tmp_path: Path) -> None:
    file = connection_file(tmp_path, "000-abc")
    file.remove()
    file.remove()
    assert list(tmp_path.iterdir()) == []
