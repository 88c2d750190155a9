"""Random graphs of temporary files on nodes that are lost at random: only what is needed runs again."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from parslab.dataflow.graph.recovery.file_recovery import RECOVERY_CLIENT, LostFile
from parslab.dataflow.graph.table import TaskTable
from parslab.dataflow.graph.values import StoredValue
from parslab.dataflow.operations.invariants import check
from parslab.records.panel import CLIENT_SHIFT
from parslab.records.states import FINAL, TaskState
from parslab.testing.fakes import call, outcome
from parslab.wire.messages.base import Failure

NODES = 3
LOST = Failure("FileLostError: gone", reason="file_lost")


class Cluster:
    """Nodes that run the tasks of a table, each of which reads the files of some earlier ones and writes one."""

    def __init__(self, seed: int, tasks: int, losses: float) -> None:
        self.random = random.Random(seed)
        self.table = TaskTable(("htex",))
        self.table.recovery.most = 1000
        self.losses = losses
        self.holders: dict[int, set[int]] = {}
        """By number of the task that wrote a file: the nodes that have it."""
        self.reads: dict[int, list[int]] = {}
        """The files that each task reads."""
        self.ready: list[int] = []
        self.running: dict[int, int] = {}
        """The node of each task that runs; there each file counts as fetched."""
        self.ran: Counter[int] = Counter()
        self.needed: Counter[int] = Counter()
        """How often a running task asked for a file of this call that was lost and not on its way."""
        self.origin: dict[int, int] = {}
        """The call that a recovery task runs again."""
        for number in range(1, tasks + 1):
            earlier = range(max(1, number - 6), number)
            deps = sorted(self.random.sample(earlier, min(len(earlier), self.random.randint(0, 3))))
            self.reads[number] = deps
            self.table.submit(0, call(number, *deps), [], "app")

    def play(self) -> None:
        while self.table.unfinished:
            self._take_ready()
            if self.ready and (len(self.running) < NODES or not self.running):
                self._begin(self.ready.pop(self.random.randrange(len(self.ready))))
            elif self.running:
                self._end(self.random.choice(list(self.running)))
            else:
                pytest.fail(f"nothing can run: {[task.story() for task in self.table.tasks.values()]}")
            if self.random.random() < self.losses:
                self._lose(self.random.randrange(NODES))
            check(self.table)

    def _take_ready(self) -> None:
        out = self.table.out
        self.ready += [*(one.task.id for one in out.again), *(task.id for task in out.ready)]
        out.again.clear()
        out.ready.clear()

    def _begin(self, number: int) -> None:
        """Run a task on a node that has no task, or find that files are lost."""
        self.table.sent(self.table.tasks[number], 1.0, "w")
        node = self.random.choice([node for node in range(NODES) if node not in self.running.values()])
        lost = [file for file in self.reads[self.origin.get(number, number)] if not self.holders.get(file)]
        for file in lost:
            answer = self.table.file_lost(LostFile(number, str(file), "was lost"), 1.0)
            assert answer.recovers, answer.text
            if answer.started is not None:
                self.needed[file] += 1
                self.origin[answer.started[0].id] = file
        if lost:
            self._report(number, LOST)
            return
        self.running[number] = node
        for file in self.reads[self.origin.get(number, number)]:
            if self.random.random() < 0.5:
                self.holders[file].add(node)

    def _end(self, number: int) -> None:
        node = self.running.pop(number)
        origin = self.origin.get(number, number)
        self.ran[origin] += 1
        self.holders.setdefault(origin, set()).add(node)
        self.table.recovery.wrote(number, str(origin))
        self._report(number, None)

    def _report(self, number: int, failure: Failure | None) -> None:
        task = self.table.tasks[number]
        value = None if failure is not None else StoredValue(b"value", [])
        self.table.attempt_ended(task, outcome(task, 1.5, 2.0, failure), value, "w")

    def _lose(self, node: int) -> None:
        for holders in self.holders.values():
            holders.discard(node)


@pytest.mark.parametrize("losses", [0.02, 0.1, 0.2])
def test_exactly_what_is_needed_runs_again_whatever_is_lost(losses: float) -> None:
    again = 0
    for seed in range(50):
        cluster = Cluster(seed, 25, losses)
        cluster.play()
        own = {number: task for number, task in cluster.table.tasks.items() if number >> CLIENT_SHIFT == 0}
        assert {task.state for task in own.values()} == {TaskState.exec_done}
        assert cluster.ran == Counter({number: 1 + cluster.needed[number] for number in cluster.reads})
        assert cluster.table.recovery.count == cluster.needed.total()
        assert not [number for number in cluster.table.tasks if number >> CLIENT_SHIFT == RECOVERY_CLIENT]
        again += cluster.table.recovery.count
    assert again > 20


def test_without_losses_nothing_runs_again() -> None:
    for seed in range(50):
        cluster = Cluster(seed, 25, 0.0)
        cluster.play()
        assert set(cluster.ran.values()) == {1}
        assert all(task.state in FINAL for task in cluster.table.tasks.values())
