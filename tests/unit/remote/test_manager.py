"""The manager of a node with a link and workers made of paper: what it reports, returns, and when it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from parslab.records.executor_settings import ManagerSettings
from parslab.records.states import TaskState
from parslab.remote.manager.manager import GIVE_BACK, Manager
from parslab.remote.pool.processes import WorkerRun
from parslab.wire.messages.base import DefineFunction, Failure, PackedValue, Refused
from parslab.wire.messages.manager import (
    LinkHeartbeat,
    ManagerAccepted,
    ManagerBroken,
    ManagerDraining,
    ManagerGivenUp,
    ManagerHello,
    ManagerLeft,
)
from parslab.wire.messages.worker import InterruptTask, LeaveWhenDone, Outcome, RunTask, WorkerReport

if TYPE_CHECKING:
    from collections.abc import Iterator

    from parslab.remote.manager.node_tasks import TaskOnNode

HELLO = ManagerHello(
    manager="htex-0-n1",
    protocol=1,
    package="0",
    python="3.11",
    pid=1,
    host="n1",
    executor=0,
    block="0",
    workers=2,
    prefetch=0,
    cores=2,
    memory=1 << 30,
)
OPTIONS = {"heartbeat_period": 5.0, "heartbeat_threshold": 20.0, "drain_period": None, "sample_period": 5.0}


class PaperLink:
    """A link whose other end is the test."""

    def __init__(self) -> None:
        self.over = ""
        self.sent = False
        self.said: list[Any] = []
        self.frames: list[Any] = []
        self.coming: list[tuple[list[Any], list[bytes]]] = []

    def attach(self, loop: Any, readable: Any, watched: Any) -> None:
        """Nobody wakes us but the test."""

    def send(self, messages: list[Any], frames: Any = ()) -> None:
        self.said += messages
        self.frames += frames

    def receive(self) -> list[tuple[list[Any], list[bytes]]]:
        coming, self.coming = self.coming, []
        return coming

    def watch(self) -> None:
        """See ``over``."""

    def close(self) -> None:
        """Nothing is open."""


class Bench:
    """A manager whose clock is ours and whose workers never start."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
        self.now = 1000.0
        run = WorkerRun("000-a", package="0", path=[], cwd="/")
        settings = ManagerSettings(**{**OPTIONS, **options})
        self.manager = Manager(HELLO, run, settings, [], clock=lambda: self.now)
        self.link = PaperLink()
        monkeypatch.setattr(self.manager.loop, "run", lambda: None)
        self.manager.serve(self.link, None)  # type: ignore[arg-type]
        self.round()

    def hears(self, *messages: Any, frames: list[bytes] | None = None) -> None:
        self.link.coming.append((list(messages), frames or []))
        self.manager._readable()

    def round(self, later: float = 0.0) -> list[Any]:
        """One round of the loop; what was said in it."""
        self.now += later
        self.manager.act()
        said, self.link.said = self.link.said, []
        return said

    def jobs(self) -> list[TaskOnNode]:
        return list(self.manager.pool.queue.tasks)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    made = Bench(monkeypatch)
    yield made
    made.manager.loop.close()


def run(task: int, **more: Any) -> RunTask:
    return RunTask(task, 0, 5, b"args", 0, **more)


def outcome(task: int, **more: Any) -> Outcome:
    return Outcome(task, 0, b"value", 0, 1.0, 2.0, **more)


def test_frames_belong_to_their_task(bench: Bench) -> None:
    bench.hears(
        DefineFunction(5, b"", "f", 1),
        RunTask(1, 0, 5, b"", 1, (PackedValue(b"", 2), PackedValue(b"inline", 0))),
        run(2),
        RunTask(3, 0, 5, b"", 1),
        frames=[b"code", b"a", b"b", b"c", b"d"],
    )
    assert [list(job.frames) for job in bench.jobs()] == [[b"a", b"b", b"c"], [], [b"d"]]
    assert bench.manager.tasks.code(5)[1] == b"code"


def test_an_outcome_goes_on_as_it_is_with_its_frames(bench: Bench) -> None:
    bench.hears(run(1))
    (job,) = bench.jobs()
    bench.manager.pool.queue.tasks.clear()
    reported = outcome(1)
    bench.manager.tasks.ended(job, reported, [b"large"], "w")
    assert bench.round() == [reported]
    assert bench.link.frames == [b"large"]


def test_what_cannot_be_begun_soon_goes_back(bench: Bench) -> None:
    bench.hears(run(1), run(2))
    assert bench.round(GIVE_BACK / 2) == []
    assert bench.round(GIVE_BACK) == [WorkerReport(-1, 0.0, (1, 2))]
    assert bench.jobs() == []
    assert bench.round(GIVE_BACK * 2) == []


def test_what_may_be_held_ahead_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch)
    bench.manager._hello.prefetch = 1
    try:
        bench.hears(run(1), run(2), run(3))
        assert bench.round(GIVE_BACK * 2) == [WorkerReport(-1, 0.0, (2, 3))]
        assert [job.id for job in bench.jobs()] == [1]
    finally:
        bench.manager._hello.prefetch = 0
        bench.manager.loop.close()


def test_progress_elsewhere_keeps_it_waiting(bench: Bench) -> None:
    bench.hears(run(1), run(2))
    job = bench.jobs()[0]
    bench.manager.pool.queue.tasks.popleft()
    bench.manager.tasks.ended(job, Outcome(1, 0, b"", 0, bench.now, bench.now + 0.09), [], "w")
    said = bench.round(GIVE_BACK)
    assert [type(message) for message in said] == [Outcome]
    assert [job.id for job in bench.jobs()] == [2]


def test_a_cancelled_task_that_waits_comes_back_at_once(bench: Bench) -> None:
    bench.hears(run(1), run(2))
    bench.hears(InterruptTask(1))
    assert bench.round() == [WorkerReport(-1, 0.0, (1,))]
    assert [j.id for j in bench.jobs() if j.state is TaskState.ready] == [2]
    bench.hears(InterruptTask(77))  # nobody here
    assert bench.round() == []


def test_a_cancelled_task_that_its_worker_gives_back_is_not_run_again(bench: Bench) -> None:
    bench.hears(run(1))
    (job,) = bench.jobs()
    job.state = TaskState.cancelled
    bench.manager.tasks.returned(job, bench.now)
    assert bench.round() == [WorkerReport(-1, 0.0, (1,))]


def test_a_lost_worker_is_a_failed_outcome(bench: Bench) -> None:
    bench.hears(run(1))
    (job,) = bench.jobs()
    bench.manager.pool.queue.tasks.clear()
    bench.manager.tasks.failed(job, Failure("WorkerLost: it"), bench.now, "w")
    (reported,) = bench.round()
    assert (reported.task, reported.attempt, reported.failure.error) == (1, 0, "WorkerLost: it")


def test_draining_ends_what_is_there_and_then_leaves(bench: Bench) -> None:
    bench.hears(run(1))
    (job,) = bench.jobs()
    bench.manager.pool.queue.tasks.clear()
    bench.hears(LeaveWhenDone())
    assert bench.round() == [ManagerDraining("it was asked to leave")]
    assert bench.manager.loop.running
    bench.manager.tasks.ended(job, outcome(1), [], "w")
    bench.round()
    assert not bench.manager.loop.running
    assert not bench.manager.reconnect


def test_it_leaves_at_once_when_it_holds_nothing(bench: Bench) -> None:
    bench.hears(LeaveWhenDone())
    bench.round()
    assert bench.manager.left == "it was asked to leave"


def test_a_drain_period_ends_before_the_walltime(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench(monkeypatch, drain_period=60.0)
    try:
        bench.hears(run(1))
        bench.manager.pool.queue.tasks.clear()
        assert all(type(message) is not ManagerDraining for message in bench.round(59.0))
        assert ManagerDraining("its drain_period is over") in bench.round(2.0)
    finally:
        bench.manager.loop.close()


def test_a_silent_kernel_is_left_and_looked_for_again(bench: Bench) -> None:
    bench.hears(ManagerAccepted())
    for _ in range(5):
        bench.round(5.0)
    assert not bench.manager.loop.running
    assert bench.manager.reconnect
    assert "was silent" in bench.manager.left


def test_signs_of_life_keep_it(bench: Bench) -> None:
    bench.hears(ManagerAccepted())
    beats = 0
    for _ in range(10):
        bench.hears(LinkHeartbeat())
        beats += bench.round(5.0).count(LinkHeartbeat())
    assert bench.manager.loop.running
    assert beats >= 9


def test_a_broken_connection_means_to_begin_anew_once_it_was_accepted(bench: Bench) -> None:
    bench.link.over = "the connection to the DataFlowKernel broke"
    bench.hears(ManagerAccepted())
    bench.manager._check_link()
    assert bench.manager.reconnect


def test_who_is_refused_does_not_come_back(bench: Bench) -> None:
    bench.hears(ManagerAccepted())
    bench.hears(Refused("the run is over"))
    assert not bench.manager.loop.running
    assert not bench.manager.reconnect
    assert "the run is over" in bench.manager.left


def test_a_manager_that_was_given_up_begins_anew(bench: Bench) -> None:
    """It left for good, and its block with it, when it read this before it noticed the silence itself."""
    bench.hears(ManagerAccepted())
    bench.hears(ManagerGivenUp("it was silent for 2 s"))
    assert not bench.manager.loop.running
    assert bench.manager.reconnect
    assert bench.manager.left == "the DataFlowKernel has given it up: it was silent for 2 s"


def test_a_manager_that_stood_still_reads_before_it_judges(bench: Bench) -> None:
    """What the DataFlowKernel sent meanwhile waits in the socket."""
    bench.hears(ManagerAccepted())
    bench.round(60.0)
    assert bench.manager.loop.running
    bench.hears(LinkHeartbeat())
    bench.round(5.0)
    assert bench.manager.loop.running
    for _ in range(5):
        bench.round(5.0)
    assert not bench.manager.loop.running


def test_without_workers_it_gives_everything_back_and_says_why(bench: Bench) -> None:
    bench.hears(run(1), run(2))
    bench.manager.pool.broken = "its workers cannot start"
    bench.manager._pool_broken(bench.manager.pool)
    said = bench.round()
    assert said[:2] == [WorkerReport(-1, 0.0, (1, 2)), ManagerBroken("its workers cannot start")]
    assert not bench.manager.loop.running


def test_its_end_is_said(bench: Bench) -> None:
    bench.manager.leave("the test is over")
    bench.manager.close()
    assert bench.link.said == [ManagerLeft("the test is over")]


def test_demands_are_those_of_the_message(bench: Bench) -> None:
    bench.hears(run(1, slots=3, limit=2.5), run(2))
    wide, plain = bench.jobs()
    assert bench.manager.tasks.demands(wide) == (3, 2.5)
    assert wide.spec is not None
    assert plain.spec is None
