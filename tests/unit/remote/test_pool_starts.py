"""A worker that cannot be started is tried again; the executor stops only when none is left and nothing will change."""

from __future__ import annotations

import errno
import os
import types
from typing import TYPE_CHECKING, Any

from parslab.records.events import NoticeRaised
from parslab.remote.pool import pool as module
from parslab.remote.pool.pool import PoolWorker, WorkerPool
from parslab.remote.pool.processes import ProcessPlan, WorkerRun

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest


class Stage:
    """A pool whose processes are paper; ``fails`` are the errors of the next starts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, workers: int = 1) -> None:
        self.fails: list[int] = []
        self.started: list[int] = []
        self.timers: list[Callable[[], None]] = []
        self.events: list[Any] = []
        self.broken: list[str] = []
        self.loop = types.SimpleNamespace(watch=lambda *_: None, forget=lambda _: None)
        monkeypatch.setattr(module, "WorkerProcess", self.process)
        monkeypatch.setattr(module, "Stream", lambda sock, decode: types.SimpleNamespace(receive=lambda: []))
        monkeypatch.setattr(module, "end_strays", lambda _: None)
        self.pool = WorkerPool(
            0,
            "llex",
            "llex",
            plans=[ProcessPlan({})] * workers,
            run=WorkerRun("000-a", package="0", path=[], cwd="/"),
            host=self,  # type: ignore[arg-type]
            tasks=types.SimpleNamespace(demands=lambda task: (1, 0.0)),
            on_broken=lambda pool: self.broken.append(pool.broken),
        )

    def process(self, name: str, *_: Any) -> Any:
        if self.fails:
            number = self.fails.pop(0)
            raise OSError(number, os.strerror(number))
        pid = len(self.started) + 100
        self.started.append(pid)
        return types.SimpleNamespace(
            pid=pid,
            data=None,
            control=None,
            ended=1,
            page=-1,
            attempt=0,
            wait=lambda _: True,
            last_words=lambda *_: b"",
            close=lambda: None,
        )

    def call_at(self, when: float, call: Callable[[], None]) -> None:
        self.timers.append(call)

    def emit(self, event: Any) -> None:
        self.events.append(event)

    def run_timer(self) -> None:
        self.timers.pop(0)()

    def greet(self, worker: PoolWorker[Any]) -> None:
        worker.greeted = True

    def notices(self) -> list[str]:
        return [event.text for event in self.events if type(event) is NoticeRaised]


def test_one_of_three_that_dies_while_descriptors_are_short_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, 3)
    stage.pool.start()
    for worker in stage.pool.peers:
        stage.greet(worker)
    stage.fails = [errno.EMFILE, errno.EMFILE]
    stage.pool.lost(stage.pool.peers[0])
    assert not stage.broken
    assert len(stage.pool.peers) == 2
    stage.run_timer()
    stage.run_timer()
    assert len(stage.pool.peers) == 3
    assert not stage.timers
    assert [text for text in stage.notices() if "cannot be started now" in text] == [
        "A worker of llex cannot be started now ([Errno 24] Too many open files); it is tried again until it can."
    ]


def test_a_reason_that_passes_stops_nothing_even_when_no_worker_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    stage.fails = [errno.EAGAIN] * 20
    stage.pool.start()
    while stage.timers:
        stage.run_timer()
    assert not stage.broken
    assert len(stage.pool.peers) == 1


def test_a_reason_that_stays_stops_the_executor_when_no_worker_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch, 2)
    stage.pool.start()
    stage.fails = [errno.ENOENT] * 3
    for worker in stage.pool.peers:
        stage.greet(worker)
    first, second = stage.pool.peers
    stage.pool.lost(first)
    assert not stage.broken
    stage.pool.lost(second)
    assert stage.broken == ["a worker process cannot be started: [Errno 2] No such file or directory"]


def test_workers_that_die_before_their_hello_stop_nothing_while_another_one_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch, 2)
    stage.pool.start()
    works, dies = stage.pool.peers
    stage.greet(works)
    for _ in range(10):
        stage.pool.lost(dies)
        if stage.timers:
            stage.run_timer()
        dies = stage.pool.peers[-1]
    assert not stage.broken
    works.greeted = True
    stage.pool.lost(works)
    while not stage.broken:
        stage.pool.lost(stage.pool.peers[0])
    assert "its workers cannot start" in stage.broken[0]
