"""Rank 0 of a pool, with other ranks made of paper: who gets what, what is passed on, and when the pool ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from parslab.records.states import WorkerState
from parslab.remote.mpi import pool as rank_pool
from parslab.remote.mpi.polling import LONGEST
from parslab.remote.mpi.pool import HEARTBEAT, SILENCE, RankPool
from parslab.wire.messages.base import DefineFunction, OutputPrinted, Refused
from parslab.wire.messages.manager import (
    LinkHeartbeat,
    ManagerAccepted,
    ManagerBroken,
    ManagerHello,
    ManagerLeft,
    NodeSample,
    TaskSample,
    WorkerStateChanged,
)
from parslab.wire.messages.ranks import RankSetup
from parslab.wire.messages.worker import InterruptTask, Outcome, RunTask, WorkerReport
from tests.unit.remote.mpi.paper_world import CODE, PaperLink, PaperWorld, hello, lead, outcome, task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from parslab.remote.mpi.lead import LeadManager


class Bench:
    """A pool of three ranks with workers, whose clock is ours."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.manager: LeadManager
        self.world: PaperWorld
        self.link: PaperLink
        self.manager, self.world, self.link = lead(3, lambda: self.now)
        assert isinstance(self.manager.pool, RankPool)
        self.pool = self.manager.pool
        self.round()

    def hears(self, *messages: Any) -> None:
        """The DataFlowKernel sends this."""
        self.link.coming.append((list(messages), [b"code"] * sum(type(m) is DefineFunction for m in messages)))
        self.manager._readable()

    def round(self, later: float = LONGEST) -> list[Any]:
        """One round of the loop; what the DataFlowKernel was told."""
        self.now += later
        self.manager.act()
        return list(self.link)

    def given(self) -> dict[int, list[int]]:
        """The tasks that each rank has got since the last look."""
        found = {}
        for rank, messages in self.world.sent.items():
            tasks = [message.task for message in messages if type(message) is RunTask]
            if tasks:
                found[rank] = tasks
            messages.clear()
        return found

    def told(self, rank: int, kind: type) -> list[Any]:
        return [message for message in self.world.sent[rank] if type(message) is kind]


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.manager.loop.close()


# --- tasks ----------------------------------------------------------------------------------------------------------


def test_every_rank_is_told_the_run_before_anything_else() -> None:
    manager, world, _ = lead(2)
    manager.pool.start()
    assert [type(world.sent[rank][0]) for rank in (1, 2)] == [RankSetup, RankSetup]
    manager.loop.close()


def test_a_rank_gets_tasks_once_it_has_said_hello() -> None:
    made = Bench()
    made.pool.queue.slots[1].usable = False
    late = made.pool._ranks[2]
    made.pool._wide._idle.pop(late)
    made.hears(CODE, task(1), task(2), task(3))
    made.round()
    assert made.given() == {3: [1], 1: [2]}
    made.world.say(2, hello(2))
    made.round()
    assert made.told(2, ManagerAccepted)
    made.round()
    assert made.given() == {2: [3]}
    made.manager.loop.close()


def test_tasks_are_spread_and_their_ends_are_passed_on(bench: Bench) -> None:
    bench.hears(CODE, *[task(n) for n in range(4)])
    bench.round()
    assert sorted(bench.given().values()) == [[0], [1], [2]]
    (rank,) = [rank for rank, peer in bench.pool._ranks.items() if 0 in peer.inflight]
    bench.world.say(rank, OutputPrinted(0, 1, b"hello\n"), outcome(0))
    said = bench.round()
    assert [type(message) for message in said if type(message) in (OutputPrinted, Outcome)] == [OutputPrinted, Outcome]
    bench.round()
    # The function is known there.
    assert not bench.told(rank, DefineFunction)
    assert bench.given() == {rank: [3]}


def test_quick_tasks_are_sent_ahead(bench: Bench) -> None:
    bench.hears(CODE, task(0))
    bench.round()
    ((rank, _),) = bench.given().items()
    bench.world.say(rank, outcome(0, 0.0001))
    bench.round()
    bench.hears(*[task(n) for n in range(1, 61)])
    bench.round()
    assert sorted(len(tasks) for tasks in bench.given().values()) == [20, 20, 20]


def test_what_a_rank_gives_back_goes_to_another_and_it_gets_no_more_until_its_task_ends(bench: Bench) -> None:
    bench.hears(CODE, task(0))
    bench.round()
    ((rank, _),) = bench.given().items()
    bench.world.say(rank, outcome(0, 0.001))
    bench.round()
    bench.hears(*[task(n) for n in range(1, 7)])
    bench.round()
    given = bench.given()
    back = given[rank][1:]
    assert back
    bench.world.say(rank, WorkerReport(-1, 0.0, tuple(back)))
    bench.round()
    assert rank not in bench.given()
    for other in given.keys() - {rank}:
        bench.world.say(other, *[outcome(n, 0.001) for n in given[other]])
    bench.round()
    bench.round()
    again = bench.given()
    assert rank not in again
    assert sorted(n for tasks in again.values() for n in tasks) == back
    bench.world.say(rank, outcome(given[rank][0], 5.0))
    bench.round()
    assert not bench.pool._ranks[rank].inflight


def test_a_rank_stops_a_cancelled_task(bench: Bench) -> None:
    bench.hears(CODE, task(7))
    bench.round()
    ((rank, _),) = bench.given().items()
    bench.hears(InterruptTask(7))
    assert bench.told(rank, InterruptTask) == [InterruptTask(7)]
    bench.world.say(rank, WorkerReport(-1, 0.0, (7,)))
    assert WorkerReport(-1, 0.0, (7,)) in bench.round()


def test_a_rank_itself_watches_the_limit_of_a_task(bench: Bench) -> None:
    bench.hears(CODE, task(1, limit=0.5))
    bench.round()
    ((rank, _),) = bench.given().items()
    bench.round(later=5)
    assert not bench.told(rank, InterruptTask)


def test_a_wide_task_occupies_several_ranks_and_frees_them(bench: Bench) -> None:
    bench.hears(CODE, task(1, slots=2), task(2), task(3))
    bench.round()
    given = bench.given()
    assert sorted(given.values()) == [[1], [2]]
    (rank,) = [rank for rank, tasks in given.items() if tasks == [1]]
    assert sum(slot.reserved == 1 for slot in bench.pool.queue.slots) == 1
    bench.world.say(rank, outcome(1))
    bench.round()
    bench.round()
    assert list(bench.given().values()) == [[3]]
    assert all(slot.reserved < 0 for slot in bench.pool.queue.slots)


def test_a_wide_task_waits_until_enough_ranks_are_idle(bench: Bench) -> None:
    bench.hears(CODE, task(1), task(2))
    bench.round()
    busy = bench.given()
    bench.hears(task(3, slots=9))
    bench.round()
    assert bench.given() == {}
    for rank, tasks in busy.items():
        bench.world.say(rank, outcome(tasks[0]))
    bench.round()
    bench.round()
    assert list(bench.given().values()) == [[3]]


# --- what is passed on ----------------------------------------------------------------------------------------------


def test_workers_and_samples_of_ranks_are_reported(bench: Bench) -> None:
    change = WorkerStateChanged("exex-0-n1-2-0", WorkerState.idle, 55, "")
    sample = TaskSample(1, 0, 1.0, 2, 3, 4)
    bench.world.say(2, change, sample, NodeSample(0.5, 1, 1.0))
    said = bench.round()
    assert change in said
    assert sample in said
    assert not any(type(message) is NodeSample for message in said)
    bench.world.say(1, NodeSample(0.5, 1, 1.0))
    assert NodeSample(0.5, 1, 1.0) in bench.round()


# --- lost ranks -----------------------------------------------------------------------------------------------------


def leaves(said: list[Any]) -> str:
    (broken,) = [message for message in said if type(message) is ManagerBroken]
    return str(broken.reason)


def test_ranks_that_speak_are_not_lost_and_hear_of_us(bench: Bench) -> None:
    for _ in range(10):
        for rank in (1, 2, 3):
            bench.world.say(rank, LinkHeartbeat())
        assert not any(type(message) is ManagerBroken for message in bench.round(later=HEARTBEAT))
    assert len(bench.told(1, LinkHeartbeat)) == 10


def test_a_silent_rank_ends_its_pool_and_is_named(bench: Bench) -> None:
    bench.hears(CODE, task(1), task(2), task(3), task(4))
    bench.round()
    said: list[Any] = []
    waited = 0.0
    while not any(type(message) is ManagerBroken for message in said):
        bench.world.say(1, LinkHeartbeat())
        bench.world.say(3, LinkHeartbeat())
        said += bench.round(later=HEARTBEAT)
        waited += HEARTBEAT
    assert waited <= SILENCE + 2 * HEARTBEAT <= 10
    assert "rank 2 of its MPI job (host n1, process 102) was silent for" in leaves(said)
    assert not bench.manager.loop.running
    # A task that no rank had costs no attempt.
    (back,) = [message.returned for message in said if type(message) is WorkerReport]
    assert len(back) == 1


@pytest.mark.parametrize(
    ("says", "expected"),
    [
        (
            lambda: ManagerLeft("it received SIGTERM"),
            "rank 2 of its MPI job (host n1, process 102) has left: it received",
        ),
        (lambda: ManagerBroken("n1: no room"), "has left: n1: no room"),
        (lambda: hello(2, package="other"), "has parslab other, this run 0"),
    ],
)
def test_a_rank_that_leaves_ends_its_pool(bench: Bench, says: Callable[[], Any], expected: str) -> None:
    bench.world.say(2, says())
    assert expected in leaves(bench.round())


def test_a_rank_that_never_starts_ends_its_pool() -> None:
    made = Bench()
    del made.pool._heard[3]
    made.pool._ranks[3].host = ""
    said: list[Any] = []
    for _ in range(60):
        for rank in (1, 2):
            made.world.say(rank, LinkHeartbeat())
        said = made.round(later=HEARTBEAT)
        if not made.manager.loop.running:
            break
    assert "rank 3 of its MPI job has not started within 60 s" in leaves(said)
    made.manager.loop.close()


# --- the end --------------------------------------------------------------------------------------------------------


def test_the_pool_ends_when_all_ranks_have_ended_their_workers(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        bench.now += seconds
        if len(waits) in (10, 20, 30):
            bench.world.say(len(waits) // 10, ManagerLeft("it was refused"))

    monkeypatch.setattr(rank_pool, "sleep", sleep)
    bench.pool.close()
    assert all(bench.told(rank, Refused) for rank in (1, 2, 3))
    assert bench.pool.all_left
    assert not bench.pool.peers


def test_the_end_does_not_wait_for_ever(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(seconds: float) -> None:
        bench.now += seconds

    monkeypatch.setattr(rank_pool, "sleep", sleep)
    began = bench.now
    bench.pool.close()
    assert not bench.pool.all_left
    assert bench.now - began < 6


def test_a_late_word_of_an_unknown_rank_is_ignored(bench: Bench) -> None:
    bench.world.say(9, LinkHeartbeat(), outcome(1))
    assert bench.round() == []
    assert not isinstance(bench.pool._ranks.get(9), ManagerHello)
