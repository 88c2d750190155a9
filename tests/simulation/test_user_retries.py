"""Runs in which a user tries again what failed or was cancelled, at any moment, while workers die and futures go."""

from __future__ import annotations

import itertools

import pytest

from parslab.records.states import TaskState
from parslab.testing.faults import Faults
from parslab.testing.network import Network

STUBBORN = Faults(failed=0.3, cancelled=0.4, forgotten=0.3, unshippable=0.3, retried=0.7)
DEADLY = Faults(killed=0.3, doubled=0.3, failed=0.3, cancelled=0.2, forgotten=0.1, retried=0.7)


def played(seed: int, faults: Faults, tasks: int = 12, workers: int = 3, retries: int = 0) -> Network:
    network = Network(seed, tasks, workers, faults=faults, retries=retries)
    network.play()
    broken = network.broken_promises()
    assert not broken, f"seed {seed}: {broken}"
    return network


@pytest.mark.parametrize("faults", [STUBBORN, DEADLY])
@pytest.mark.parametrize("block", range(4))
def test_what_is_tried_again_keeps_every_promise(block: int, faults: Faults) -> None:
    for seed in range(block * 150, (block + 1) * 150):
        played(seed, faults, tasks=14)


def test_with_retries_too() -> None:
    for seed in range(200):
        played(seed, DEADLY, retries=1)


def test_one_worker_lets_go_of_a_task_before_it_gets_it_again() -> None:
    for seed in range(200):
        played(seed, STUBBORN, workers=1)


def test_much_is_tried_again_and_some_of_it_succeeds() -> None:
    """Else the runs above prove nothing."""
    again = [
        network.history.resolved[task][0]
        for network in (played(seed, STUBBORN) for seed in range(100))
        for task in network.history.first
    ]
    assert len(again) > 200
    assert again.count(TaskState.exec_done) > 100
    assert len(set(itertools.chain(again))) > 2
