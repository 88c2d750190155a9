"""Stopping tasks in virtual time: asked first, then made to, and nobody else's task suffers."""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING, Any

import pytest

from parslab.records.states import TaskState
from parslab.remote.pool.stopping import INSISTENCE, PATIENCE, StopRequests

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable


class FakeProcess:
    def __init__(self, clock: Callable[[], float]) -> None:
        self.page = -1
        self.noted = 0
        self.signals: list[tuple[str, float]] = []
        self._clock = clock

    def note_descendants(self) -> None:
        self.noted += 1

    def signal(self, number: signal.Signals) -> None:
        self.signals.append((number.name, round(self._clock(), 2)))


class Worker:
    def __init__(self, clock: Callable[[], float], near: bool = True) -> None:
        self.name = "llex-0"
        self.process: Any = FakeProcess(clock) if near else None
        self.usable = self.greeted = True
        self.ready_since = 0.0
        self.running = -1


class Task:
    fn, spec, state = 0, None, TaskState.running

    def __init__(self, number: int, worker: Worker) -> None:
        self.id, self.attempt = number, 0
        self.worker: object | None = worker


class Stage:
    """A pool with one worker, and time that passes when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0
        self.interrupts: list[tuple[int, float]] = []
        self.warnings: list[str] = []
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.worker = Worker(lambda: self.now)
        self.peers = [self.worker]
        self.stops = StopRequests(
            lambda: self.now,
            lambda when, call: heapq.heappush(self._due, (when, next(self._order), call)),
            lambda _, task: self.interrupts.append((task, round(self.now, 2))),
            self.warnings.append,
            self.peers,
        )

    def task(self, number: int, runs: bool = True) -> Task:
        if runs:
            self.worker.process.page = number
        return Task(number, self.worker)

    def until(self, when: float) -> None:
        while self._due and self._due[0][0] <= when:
            due, _, call = heapq.heappop(self._due)
            self.now = max(self.now, due)
            call()
        self.now = when


@pytest.fixture
def stage() -> Stage:
    return Stage()


def test_a_task_that_lets_go_costs_no_worker(stage: Stage) -> None:
    task = stage.task(7)
    stage.stops.stop(task, stage.worker, 0.0)
    stage.until(0.5)
    task.worker = None
    stage.until(60.0)
    assert stage.interrupts == [(7, 0.0)]
    assert stage.worker.process.signals == []
    assert stage.worker.usable


def test_a_task_that_does_not_is_made_to(stage: Stage) -> None:
    stage.stops.stop(stage.task(7), stage.worker, 0.0)
    stage.until(PATIENCE + 2.5 * INSISTENCE)
    term, kill, again = PATIENCE, PATIENCE + INSISTENCE, PATIENCE + 2 * INSISTENCE
    assert stage.worker.process.signals == [("SIGTERM", term), ("SIGKILL", kill), ("SIGKILL", again)]
    assert stage.worker.process.noted == 1
    assert not stage.worker.usable
    assert kill < 2.0  # the promise: over within two seconds
    stage.peers.clear()
    stage.until(60.0)
    assert len(stage.worker.process.signals) == 3


def test_the_task_before_it_is_not_harmed(stage: Stage) -> None:
    stage.task(6)
    task = stage.task(7, runs=False)
    stage.stops.stop(task, stage.worker, 0.0)
    stage.until(30.0)
    assert stage.worker.process.signals == []
    stage.worker.process.page = 7  # begun before it could be taken back
    stage.until(30.0 + PATIENCE / 2)
    assert stage.worker.process.signals == []
    stage.until(30.5 + PATIENCE)
    assert [name for name, _ in stage.worker.process.signals] == ["SIGTERM"]


def test_another_attempt_is_another_task(stage: Stage) -> None:
    task = stage.task(7)
    stage.stops.stop(task, stage.worker, 0.0)
    task.attempt = 1
    stage.until(60.0)
    assert stage.worker.process.signals == []


def test_a_worker_far_away_is_only_asked(stage: Stage) -> None:
    far = Worker(lambda: 0.0, near=False)
    stage.stops.stop(Task(7, far), far, 0.0)
    stage.until(60.0)
    assert stage.interrupts == [(7, 0.0)]


def test_a_limit_counts_from_the_beginning_of_the_body(stage: Stage) -> None:
    """A worker that takes long to start, or to load what the function needs, does not take the time of its task."""
    stage.worker.greeted = False
    task = stage.task(7)
    stage.stops.limit(task, stage.worker, 2.0, 0.0)
    stage.until(5.0)
    stage.worker.greeted, stage.worker.ready_since = True, 5.0
    stage.until(6.9)
    assert stage.interrupts == []
    stage.worker.ready_since = 6.5  # as it says itself
    stage.until(8.4)
    assert stage.interrupts == []
    stage.until(8.6)
    assert stage.interrupts == [(7, 8.5)]
    assert stage.stops.overtime(7) == 2.0
    assert stage.stops.overtime(7) is None


def test_a_limit_that_was_kept_is_nobodys(stage: Stage) -> None:
    task = stage.task(7)
    stage.stops.limit(task, stage.worker, 2.0, 0.0)
    stage.until(1.0)
    task.attempt = 1
    stage.until(60.0)
    assert stage.interrupts == []
    assert stage.stops.overtime(7) is None
