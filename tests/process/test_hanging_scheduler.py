"""Schedulers that hang, with the real threads: neither the loop, nor another executor, nor the end waits for them."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import json
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from parslab.description import encoded
from parslab.providers.base import Job, JobStatus
from parslab.providers.local import LocalProvider
from parslab.records.events import BlockMoved, NoticeRaised
from parslab.records.executor_settings import (
    EncodedDescription,
    HighThroughputSettings,
    ManagerSettings,
    ProviderSettings,
)
from parslab.records.states import BlockState
from parslab.scaling.block_journal import FILE_NAME, unfinished_jobs
from parslab.scaling.controller import ScalingController
from parslab.scaling.controller_owner import ExecutorLoad
from parslab.testing.fakes import run_settings
from tests.process.sandbox import until, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from parslab.records.events import Event


class Loop:
    """A small event loop, and what a controller asks of the DataFlowKernel."""

    def __init__(self, folder: Path, tasks: int) -> None:
        self.run = run_settings(folder)
        self.events: list[Event] = []
        self.stopped = ""
        self.tasks = tasks
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def event(self, event: Event) -> None:
        self.events.append(event)

    def at(self, when: float, call: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (when, next(self._order), call))

    def post(self, call: Callable[[], None]) -> None:
        self._calls.put(call)

    def load(self) -> ExecutorLoad:
        return ExecutorLoad(self.tasks, self.tasks, {})

    def release_block(self, block: str) -> None:
        """It has no managers."""

    def hold_block(self, block: str, hold: bool) -> None:
        """It has no managers."""

    def fail(self, why: str) -> None:
        self.stopped = why
        self.tasks = 0

    def turn(self) -> bool:
        """One round; true, so that ``until`` can wait for something else."""
        while self._timers and self._timers[0][0] <= time.time():
            heapq.heappop(self._timers)[2]()
        with contextlib.suppress(queue.Empty):
            self._calls.get(timeout=0.01)()
        return True

    def until(self, condition: Callable[[], Any]) -> Any:
        return until(lambda: self.turn() and condition(), 15.0)

    def states(self, label: str) -> list[str]:
        return [e.state for e in self.events if isinstance(e, BlockMoved) and e.executor == label]

    def notices(self) -> str:
        return " ".join(e.text for e in self.events if isinstance(e, NoticeRaised))


class Hanging:
    """A scheduler whose commands hang while their event is not set."""

    period = 0.05

    def __init__(self, group: str = "slurm") -> None:
        self.group = group
        self.go = {name: threading.Event() for name in ("submit", "status", "cancel")}
        self.called: list[str] = []
        self.cancelled: list[str] = []
        self._numbers = itertools.count(100)

    def open(self, *names: str) -> Hanging:
        """These answer at once."""
        for name in names:
            self.go[name].set()
        return self

    def _wait(self, name: str) -> None:
        self.called.append(name)
        assert self.go[name].wait(60.0)

    def submit(self, job: Job) -> str:
        self._wait("submit")
        return str(next(self._numbers))

    def status(self, jobs: list[str]) -> dict[str, JobStatus]:
        self._wait("status")
        return {job: JobStatus(BlockState.running) for job in jobs}

    def cancel(self, jobs: list[str]) -> None:
        self._wait("cancel")
        self.cancelled += jobs

    def close(self) -> None:
        self.called.append("close")


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    (tmp_path / "blocks").mkdir()
    return Loop(tmp_path, tasks=1)


@pytest.fixture
def runners() -> Iterator[list[Hanging]]:
    """Those of a test; at its end nothing hangs any more."""
    made: list[Hanging] = []
    yield made
    for runner in made:
        runner.open(*runner.go)
    for thread in threading.enumerate():
        if thread.name.startswith("parslab-"):
            thread.join(10.0)


def controller(loop: Loop, runner: Any, tmp_path: Path, label: str = "big", **settings: Any) -> ScalingController:
    given = HighThroughputSettings(
        label=label,
        provider=ProviderSettings(**{"description": EncodedDescription("x:X"), **settings}),
        manager=ManagerSettings(max_workers_per_node=1),
    )
    made = ScalingController(given, loop, "manager", tmp_path / "blocks", runner=runner)
    made.start()
    return made


def test_a_submission_in_flight_at_the_end_is_cancelled(loop: Loop, runners: list[Hanging], tmp_path: Path) -> None:
    runner = Hanging().open("status", "cancel")
    runners.append(runner)
    made = controller(loop, runner, tmp_path)
    loop.until(lambda: "submit" in runner.called)
    threading.Timer(0.3, runner.go["submit"].set).start()
    with within(5.0):
        made.close(time.time() + 10.0)
    assert set(runner.cancelled) == {"100"}
    assert loop.states("big")[-1] == "scaled_in"
    assert unfinished_jobs(tmp_path) == {}


def test_a_submission_that_answers_after_the_end_is_cancelled_by_its_own_thread(
    loop: Loop, runners: list[Hanging], tmp_path: Path
) -> None:
    runner = Hanging().open("status", "cancel")
    runners.append(runner)
    made = controller(loop, runner, tmp_path)
    loop.until(lambda: "submit" in runner.called)
    with within(2.0):
        made.close(time.time() + 0.3)
    assert "were being submitted when the run ended" in loop.notices()
    assert runner.cancelled == []
    runner.open("submit")
    until(lambda: runner.cancelled == ["100"])
    until(lambda: unfinished_jobs(tmp_path) == {})


def test_a_cancellation_that_hangs_does_not_hold_the_end(loop: Loop, runners: list[Hanging], tmp_path: Path) -> None:
    runner = Hanging().open("submit", "status")
    runners.append(runner)
    made = controller(loop, runner, tmp_path)
    loop.until(lambda: "running" in loop.states("big"))
    with within(2.0):
        made.close(time.time() + 0.5)
    assert "jobs 100 of executor big are cancelled: see whether" in loop.notices()
    assert unfinished_jobs(tmp_path) == {"big": {"0": "100"}}, "whoever buries the run still knows it"


def test_a_scheduler_that_hangs_holds_no_other_executor(loop: Loop, runners: list[Hanging], tmp_path: Path) -> None:
    stuck, well = Hanging("stuck"), Hanging("well").open("submit", "status", "cancel")
    runners += [stuck, well]
    first, second = controller(loop, stuck, tmp_path, "stuck"), controller(loop, well, tmp_path, "well")
    with within(5.0):
        loop.until(lambda: "running" in loop.states("well"))
    assert loop.states("stuck") == ["requested"]
    for one in (first, second):
        one.leave()
    with within(3.0):
        first.close(time.time() + 0.5)
        second.close(time.time() + 0.5)
    assert loop.states("well")[-1] == "scaled_in"


def test_a_status_call_that_hangs_holds_no_submission(loop: Loop, runners: list[Hanging], tmp_path: Path) -> None:
    runner = Hanging().open("submit", "cancel")
    runners.append(runner)
    made = controller(loop, runner, tmp_path, max_blocks=3)
    loop.until(lambda: "status" in runner.called)
    made.scale(3)
    loop.until(lambda: runner.called.count("submit") == 3)
    loop.until(lambda: loop.states("big").count("queued") == 3)
    assert runner.called.count("status") == 1
    with within(3.0):
        made.close(time.time() + 5.0)
    assert sorted(runner.cancelled) == ["100", "101", "102"]


def test_executors_of_one_scheduler_share_its_status_calls(loop: Loop, runners: list[Hanging], tmp_path: Path) -> None:
    one, two = Hanging().open("submit", "status", "cancel"), Hanging().open("status", "cancel")
    two._numbers = itertools.count(200)
    runners += [one, two]
    made = [controller(loop, one, tmp_path, "one"), controller(loop, two, tmp_path, "two")]
    # The first executor that has a job asks for all: it must be the first one, however quick the threads are.
    loop.until(lambda: "running" in loop.states("one"))
    two.open("submit")
    loop.until(lambda: "running" in loop.states("two"))
    assert "status" not in two.called
    for each in made:
        each.close(time.time() + 5.0)
    assert (one.cancelled, two.cancelled) == (["100"], ["200"])


def test_real_blocks_that_cannot_start_are_explained(loop: Loop, tmp_path: Path) -> None:
    provider = LocalProvider(worker_init="cd /no/such/folder || exit 3")
    options = {"worker_init": provider.worker_init, "local": True}
    made = controller(loop, None, tmp_path, description=encoded(provider), **options)
    with within(15.0):
        loop.until(lambda: loop.stopped)
    assert "/no/such/folder" in loop.stopped
    assert "exit status 3" in loop.stopped
    made.close(time.time() + 5.0)
    assert "/no/such/folder" in (tmp_path / "blocks" / "big-0.stderr").read_text()
    assert {path.suffix for path in (tmp_path / "blocks").glob("big-0.*")} >= {".sh", ".stdout", ".stderr"}
    lines = [json.loads(line) for line in (tmp_path / FILE_NAME).read_text().splitlines()]
    assert [line["event"] for line in lines if line.get("block") == "0"] == ["requested", "submitted", "ended"]
