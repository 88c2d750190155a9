"""What a kernel without a run answers the panel."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

from parslab.client import reattach
from parslab.jupyter.resumable import resumable_run
from parslab.wire.notebooks import NotebookPlace

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_without_connection_files_there_is_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(reattach, "earlier_run", lambda _: 1 / 0)
    assert resumable_run() == ""


def test_the_name_of_the_earlier_run_is_returned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    (tmp_path / "parslab-012-abc.json").touch()
    for found, name in ((SimpleNamespace(run="012-abc"), "012-abc"), (None, "")):
        monkeypatch.setattr(reattach, "earlier_run", lambda _, found=found: found)
        assert resumable_run() == name


def test_a_script_has_no_earlier_run() -> None:
    assert reattach.earlier_run(NotebookPlace()) is None
