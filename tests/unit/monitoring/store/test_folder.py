"""Which filesystem a path is on, from the texts of Linux and macOS, and where the database goes then."""

from __future__ import annotations

import stat
import sys
from typing import TYPE_CHECKING

import pytest

from parslab.monitoring.store import folder

if TYPE_CHECKING:
    from pathlib import Path

LINUX = """\
overlay / overlay rw 0 0
tmpfs /tmp tmpfs rw 0 0
server:/export /home nfs4 rw 0 0
/dev/sda1 /home/local ext4 rw 0 0
//nas/big\\040disk /mnt/big\\040disk cifs rw 0 0
ada@host:/ /mnt/ssh fuse.sshfs rw 0 0
broken
/dev/sdb1 /twice ext4 rw 0 0
server:/twice /twice lustre rw 0 0
"""
MACOS = """\
/dev/disk3s1s1 on / (apfs, sealed, local, read-only, journaled)
/dev/disk3s5 on /System/Volumes/Data (apfs, local, journaled, nobrowse)
//ada@nas/lab on /Volumes/lab (x) (smbfs, nodev, nosuid)
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/ada/run", "nfs4"),
        ("/home/local/run", "ext4"),
        ("/home/locality", "nfs4"),
        ("/homestead", "overlay"),
        ("/mnt/big disk/a", "cifs"),
        ("/mnt/ssh", "fuse.sshfs"),
        ("/twice/x", "lustre"),
        ("/", "overlay"),
    ],
)
def test_linux_type(path: str, kind: str) -> None:
    assert folder.linux_type(path, LINUX) == kind


@pytest.mark.parametrize(
    ("path", "local"), [("/System/Volumes/Data/Users/ada", True), ("/Volumes/lab (x)/run", False), ("/etc", True)]
)
def test_macos_options(path: str, local: bool) -> None:
    assert ("local" in folder.macos_options(path, MACOS)) == local


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_database_is_in_the_run_directory_and_nobody_elses(tmp_path: Path) -> None:
    first, note = folder.database_file(tmp_path)
    second, _ = folder.database_file(tmp_path)
    assert (first, note) == (tmp_path / "monitoring.db", "")
    assert second == tmp_path / "monitoring-2.db"
    assert mode(first) == mode(second) == 0o600


def test_from_a_network_filesystem_it_moves_to_a_local_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir, cache = tmp_path / "007", tmp_path / "cache"
    run_dir.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(folder, "is_network", lambda path: path == run_dir)
    file, note = folder.database_file(run_dir)
    assert file.is_relative_to(cache / "parslab")
    assert (mode(file), mode(file.parent)) == (0o600, 0o700)
    assert str(run_dir) in note
    assert str(file) in note
    assert (run_dir / "monitoring.txt").read_text() == f"{file}\n"
    monkeypatch.setattr(folder, "is_network", lambda path: True)
    with pytest.raises(OSError, match="no local directory"):
        folder.database_file(run_dir)
