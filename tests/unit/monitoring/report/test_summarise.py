"""What a summary says of runs in every state: their times, their failures, and the chain that decided their length."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest

from parslab.errors import ConfigurationError
from parslab.monitoring.report.critical_path import LONGEST, SHOWN
from parslab.monitoring.report.page import page
from parslab.monitoring.report.summary import Summary
from parslab.monitoring.report.task_times import INTERVALS, MANY, Intervals
from parslab.monitoring.store.reader import database_of, reading
from tests.unit.monitoring.report.made_runs import MadeRun, large_run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    return MadeRun(tmp_path)


def rounded(*values: float | None) -> list[float | None]:
    return [None if value is None else round(value, 3) for value in values]


@pytest.mark.parametrize(
    ("fields", "alive", "status", "seconds"),
    [
        ({"ended": 150.0, "reason": "it was shut down by its owner"}, False, "ended", 50.0),
        ({}, True, "running", 100.0),
        ({}, False, "lost", 8.0),
        ({"version": "Parsl"}, False, "imported", 8.0),
        ({"version": "Parsl", "ended": 150.0}, False, "imported", 50.0),
    ],
)
def test_the_status_and_the_length_of_a_run(
    made: MadeRun, fields: dict[str, object], alive: bool, status: str, seconds: float
) -> None:
    made.run(**fields)
    made.task(0, (101.0, 101.0, 102.0, 103.0, 108.0))
    found = made.summary(alive=alive)
    assert (found.run.status, found.run.seconds) == (status, seconds)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Summary) == found


def test_a_run_without_tasks(made: MadeRun) -> None:
    made.run(ended=100.0)
    found = made.summary()
    assert (found.tasks.total, found.apps, found.critical_path.length, found.utilisation.mean) == (0, [], 0, None)
    assert "<p>The run has had no task.</p>" in page(found)


def test_where_the_time_of_tasks_went(made: MadeRun) -> None:
    made.run(ended=200.0)
    made.task(0, (101.0, 103.0, 106.0, 107.0, 117.0))
    made.task(1, (101.0, 101.0, 110.0, 111.0, 131.0), joining=115.0)
    made.task(2, (101.0, 101.0, 104.0, 105.0, 109.0), attempt=1, retrying=103.0)
    made.task(3, (101.0, None, None, None, 121.0), state="dep_fail")
    made.task(4, (190.0, 190.0), state="ready")
    made.task(5, (190.0, 190.0, 191.0, 192.0), state="running")
    made.attempt(2, 0, "worker_lost", (102.0, 103.0))
    times = made.summary().times
    assert rounded(times.waiting, times.queue, times.transfer) == [22.0, 24.0, 4.0]
    (app,) = made.summary().apps
    assert rounded(app.waiting, app.queue, app.transfer, app.run) == [22.0, 24.0, 4.0, 26.0]
    assert rounded(times.run, times.joining, times.failed_attempts) == [26.0, 16.0, 1.0]


def test_apps_and_slowest_tasks(made: MadeRun) -> None:
    made.run(ended=300.0)
    for id in range(100):
        made.task(id, (100.0, 100.0, 100.0, 100.0, 101.0 + id), app="long" if id else "short", shown=f"n={id}")
    made.task(100, (100.0, 100.0, None, None, 100.0), app="known", state="memo_done")
    found = made.summary()
    assert [(app.app, app.tasks, app.memoized) for app in found.apps] == [
        ("long", 99, 0),
        ("short", 1, 0),
        ("known", 1, 1),
    ]
    assert rounded(found.apps[0].median, found.apps[0].p95, found.apps[0].longest) == [51.0, 96.0, 100.0]
    assert found.apps[2].median is None
    assert [task.task for task in found.slowest] == list(range(99, 79, -1))
    assert found.slowest[0].arguments == "n=99"


def test_the_critical_path_adds_up(made: MadeRun) -> None:
    made.run(ended=200.0)
    made.task(0, (102.0, 102.0, 103.0, 104.0, 110.0))
    made.task(1, (102.0, 102.0, 103.0, 104.0, 120.0))
    made.task(2, (103.0, 120.0, 125.0, 126.0, 130.0), 0, 1)
    made.task(3, (140.0, 140.0, 141.0, 142.0, 160.0), 2, joining=150.0)
    made.task(4, (101.0, 101.0, 102.0, 103.0, 159.0))
    path = made.summary().critical_path
    assert [step.task for step in path.steps] == [1, 2, 3]
    assert (path.seconds, path.program, path.queue, path.transfer) == (60.0, 12.0, 7.0, 3.0)
    assert (path.run, path.joining) == (28.0, 10.0)
    assert path.whole


def test_a_path_of_tasks_that_never_ran_and_a_circle(made: MadeRun) -> None:
    made.run(ended=200.0)
    made.task(0, (101.0, 101.0, None, None, 110.0), 1, state="memo_done")
    made.task(1, (101.0, 101.0, None, None, 110.0), 0, state="memo_done")
    path = made.summary().critical_path
    assert (path.length, path.seconds, path.queue, path.run) == (2, 10.0, 9.0, 0.0)


def test_failures_are_grouped_by_cause(made: MadeRun) -> None:
    made.run(ended=200.0)
    for id in range(5):
        made.task(id, (101.0, 101.0, 101.0, 101.0, 102.0), state="failed", error=f"OSError: no file /data/{id}.npy")
        made.attempt(id, 0, "app_error", (101.0, 102.0), f"OSError: no file /data/{id}.npy")
    made.task(5, (101.0, 101.0, 101.0, 101.0, 102.0), state="failed", error="OSError: no file /data/9.npy")
    made.attempt(5, 0, "worker_lost", (101.0, 102.0))
    made.task(6, (101.0, None, None, None, 102.0), 5, state="dep_fail", error="DependencyError: task 5 failed", app="b")
    made.task(7, (101.0, 101.0, 101.0, 104.0, 105.0), attempt=1)
    made.attempt(7, 0, "worker_lost", (102.0, 104.0))
    found = made.summary()
    assert [(group.reason, group.tasks, group.examples) for group in found.failures] == [
        ("app_error", 5, [0, 1, 2, 3, 4]),
        ("worker_lost", 1, [5]),
        ("dependency", 1, [6]),
    ]
    assert found.failures[0].error == "OSError: no file /data/0.npy"
    assert (found.retries.attempts, found.retries.tasks, found.retries.rescued) == (7, 1, 1)
    assert (found.retries.seconds, found.retries.reasons) == (8.0, {"app_error": 5, "worker_lost": 2})


def test_too_many_causes_are_counted_only(made: MadeRun) -> None:
    made.run(ended=200.0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    for id, letter in enumerate(letters):
        made.task(id, (101.0, 101.0, 101.0, 101.0, 102.0), state="failed", error=f"Error: {letter}")
    found = made.summary()
    assert (len(found.failures), found.failures_hidden) == (20, 6)


def test_workers_of_this_host_and_of_blocks(made: MadeRun) -> None:
    made.run(ended=200.0)
    made.worker("llex-0", state="dead", reason="the run is over")
    made.worker("llex-1", state="dead", reason="it was killed")
    made.block("0", 100.0, 110.0, 160.0)
    made.block("1", 100.0, None, 150.0, state="failed", reason="refused")
    made.manager("m0", "0", 4, state="gone", since=160.0)
    made.manager("m1", "", 2)
    made.task(0, (100.0, 100.0, 110.0, 110.0, 160.0), worker="m0")
    made.task(1, (100.0, 100.0, 100.0, 100.0, 150.0), worker="")
    found = made.summary()
    use = found.utilisation
    assert (len(use.workers), use.workers[0], max(use.workers), use.workers[-1]) == (INTERVALS, 3.0, 7.0, 3.0)
    # 100 s of one local worker, 50 s of four, 100 s of two without a block; the second task ran in the client.
    assert use.mean == pytest.approx(50.0 / 500.0, abs=1e-3)
    assert max(use.running) == 2.0
    assert [(block.block, block.workers, block.queue) for block in found.blocks] == [("0", 4, 10.0), ("1", 0, None)]
    assert [(worker.worker, worker.workers, worker.tasks, worker.run) for worker in found.workers] == [
        ("m0", 4, 1, 50.0)
    ]


def test_only_warnings_and_errors_are_listed(made: MadeRun) -> None:
    made.run(ended=200.0)
    for n, level in enumerate(("info", "warning", "error")):
        made.notice(n, level, f"{level} it is")
    assert made.summary().notices == ["warning it is", "error it is"]


def test_an_interval_outside_of_the_curve_is_cut() -> None:
    curve = Intervals(0.0, 240.0)
    curve.add(-5.0, 1.0)
    curve.add(239.5, 900.0)
    curve.add(300.0, 400.0)
    curve.add(5.0, 4.0)
    values = curve.values()
    assert (values[0], values[1], values[-1]) == (1.0, 0.0, 0.5)
    assert curve.total() == 1.5


def test_two_hundred_thousand_tasks(tmp_path: Path) -> None:
    """The figures are bounds and not aims: a million tasks take about 9 s and 40 MB."""
    made = large_run(tmp_path, 200_000)
    began = time.process_time()
    found = made.summary()
    text = page(found)
    assert time.process_time() - began < 60.0
    assert (found.tasks.total, found.tasks.failed) == (200_000, 2000)
    assert found.failures[0].tasks == 2000
    assert (len(found.apps), found.apps_hidden) == (40, MANY + 1 - 40)
    assert (found.critical_path.length, found.critical_path.hidden) == (12_500, 12_500 - 2 * SHOWN)
    assert found.critical_path.length < LONGEST
    assert len(text) < 100_000
    assert len(msgspec.json.encode(found)) < 100_000


def test_a_database_that_cannot_be_read_is_named(made: MadeRun, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"The database has no run: its DataFlowKernel was killed before it"):
        made.summary()
    with closing(sqlite3.connect(made.file)) as connection:
        connection.execute("PRAGMA user_version = 7")
    with pytest.raises(ConfigurationError, match=r"was written by another version of parslab: read it with that"):
        made.summary()
    made.file.write_bytes(b"")
    with pytest.raises(ConfigurationError, match=r"is empty: its run has not written anything to it yet"):
        made.summary()
    made.file.write_bytes(b"no database" * 100)
    with pytest.raises(ConfigurationError, match=r"cannot be read: file is not a database"), reading(made.file):
        pass
    with pytest.raises(ConfigurationError, match=r"There is no monitoring database in .*: name the folder of a run"):
        database_of(tmp_path / "nowhere")
