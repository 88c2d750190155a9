"""A pool of 8,192 ranks in one MPI job: a task costs rank 0 what it costs in a small pool.

The real manager of rank 0 runs, with ranks and a DataFlowKernel made of paper.  What a task costs is counted in steps
of the interpreter, because times depend on the machine.
"""

from __future__ import annotations

import sys
from collections import deque
from typing import TYPE_CHECKING, Any

import pytest

from parslab.remote.mpi import pool
from parslab.wire.messages.worker import Outcome, RunTask
from tests.unit.remote.mpi.paper_world import CODE, lead, outcome, task

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.remote.mpi.lead import LeadManager
    from tests.unit.remote.mpi.paper_world import PaperLink, PaperWorld

TASKS = 300


def steps(call: Callable[[], Any]) -> int:
    """Return how many instructions of Python a call runs."""
    count = 0

    def trace(frame: Any, event: str, argument: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes = True
        count += event == "opcode"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    return count


class Pool:
    """A pool of so many ranks, in which tasks of so many seconds run in virtual time."""

    def __init__(self, ranks: int) -> None:
        self.now = 1000.0
        self.manager: LeadManager
        self.world: PaperWorld
        self.link: PaperLink
        self.manager, self.world, self.link = lead(ranks, lambda: self.now)
        self.running: deque[tuple[int, Outcome]] = deque()
        self.ended: list[int] = []
        self.steps = 0

    def round(self) -> None:
        """One round of rank 0, in which it is counted, and of the ranks that it has sent something to."""
        self.now += 0.02
        self.steps += steps(self.manager.act)
        self.ended += [message.task for message in self.link if type(message) is Outcome]
        for rank in self.world.newly:
            for message in self.world.sent[rank]:
                if type(message) is RunTask:
                    self.running.append((rank, outcome(message.task)))
            self.world.sent[rank].clear()
        self.world.newly.clear()

    def hears(self, *messages: Any) -> None:
        self.link.coming.append((list(messages), [b"code"] * messages.count(CODE)))
        self.manager._readable()

    def cost(self, tasks: int, limit: float = 0.0) -> float:
        """Return how many steps each task costs when they come and end one by one."""
        first = len(self.ended)
        self.steps = 0
        for number in range(first, first + tasks):
            self.hears(task(number, limit=limit))
            self.round()
            if len(self.running) > 16:
                rank, ended = self.running.popleft()
                self.world.say(rank, ended)
        while self.running:
            rank, ended = self.running.popleft()
            self.world.say(rank, ended)
            self.round()
        self.round()
        assert sorted(self.ended[first:]) == list(range(first, first + tasks))
        return self.steps / tasks


@pytest.mark.parametrize("limit", [0.0, 60.0], ids=["plain", "with a time limit"])
def test_a_task_costs_the_same_in_a_pool_of_8192_ranks(monkeypatch: pytest.MonkeyPatch, limit: float) -> None:
    # Heartbeats cost something for each rank and second, whatever tasks do.
    monkeypatch.setattr(pool, "HEARTBEAT", 1e9)
    costs = {}
    for ranks in (64, 8192):
        made = Pool(ranks)
        made.hears(CODE)
        made.cost(40, limit)
        costs[ranks] = made.cost(TASKS, limit)
        made.manager.loop.close()
    assert costs[8192] < 1.1 * costs[64], costs


def test_a_full_pool_of_8192_ranks_costs_the_same_for_each_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every rank is busy, and one task takes the place of another."""
    monkeypatch.setattr(pool, "HEARTBEAT", 1e9)
    costs = {}
    for ranks in (64, 8192):
        made = Pool(ranks)
        made.hears(CODE, *[task(number) for number in range(ranks)])
        made.manager.act()
        made.round()
        assert len(made.running) == ranks
        made.steps = 0
        for number in range(ranks, ranks + TASKS):
            rank, ended = made.running.popleft()
            made.world.say(rank, ended)
            made.hears(task(number))
            made.round()
            made.round()
        costs[ranks] = made.steps / TASKS
        assert len(made.ended) == TASKS
        assert len(made.running) == ranks
        made.manager.loop.close()
    assert costs[8192] < 1.1 * costs[64], costs
