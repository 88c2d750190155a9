"""The file by which managers find their DataFlowKernel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parslab.wire.invitations import RunOver, file_name, read, withdraw, write

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_ours_alone_and_whole(tmp_path: Path) -> None:
    path = tmp_path / file_name("htex")
    write(path, {"addresses": ["tcp://127.0.0.1:1"]})
    assert path.stat().st_mode & 0o777 == 0o600
    with open(path) as old:
        write(path, {"addresses": []})
        assert "127.0.0.1" in old.read(), "who reads the old one while the new one is written reads it whole"
    assert read(path) == {"addresses": []}
    assert list(tmp_path.iterdir()) == [path]


def test_a_run_that_is_over_says_so(tmp_path: Path) -> None:
    for label in ("a", "b"):
        write(tmp_path / file_name(label), {"secret_key": "x"})
    write(tmp_path / "worker-a.json", {"secret_key": "x"})
    withdraw(tmp_path, "it was killed")
    for label in ("a", "b"):
        with pytest.raises(RunOver, match="it was killed"):
            read(tmp_path / file_name(label))
        assert "secret" not in (tmp_path / file_name(label)).read_text()
    assert read(tmp_path / "worker-a.json") == {"secret_key": "x"}


def test_a_folder_that_is_gone_is_no_matter(tmp_path: Path) -> None:
    withdraw(tmp_path / "gone", "it was killed")
