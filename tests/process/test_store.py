"""The store with real files: what comes back, full and unwritable disks, floods, and readers from outside."""

from __future__ import annotations

import json
import os
import queue
import shutil
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

import parslab
from parslab.monitoring.monitor import Monitor
from parslab.monitoring.output import HEAD, TAIL
from parslab.monitoring.store import writer as store_module
from parslab.monitoring.store.batch import Batch
from parslab.monitoring.store.inserts import VERSION
from parslab.monitoring.store.tables import StoredNotice
from parslab.monitoring.store.writer import Store
from parslab.monitoring.view.view import View
from parslab.records.events import (
    ClientAttached,
    ClientLeft,
    Event,
    NoticeRaised,
    OutputWritten,
    RunStarted,
    TaskFailed,
    TaskMoved,
    TaskSubmitted,
    WorkerMoved,
)
from parslab.records.panel import (
    Attempt,
    CancelRequest,
    CellCounts,
    Command,
    ErrorReply,
    TaskDetail,
    TaskDetailRequest,
    TaskPage,
    TaskPageRequest,
    Timeline,
)
from parslab.records.states import TaskState, WorkerState

if TYPE_CHECKING:
    from collections.abc import Iterator

S = TaskState
Answer = TaskPage | CellCounts | TaskDetail | Timeline | ErrorReply


class Desk:
    """A view and its store, as the monitor joins them, with answers waited for."""

    def __init__(self, run_dir: Path, max_pages: int = 0) -> None:
        self.view = View()
        self.reports: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self.store = Store(run_dir, lambda level, text: self.reports.put((level, text)), max_pages)

    def write(self, *events: Event) -> None:
        self.view.apply(events, 0.0)
        self.store.write(self.view.take_batch())

    def ask(self, ask: TaskPageRequest | TaskDetailRequest) -> Answer:
        answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self.store.ask(ask, answers.put)
        return answers.get(timeout=15)

    def page(self, **options: Any) -> TaskPage:
        answer = self.ask(TaskPageRequest("p", **options))
        assert isinstance(answer, TaskPage)
        return answer

    def ids(self, **options: Any) -> list[int]:
        return [row.id for row in self.page(**options).rows]

    def detail(self, task: int) -> TaskDetail:
        answer = self.ask(TaskDetailRequest("d", task))
        assert isinstance(answer, TaskDetail)
        return answer


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    assert desk.store.close(10.0)


def done(task: int, app: str = "fit", **options: Any) -> list[Event]:
    submitted = TaskSubmitted(task + 0.0, task, app, S.ready, "llex", 1, **options)
    return [submitted, *(TaskMoved(task + 0.1 * n, task, state, 0, "w") for n, state in enumerate(LIFE, 1))]


LIFE = (S.launched, S.running, S.exec_done)


def test_a_detail_knows_all_of_a_task(desk: Desk) -> None:
    desk.write(
        WorkerMoved(0.0, "w", "llex", WorkerState.busy, "node7", 4711),
        *done(1, "load", shown="path='x'", cell="In [2]"),
    )
    desk.write(TaskSubmitted(2.0, 2, "fit", S.pending, "llex", 1, (1,)), OutputWritten(2.0, 2, "stdout", "hello\n"))
    desk.write(TaskMoved(3.0, 2, S.ready), TaskMoved(4.0, 2, S.running, 0, "w"), OutputWritten(5.0, 2, "stdout", "…\n"))
    desk.write(TaskFailed(6.0, 2, 0, "ValueError: bad", "Traceback ..."), TaskMoved(6.0, 2, S.failed))
    desk.write(TaskSubmitted(7.0, 3, "report", S.pending, "llex", 1, (2,)), TaskMoved(7.0, 3, S.dep_fail))
    detail = desk.detail(2)
    assert detail.times == [("pending", 2.0), ("ready", 3.0), ("running", 4.0), ("failed", 6.0)]
    assert (detail.stdout, detail.stderr, detail.traceback) == ("hello\n…\n", "", "Traceback ...")
    assert (detail.host, detail.pid, detail.client) == ("node7", 4711, 1)
    assert [(dep.id, dep.state) for dep in detail.deps] == [(1, "exec_done")]
    assert [(dep.id, dep.state) for dep in detail.dependents] == [(3, "dep_fail")]
    assert (detail.row.error, detail.row.started, detail.row.ended) == ("ValueError: bad", 4.0, 6.0)
    first = desk.detail(1)
    assert (first.row.shown, first.row.cell) == ("path='x'", "In [2]")
    assert [state for state, _ in first.times] == ["ready", "launched", "running", "exec_done"]
    for unknown in (9, 1 << 80):
        answer = desk.ask(TaskDetailRequest("d", unknown))
        assert answer == ErrorReply("d", f"This run has no task {unknown}.")


def attempt(
    number: int,
    state: str,
    times: tuple[float | None, float],
    place: tuple[str, str],
    reason: str = "",
    error: str = "",
) -> Attempt:
    (started, ended), (worker, host) = times, place
    return Attempt(
        attempt=number,
        state=state,
        started=started,
        ended=ended,
        worker=worker,
        host=host,
        reason=reason,
        error=error,
    )


def test_a_detail_lists_the_attempts_of_a_task(desk: Desk) -> None:
    desk.write(
        WorkerMoved(0.0, "w", "llex", WorkerState.busy, "node7", 4711),
        WorkerMoved(0.0, "v", "llex", WorkerState.busy, "node8", 1),
    )
    desk.write(TaskSubmitted(1.0, 1, "fit", S.ready, "llex", 1), TaskMoved(2.0, 1, S.launched, 0, "w"))
    desk.write(TaskMoved(3.0, 1, S.running, 0, "w"), TaskFailed(4.0, 1, 0, "WorkerLost: gone", "", "worker_lost"))
    waiting = TaskMoved(4.0, 1, S.fail_retryable)
    desk.write(waiting)
    detail = desk.detail(1)
    assert detail.times[-1] == ("fail_retryable", 4.0)
    assert detail.row.error == "WorkerLost: gone"
    first = attempt(0, "failed", (3.0, 4.0), ("w", "node7"), "worker_lost", "WorkerLost: gone")
    assert detail.attempts == [first]
    desk.write(TaskMoved(5.0, 1, S.ready, 1), TaskMoved(6.0, 1, S.launched, 1, "v"))
    raised = TaskFailed(8.0, 1, 1, "ValueError: no", "Traceback", "", 7.0, "v")
    desk.write(TaskMoved(7.0, 1, S.running, 1, "v"), raised, TaskMoved(8.0, 1, S.ready, 2))
    second = attempt(1, "failed", (7.0, 8.0), ("v", "node8"), "app_error", "ValueError: no")
    assert desk.detail(1).attempts == [first, second]
    desk.write(*(TaskMoved(9.0 + n, 1, state, 2, "w") for n, state in enumerate(LIFE)))
    detail = desk.detail(1)
    assert detail.attempts == [first, second, attempt(2, "exec_done", (10.0, 11.0), ("w", "node7"))]
    assert (detail.row.error, detail.traceback) == ("", "")  # what failed before is not what became of it
    assert desk.page(text="ValueError").total == 0


def test_what_never_ran_has_had_no_attempt(desk: Desk) -> None:
    desk.write(TaskSubmitted(7.0, 3, "report", S.pending, "llex", 1, (2,)))
    desk.write(TaskFailed(7.5, 3, 0, "DependencyError: task 2", "", "dependency"), TaskMoved(7.5, 3, S.dep_fail))
    assert desk.detail(3).attempts == []
    desk.write(
        TaskSubmitted(8.0, 4, "fit", S.ready, "llex", 1), TaskMoved(8.0, 4, S.launched), TaskMoved(9.0, 4, S.cancelled)
    )
    assert desk.detail(4).attempts == [attempt(0, "cancelled", (None, 9.0), ("", ""), "cancelled")]


def test_pages_filter_sort_and_count(desk: Desk) -> None:
    desk.write(*(event for n in range(300) for event in done(n, "fit" if n % 3 else "load", shown=f"n={n}")))
    desk.write(TaskSubmitted(500.0, (1 << 40) | 300, "50%_off\\", S.ready, "llex", 1, (), "'; DROP TABLE task; --"))
    page = desk.page(limit=3)
    assert (page.total, [row.id for row in page.rows]) == (301, [(1 << 40) | 300, 299, 298])
    assert desk.ids(limit=3, offset=299, descending=False) == [299, (1 << 40) | 300]
    assert desk.page(apps=["load"], states=["exec_done"], limit=0).total == 100
    assert desk.page(states=["ready", "running"]).total == 1
    assert desk.ids(sort="submitted", descending=False, limit=2) == [0, 1]
    assert desk.page(text="n=29").total == 11
    assert desk.page(text="LOAD").total == 100
    assert desk.page(text="300").total == 1
    for text, total in (("%", 1), ("_", 1), ("\\", 1), ("'; drop table", 1), ("' OR 1=1 --", 0), ("x" * 99999, 0)):
        assert desk.page(text=text).total == total
    assert desk.page(states=["'; DROP TABLE task; --"]).total == 0
    assert desk.page(limit=-5, offset=-7).rows == []
    assert desk.page(limit=10**30, offset=10**30).rows == []
    answer = desk.ask(TaskPageRequest("p", sort="id; DROP TABLE task"))
    assert isinstance(answer, ErrorReply)
    assert desk.page().total == 301


def test_the_file_is_private_versioned_and_whole_after_close(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.write(
        RunStarted(1.0, "r", "h", 1, "/d", ("llex", "threads"), "0.1"),
        ClientAttached(1.0, 1, 2, "h", True),
        ClientLeft(2.0, 1, "exit"),
        NoticeRaised(3.0, "info", "hello"),
        *done(0),
    )
    desk.page()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["monitoring.db", "monitoring.db-shm", "monitoring.db-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert desk.store.close()
    assert desk.store.close()  # twice is safe
    assert os.listdir(tmp_path) == ["monitoring.db"]
    with closing(sqlite3.connect(tmp_path / "monitoring.db")) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert database.execute("SELECT executors FROM run").fetchone() == (
            json.dumps(["llex", "threads"], separators=(",", ":")),
        )
        assert database.execute("SELECT owner, attached, left_at, reason FROM client").fetchall() == [
            (1, 1.0, 2.0, "exit")
        ]
        assert database.execute("SELECT level, text FROM notice").fetchall() == [("info", "hello")]
    assert isinstance(desk.ask(TaskPageRequest("late")), ErrorReply)


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    desk = Desk(tmp_path / "file" / "run")  # not even root can make a file below a file
    desk.write(*done(0))
    assert desk.page().total == 1
    level, text = desk.reports.get(timeout=10)
    assert level == "warning"
    assert str(tmp_path / "file" / "run") in text
    desk.write(*done(1))
    assert desk.page().total == 2
    assert desk.reports.empty()
    assert desk.store.close()


def test_a_full_disk_goes_on_in_memory_with_what_was_there(tmp_path: Path) -> None:
    desk = Desk(tmp_path, max_pages=64)
    desk.write(*done(0), OutputWritten(0.0, 0, "stdout", "a"))
    for first in range(1, 3001, 500):
        desk.write(*(event for n in range(first, first + 500) for event in done(n, shown="x" * 100)))
    desk.write(OutputWritten(0.0, 0, "stdout", "b"))
    assert desk.page().total == 3001
    assert desk.detail(0).stdout == "ab"
    level, text = desk.reports.get(timeout=10)
    assert (level, "full" in text, str(tmp_path) in text) == ("warning", True, True)
    assert desk.reports.empty()
    assert desk.store.close()
    with closing(sqlite3.connect(tmp_path / "monitoring.db")) as database:  # what was written before is sound
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        assert database.execute("SELECT count(*) FROM task").fetchone()[0] >= 1


def test_a_disk_that_has_room_again_at_the_end_gets_everything(tmp_path: Path) -> None:
    desk = Desk(tmp_path, max_pages=64)
    desk.write(*(event for n in range(3000) for event in done(n, shown="x" * 100)))
    assert desk.page().total == 3000
    desk.store._max_pages = 0
    assert desk.store.close()
    with closing(sqlite3.connect(tmp_path / "monitoring.db")) as database:
        assert database.execute("SELECT count(*) FROM task").fetchone() == (3000,)


def test_even_a_full_memory_does_not_stop_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "MEMORY_PAGES", 64)
    desk = Desk(tmp_path / "none")
    for first in range(0, 5000, 100):  # a batch is kept whole or not at all
        desk.write(*(event for n in range(first, first + 100) for event in done(n, shown="x" * 100)))
    assert 0 < desk.page().total < 5000
    assert [desk.reports.get(timeout=10)[0] for _ in range(2)] == ["warning", "error"]
    assert desk.reports.empty()
    assert desk.store.close()


def test_a_batch_that_cannot_be_understood_does_not_end_the_thread(desk: Desk) -> None:
    notice = StoredNotice(n=1, time=1.0, level="info", text=object())  # type: ignore[arg-type]
    desk.store.write(Batch(notices=[notice]))
    desk.write(*done(0))
    assert desk.page().total == 1
    assert desk.reports.get(timeout=10)[0] == "error"


def test_tasks_are_found_by_worker_and_time(desk: Desk) -> None:
    desk.write(*done(0), *done(5))  # they ran from 0.2 to 0.3, and from 5.2 to 5.3
    desk.write(TaskSubmitted(9.0, 9, "fit", S.ready, "llex", 1), TaskMoved(9.1, 9, S.running, 0, "v"))
    assert desk.ids(between=(0.25, 5.25), descending=False) == [0, 5]
    assert desk.ids(between=(0.4, 5.0)) == []
    assert desk.ids(between=(5.0, 50.0), workers=["v"]) == [9]
    assert desk.ids(workers=["v", "w"], descending=False) == [0, 5, 9]
    assert desk.ids(workers=["w"], between=(0.0, 50.0), text="no such") == []


def test_a_reply_that_raises_does_not_end_the_thread(desk: Desk) -> None:
    def reply(answer: Answer) -> None:
        raise RuntimeError("the panel is gone")

    desk.store.ask(TaskPageRequest("p"), reply)
    assert desk.page().total == 0


def test_ten_thousand_failures(desk: Desk) -> None:
    traceback = "\n".join(f'  File "<cell>", line {n}, in fit' for n in range(20))
    for first in range(0, 10_000, 2000):
        events: list[Event] = []
        for task in range(first, first + 2000):
            events += done(task)[:-1]
            events += [TaskFailed(1.0, task, 0, "ValueError: bad", traceback), TaskMoved(1.0, task, S.failed, 0, "w")]
        desk.write(*events)
    assert desk.page(states=["failed"]).total == 10_000
    assert desk.detail(9999).traceback == traceback
    assert desk.page(text="ValueError", limit=1).total == 10_000


def test_a_hundred_megabytes_of_output_are_cut(desk: Desk, tmp_path: Path) -> None:
    block = "".join(f"line {n:07d}\n" for n in range(70_000))  # 0.9 MB
    desk.write(*done(0)[:-1])
    for _ in range(110):
        desk.write(OutputWritten(1.0, 0, "stdout", block))
    desk.write(OutputWritten(1.0, 0, "stdout", "the end\n"), OutputWritten(1.0, 0, "stderr", "small\n"))
    detail = desk.detail(0)
    assert len(detail.stdout) < HEAD + TAIL + 100
    assert detail.stdout.startswith(block[:HEAD])
    assert detail.stdout.endswith("the end\n")
    assert f"{110 * len(block) + 8 - HEAD - TAIL:,} characters left out" in detail.stdout
    assert detail.stderr == "small\n"
    assert sum(file.stat().st_size for file in tmp_path.glob("monitoring.db")) < 2_000_000


def test_output_of_many_tasks_grows_on_after_its_ends_were_forgotten(desk: Desk) -> None:
    for part in ("a\n", "b\n", "\0\udc80\n"):
        desk.write(*(event for n in range(500) for event in (*done(n), OutputWritten(0.0, n, "stdout", part))))
    assert {desk.detail(n).stdout for n in (0, 250, 499)} == {"a\nb\n\u2400?\n"}
    for _ in range(3):
        desk.write(
            OutputWritten(0.0, 7, "stderr", "x" * HEAD), *(OutputWritten(0.0, n, "stdout", ".") for n in range(300))
        )
    assert f"{HEAD * 2 - TAIL:,} characters left out" in desk.detail(7).stderr


def test_others_read_while_we_write(desk: Desk, tmp_path: Path) -> None:
    desk.write(*done(0))
    desk.page()
    seen: list[int] = []
    reading, finish = threading.Event(), threading.Event()

    def read() -> None:
        with closing(sqlite3.connect(tmp_path / "monitoring.db", timeout=0)) as database:
            while not finish.is_set() or len(seen) < 3:
                seen.append(database.execute("SELECT count(*) FROM task").fetchone()[0])
                reading.set()

    reader = threading.Thread(target=read)
    reader.start()
    assert reading.wait(10)
    for first in range(1, 20_001, 1000):
        desk.write(*(event for n in range(first, first + 1000) for event in done(n)))
    assert desk.page().total == 20_001
    finish.set()
    reader.join()
    assert seen == sorted(seen)
    assert desk.reports.empty()


def test_a_lock_from_outside_is_waited_for(desk: Desk, tmp_path: Path) -> None:
    desk.write(*done(0))
    desk.page()
    with closing(sqlite3.connect(tmp_path / "monitoring.db", isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        desk.write(*done(1))
        assert desk.store.busy
        database.execute("COMMIT")
    assert desk.page().total == 2
    assert desk.reports.empty()


# ----- the monitor, whole


class Watched:
    """A monitor with a loop's clock that moves only when the test says so."""

    def __init__(self, run_dir: Path) -> None:
        self.posted = threading.Event()
        self.monitor = Monitor(run_dir, post=lambda call: self.posted.set())
        self.answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def ask(self, now: float, **message: Any) -> Command | None:
        return self.monitor.request(json.dumps(message).encode(), now, self.answers.put)

    def answer(self) -> dict[str, Any]:
        return msgspec.json.decode(self.answers.get(timeout=10), type=dict[str, Any])


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    watched = Watched(tmp_path)
    yield watched
    watched.monitor.close(1e9)


def test_a_run_from_attach_to_page(watched: Watched) -> None:
    monitor = watched.monitor
    assert monitor.next_deadline(0.0) is None
    watched.ask(0.0, type="SnapshotRequest", request_id="1")
    assert watched.answer()["type"] == "Snapshot"
    monitor.record(done(0))
    due = monitor.next_deadline(0.0)
    assert due is not None
    monitor.tick(due)
    texts = [text for now in (due, 1.0, 2.0) for text in monitor.tick(now)]
    deltas = [msgspec.json.decode(text) for text in texts]
    assert deltas[0]["nodes"] == [[0, "fit", "exec_done", []]]
    assert [delta["seq"] for delta in deltas] == list(range(1, len(deltas) + 1))
    monitor.record(done(1))
    watched.ask(2.0, type="TaskPageRequest", request_id="2", states=["exec_done"])
    page = watched.answer()
    assert [row["id"] for row in page["rows"]] == [1, 0]
    assert (page["type"], page["request_id"], page["total"]) == ("TaskPage", "2", 2)
    watched.ask(2.0, type="TaskDetailRequest", request_id="3", task=1)
    assert watched.answer()["row"]["app"] == "fit"
    command = watched.ask(2.0, type="CancelRequest", request_id="4", tasks=[1])
    assert command == CancelRequest("4", [1])
    assert (
        monitor.command_reply("4", "1 task cancelled")
        == b'{"type":"CommandReply","request_id":"4","text":"1 task cancelled"}'
    )
    assert watched.ask(2.0, type="Heartbeat") is None
    assert watched.answers.empty()


@pytest.mark.parametrize(
    ("text", "ask"),
    [
        (b"", ""),
        (b"{", ""),
        (b"\xff\xfe", ""),
        (b"[]", ""),
        (b'{"type": "Explode", "request_id": "7"}', "7"),
        (b'{"type": "TaskPageRequest", "request_id": "8", "limit": "many"}', "8"),
        (b'{"type": "TaskPageRequest"}', ""),
    ],
)
def test_what_is_not_understood_is_answered(watched: Watched, text: bytes, ask: str) -> None:
    assert watched.monitor.request(text, 0.0, watched.answers.put) is None
    answer = watched.answer()
    assert (answer["type"], answer["request_id"]) == ("ErrorReply", ask)
    assert answer["text"].endswith(".")


def test_a_problem_of_the_store_becomes_a_visible_notice(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "none")
    watched.ask(0.0, type="SnapshotRequest", request_id="1")
    watched.monitor.record(done(0))
    watched.monitor.tick(1.0)
    assert watched.posted.wait(10)
    assert watched.monitor.next_deadline(2.0) == 2.0
    (delta,) = map(msgspec.json.decode, watched.monitor.tick(2.0))
    assert "kept in memory only" in delta["notices"][0]["text"]
    watched.monitor.close(3.0)


def test_when_all_is_quiet_nothing_is_due(watched: Watched) -> None:
    monitor, now = watched.monitor, 0.0
    watched.ask(now, type="SnapshotRequest", request_id="1")
    monitor.record(done(0))
    monitor.notice("info", "One thing.", now)
    while (due := monitor.next_deadline(now)) is not None:
        assert due < 20
        now = max(now + 0.001, due)
        monitor.tick(now)
    assert monitor.view.overview(now).rate == 0.0


def test_close_is_quick_and_sends_the_last_changes(watched: Watched) -> None:
    watched.ask(0.0, type="SnapshotRequest", request_id="1")
    for n in range(20_000):
        watched.monitor.record(done(n))
    started = time.monotonic()
    (delta,) = map(msgspec.json.decode, watched.monitor.close(0.0))
    assert time.monotonic() - started < 3.0
    assert delta["overview"]["counts"] == {"exec_done": 20_000}
    assert watched.monitor.database is not None
    with closing(sqlite3.connect(watched.monitor.database)) as database:
        assert database.execute("SELECT count(*) FROM task").fetchone() == (20_000,)


WIDER = """
import json, pathlib, sqlite3, sys
from parslab.jupyter.typescript import typescript
from parslab.monitoring.monitor import Monitor
from parslab.records.events import TaskSubmitted
from parslab.records.states import TaskState

folder = pathlib.Path(sys.argv[1])
monitor, replies = Monitor(folder), []
monitor.record([TaskSubmitted(1.0, 0, "fit", TaskState.ready, "llex", 42)])
monitor.request(b'{"type": "TaskPageRequest", "request_id": "1", "sort": "priority"}', 1.0, replies.append)
monitor.close(2.0, 20.0)
print(json.loads(replies[0])["rows"][0]["priority"])
print(sqlite3.connect(folder / "monitoring.db").execute("SELECT priority FROM task").fetchall())
print("  priority: number;" in typescript())
"""


def test_a_new_column_of_the_task_table_is_declared_once_and_filled_once(tmp_path: Path) -> None:
    """Two Python files; the third is ``panels/tasks/columns.tsx``, which names and draws it."""
    package = tmp_path / "parslab"
    shutil.copytree(
        Path(parslab.__file__).parent, package, ignore=shutil.ignore_patterns("labextension", "__pycache__")
    )
    for name, line, added in (
        ("records/panel.py", '    cell: str = ""\n', "    priority: int = 0\n"),
        ("monitoring/view/tasks.py", "            client=event.client,\n", "            priority=event.client,\n"),
    ):
        text = (package / name).read_text()
        assert line in text
        (package / name).write_text(text.replace(line, line + added))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    command = [sys.executable, "-c", WIDER, str(tmp_path)]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert run.stdout.splitlines() == ["42", "[(42,)]", "True"], run.stderr
