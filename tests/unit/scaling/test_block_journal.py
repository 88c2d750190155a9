"""The journal of blocks: what a killed run has left behind, and how it is cancelled."""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import pytest

from parslab.providers.base import Provider
from parslab.records.executor_settings import EncodedDescription
from parslab.scaling.block_journal import (
    FILE_NAME,
    FIND_ATTEMPTS,
    BlockJournal,
    JournaledBlock,
    UnfinishedBlocks,
    cancel_unfinished_jobs,
    unfinished_blocks,
    unfinished_jobs,
)

if TYPE_CHECKING:
    from pathlib import Path

    from parslab.providers.base import Job


class NotedRunner:
    """Notes the jobs that it has to cancel."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.closed = False

    def cancel(self, jobs: list[str]) -> None:
        if NotedProvider.broken:
            raise OSError("scancel: error: Unable to contact slurm controller")
        NotedProvider.cancelled.append((self.folder, jobs))

    def close(self) -> None:
        NotedProvider.closed += 1


class FindingRunner(NotedRunner):
    """Finds jobs by their names, too; a job may need a few looks to arrive."""

    late_arrival = 0.0

    def adopt(self, number: str, job: Job) -> None:
        raise AssertionError("nobody takes jobs over here")

    def find(self, name: str) -> str | None:
        NotedProvider.looked += 1
        if NotedProvider.mute:
            raise OSError("squeue failed: no contact")
        return NotedProvider.named.get(name) if NotedProvider.looked >= NotedProvider.arrives else None


class NotedProvider(Provider):
    """Makes such runners."""

    runs: ClassVar[type[NotedRunner]] = NotedRunner
    named: ClassVar[dict[str, str]] = {}
    looked: ClassVar[int] = 0
    arrives: ClassVar[int] = 1
    mute: ClassVar[bool] = False
    cancelled: ClassVar[list[tuple[Path, list[str]]]] = []
    closed: ClassVar[int] = 0
    broken: ClassVar[bool] = False

    def runner(self, folder: Path) -> Any:
        return NotedProvider.runs(folder)


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> EncodedDescription:
    """The encoded provider, in a module that can be imported by its name."""
    made: Any = ModuleType("noted_provider")
    made.NotedProvider = NotedProvider
    monkeypatch.setitem(sys.modules, "noted_provider", made)
    monkeypatch.setattr(NotedProvider, "cancelled", [])
    monkeypatch.setattr(NotedProvider, "closed", 0)
    monkeypatch.setattr(NotedProvider, "looked", 0)
    return EncodedDescription("noted_provider:NotedProvider")


def written(run_dir: Path, label: str, provider: EncodedDescription) -> BlockJournal:
    """One block ended, one running, one whose number is not known."""
    journal = BlockJournal(run_dir, label)
    journal.provider(provider)
    for number in range(3):
        journal.requested(str(number), f"parslab.r1.{label}.{number}")
    journal.submitted("0", "100")
    journal.submitted("1", "101")
    journal.ended("0", "finished")
    return journal


def test_what_has_not_ended_is_left(tmp_path: Path, provider: EncodedDescription) -> None:
    written(tmp_path, "big", provider)
    assert unfinished_jobs(tmp_path) == {"big": {"1": "101", "2": ""}}


def test_leftovers_are_cancelled_once_and_said(tmp_path: Path, provider: EncodedDescription) -> None:
    written(tmp_path, "big", provider)
    said = cancel_unfinished_jobs(tmp_path)
    assert NotedProvider.cancelled == [(tmp_path / "blocks", ["101"])]
    assert NotedProvider.closed == 1
    assert "parslab.r1.big.2 was being submitted" in said[0]
    assert said[1] == "The run was killed, so its job 101 of executor big was cancelled."
    assert cancel_unfinished_jobs(tmp_path) == []
    assert len(NotedProvider.cancelled) == 1


def test_each_executor_has_its_own_provider(tmp_path: Path, provider: EncodedDescription) -> None:
    for label in ("big", "small"):
        written(tmp_path, label, provider).ended("2", "failed")
    assert len(cancel_unfinished_jobs(tmp_path)) == len(NotedProvider.cancelled) == 2


def test_what_cannot_be_cancelled_is_said_and_kept(
    tmp_path: Path, provider: EncodedDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "big", provider).ended("2", "failed")
    monkeypatch.setattr(NotedProvider, "broken", True)
    (said,) = cancel_unfinished_jobs(tmp_path)
    assert "job 101 of executor big could not be cancelled (scancel: error: Unable" in said
    monkeypatch.setattr(NotedProvider, "broken", False)
    assert "was cancelled" in cancel_unfinished_jobs(tmp_path)[0]


def test_a_provider_that_is_gone_is_said(tmp_path: Path) -> None:
    written(tmp_path, "big", EncodedDescription("no_such_module:X")).ended("2", "failed")
    (said,) = cancel_unfinished_jobs(tmp_path)
    assert "could not be cancelled (no_such_module:X cannot be imported" in said


def test_a_provider_that_the_journal_does_not_name_is_said(tmp_path: Path, provider: EncodedDescription) -> None:
    written(tmp_path, "big", provider).ended("2", "failed")
    path = tmp_path / FILE_NAME
    path.write_text(path.read_text().replace('"noted_provider:NotedProvider"', "3"))
    (said,) = cancel_unfinished_jobs(tmp_path)
    assert said.endswith(f"could not be cancelled ({path} names no provider): cancel it by hand.")


def test_a_torn_line_is_left_out(tmp_path: Path, provider: EncodedDescription) -> None:
    written(tmp_path, "big", provider)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes() + b'{"event": "ended", "executor": "big", "blo')
    assert unfinished_jobs(tmp_path)["big"]["1"] == "101"


def test_no_journal_is_no_leftover(tmp_path: Path) -> None:
    assert unfinished_jobs(tmp_path) == {}
    assert cancel_unfinished_jobs(tmp_path / "nowhere") == []


def test_the_journal_is_its_owners_alone(tmp_path: Path, provider: EncodedDescription) -> None:
    written(tmp_path, "big", provider)
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o077 == 0


def test_a_journal_that_cannot_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    BlockJournal(tmp_path / "gone", "big").submitted("0", "100")
    assert "cannot be written" in caplog.text


# ----- jobs whose numbers nobody wrote down


@pytest.fixture
def finding(provider: EncodedDescription, monkeypatch: pytest.MonkeyPatch) -> EncodedDescription:
    """The encoded provider, whose scheduler can be asked for names; nobody waits."""
    monkeypatch.setattr(NotedProvider, "runs", FindingRunner)
    monkeypatch.setattr("parslab.scaling.block_journal.time.sleep", lambda seconds: None)
    return provider


def test_a_job_that_was_being_submitted_is_found_by_its_name_and_cancelled(
    tmp_path: Path, finding: EncodedDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "big", finding)
    monkeypatch.setattr(NotedProvider, "named", {"parslab.r1.big.2": "102"})
    monkeypatch.setattr(NotedProvider, "arrives", FIND_ATTEMPTS)
    assert cancel_unfinished_jobs(tmp_path) == [
        "The run was killed, so its jobs 101, 102 of executor big were cancelled."
    ]
    assert NotedProvider.cancelled == [(tmp_path / "blocks", ["101", "102"])]
    assert cancel_unfinished_jobs(tmp_path) == []


def test_one_that_was_found_and_not_cancelled_is_known_by_its_number(
    tmp_path: Path, finding: EncodedDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "big", finding).ended("1", "failed")
    monkeypatch.setattr(NotedProvider, "named", {"parslab.r1.big.2": "102"})
    with monkeypatch.context() as patch:
        patch.setattr(NotedProvider, "broken", True)
        assert "its job 102 of executor big could not be cancelled (scancel" in cancel_unfinished_jobs(tmp_path)[0]
    assert unfinished_jobs(tmp_path) == {"big": {"2": "102"}}
    assert "was cancelled" in cancel_unfinished_jobs(tmp_path)[0]


def test_one_that_is_not_there_is_named(
    tmp_path: Path, finding: EncodedDescription, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, "big", finding).ended("1", "failed")
    assert cancel_unfinished_jobs(tmp_path) == [
        "Executor big: parslab.r1.big.2 was being submitted when the run was killed (there is none in the scheduler's "
        "queue now); a job of this name that still comes finds the run over, and ends."
    ]
    assert NotedProvider.looked == FIND_ATTEMPTS
    (other := tmp_path / "other").mkdir()
    written(other, "big", finding)
    monkeypatch.setattr(NotedProvider, "mute", True)
    assert "(squeue failed: no contact)" in cancel_unfinished_jobs(other)[0]


# ----- what a restarted DataFlowKernel reads


def test_what_is_left_of_an_executor(tmp_path: Path, provider: EncodedDescription) -> None:
    journal = written(tmp_path, "big", provider)
    journal.joined("1")
    journal.held("1", True)
    journal.draining("2")
    journal.pinned(4)
    found = unfinished_blocks(tmp_path, "big")
    for entry in found.blocks.values():
        assert entry.requested_at > 0
        entry.requested_at = 0.0
    assert found == UnfinishedBlocks(
        provider,
        {
            "1": JournaledBlock("parslab.r1.big.1", job="101", joined=True, held=True),
            "2": JournaledBlock("parslab.r1.big.2", draining=True),
        },
        first=3,
        pinned=4,
    )
    assert unfinished_blocks(tmp_path, "small") == UnfinishedBlocks()
    journal.held("1", False)
    journal.pinned(None)
    left = unfinished_blocks(tmp_path, "big")
    assert (left.blocks["1"].held, left.pinned) == (False, None)
