"""The journal of blocks: what a killed run has left behind, and how it is cancelled."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from parslab.providers.base import Provider
from parslab.scaling.journal import NAME, Journal, cancel_leftovers, leftovers

if TYPE_CHECKING:
    from pathlib import Path


class NotedRunner:
    """Notes what it is told to cancel."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.closed = False

    def cancel(self, jobs: list[str]) -> None:
        if NotedProvider.broken:
            raise OSError("scancel: error: Unable to contact slurm controller")
        NotedProvider.cancelled.append((self.folder, jobs))

    def close(self) -> None:
        NotedProvider.closed += 1


class NotedProvider(Provider):
    """Makes such runners."""

    cancelled: ClassVar[list[tuple[Path, list[str]]]] = []
    closed: ClassVar[int] = 0
    broken: ClassVar[bool] = False

    def runner(self, folder: Path) -> Any:
        return NotedRunner(folder)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The encoded provider, in a module that can be imported by its name."""
    made: Any = ModuleType("noted_provider")
    made.NotedProvider = NotedProvider
    monkeypatch.setitem(sys.modules, "noted_provider", made)
    monkeypatch.setattr(NotedProvider, "cancelled", [])
    monkeypatch.setattr(NotedProvider, "closed", 0)
    return {"class": "noted_provider:NotedProvider", "options": {}}


def written(run_dir: Path, label: str, provider: dict[str, Any]) -> Journal:
    """One block ended, one running, one whose number is not known."""
    journal = Journal(run_dir, label)
    journal.provider(provider)
    for number in range(3):
        journal.requested(str(number), f"parslab.r1.{label}.{number}")
    journal.submitted("0", "100")
    journal.submitted("1", "101")
    journal.ended("0", "finished")
    return journal


def test_what_has_not_ended_is_left(tmp_path: Path, provider: dict[str, Any]) -> None:
    written(tmp_path, "big", provider)
    assert leftovers(tmp_path) == {"big": {"1": "101", "2": ""}}


def test_leftovers_are_cancelled_once_and_said(tmp_path: Path, provider: dict[str, Any]) -> None:
    written(tmp_path, "big", provider)
    said = cancel_leftovers(tmp_path)
    assert NotedProvider.cancelled == [(tmp_path / "blocks", ["101"])]
    assert NotedProvider.closed == 1
    assert said[0] == "The run was killed, so its job 101 of executor big was cancelled."
    assert "parslab.r1.big.2 was being submitted" in said[1]
    assert cancel_leftovers(tmp_path) == []
    assert len(NotedProvider.cancelled) == 1


def test_each_executor_has_its_own_provider(tmp_path: Path, provider: dict[str, Any]) -> None:
    for label in ("big", "small"):
        written(tmp_path, label, provider).ended("2", "failed")
    assert len(cancel_leftovers(tmp_path)) == len(NotedProvider.cancelled) == 2


def test_what_cannot_be_cancelled_is_said_and_kept(
    tmp_path: Path, provider: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "big", provider).ended("2", "failed")
    monkeypatch.setattr(NotedProvider, "broken", True)
    (said,) = cancel_leftovers(tmp_path)
    assert "job 101 of executor big could not be cancelled (scancel: error: Unable" in said
    monkeypatch.setattr(NotedProvider, "broken", False)
    assert "was cancelled" in cancel_leftovers(tmp_path)[0]


def test_a_provider_that_is_gone_is_said(tmp_path: Path) -> None:
    written(tmp_path, "big", {"class": "no_such_module:X", "options": {}}).ended("2", "failed")
    (said,) = cancel_leftovers(tmp_path)
    assert "could not be cancelled (no_such_module:X cannot be imported" in said


def test_a_torn_line_is_left_out(tmp_path: Path, provider: dict[str, Any]) -> None:
    written(tmp_path, "big", provider)
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes() + b'{"event": "ended", "executor": "big", "blo')
    assert leftovers(tmp_path)["big"]["1"] == "101"


def test_no_journal_is_no_leftover(tmp_path: Path) -> None:
    assert leftovers(tmp_path) == {}
    assert cancel_leftovers(tmp_path / "nowhere") == []


def test_the_journal_is_its_owners_alone(tmp_path: Path, provider: dict[str, Any]) -> None:
    written(tmp_path, "big", provider)
    assert (tmp_path / NAME).stat().st_mode & 0o077 == 0


def test_a_journal_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    Journal(tmp_path / "gone", "big").submitted("0", "100")
    assert "cannot be written" in caplog.text
