"""What monitoring keeps and shows of blocks: rows and samples in the database, and the last output of their jobs."""

from __future__ import annotations

import queue
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest

from parslab.monitoring import jobfiles
from parslab.monitoring.monitor import Monitor
from parslab.records.events import (
    BlockMoved,
    Event,
    ManagerMoved,
    NodeSampled,
    TaskMoved,
    TaskSampled,
    TaskSubmitted,
)
from parslab.records.panel import BlockOutput, ErrorReply, TaskDetail
from parslab.records.states import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Said = BlockOutput | ErrorReply | TaskDetail
_decoder: msgspec.json.Decoder[Said] = msgspec.json.Decoder(Said)


class Desk:
    """A monitor that is asked and answers, with no loop around it."""

    def __init__(self, run_dir: Path) -> None:
        self.monitor = Monitor(run_dir)
        self.stdout, self.stderr = run_dir / "0.out", run_dir / "0.err"
        self.now = 1.0

    def happens(self, *events: Event) -> None:
        self.now += 1.0
        self.monitor.record(list(events))
        self.monitor.tick(self.now)

    def block(self, state: str = "running") -> None:
        self.happens(BlockMoved(1.0, "htex", "0", state, "4711", 2, "", str(self.stdout), str(self.stderr)))

    def ask(self, **words: object) -> Said:
        answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self.monitor.request(msgspec.json.encode({"request_id": "1", **words}), self.now, answers.put)
        return _decoder.decode(answers.get(timeout=15))

    def output(self, block: str = "0") -> Said:
        return self.ask(type="BlockOutputRequest", executor="htex", block=block)

    def rows(self, sql: str) -> list[tuple[object, ...]]:
        self.monitor.close(self.now)
        assert self.monitor.database is not None
        with closing(sqlite3.connect(self.monitor.database)) as connection:
            return connection.execute(sql).fetchall()


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path)
    yield desk
    desk.monitor.close(1e9)


def test_the_last_lines_of_a_job_are_read(desk: Desk) -> None:
    desk.block()
    lines = [f"line {n} \u00e9" for n in range(20_000)]
    desk.stdout.write_text("\n".join(lines), encoding="utf-8")
    desk.stderr.write_bytes(b"slurmstepd: error: *** JOB 4711 CANCELLED \xff\0 ***\n")
    answer = desk.output()
    assert isinstance(answer, BlockOutput)
    shown = answer.stdout.splitlines()
    assert shown == lines[-len(shown) :]
    assert jobfiles.TAIL - 40 < len(answer.stdout.encode()) <= jobfiles.TAIL
    assert answer.stderr == "slurmstepd: error: *** JOB 4711 CANCELLED \ufffd\u2400 ***\n"
    assert (answer.request_id, answer.executor, answer.block, answer.problem) == ("1", "htex", "0", "")


def test_what_cannot_be_read_is_said(desk: Desk) -> None:
    desk.block("queued")
    answer = desk.output()
    assert isinstance(answer, BlockOutput)
    assert answer.problem.startswith(f"There is no {desk.stdout}: the job has printed nothing yet")
    desk.stdout.mkdir()
    desk.stderr.symlink_to(desk.stdout)
    answer = desk.output()
    assert isinstance(answer, BlockOutput)
    assert answer.problem.startswith(f"{desk.stdout} could not be read: Is a directory.")
    unknown = desk.output("7")
    assert isinstance(unknown, ErrorReply)
    assert unknown.text == "This run has no block 7 of htex, or it ended long ago."


def test_one_file_without_the_other_is_nothing_to_speak_of(desk: Desk) -> None:
    desk.block()
    desk.stderr.write_text("sbatch: error: no")
    answer = desk.output()
    assert isinstance(answer, BlockOutput)
    assert (answer.stdout, answer.stderr, answer.problem) == ("", "sbatch: error: no", "")


def test_a_folder_that_does_not_answer_holds_up_a_few_asks_only(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()
    monkeypatch.setattr(jobfiles, "tail", lambda path: "late" if gate.wait(15) else "never")
    desk.block()
    ask = msgspec.json.encode({"type": "BlockOutputRequest", "request_id": "1", "executor": "htex", "block": "0"})
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for _ in range(jobfiles.ATONCE):
        desk.monitor.request(ask, desk.now, answers.put)
    refused = desk.output()
    assert isinstance(refused, ErrorReply)
    assert refused.text.startswith(f"The folder of {desk.stdout} does not answer")
    gate.set()
    for _ in range(jobfiles.ATONCE):
        assert b'"stdout":"late"' in answers.get(timeout=15)


def test_blocks_managers_and_samples_are_stored(desk: Desk) -> None:
    desk.block("queued")
    desk.happens(
        BlockMoved(5.0, "htex", "0", "running", "4711", 2),
        ManagerMoved(6.0, "m0", "htex", "0", "ready", "node1", 7, 4, 8, 1 << 34),
        NodeSampled(7.0, "m0", 12.5, 1 << 30, 0.5),
        NodeSampled(8.0, "m0", 13.5, 1 << 30, 0.6),
    )
    desk.block("finished")
    assert desk.rows("SELECT block, state, job, nodes, requested, started, ended FROM block") == [
        ("0", "finished", "4711", 2, 1.0, 5.0, 1.0)
    ]
    assert desk.rows("SELECT manager, block, host, workers, cores, memory FROM manager") == [
        ("m0", "0", "node1", 4, 8, 1 << 34)
    ]
    assert desk.rows("SELECT time, cpu FROM node_sample ORDER BY time") == [(7.0, 12.5), (8.0, 13.5)]


def test_resource_use_of_a_task_is_among_its_details(desk: Desk) -> None:
    desk.happens(
        ManagerMoved(1.0, "m0", "htex", "0", "ready", "node1", 7, 4),
        *(TaskSubmitted(1.0, task, "fit", TaskState.ready, "htex", 1) for task in (0, 1)),
        *(TaskMoved(2.0, task, TaskState.running, 0, "m0") for task in (0, 1)),
        TaskSampled(3.0, 1, 0, 0.5, 1000, 10, 20),
    )
    desk.happens(TaskSampled(4.0, 1, 0, 1.5, 3000, 30, 40), TaskMoved(4.0, 1, TaskState.exec_done, 0, "m0"))
    quick, long = (desk.ask(type="TaskDetailRequest", task=task) for task in (0, 1))
    assert isinstance(quick, TaskDetail)
    assert isinstance(long, TaskDetail)
    assert (quick.cpu, quick.memory, quick.read, quick.written, quick.host) == (None, None, None, None, "node1")
    assert (long.cpu, long.memory, long.read, long.written) == (1.5, 3000, 30, 40)
