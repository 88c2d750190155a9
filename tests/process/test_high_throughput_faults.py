"""What becomes of tasks, blocks and the run when a part of the high-throughput executor dies, stops or is attacked.

Real processes on blocks of this host. From the user's view every task ends once, and nothing is left running.
"""

from __future__ import annotations

import os
import random
import re
import signal
import sys
import time
from typing import TYPE_CHECKING

import cloudpickle
import psutil
import pytest

from parslab import WrappedLauncher, python_app
from parslab.errors import ManagerLost, WorkerLost
from tests.process.blocks import Ends, attempts, block_leaders, blocks_run, managers, workers
from tests.process.hosts import Cable, second_host
from tests.process.panel import notices, picture
from tests.process.random_kills import begin, kill_at_random
from tests.process.sandbox import Sandbox, alive, error_of, is_gone, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


cloudpickle.register_pickle_by_value(sys.modules[__name__])


@python_app(executors=["htex"])
def plus(x: int) -> int:
    return x + 1


@python_app(executors=["htex"])
def logged(begun: Path, ended: Path, number: int, gate: Path | None = None) -> int:
    """Write down when the task begins and when it ends: after a moment, or when the gate is open."""
    for path in (begun, ended):
        with open(path, "a") as file:
            file.write(f"{number}\n")
        if path is begun:
            time.sleep(0.1)
            while gate is not None and not gate.exists():
                time.sleep(0.01)
    return number


# --- one death at a time ---------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_fails_its_task_alone(sandbox: Sandbox, tmp_path: Path) -> None:
    log, ends = tmp_path / "log", Ends()
    with blocks_run(sandbox) as dfk:
        plus(0).result(15)
        long = [ends.watch(begin(log, n, 60.0)) for n in range(2)]
        until(lambda: len(attempts(log)) == 2)
        victim = workers(dfk.pid)[0]
        after = [ends.watch(plus(n)) for n in range(50)]
        os.kill(victim, signal.SIGKILL)
        until(lambda: any(task.done() for task in long))
        dead, other = sorted(long, key=lambda task: not task.done())
        error = error_of(dead)
        assert isinstance(error, WorkerLost)
        assert error.pid == victim
        assert "was killed by SIGKILL" in str(error)
        assert [f.result(10) for f in after] == list(range(1, 51))
        assert not other.done()
        until(lambda: len(workers(dfk.pid)) == 2)
        assert victim not in workers(dfk.pid)
        other.cancel()


def test_with_retries_a_killed_worker_costs_an_attempt(sandbox: Sandbox, tmp_path: Path) -> None:
    log, ends = tmp_path / "log", Ends()
    with blocks_run(sandbox, retries=1, workers=1) as dfk:
        task = ends.watch(begin(log, 7, 1.0))
        until(lambda: 7 in attempts(log))
        (victim,) = workers(dfk.pid)
        os.kill(victim, signal.SIGKILL)
        assert task.result(10) == 7
        assert attempts(log) == {7: 2}
        ends.must_be_one_each(dfk)


@pytest.mark.parametrize("retries", [0, 2])
def test_a_manager_that_is_killed_loses_what_it_held_and_is_replaced(
    sandbox: Sandbox, tmp_path: Path, retries: int
) -> None:
    log, ends = tmp_path / "log", Ends()
    with blocks_run(sandbox, retries=retries) as dfk:
        plus(0).result(15)
        (manager,) = managers(dfk.pid)
        lost = workers(dfk.pid)
        tasks = [ends.watch(begin(log, n, 0.5)) for n in range(6)]
        until(lambda: len(attempts(log)) >= 2)
        os.kill(manager, signal.SIGKILL)
        for worker in lost:
            until(is_gone(worker), 5)
        if retries:
            assert [task.result(15) for task in tasks] == list(range(6))
        else:
            error = error_of(tasks[0], 5)
            assert isinstance(error, ManagerLost)
            assert "lost its connection" in str(error)
            assert {type(task.exception(15)) for task in tasks} <= {ManagerLost, type(None)}
        assert plus(1).result(15) == 2
        assert manager not in managers(dfk.pid)
        assert max(attempts(log).values()) <= 1 + retries
        became = "(is|are) tried again" if retries else "(has|have) failed"
        said = rf"Manager \S+ \(block 0\) lost its connection; the (\d )?tasks? that it held {became}\."
        assert any(re.fullmatch(said, text) for text in notices(dfk))
        ends.must_be_one_each(dfk)


@pytest.mark.parametrize("address", [None, "127.0.0.1"])
def test_a_manager_that_stops_for_too_long_is_given_up_and_begins_anew(
    sandbox: Sandbox, tmp_path: Path, address: str | None
) -> None:
    """By the unix socket, and by the port; also when it reads that it was given up before it notices the silence."""
    log, ends = tmp_path / "log", Ends()
    with blocks_run(sandbox, retries=2, address=address) as dfk:
        plus(0).result(15)
        (manager,) = managers(dfk.pid)
        tasks = [ends.watch(begin(log, n, 0.3)) for n in range(6)]
        until(lambda: len(attempts(log)) >= 2)
        os.kill(manager, signal.SIGSTOP)
        try:
            until(lambda: any("was silent for" in text for text in notices(dfk)), 10)
        finally:
            os.kill(manager, signal.SIGCONT)
        assert [task.result(15) for task in tasks] == list(range(6))
        # It began anew under another name, in the same block; what its workers had done counts for nothing.
        old, new = picture(dfk).managers
        assert (old.state, new.state) == ("lost", "ready")
        assert (old.block, new.block) == ("0", "0")
        assert max(attempts(log).values()) == 2
        assert plus(1).result(15) == 2
        ends.must_be_one_each(dfk)


def test_a_manager_that_stops_for_a_moment_goes_on(sandbox: Sandbox, tmp_path: Path) -> None:
    log, ended, ends = tmp_path / "log", tmp_path / "ended", Ends()
    with blocks_run(sandbox, heartbeat_period=0.1, heartbeat_threshold=15.0) as dfk:
        plus(0).result(15)
        (manager,) = managers(dfk.pid)
        tasks = [ends.watch(logged(log, ended, n)) for n in range(10)]
        until(lambda: attempts(log))
        os.kill(manager, signal.SIGSTOP)
        until(lambda: psutil.Process(manager).status() == psutil.STATUS_STOPPED)
        # Its workers end what they have, and nobody takes their outcomes; meanwhile heartbeats are due.
        until(lambda: attempts(ended) == attempts(log))
        os.kill(manager, signal.SIGCONT)
        assert [task.result(15) for task in tasks] == list(range(10))
        assert managers(dfk.pid) == [manager]
        assert set(attempts(log).values()) == {1}
        ends.must_be_one_each(dfk)


def test_a_block_that_is_killed_behind_our_back_is_replaced(sandbox: Sandbox, tmp_path: Path) -> None:
    log, ends = tmp_path / "log", Ends()
    with blocks_run(sandbox, retries=2) as dfk:
        plus(0).result(15)
        (leader,) = block_leaders(dfk.pid)
        inside = [leader, *managers(dfk.pid), *workers(dfk.pid)]
        tasks = [ends.watch(begin(log, n, 0.5)) for n in range(6)]
        until(lambda: len(attempts(log)) >= 2)
        os.killpg(leader, signal.SIGKILL)
        assert [task.result(15) for task in tasks] == list(range(6))
        for pid in inside:
            until(is_gone(pid), 5)
        until(lambda: [block.state for block in picture(dfk).blocks] == ["failed", "running"])
        assert "killed" in picture(dfk).blocks[0].reason
        ends.must_be_one_each(dfk)


def test_nothing_is_left_of_a_run_that_is_ended_while_all_is_busy(sandbox: Sandbox, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with blocks_run(sandbox, blocks=2) as dfk:
        tasks = [begin(log, n, 60.0) for n in range(20)]
        until(lambda: len(attempts(log)) == 4)
        everybody = [dfk.pid, *block_leaders(dfk.pid), *managers(dfk.pid), *workers(dfk.pid)]
    assert all(task.done() for task in tasks)
    assert not [pid for pid in everybody if alive(pid)]


# --- the network -----------------------------------------------------------------------------------------------------


@pytest.fixture
def cable() -> Iterator[Cable]:
    """To a second host, on which the blocks' managers run."""
    with second_host() as cable:
        yield cable


def test_a_short_cut_of_the_network_costs_nothing(sandbox: Sandbox, cable: Cable, tmp_path: Path) -> None:
    log, ended, ends = tmp_path / "log", tmp_path / "ended", Ends()
    launcher = WrappedLauncher(prepend=cable.prefix)
    with blocks_run(
        sandbox, launcher=launcher, address=cable.here, heartbeat_period=0.1, heartbeat_threshold=15.0
    ) as dfk:
        plus(0).result(15)
        (manager,) = picture(dfk).managers
        gate = tmp_path / "gate"
        tasks = [ends.watch(logged(log, ended, n, gate if n >= 4 else None)) for n in range(20)]
        until(lambda: len(attempts(log)) > 4)
        cable.cut()
        # The other side ends all its tasks and cannot report it; meanwhile heartbeats are due.
        done = len(attempts(ended))
        gate.touch()
        until(lambda: len(attempts(ended)) > done and attempts(ended) == attempts(log))
        cable.heal()
        assert [task.result(15) for task in tasks] == list(range(20))
        assert set(attempts(log).values()) == {1}
        assert [row.manager for row in picture(dfk).managers] == [manager.manager]
        ends.must_be_one_each(dfk)


def test_a_long_cut_of_the_network_loses_the_manager_until_it_is_healed(
    sandbox: Sandbox, cable: Cable, tmp_path: Path
) -> None:
    log, ends = tmp_path / "log", Ends()
    launcher = WrappedLauncher(prepend=cable.prefix)
    with blocks_run(sandbox, retries=2, launcher=launcher, address=cable.here) as dfk:
        plus(0).result(15)
        lost = workers(dfk.pid)
        tasks = [ends.watch(begin(log, n, 0.5)) for n in range(6)]
        until(lambda: len(attempts(log)) >= 2)
        cable.cut()
        until(lambda: any("was silent for" in text for text in notices(dfk)))
        assert not all(task.done() for task in tasks)
        for worker in lost:
            until(is_gone(worker), 10)  # the other side has noticed too, and does nothing for nobody
        cable.heal()
        assert [task.result(15) for task in tasks] == list(range(6))
        assert max(attempts(log).values()) <= 2
        assert picture(dfk).managers[0].state == "lost"
        ends.must_be_one_each(dfk)


# --- many deaths -----------------------------------------------------------------------------------------------------


def test_random_kills_all_over_a_run_lose_and_double_nothing(sandbox: Sandbox, tmp_path: Path) -> None:
    """The small sister of ``python -m tests.bench.kills``: 1,000 kills over 20,000 tasks."""
    with blocks_run(sandbox, retries=100, blocks=2) as dfk:
        report = kill_at_random(dfk, tmp_path / "log", tasks=1000, kills=40, dice=random.Random(7))
        assert report.kills == 40
        assert len(report.kinds) == 3
        assert report.again > 0
        everybody = [dfk.pid, *block_leaders(dfk.pid), *managers(dfk.pid), *workers(dfk.pid)]
    for pid in everybody:
        until(is_gone(pid), 5)
