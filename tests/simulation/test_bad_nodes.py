"""Nodes that fail every task in a moment, in virtual time: they are held before they are through with all the work."""

from __future__ import annotations

import heapq
import itertools
import random
from typing import Any, cast

import pytest

from parslab.dataflow.graph.task import NextAttempt, Task
from parslab.dataflow.high_throughput.node_health import FailedAttempt, NodeHealth
from parslab.dataflow.high_throughput.scheduler import ManagerSlot, Scheduler
from parslab.records.states import TaskState

S = TaskState


class FakeTask(Task):
    def __init__(self, number: int, fn: int) -> None:
        self.id, self.fn, self.attempt = number, fn, 0
        self.state, self.spec = S.ready, None
        self.worker: Any = None


class Cluster:
    """Managers of two workers each, some of them bad, and functions of which some fail wherever they run."""

    def __init__(self, seed: int, bad: int, good: int, after: int = 10, retries: int = 1) -> None:
        self.health = NodeHealth(after)
        self.queue: Scheduler[ManagerSlot] = Scheduler(dice=random.Random(seed), suspected=self.health.suspected)
        self.bad = {f"bad-{n}" for n in range(bad)}
        for name in (*sorted(self.bad), *(f"good-{n}" for n in range(good))):
            self.queue.add(ManagerSlot(name, "0", 2, 0.0))
        self.retries = retries
        self.now = 0.0
        self.held: list[str] = []
        self.failed: list[Task] = []
        self.failures = 0
        self.order: list[int] = []
        """Tasks that ended for good, one way or the other."""
        self._agenda: list[tuple[float, int, ManagerSlot, Task, float, bool]] = []
        self._numbers = itertools.count()

    def call(self, count: int, fn: int = 0) -> None:
        self.queue.put([FakeTask(next(self._numbers), fn) for _ in range(count)])

    def play(self, takes: float, broken: frozenset[int] = frozenset()) -> None:
        self._assign(takes, broken)
        while self._agenda:
            self.now, _, slot, task, took, fails = heapq.heappop(self._agenda)
            self.queue.ended(slot, task.id, took, self.now)
            if fails:
                self._fail(slot, task, took)
            else:
                task.state = S.exec_done
                self.order.append(task.id)
                if self.health.streaks:
                    self.health.succeeded(slot.name, task.fn)
                    suspect = self.queue.slots.get(self.health.next_candidate())
                    if suspect is not None:
                        self._judge(suspect)
            self._assign(takes, broken)
            self.queue.check()

    def _fail(self, slot: ManagerSlot, task: Task, took: float) -> None:
        self.failures += 1
        task.state = S.ready
        if task.attempt < self.retries:
            task.attempt += 1
            self.queue.put_again([NextAttempt(cast("Any", task), slot.name, False)], self.now)
        else:
            task.state = S.failed
            self.failed.append(task)
            self.order.append(task.id)
        slots, health = self.queue.slots.values(), self.health
        same = [t.id for s in slots if s is not slot for t in s.inflight.values() if t.fn == task.fn]
        attempt = FailedAttempt(task.id, task.fn, "", took, "ImportError")
        health.failed(slot.name, attempt, now=self.now, elsewhere=lambda: same)
        self._judge(slot)

    def _judge(self, slot: ManagerSlot) -> None:
        slots, health = self.queue.slots.values(), self.health
        if slot.usable and any(s.usable and s.name not in health.streaks for s in slots):
            good = [s for s in slots if s is not slot and s.name not in health.streaks]
            running = {t.id for s in good for t in s.inflight.values()}
            if health.unhealthy(slot.name, running.__contains__, self.now) is not None:
                self.queue.hold(slot, True)
                self.held.append(slot.name)

    def _assign(self, takes: float, broken: frozenset[int]) -> None:
        for slot, tasks in self.queue.assign(self.now):
            for task in tasks:
                task.state = S.running
                fails = slot.name in self.bad or task.fn in broken
                took = 0.01 if fails else takes
                heapq.heappush(self._agenda, (self.now + took, next(self._numbers), slot, task, took, fails))


@pytest.mark.parametrize(("takes", "failures"), [(0.05, 40), (5.0, 250), (3600.0, 250)])
def test_a_bad_node_is_held_and_costs_no_task(takes: float, failures: int) -> None:
    """Long tasks say late that other nodes are well; their retries wait for one of those meanwhile."""
    for seed in range(10):
        cluster = Cluster(seed, bad=1, good=4)
        cluster.call(500)
        cluster.play(takes)
        assert cluster.held == ["bad-0"]
        assert cluster.failures < failures
        assert len(cluster.failed) <= 5
        assert len(cluster.order) == 500


def test_several_bad_nodes_are_held_and_the_good_ones_work_on() -> None:
    for seed in range(10):
        cluster = Cluster(seed, bad=3, good=3, retries=2)
        cluster.call(600)
        cluster.play(0.2)
        assert sorted(cluster.held) == ["bad-0", "bad-1", "bad-2"]
        assert len(cluster.failed) < 60  # with two retries, half of the nodes being bad


@pytest.mark.parametrize("good", [1, 5])
def test_a_broken_function_holds_nobody(good: int) -> None:
    for seed in range(10):
        cluster = Cluster(seed, bad=0, good=good)
        cluster.call(300, fn=1)
        cluster.call(300, fn=2)
        cluster.play(0.05, broken=frozenset({1}))
        assert cluster.held == []
        assert {task.fn for task in cluster.failed} == {1}
        assert len(cluster.failed) == 300


def test_the_last_working_node_is_never_held() -> None:
    cluster = Cluster(1, bad=3, good=0)
    cluster.call(200)
    cluster.play(1.0)
    assert cluster.held == []
    assert len(cluster.failed) == 200


def test_a_retried_task_is_soon_through_and_nobody_starves() -> None:
    """100,000 tasks wait, each tenth fails once: its next attempt comes at once, and the others come in their order."""
    cluster = Cluster(3, bad=0, good=4, after=0)
    first: set[int] = set()
    cluster.call(20_000)
    play_assign = cluster._assign

    def assign(takes: float, broken: frozenset[int]) -> None:
        before = len(cluster._agenda)
        play_assign(takes, broken)
        for place in range(before, len(cluster._agenda)):
            when, number, slot, task, took, _ = cluster._agenda[place]
            fails = task.id % 10 == 0 and task.id not in first
            first.add(task.id)
            cluster._agenda[place] = when, number, slot, task, took, fails
        heapq.heapify(cluster._agenda)

    cluster._assign = assign  # type: ignore[method-assign]
    cluster.play(0.01)
    assert cluster.failures == 2000
    late = max(abs(place - task) for place, task in enumerate(cluster.order))
    assert late < 5000 * 0.05 + 1000
