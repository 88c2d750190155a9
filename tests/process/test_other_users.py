"""A second user of the host can neither read nor drive a run; a run folder that cannot be made is replaced and said."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import parslab
from parslab import python_app
from parslab.client.process.connection_file import find_runs
from parslab.records import panel
from parslab.wire.unix_sockets import peer_uid
from tests.process.sandbox import until

_NOBODY = 65534

_TRY = """
import os, socket, sys
os.setgroups([]); os.setgid({nobody}); os.setuid({nobody})
for path in sys.argv[2:]:
    try:
        os.listdir(path) if os.path.isdir(path) else open(path).read()
    except OSError:
        continue
    print("read", path)
try:
    s = socket.socket(socket.AF_UNIX); s.settimeout(5); s.connect(sys.argv[1])
    print("connected" if s.recv(1) else "turned away")
except OSError as error:
    print(type(error).__name__)
"""


@python_app
def plus(x: int) -> int:
    return x + 1


def _as_nobody(sock: Path, *paths: Path) -> str:
    code = _TRY.format(nobody=_NOBODY)
    ended = subprocess.run(
        [sys.executable, "-c", code, str(sock), *map(str, paths)],
        capture_output=True,
        text=True,
        timeout=15,
        check=True,
    )
    return ended.stdout.strip()


def _open_up(path: Path) -> None:
    """Let strangers pass every folder on the way, as a careless administrator might."""
    for folder in [path, *path.parents]:
        if folder.stat().st_uid == os.getuid():
            folder.chmod(folder.stat().st_mode | stat.S_IROTH | stat.S_IXOTH)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can act as another user")
def test_another_user_can_neither_read_nor_drive_a_run(tmp_path: Path) -> None:
    with parslab.load(parslab.Config(run_dir=str(tmp_path / "runs"))) as dfk:
        assert plus(1).result(10) == 2
        (info,) = [run for run in find_runs() if run.run == dfk.run]
        sock = Path(info.socket)
        files = [dfk.run_dir, dfk.run_dir / "settings.json", dfk.run_dir / "dfk.log", dfk.run_dir / "monitoring.db"]
        until(lambda: all(path.exists() for path in files))  # monitoring opens its file in a thread of its own
        _open_up(tmp_path)
        assert _as_nobody(sock, sock.parent, *files) == "PermissionError"
        # Even with the folder and the socket opened by hand, the DataFlowKernel asks whose process it is.
        sock.parent.chmod(0o777)
        sock.chmod(0o777)
        assert _as_nobody(sock) in ("turned away", "ConnectionResetError")
        status = dfk.ask(panel.SnapshotRequest(subscribe=False))
        assert isinstance(status, panel.Snapshot)
        assert any(f"A process of user {_NOBODY} tried to attach" in notice.text for notice in status.notices)
        assert plus(2).result(10) == 3


def test_the_peer_of_a_socket_is_known_by_its_user() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert peer_uid(ours) == os.getuid()


def test_a_run_folder_that_cannot_be_made_is_replaced_and_said(tmp_path: Path) -> None:
    in_the_way = tmp_path / "runs"
    in_the_way.write_text("a file, not a folder")  # refuses root too, unlike missing permission
    with parslab.load(parslab.Config(run_dir=str(in_the_way))) as dfk:
        assert plus(1).result(10) == 2
        status = dfk.ask(panel.SnapshotRequest(subscribe=False))
        assert isinstance(status, panel.Snapshot)
        (notice,) = [n.text for n in status.notices if str(in_the_way) in n.text]
        assert str(dfk.run_dir.parent) in notice
        assert "Config(run_dir=...)" in notice
    shutil.rmtree(dfk.run_dir.parent)  # it holds what a user would want to keep
