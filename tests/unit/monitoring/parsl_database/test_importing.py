"""What an import makes of Parsl's monitoring databases: good ones, old and new ones, and what is none."""

from __future__ import annotations

import os
import pickle
import sqlite3
import stat
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from parslab.errors import ConfigurationError
from parslab.monitoring.parsl_database.importing import ImportedRun, import_database
from parslab.monitoring.report.summarise import summarise
from parslab.monitoring.store.queries import task_detail, task_page
from parslab.monitoring.store.reader import database_of, reading
from parslab.records.panel import TaskDetail, TaskDetailRequest, TaskPage, TaskPageRequest
from tests.unit.monitoring.parsl_database.parsl_files import (
    BEGAN,
    FILES,
    OLD_TABLES,
    RUN_ID,
    TABLES,
    ParslFile,
    at,
)

if TYPE_CHECKING:
    from pathlib import Path

    from parslab.monitoring.report.summary import Summary

DONE = {"pending": 1.0, "launched": 2.0, "running": 3.0, "running_ended": 7.0, "exec_done": 8.0}


@pytest.fixture
def parsl(tmp_path: Path) -> ParslFile:
    """A database with one run and no task."""
    file = ParslFile(tmp_path / "monitoring.db")
    file.run()
    return file


def imported(file: ParslFile, **options: str) -> list[ImportedRun]:
    return list(import_database(str(file.path), **options))


def summary(run: ImportedRun) -> Summary:
    with reading(database_of(run.folder)) as connection:
        return summarise(connection, BEGAN + 1e6, alive=False)


def detail(run: ImportedRun, task: int) -> TaskDetail:
    with reading(database_of(run.folder)) as connection:
        found = task_detail(connection, TaskDetailRequest("d", task))
    assert isinstance(found, TaskDetail)
    return found


def page(run: ImportedRun) -> TaskPage:
    with reading(database_of(run.folder)) as connection:
        found = task_page(connection, TaskPageRequest("p", descending=False))
    assert isinstance(found, TaskPage)
    return found


def moments(found: TaskDetail) -> dict[str, float]:
    return {name: round(time - BEGAN, 3) for name, time in found.times}


def test_a_task_keeps_its_times_its_place_and_its_inputs(parsl: ParslFile) -> None:
    parsl.task(0, DONE, app="load")
    parsl.task(1, {"pending": 1.5, "launched": 9.0, "running": 10.0, "exec_done": 20.0}, task_depends="0")
    parsl.attempt(0, 0, (2.0, 3.0, 8.0))
    parsl.attempt(1, 0, (9.0, 10.0, 20.0))
    parsl.add(
        "node",
        {
            "run_id": RUN_ID,
            "hostname": "node7",
            "uid": "m1",
            "block_id": "0",
            "cpu_count": 8,
            "total_memory": 1 << 36,
            "active": 1,
            "worker_count": 4,
            "timestamp": at(1.8),
            "last_heartbeat": at(50),
        },
    )
    sample = {"try_id": 0, "task_id": 1, "run_id": RUN_ID, "psutil_process_memory_resident": 3e6}
    for second, used in ((11, 0.5), (12, 1.5)):
        parsl.add("resource", sample | {"timestamp": at(second), "psutil_process_time_user": used})
    (run,) = imported(parsl)
    assert run.folder == parsl.path.parent / "parsl-003-3f2a91c4"
    assert run.sentence == f"Run parsl-003-3f2a91c4 has 2 tasks of fit.py; its folder is {run.folder}"
    found = detail(run, 1)
    assert moments(found) == {"pending": 1.5, "ready": 8.0, "launched": 9.0, "running": 10.0, "exec_done": 20.0}
    assert [dep.id for dep in found.deps] == [0]
    assert (found.row.app, found.row.executor, found.row.worker, found.host) == ("fit", "htex", "m1", "node7")
    assert (found.cpu, found.memory) == (1.5, 3_000_000)
    facts = summary(run)
    assert (facts.run.status, facts.run.seconds, facts.run.executors) == ("imported", 60.0, ["htex"])
    assert [(worker.worker, worker.host, worker.workers) for worker in facts.workers] == [("m1", "node7", 4)]
    assert [step.task for step in facts.critical_path.steps] == [0, 1]


def test_attempts_errors_and_states(parsl: ParslFile) -> None:
    first, second = "WorkerLost('gone, with its node')", "ValueError('bad')"
    parsl.task(0, {"pending": 1, "launched": 6, "running": 7, "failed": 9}, task_fail_count=2)
    parsl.attempt(0, 0, (2, 3, 5), task_fail_history=first)
    parsl.attempt(0, 1, (6, 7, 9), task_fail_history=f"{first},{second}")
    parsl.task(1, {"pending": 1, "dep_fail": 9}, task_depends="0")
    parsl.attempt(1, 0, (1, None, 9), task_fail_history="DependencyError('task 0')")
    parsl.task(2, {"pending": 1, "memo_done": 2})
    parsl.task(3, {"pending": 1, "launched": 2, "running": 3, "joining": 4, "exec_done": 30})
    parsl.task(4, {"pending": 1, "launched": 2, "running": 3})
    parsl.task(5, {"pending": 1, "invented_in_2031": 2})
    (run,) = imported(parsl)
    states = [row.state for row in page(run).rows]
    assert states == ["failed", "dep_fail", "memo_done", "exec_done", "running", "pending"]
    failed = detail(run, 0)
    assert [(each.attempt, each.reason, each.error) for each in failed.attempts] == [
        (0, "worker_lost", first),
        (1, "app_error", second),
    ]
    assert failed.row.error == second
    assert detail(run, 1).row.error == "DependencyError('task 0')"
    assert moments(detail(run, 3))["joining"] == 4.0
    facts = summary(run)
    assert (facts.tasks.failed, facts.tasks.memoized, facts.tasks.unfinished) == (2, 1, 2)
    assert facts.retries.reasons == {"app_error": 1, "worker_lost": 1}


def test_blocks(parsl: ParslFile) -> None:
    for block, states in {
        "0": ((1, "PENDING"), (5, "JobState.RUNNING"), (50, "SCALED_IN"), (51, "PENDING")),
        "1": ((2, "PENDING"), (4, "TIMEOUT")),
        "2": ((3, "HELD"), (4, "A_NEW_ONE")),
    }.items():
        for second, status in states:
            parsl.add(
                "block",
                {
                    "run_id": RUN_ID,
                    "executor_label": "htex",
                    "block_id": block,
                    "job_id": f"47{block}",
                    "timestamp": at(second),
                    "status": status,
                },
            )
    (run,) = imported(parsl)
    blocks = summary(run).blocks
    assert [(block.block, block.state, block.queue) for block in blocks] == [
        ("0", "scaled_in", 4.0),
        ("1", "finished", None),
        ("2", "queued", None),
    ]
    assert (blocks[0].ended, blocks[1].reason) == (BEGAN + 50, "the job reached its walltime")


def test_importing_again_does_not_double(parsl: ParslFile) -> None:
    parsl.task(0, {"pending": 1, "launched": 2})
    (first,) = imported(parsl)
    assert [row.state for row in page(first).rows] == ["launched"]
    parsl.add(
        "status", {"task_id": 0, "run_id": RUN_ID, "task_status_name": "exec_done", "timestamp": at(9), "try_id": 0}
    )
    (again,) = imported(parsl)
    assert again.folder == first.folder
    assert [(row.id, row.state) for row in page(again).rows] == [(0, "exec_done")]
    assert os.listdir(again.folder) == ["monitoring.db"]
    assert stat.S_IMODE((again.folder / "monitoring.db").stat().st_mode) == 0o600


def test_each_workflow_is_a_run(parsl: ParslFile, tmp_path: Path) -> None:
    parsl.run("not a uuid/../..", rundir="/home/ada/run info/../..", ended=None)
    parsl.task(0, DONE)
    parsl.task(0, {"pending": 1}, run_id="not a uuid/../..")
    runs = imported(parsl, run_dir=str(tmp_path / "out"))
    assert [run.folder.parent for run in runs] == [tmp_path / "out"] * 2
    assert [page(run).rows[0].state for run in runs] == ["exec_done", "pending"]
    assert [summary(run).run.ended for run in runs] == [BEGAN + 60, None]


def test_files_of_tasks_are_listed_where_parsl_kept_them(tmp_path: Path) -> None:
    file = ParslFile(tmp_path / "monitoring.db", TABLES + FILES)
    file.run()
    file.task(0, DONE, task_inputs="[]")
    file.add("files", {"file_id": "a", "file_name": "in.csv"}, {"file_id": "b", "file_name": "out.csv"})
    file.add("input_files", {"file_id": "a", "run_id": RUN_ID, "task_id": 0, "try_id": 0})
    file.add("output_files", {"file_id": "b", "run_id": RUN_ID, "task_id": 0, "try_id": 0})
    (run,) = imported(file)
    assert page(run).rows[0].shown == "inputs: in.csv; outputs: out.csv"


def test_an_older_schema_says_what_is_unknown(tmp_path: Path) -> None:
    file = ParslFile(tmp_path / "monitoring.db", OLD_TABLES)
    file.run()
    row = {"task_id": 0, "run_id": RUN_ID, "task_func_name": "fit", "task_executor": "threads", "hostname": "laptop"}
    file.add("task", row | {"task_time_submitted": at(1), "task_time_returned": at(4), "task_fail_count": 0})
    (run,) = imported(file)
    assert "; the database has no try, block, node, resource, so less is known; " in run.sentence
    found = detail(run, 0)
    assert (found.row.state, found.row.executor, found.host) == ("exec_done", "threads", "laptop")
    assert moments(found) == {"ready": 1.0, "exec_done": 4.0}


def test_a_newer_schema_with_more_of_everything(parsl: ParslFile) -> None:
    with closing(sqlite3.connect(parsl.path)) as connection:
        connection.executescript("ALTER TABLE task ADD COLUMN task_colour TEXT; CREATE TABLE moods (mood TEXT)")
    parsl.task(0, DONE, task_colour="red")
    (run,) = imported(parsl)
    assert page(run).total == 1


def test_cells_that_cannot_be_read_are_left_empty_and_counted(parsl: ParslFile) -> None:
    parsl.task(0, DONE, task_depends="1,zwei", app=b"\xff\xfe<b>")  # type: ignore[arg-type]
    parsl.attempt(0, 0, (2, 3, 8), task_try_time_launched="yesterday", hostname="\ud800".encode("utf-8", "replace"))
    parsl.task(2, DONE, task_time_invoked="2024-13-77 99:00:00")
    parsl.add("task", {"task_id": -5, "run_id": RUN_ID, "task_func_name": "x"})
    (run,) = imported(parsl)
    assert "; 4 cells could not be read and are left empty; " in run.sentence
    assert [row.id for row in page(run).rows] == [0, 2]
    assert "<b>" in page(run).rows[0].app


def test_urls_of_sqlite_are_paths(parsl: ParslFile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (f"sqlite:///{parsl.path}", "sqlite:///monitoring.db", str(tmp_path)):
        (run,) = import_database(place)
        assert run.folder.name == "parsl-003-3f2a91c4"
    with pytest.raises(ConfigurationError, match=r"^postgresql:// names a database server, and only SQLite files are"):
        list(import_database("postgresql://db/parsl"))


def refused(place: Path, **options: Any) -> str:
    with pytest.raises(ConfigurationError) as error:
        list(import_database(str(place), **options))
    return str(error.value).replace(str(place), "FILE")


WHERE = "name Parsl's monitoring.db, which is usually in the folder runinfo."


def test_what_is_no_database_of_parsl_is_refused_in_one_sentence(tmp_path: Path) -> None:
    file = tmp_path / "some.db"
    assert refused(file) == f"There is no file FILE: {WHERE}"
    file.write_bytes(b"")
    assert refused(file) == "FILE is empty: Parsl has not written anything to it."
    file.write_bytes(b"time,task\n" * 1000)
    assert refused(file) == f"FILE is no SQLite database: {WHERE}"
    for name in ("dfk.pkl", "tasks.pkl"):
        pickled = tmp_path / name
        pickled.write_bytes(pickle.dumps({}))
        assert refused(pickled).startswith("FILE is a checkpoint of Parsl: parslab does not read Parsl's checkpoints")
    other = ParslFile(tmp_path / "other.db", "CREATE TABLE moods (mood TEXT)").path
    assert refused(other).startswith("FILE is an SQLite database, but not one of Parsl's monitoring, because it has no")
    strange = ParslFile(tmp_path / "strange.db", TABLES.replace("time_began", "time_of_birth")).path
    assert refused(strange) == (
        "FILE has a schema of Parsl that parslab does not know, because its table workflow has no column time_began: "
        "it cannot be imported."
    )
    unused = ParslFile(tmp_path / "unused.db").path
    assert refused(unused) == "FILE has no run: Parsl has only made its tables."
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    assert refused(fifo) == f"FILE is not a file: {WHERE}"


def test_a_damaged_file_is_refused_and_leaves_nothing(parsl: ParslFile) -> None:
    for id in range(300):
        parsl.task(id, DONE)
    data = bytearray(parsl.path.read_bytes())
    size = int.from_bytes(data[16:18], "big")
    for start in range(8 * size, len(data), size):
        data[start : start + 200] = b"\xa5" * 200
    parsl.path.write_bytes(data)
    assert refused(parsl.path).startswith("FILE is damaged (database disk image is malformed): recover it with")
    assert not list(parsl.path.parent.glob("parsl-*/*"))


def test_a_locked_file_is_refused(parsl: ParslFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("parslab.monitoring.store.reader._LOCK_TIMEOUT", 0.0)
    with closing(sqlite3.connect(parsl.path, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        assert refused(parsl.path) == (
            "FILE is locked by another program, perhaps by Parsl itself: import it when that has ended."
        )


def test_a_database_of_parslab_needs_no_import(parsl: ParslFile) -> None:
    (run,) = imported(parsl)
    text = refused(run.folder / "monitoring.db")
    assert text == f"FILE is a database of parslab itself, which needs no import: parslab report {run.folder}"


def test_a_folder_that_belongs_to_something_else_is_left_alone(parsl: ParslFile, tmp_path: Path) -> None:
    folder = tmp_path / "parsl-003-3f2a91c4"
    folder.mkdir()
    (folder / "monitoring.db").write_text("precious")
    assert "has a database that is not of an import: name another folder with --run-dir." in refused(parsl.path)
    assert (folder / "monitoring.db").read_text() == "precious"
    blocked = tmp_path / "file"
    blocked.write_text("")
    assert refused(parsl.path, run_dir=str(blocked)).endswith(
        f"cannot be written to {blocked}/parsl-003-3f2a91c4 (Not a directory): name another folder with --run-dir."
    )


def test_the_file_is_not_changed(parsl: ParslFile) -> None:
    parsl.task(0, DONE)
    before = parsl.path.read_bytes()
    imported(parsl)
    assert parsl.path.read_bytes() == before
    assert sorted(os.listdir(parsl.path.parent)) == ["monitoring.db", "parsl-003-3f2a91c4"]
