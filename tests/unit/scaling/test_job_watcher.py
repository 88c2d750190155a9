"""One status call for all jobs of a scheduler, never too often, none while there is nothing to ask."""

from __future__ import annotations

from typing import Any

import pytest

from parslab.providers.base import JobStatus
from parslab.records.states import BlockState
from parslab.scaling import job_watcher
from parslab.scaling.job_watcher import CALM, LONGEST_PAUSE, JobWatcher
from parslab.testing.simulated_cluster import VirtualCallRunner
from parslab.testing.virtual_time import START, VirtualTime


class Noting:
    """A runner that notes when it is asked for what."""

    def __init__(self, time: VirtualTime, period: float = 10.0, group: str = "slurm") -> None:
        self.time, self.period, self.group = time, period, group
        self.asked: list[tuple[float, list[str]]] = []
        self.broken = False

    def status(self, jobs: list[str]) -> dict[str, JobStatus]:
        self.asked.append((self.time.now - START, sorted(jobs)))
        if self.broken:
            raise OSError("squeue: error: Unable to contact slurm controller")
        return {job: JobStatus(BlockState.running) for job in jobs}


class Executor:
    """A member that notes the statuses that it gets."""

    def __init__(self, runner: Any, *jobs: str, changing: bool = True) -> None:
        self.runner, self.jobs, self.changing = runner, list(jobs), changing
        self.heard: list[list[str]] = []
        self.failures: list[int] = []

    def watched_jobs(self) -> tuple[list[str], bool]:
        return self.jobs, self.changing and bool(self.jobs)

    def job_statuses(self, statuses: dict[str, JobStatus], asked: list[str]) -> None:
        self.heard.append(asked)

    def status_failed(self, why: str, times: int) -> None:
        self.failures.append(times)


class Scene:
    """A watcher in virtual time."""

    def __init__(self) -> None:
        self.time = VirtualTime()
        self.calls = VirtualCallRunner(self.time, takes=0.0)
        self.watcher = JobWatcher(self.time.at, lambda: self.time.now, self.calls)
        self.runner = Noting(self.time)

    def member(self, *jobs: str, **options: Any) -> Executor:
        made = Executor(self.runner, *jobs, **options)
        self.watcher.members.append(made)
        return made

    def play(self, seconds: float) -> list[float]:
        before = len(self.runner.asked)
        self.time.play(self.time.now + seconds)
        return [when for when, _ in self.runner.asked[before:]]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_jobs_of_all_executors_are_asked_for_together(scene: Scene) -> None:
    one, two, none = scene.member("1", "2"), scene.member("3"), scene.member()
    scene.watcher.check_soon()
    scene.play(0.0)
    assert scene.runner.asked == [(0.0, ["1", "2", "3"])]
    assert (one.heard, two.heard, none.heard) == ([["1", "2"]], [["3"]], [])


def test_never_more_often_than_the_period(scene: Scene) -> None:
    scene.member("1")
    for _ in range(100):
        scene.watcher.check_soon()
        scene.play(0.35)
    assert [when for when, _ in scene.runner.asked] == [0.0, 10.0, 20.0, 30.0]


def test_the_longest_period_counts(scene: Scene) -> None:
    scene.member("1")
    slow = Executor(Noting(scene.time, period=25.0), "2")
    scene.watcher.members.append(slow)
    scene.watcher.check_soon()
    assert scene.play(60.0) == [0.0, 25.0, 50.0]


def test_rarely_while_all_is_well_and_soon_when_something_happens(scene: Scene) -> None:
    scene.member("1", changing=False)
    scene.watcher.check_soon()
    assert scene.play(12.0) == [0.0]
    scene.watcher.check_soon()
    assert scene.play(0.0) == [12.0]
    assert scene.play(12 + 10.0 * CALM) == [12 + 10.0 * CALM]


def test_nothing_is_asked_while_there_are_no_jobs(scene: Scene) -> None:
    member = scene.member("1")
    scene.watcher.check_soon()
    scene.play(5.0)
    member.jobs = []
    scene.watcher.check_soon()
    assert scene.play(1000.0) == []
    member.jobs = ["2"]
    scene.watcher.check_soon()
    assert scene.play(0.0) == [1005.0]


def test_a_scheduler_that_does_not_answer_is_asked_less_often(scene: Scene) -> None:
    member = scene.member("1")
    scene.runner.broken = True
    scene.watcher.check_soon()
    assert scene.play(250.0) == [0.0, 20.0, 60.0, 120.0, 180.0, 240.0]
    assert LONGEST_PAUSE == 60.0
    assert member.failures == [1, 2, 3, 4, 5, 6]
    scene.runner.broken = False
    scene.play(55.0)
    assert member.heard == [["1"]]
    assert len(scene.play(20.0)) == 2, "and as before when it answers again"


def test_a_call_that_hangs_is_not_doubled(scene: Scene) -> None:
    scene.calls.takes = 500.0
    scene.member("1")
    scene.watcher.check_soon()
    for _ in range(20):
        scene.watcher.check_soon()
        scene.play(10.0)
    assert scene.watcher.calls_made == 1


def test_client_that_has_left_gets_nothing(scene: Scene) -> None:
    scene.calls.takes = 1.0
    one, two = scene.member("1"), scene.member("2")
    scene.watcher.check_soon()
    scene.play(0.5)
    scene.watcher.leave(one)
    scene.watcher.leave(one)
    scene.play(1.0)
    assert (one.heard, two.heard) == ([], [["2"]])


def test_executors_of_a_run_share_the_watcher_of_their_group(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_watcher, "_WATCHERS", {})
    time = VirtualTime()

    def joined(run: str, group: str) -> JobWatcher:
        member = Executor(Noting(time, group=group))
        calls = VirtualCallRunner(time)
        return job_watcher.watcher(run, member, at=time.at, post=lambda _: None, clock=lambda: time.now, calls=calls)

    one, two, local, other = joined("1", "slurm"), joined("1", "slurm"), joined("1", "host"), joined("2", "slurm")
    assert one is two
    assert len({id(one), id(local), id(other)}) == 3
    assert len(one.members) == 2
