"""The worker's life as a table: it ends, it cannot be left, and impossible pairs raise with the story."""

from __future__ import annotations

import pytest

from parslab.errors import InternalError
from parslab.records.state_machine import step
from parslab.records.states import WorkerState
from parslab.remote.pool.lifecycle import WORKER, WorkerSignal


def test_every_state_and_signal_is_used() -> None:
    assert set(WORKER.values()) | {WorkerState.starting} == set(WorkerState)
    assert {signal for _, signal in WORKER} == set(WorkerSignal)


def test_a_worker_may_die_in_every_state_and_then_stays_dead() -> None:
    alive = set(WorkerState) - {WorkerState.dead}
    assert {state for state, _ in WORKER} == alive
    assert all(WORKER[state, WorkerSignal.died] is WorkerState.dead for state in alive)


def test_impossible_pair_raises_with_the_story() -> None:
    with pytest.raises(InternalError, match="worker llex-0 on node1"):
        step(WORKER, WorkerState.dead, WorkerSignal.greeted, "worker llex-0 on node1")
