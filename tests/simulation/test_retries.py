"""Runs in which much fails and may be tried again: every task ends exactly once, each attempt is begun at most once."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from parslab.records.states import TaskState
from parslab.testing.faults import Faults
from parslab.testing.network import Network

DEADLY = Faults(killed=0.3, doubled=0.3, failed=0.3, cancelled=0.1, unshippable=0.2)
RETRIES = 3


def played(
    seed: int,
    faults: Faults = DEADLY,
    retries: int = RETRIES,
    tasks: int = 12,
    workers: int = 3,
    handler: bool = False,
) -> Network:
    network = Network(seed, tasks, workers, faults=faults, retries=retries, handler=handler)
    network.play()
    broken = network.broken_promises()
    assert not broken, f"seed {seed}: {broken}"
    return network


@pytest.mark.parametrize("block", range(5))
def test_runs_with_retries_keep_every_promise(block: int) -> None:
    for seed in range(block * 200, (block + 1) * 200):
        played(seed)


@pytest.mark.parametrize("block", range(3))
def test_runs_with_a_retry_handler_keep_every_promise(block: int) -> None:
    waited = 0
    for seed in range(block * 200, (block + 1) * 200):
        network = played(seed, handler=True)
        waited += sum(TaskState.fail_retryable in moves for moves in network.history.moves.values())
    assert waited > 200


def test_one_worker_that_keeps_dying_is_enough() -> None:
    for seed in range(300):
        played(seed, tasks=15, workers=1, retries=2)


def test_what_failed_for_good_has_used_all_its_attempts() -> None:
    seen = 0
    quiet = Faults(killed=0.3, doubled=0.2, failed=0.5, cancelled=0.0, unshippable=0.0)
    for seed in range(300):
        network = played(seed, quiet)
        for task, moves in network.history.moves.items():
            if moves[-1] is TaskState.failed and TaskState.launched in moves and TaskState.joining not in moves:
                seen += 1
                assert network.history.attempts[task] == RETRIES
    assert seen > 100


def test_retries_save_most_of_what_would_be_lost() -> None:
    ends = {}
    for retries in (0, RETRIES):
        counted: Counter[TaskState] = Counter()
        for seed in range(200):
            counted.update(states[0] for states in played(seed, retries=retries).history.resolved.values())
        ends[retries] = counted[TaskState.exec_done] / counted.total()
    assert ends[RETRIES] > 1.5 * ends[0]


def test_a_run_of_many_kills() -> None:
    """Each kill costs an attempt of the task that ran, and of no other one."""
    faults = Faults(killed=0.4, doubled=0.1, failed=0.0, cancelled=0.0, unshippable=0.0)
    network = played(5, faults, retries=50, tasks=400, workers=8)
    assert len(network.workers) - 8 > 150
    assert {states[0] for states in network.history.resolved.values()} == {TaskState.exec_done}


def test_the_runs_reach_what_they_are_for() -> None:
    retried = dropped = again = 0
    for seed in range(200):
        network = played(seed)
        retried += network.table.retries.count
        dropped += network.table.dropped
        for moves in network.history.moves.values():
            again += (TaskState.running, TaskState.ready) in itertools.pairwise(moves)
    assert retried > 1000
    assert dropped > 100
    assert again > 100
