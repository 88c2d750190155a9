"""What becomes of tasks, blocks and the queue when jobs, nodes or the network die.

From the user's view every task ends once, and nothing is left running or queued; ``test_slurm_orphans`` ends runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import cloudpickle
import pytest

from parslab import python_app
from parslab.launchers import SrunLauncher
from tests.process.blocks import Ends, attempts
from tests.process.panel import notices, picture
from tests.process.sandbox import until
from tests.schedulers.runs.cluster import blocks, htex, loaded, slurm_provider, wait_blocks

if TYPE_CHECKING:
    from pathlib import Path

    from parslab import AppFuture
    from tests.process.sandbox import Sandbox
    from tests.schedulers.runs.cluster import Nodes

pytestmark = pytest.mark.usefixtures("nodes")
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@python_app
def begin(log: Path, number: int, gate: Path) -> tuple[int, str]:
    """Write down that the task is begun, and run until the gate is open."""
    import socket
    import time

    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{number}\n".encode())
    os.close(descriptor)
    deadline = time.monotonic() + 90
    while not gate.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return number, socket.gethostname()


class Work:
    """Tasks that have begun and go on until they are let through."""

    def __init__(self, folder: Path, number: int, running: int) -> None:
        self.log, self.gate, self.ends = folder / "log", folder / "gate", Ends()
        self.tasks: list[AppFuture] = [self.ends.watch(begin(self.log, n, self.gate)) for n in range(number)]
        until(lambda: len(attempts(self.log)) >= running, 30, f"{running} tasks are begun")

    def again(self, number: int, seconds: float = 40.0) -> None:
        """Wait until so many have been begun for the second time."""
        until(lambda: sum(n > 1 for n in attempts(self.log).values()) >= number, seconds, "tasks are begun again")

    def let_through(self, seconds: float = 40.0) -> set[str]:
        """All end as they should; the hosts that they have ended on."""
        self.gate.touch()
        results = [task.result(seconds) for task in self.tasks]
        assert [number for number, _ in results] == list(range(len(self.tasks)))
        return {host for _, host in results}


# --- jobs ------------------------------------------------------------------------------------------------------------


def test_a_block_that_is_cancelled_behind_our_back_is_replaced(sandbox: Sandbox, tmp_path: Path) -> None:
    with loaded(sandbox, htex(slurm_provider(), max_workers_per_node=2), retries=2) as dfk:
        work = Work(tmp_path, 2, running=2)
        (block,) = blocks(dfk)
        subprocess.run(["scancel", block.job], check=True)
        work.again(2)
        work.let_through()
        old, new = blocks(dfk)
        assert (old.state, new.state) == ("failed", "running")
        assert "cancelled" in old.reason.lower()
        assert new.job != old.job
        assert set(attempts(work.log).values()) == {2}
        work.ends.must_be_one_each(dfk)


def test_a_block_near_its_end_takes_no_more_and_is_replaced(sandbox: Sandbox, tmp_path: Path) -> None:
    """``drain_period`` before the walltime: no task is cut off, and none has to be tried again."""
    with loaded(sandbox, htex(slurm_provider(walltime=60), drain_period=4)) as dfk:
        work = Work(tmp_path, 3, running=1)
        until(lambda: [manager.state for manager in picture(dfk).managers] == ["draining"], 15)
        work.let_through()
        assert set(attempts(work.log).values()) == {1}
        until(lambda: blocks(dfk)[0].state != "draining", 15, "the first block ends")
        first, second = blocks(dfk)[:2]
        assert first.state in ("finished", "scaled_in"), first
        assert second.done >= 1
        assert not any("could not start" in text for text in notices(dfk))
        work.ends.must_be_one_each(dfk)


# --- nodes and their network -----------------------------------------------------------------------------------------


def test_a_node_that_loses_power(sandbox: Sandbox, tmp_path: Path, nodes: Nodes) -> None:
    """Its tasks go to the other node of its block, long before Slurm has noticed."""
    provider = slurm_provider(nodes_per_block=2, launcher=SrunLauncher())
    with loaded(sandbox, htex(provider, heartbeat_threshold=3), retries=1) as dfk:
        wait_blocks(dfk, 1)
        work = Work(tmp_path, 2, running=2)
        victim = picture(dfk).managers[0]
        if nodes.networked:
            nodes.cut(victim.host)  # else the kernel says goodbye for the dead
        nodes.crash(victim.host)
        until(lambda: {manager.state for manager in picture(dfk).managers} == {"lost", "ready"}, 15)
        assert victim.host not in work.let_through(60)
        assert sorted(attempts(work.log).values()) == [1, 2]
        assert any(victim.manager in text for text in notices(dfk))
        work.ends.must_be_one_each(dfk)
        nodes.mend_power(victim.host)


def test_a_short_cut_of_the_network_loses_nothing(sandbox: Sandbox, tmp_path: Path, nodes: Nodes) -> None:
    with loaded(sandbox, htex(slurm_provider(), heartbeat_threshold=15)) as dfk:
        work = Work(tmp_path, 4, running=1)
        (manager,) = picture(dfk).managers
        nodes.cut(manager.host)
        work.gate.touch()  # tasks that end meanwhile cannot be reported
        time.sleep(2)
        assert not any(task.done() for task in work.tasks)
        nodes.heal(manager.host)
        assert work.let_through() == {manager.host}
        assert set(attempts(work.log).values()) == {1}
        assert [(m.manager, m.state) for m in picture(dfk).managers] == [(manager.manager, "ready")]
        work.ends.must_be_one_each(dfk)


def test_a_long_cut_of_the_network_doubles_nothing(sandbox: Sandbox, tmp_path: Path, nodes: Nodes) -> None:
    """What the lost node has finished does not count; when it sends again it begins anew, in the same block."""
    provider = slurm_provider(init_blocks=2, min_blocks=2, max_blocks=2)
    with loaded(sandbox, htex(provider, heartbeat_threshold=2), retries=2) as dfk:
        wait_blocks(dfk, 2)
        work = Work(tmp_path, 2, running=2)
        victim, other = picture(dfk).managers
        nodes.cut(victim.host)
        until(lambda: any(m.manager == victim.manager and m.state == "lost" for m in picture(dfk).managers), 15)
        assert work.let_through() == {other.host}
        nodes.heal(victim.host)
        until(
            lambda: (
                [m for m in picture(dfk).managers if m.block == victim.block and m.state == "ready"]
                or all(block.state != "running" for block in blocks(dfk) if block.block == victim.block)
            ),
            40,
            "the healed node begins anew, or leaves",
        )
        assert sorted(attempts(work.log).values()) == [1, 2]
        assert [task.result(0)[0] for task in work.tasks] == [0, 1]
        work.ends.must_be_one_each(dfk)
