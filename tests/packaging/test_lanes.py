"""`make test` runs pytest in lanes side by side; their results are added up, and no folder of tests is forgotten."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING

import pytest

from tests.packaging.tree import ROOT

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


@pytest.fixture
def lanes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the program as a module."""
    spec = importlib.util.spec_from_file_location("lanes", ROOT / ".ci" / "lanes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.signal, "signal", lambda *_: None)
    return module


@pytest.fixture
def project(lanes: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a project with three folders of tests that pass."""
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -ra\n")
    for name in ("bench", "process", "unit"):
        (tmp_path / "tests" / name).mkdir(parents=True)
        (tmp_path / "tests" / name / f"test_{name}.py").write_text("def test_it(): pass\n")
    (tmp_path / "tests" / "unit" / "test_timed.py").write_text("def test_it(): pass\n")
    monkeypatch.setattr(lanes, "ROOT", tmp_path)
    monkeypatch.setattr(lanes, "ALONE", ("tests/bench", "tests/unit/test_timed.py"))
    monkeypatch.setattr(lanes, "LANE", ("tests/process",))
    return tmp_path


def test_every_folder_of_tests_is_in_one_lane(lanes: ModuleType) -> None:
    named = [*lanes.ALONE, *lanes.LANE]
    files = {name for name in named if name.endswith(".py")}
    assert set(named) - files < set(lanes.folders())
    assert all((ROOT / name).is_file() for name in files)
    assert len(named) == len(set(named))
    assert {"tests/unit", "tests/lab", "tests/schedulers"} < set(lanes.folders())


def test_the_results_of_all_lanes_are_added_up(
    lanes: ModuleType, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lanes.main() == 0
    assert " 4 passed in " in capsys.readouterr().out.splitlines()[-1]


def test_one_failure_fails_the_whole_and_is_named_again_at_the_end(
    lanes: ModuleType, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "tests" / "unit" / "test_unit.py").write_text(
        "import pytest\n"
        "def test_good(): pass\n"
        "def test_bad(): assert 1 == 2\n"
        "def test_never(): pytest.skip('no')\n"
        "@pytest.fixture\ndef broken(): 1 / 0\n"
        "def test_broken(broken): pass\n"
    )
    assert lanes.main() == 1
    printed = capsys.readouterr().out.splitlines()
    assert " 1 failed, 4 passed, 1 skipped, 1 error in " in printed[-1]
    assert {line.partition(" - ")[0] for line in printed[-3:-1]} == {
        "FAILED tests/unit/test_unit.py::test_bad",
        "ERROR tests/unit/test_unit.py::test_broken",
    }


def test_a_lane_that_dies_fails_the_whole(lanes: ModuleType, project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "tests" / "process" / "test_process.py").write_text(
        "import os, signal\ndef test_dies(): os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    assert lanes.main() == 1
    assert " 3 passed, 1 error in " in capsys.readouterr().out.splitlines()[-1]
