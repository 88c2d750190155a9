"""The elasticity study: its arithmetic, and one small run of it."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.bench.elasticity import Study, measured, missed, ratios, table, write
from tests.bench.plan import ROOT
from tests.bench.steps import Steps, corners, counted

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path


def study(elastic: bool, makespan: float, utilization: float) -> Study:
    steps = Steps.of([(0.0, makespan, 5)], [(0.0, 1.0, 1)])
    return Study("local", elastic, makespan, utilization, 410.0, 410.0 / utilization, 4, steps)


def test_ratios_are_made_within_each_run() -> None:
    studies = [study(False, 30.0, 0.6), study(True, 33.0, 0.75), study(False, 60.0, 0.5), study(True, 61.0, 0.7)]
    gain, cost = ratios(studies, "local")
    assert gain == pytest.approx((0.75 / 0.6 + 0.7 / 0.5) / 2)
    assert cost == pytest.approx((33 / 30 + 61 / 60) / 2)
    assert missed(studies) == []


def test_a_missed_bound_is_said() -> None:
    found = missed([study(False, 30.0, 0.68), study(True, 34.0, 0.80)])
    assert [text.split(":")[1].split(" by")[0].strip() for text in found] == ["utilization grew", "the makespan grew"]


def test_what_is_written(tmp_path: Path) -> None:
    studies = [study(False, 30.0, 0.68), study(True, 31.5, 0.85)]
    write(studies, tmp_path)
    assert (tmp_path / "elasticity.txt").read_text() == table(studies) + "\n"
    assert "+25.0 %   +5.0 %   1" in table(studies)
    assert "local, elastic: 31.5 s, 85 %" in (tmp_path / "elasticity.svg").read_text()


def test_steps() -> None:
    found = counted([(0.0, 10.0, 5), (1.0, 10.0, 5), (1.0, 3.0, 5)])
    assert found == [(0.0, 0), (0.0, 5), (1.0, 15), (3.0, 10), (10.0, 0)]
    assert corners(found[:3]) == [(0.0, 0), (0.0, 0), (0.0, 5), (1.0, 5), (1.0, 15)]


def test_time_of_workers_and_tasks_comes_from_the_database(tmp_path: Path) -> None:
    """A task before the study does not count, nor does a worker's time before its beginning or after its end."""
    base = sqlite3.connect(tmp_path / "monitoring.db")
    base.execute("CREATE TABLE task (started REAL, ended REAL)")
    base.execute("CREATE TABLE manager (executor TEXT, block TEXT, since REAL)")
    base.execute("CREATE TABLE block (executor TEXT, block TEXT, started REAL)")
    tasks: Iterable[tuple[float, float]] = [(90.0, 91.0), *[(100.0, 101.0)] * 41, (101.0, 111.0)]
    base.executemany("INSERT INTO task VALUES (?, ?)", tasks)
    base.executemany("INSERT INTO manager VALUES ('study', ?, ?)", [("0", 200.0), ("1", 105.0), ("2", 99.0)])
    base.executemany("INSERT INTO block VALUES ('study', ?, ?)", [("0", 80.0), ("1", 101.0), ("2", 80.0)])
    base.commit()
    base.close()
    found = measured("local", True, tmp_path, 100.0, 110.0)
    assert found.tasks == pytest.approx(41 + 9)
    assert found.workers == pytest.approx(5 * (10 + 4))
    assert found.utilization == pytest.approx(50 / 70)
    assert (found.blocks, found.makespan) == (2, 10.0)


@pytest.mark.slow
def test_a_small_study(tmp_path: Path) -> None:
    """Tasks of 3 s and 1.5 s: too short for the bounds, long enough to see that blocks come and go."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "python"), str(ROOT)])}
    command = [sys.executable, "-m", "tests.bench.elasticity", "local", "--runs", "1", "--scale", "0.03"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert [line.split()[:2] for line in done.stdout.splitlines()[3:5]] == [["local", "fixed"], ["local", "elastic"]]
    gain = float(done.stdout.splitlines()[4].split("%")[1])
    assert gain > 0
    assert {path.suffix for path in (tmp_path / "out").iterdir()} >= {".json", ".txt", ".svg"}
