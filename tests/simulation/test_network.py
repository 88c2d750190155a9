"""Thousands of small runs from seeds: every task ends exactly once, none is begun twice, nothing stays behind."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from parslab.records.states import TaskState
from parslab.remote.pool.queue import PROBE_AFTER
from parslab.testing.faults import Faults
from parslab.testing.network import Network

QUIET = Faults(killed=0.0, doubled=0.0, failed=0.0, cancelled=0.0, unshippable=0.0)
ROUGH = Faults(killed=0.15, doubled=0.2, failed=0.3, cancelled=0.4, unshippable=0.5, forgotten=0.9)


def played(seed: int, tasks: int = 12, workers: int = 3, faults: Faults | None = None) -> Network:
    network = Network(seed, tasks, workers, faults=faults)
    network.play()
    broken = network.broken_promises()
    assert not broken, f"seed {seed}: {broken}"
    return network


@pytest.mark.parametrize("block", range(10))
def test_small_runs_keep_every_promise(block: int) -> None:
    for seed in range(block * 400, (block + 1) * 400):
        played(seed)


@pytest.mark.parametrize("block", range(5))
def test_rough_runs_keep_every_promise(block: int) -> None:
    for seed in range(block * 300, (block + 1) * 300):
        played(seed, tasks=15, workers=2, faults=ROUGH)


def test_one_worker_is_enough() -> None:
    for seed in range(300):
        played(seed, tasks=20, workers=1)


def test_without_faults_everything_succeeds() -> None:
    for seed in range(300):
        network = played(seed, faults=QUIET)
        assert {state for states in network.history.resolved.values() for state in states} == {TaskState.exec_done}
        assert network.table.dropped == 0


def test_a_larger_run() -> None:
    for seed in range(3):
        played(seed, tasks=400, workers=8)


def test_a_cancelled_task_is_never_resolved_as_done() -> None:
    seen = 0
    for seed in range(300):
        network = played(seed, faults=ROUGH)
        for task, moves in network.history.moves.items():
            if TaskState.cancelled in moves:
                seen += 1
                assert network.history.resolved[task] == [TaskState.cancelled]
    assert seen > 300


def test_the_runs_reach_what_they_are_for() -> None:
    """A simulation that never kills a running task or gives one back proves little."""
    ends: Counter[TaskState] = Counter()
    returned = dropped = replaced = 0
    for seed in range(200):
        network = played(seed, faults=ROUGH)
        ends.update(states[0] for states in network.history.resolved.values())
        dropped += network.table.dropped
        replaced += len(network.workers) - 3
        for moves in network.history.moves.values():
            pairs = list(itertools.pairwise(moves))
            returned += (TaskState.launched, TaskState.ready) in pairs
    ended = {TaskState.exec_done, TaskState.failed, TaskState.dep_fail, TaskState.cancelled}
    assert min(ends[state] for state in ended) > 100
    assert dropped > 100
    assert returned > 20
    assert replaced > 20


def test_long_task_is_soon_reported_as_running() -> None:
    """A worker that was probed at before it had begun anything is probed at again."""
    for seed in range(600):
        late = played(seed, faults=QUIET).history.late
        assert all(seconds < 3 * PROBE_AFTER for seconds in late.values()), f"seed {seed}: {late}"


def test_the_same_seed_is_the_same_run() -> None:
    first, second = played(11, faults=ROUGH), played(11, faults=ROUGH)
    assert first.history.moves == second.history.moves
    assert first.now == second.now
