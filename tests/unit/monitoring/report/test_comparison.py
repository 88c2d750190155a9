"""Two runs side by side: apps that one of them lacks, changes of times, failures, and names that are not text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parslab.cli.main import main
from parslab.monitoring.report.comparison import pair_apps
from parslab.monitoring.report.summarise import APPS, run_apps
from parslab.monitoring.store.reader import reading
from tests.unit.monitoring.report.made_runs import MadeRun

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def runs(tmp_path: Path) -> tuple[MadeRun, MadeRun]:
    made = []
    for name in ("001-aa", "002-bb"):
        folder = tmp_path / name
        folder.mkdir()
        made.append(MadeRun(folder))
        made[-1].run(run=name, ended=120.0 if name == "001-aa" else 115.0)
    return made[0], made[1]


def compared(runs: tuple[MadeRun, MadeRun], capsys: pytest.CaptureFixture[str]) -> list[str]:
    assert main(["compare", *(str(run.folder) for run in runs)]) == 0
    return capsys.readouterr().out.splitlines()


def test_each_app_has_a_line(runs: tuple[MadeRun, MadeRun], capsys: pytest.CaptureFixture[str]) -> None:
    first, second = runs
    first.task(1, (100.0, 100.0, 100.0, 100.0, 110.0))
    first.task(2, (100.0, 100.0, 100.0, 100.0, 102.0), app="old")
    second.task(1, (100.0, 100.0, 100.0, 100.0, 105.0))
    second.task(2, (100.0, 100.0, 100.0, 100.0, 105.0), state="failed")
    second.task(3, (100.0, 100.0, 100.0, 100.0, 100.5), app="new\x1b[2J")
    lines = compared(runs, capsys)
    assert [line.split(maxsplit=1) for line in lines[:5]] == [
        ["run", "001-aa -> 002-bb"],
        ["status", "ended"],
        ["duration", "20 s -> 15 s (-25 %)"],
        ["tasks", "2 -> 3"],
        ["failed", "0 -> 1"],
    ]
    # The change of the total decides the order, so the app whose total is the same is the last one.
    assert [" ".join(line.split()) for line in lines[7:]] == [
        "old 1 -> - 0 -> - 2 s -> - 2 s -> -",
        "new\\x1b[2J - -> 1 - -> 0 - -> 500 ms - -> 500 ms",
        "fit 1 -> 2 0 -> 1 10 s -> 5 s (-50 %) 10 s -> 10 s (same)",
    ]


def test_runs_without_tasks(runs: tuple[MadeRun, MadeRun], capsys: pytest.CaptureFixture[str]) -> None:
    assert compared(runs, capsys)[-1] == "Neither run has a task."


def test_an_app_that_never_ran_has_no_times(runs: tuple[MadeRun, MadeRun], capsys: pytest.CaptureFixture[str]) -> None:
    for run in runs:
        run.task(1, (100.0,), state="dep_fail")
    assert " ".join(compared(runs, capsys)[-1].split()) == "fit 1 1 - 0 s -> 0 s"


def test_apps_that_a_report_leaves_out_are_compared(runs: tuple[MadeRun, MadeRun]) -> None:
    for run in runs:
        for number in range(APPS + 5):
            run.task(number + 1, (100.0, 100.0, 100.0, 100.0, 101.0 + number), app=f"app{number}")
    found = []
    for run in runs:
        with reading(run.file) as connection:
            found.append(run_apps(connection, 200.0, False).apps)
    pairs = pair_apps(*found)
    assert len(pairs) == APPS + 5
    assert all(pair.first == pair.second for pair in pairs)


def test_a_missing_run_is_one_sentence(runs: tuple[MadeRun, MadeRun], capsys: pytest.CaptureFixture[str]) -> None:
    empty = runs[0].folder / "empty"
    empty.mkdir()
    assert main(["compare", str(runs[0].folder), str(empty)]) == 1
    assert "There is no monitoring database in" in capsys.readouterr().err
