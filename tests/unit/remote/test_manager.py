"""The manager of a node with a link and workers made of paper: what it reports, returns, and when it leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from parslab.records.executor_settings import ManagerSettings
from parslab.records.states import TaskState
from parslab.remote.manager.manager import GIVE_BACK, Manager
from parslab.remote.manager.meeting import Connected, Unreachable
from parslab.remote.manager.successor import Succession, SuccessorSearch
from parslab.remote.pool.processes import WorkerRun
from parslab.wire.invitations import RunOver
from parslab.wire.messages.base import DefineFunction, Failure, PackedValue, Refused
from parslab.wire.messages.manager import (
    HeldTask,
    KeepTasks,
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
    from collections.abc import Callable, Iterator

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
        self.sent = self.dropped = False
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

    def drop(self) -> None:
        """Nobody is at the other end."""
        self.dropped = True

    def close(self) -> None:
        """Nothing is open."""


class Bench:
    """A manager whose clock is ours and whose workers never start."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, keep_for: float = 0.0, **options: Any) -> None:
        self.now = 1000.0
        run = WorkerRun("000-a", package="0", path=[], cwd="/")
        settings = ManagerSettings(**{**OPTIONS, **options})
        self.posted: list[Callable[[], None]] = []
        """What another thread wants done in the loop's thread."""
        self.successors: list[Connected | Exception] = []
        """What the next search for a DataFlowKernel finds."""
        self.manager = Manager(
            HELLO, run, settings, [], clock=lambda: self.now, succession=Succession(self.meet, keep_for)
        )
        self.link = PaperLink()
        monkeypatch.setattr(self.manager.loop, "run", lambda: None)
        monkeypatch.setattr(self.manager.loop, "post", self.posted.append)
        monkeypatch.setattr(SuccessorSearch, "begin", lambda search, patience: search._search(patience))
        self.manager.serve(self.link, None)  # type: ignore[arg-type]
        self.round()

    def meet(self, patience: float) -> Connected:
        """Find the next DataFlowKernel."""
        found = self.successors.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    def breaks(self, *then: Connected | Exception) -> None:
        """The connection breaks; the search finds ``then``."""
        self.successors += then
        self.link.over = "the connection to the DataFlowKernel broke"
        self.manager._check_link()

    def next_kernel(self) -> PaperLink:
        """The loop goes on, and meets another DataFlowKernel."""
        old = self.link
        while self.posted:
            self.posted.pop(0)()
        assert old.dropped
        self.link = self.manager._link  # type: ignore[assignment]
        return self.link

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
    return Outcome(
        **{"task": task, "attempt": 0, "inline": b"value", "frames": 0, "started": 1.0, "ended": 2.0, **more}
    )


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


# ----- another DataFlowKernel takes the place of a lost one


@pytest.fixture
def keeper(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A manager whose tasks go on without a DataFlowKernel."""
    made = Bench(monkeypatch, keep_for=10.0)
    made.hears(ManagerAccepted())
    yield made
    made.manager.loop.close()


def found(name: str = "htex-0-n1-b") -> Connected:
    return Connected(None, PaperLink(), name)  # type: ignore[arg-type]


def test_what_is_here_goes_on_under_the_next_kernel(keeper: Bench) -> None:
    keeper.hears(run(1), run(2))
    one, two = keeper.jobs()
    keeper.manager.tasks.begun(one, 7.0, "w")
    keeper.round()
    keeper.breaks(found())
    keeper.manager.tasks.ended(two, outcome(2), [b"frame"], "w")
    # Nobody is there to be told, and nothing goes back to another node.
    assert keeper.round(10 * GIVE_BACK) == []
    assert keeper.manager.loop.running
    link = keeper.next_kernel()
    hello = link.said.pop(0)
    assert hello.manager == "htex-0-n1-b"
    assert hello.nonce == "b"
    assert set(hello.held) == {HeldTask(1, 0, 7.0), HeldTask(2, 0, 0.0)}
    assert keeper.round() == [outcome(2)]
    assert link.frames == [b"frame"]
    keeper.hears(ManagerAccepted())
    assert keeper.manager.tasks.find(1) is one
    assert keeper.manager._hello.held == ()


def test_the_last_outcomes_are_sent_again_because_the_lost_kernel_may_not_have_written_them(keeper: Bench) -> None:
    keeper.hears(run(1), run(2), run(3))
    one, two, three = keeper.jobs()
    keeper.manager.tasks.ended(one, outcome(1, ended=keeper.now), [], "w")
    keeper.manager.tasks.ended(two, outcome(2, ended=keeper.now), [b"large"], "w")
    keeper.round()
    keeper.breaks(found())
    keeper.manager.tasks.ended(three, outcome(3, ended=keeper.now), [], "w")
    link = keeper.next_kernel()
    assert link.said.pop(0).held == (HeldTask(1, 0, 0.0), HeldTask(3, 0, 0.0))
    assert [message.task for message in keeper.round() if isinstance(message, Outcome)] == [1, 3]


def test_what_nobody_wants_is_forgotten_and_its_next_attempt_is_not(keeper: Bench) -> None:
    keeper.hears(run(1), run(2))
    one, two = keeper.jobs()
    stopped: list[int] = []
    keeper.manager.pool.stop_task = lambda task, now: stopped.append(task.id)  # type: ignore[method-assign]
    one.worker = "w"
    keeper.breaks(found())
    keeper.next_kernel()
    keeper.hears(ManagerAccepted(((1, 0), (2, 0), (2, 7))))
    assert stopped == [1]  # the other one is at no worker
    assert two.state is TaskState.cancelled
    assert keeper.manager.tasks.find(1) is None
    # The next attempt waits until the worker has ended the other one, whose outcome counts no more.
    keeper.round()
    keeper.manager.pool.queue.take_all()
    keeper.hears(RunTask(1, 1, 5, b"args", 0), RunTask(2, 1, 5, b"args", 0))
    assert [(task.id, task.attempt) for task in keeper.jobs()] == [(2, 1)]
    keeper.manager.tasks.ended(one, outcome(1, ended=keeper.now), [], "w")
    assert not any(isinstance(message, Outcome) for message in keeper.round())
    assert {(task.id, task.attempt) for task in keeper.jobs()} == {(1, 1), (2, 1)}


def test_a_kernel_that_is_lost_before_it_accepts_is_followed_by_another(keeper: Bench) -> None:
    keeper.hears(run(1))
    keeper.breaks(found("htex-0-n1-b"))
    keeper.next_kernel()
    keeper.breaks(found("htex-0-n1-c"))
    link = keeper.next_kernel()
    assert link.said[0].manager == "htex-0-n1-c"
    assert link.said[0].held == (HeldTask(1, 0, 0.0),)
    keeper.hears(ManagerAccepted())
    assert keeper.manager.loop.running


def test_tasks_go_on_for_longer_while_a_run_is_handed_over(keeper: Bench) -> None:
    """The next DataFlowKernel is replaced as fast as usual when it is lost in turn."""
    keeper.hears(KeepTasks(1860.0))
    searched: list[float] = []
    begin = keeper.manager.succession.begin

    def searching(patience: float, *calls: Any) -> None:
        searched.append(round(patience))
        begin(patience, *calls)

    keeper.manager.succession.begin = searching  # type: ignore[method-assign, assignment]
    keeper.breaks(found("htex-0-n1-b"))
    keeper.next_kernel()
    keeper.hears(ManagerAccepted())
    keeper.breaks(found("htex-0-n1-c"))
    keeper.next_kernel()
    keeper.hears(ManagerAccepted(), KeepTasks(60.0))
    keeper.breaks(found("htex-0-n1-d"))
    assert searched == [1860, 10, 60]


def test_when_nobody_comes_it_begins_anew(keeper: Bench) -> None:
    keeper.breaks(Unreachable("nobody answers"))
    while keeper.posted:
        keeper.posted.pop(0)()
    assert not keeper.manager.loop.running
    assert keeper.manager.reconnect
    assert keeper.manager.succession.lost_at > 0


def test_when_the_run_is_over_it_leaves(keeper: Bench) -> None:
    keeper.breaks(RunOver("it was killed"))
    while keeper.posted:
        keeper.posted.pop(0)()
    assert not keeper.manager.reconnect
    assert keeper.manager.left == "the run is over: it was killed"


def test_after_silence_its_tasks_end_because_others_may_have_them(keeper: Bench) -> None:
    for _ in range(5):
        keeper.round(5.0)
    assert not keeper.manager.loop.running
    assert keeper.manager.reconnect


def test_a_drained_manager_waits_for_the_next_kernel_and_leaves_then(keeper: Bench) -> None:
    keeper.hears(run(1))
    keeper.hears(LeaveWhenDone())
    keeper.round()
    keeper.breaks(found())
    (task,) = keeper.jobs()
    keeper.manager.tasks.ended(task, outcome(1), [], "w")
    keeper.round()
    assert keeper.manager.loop.running  # the outcome must arrive
    link = keeper.next_kernel()
    keeper.round()
    assert ManagerDraining("it was asked to leave") in link.said or not keeper.manager.loop.running


def test_the_functions_of_workers_are_sent_again(keeper: Bench) -> None:
    forgotten: list[int] = []
    keeper.manager.pool.send_code_again = lambda: forgotten.append(1)  # type: ignore[method-assign]
    keeper.breaks(found())
    keeper.next_kernel()
    keeper.hears(ManagerAccepted())
    assert forgotten == [1]
