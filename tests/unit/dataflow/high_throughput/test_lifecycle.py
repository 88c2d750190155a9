"""The manager's life as a table: it ends, it cannot be left, and impossible pairs raise with the story."""

from __future__ import annotations

import pytest

from parslab.dataflow.high_throughput.lifecycle import MANAGER, ManagerSignal
from parslab.errors import InternalError
from parslab.records.state_machine import step
from parslab.records.states import ManagerState

CONNECTED = {ManagerState.ready, ManagerState.held, ManagerState.draining}


def test_every_state_and_signal_is_used() -> None:
    assert set(MANAGER.values()) | {ManagerState.refused} == set(ManagerState)
    assert {signal for _, signal in MANAGER} == set(ManagerSignal)


def test_only_connected_managers_change_and_all_of_them_can_leave() -> None:
    assert {state for state, _ in MANAGER} == CONNECTED
    for state in CONNECTED:
        assert MANAGER[state, ManagerSignal.drains] is ManagerState.draining
        assert MANAGER[state, ManagerSignal.left] is ManagerState.gone
        assert MANAGER[state, ManagerSignal.lost] is ManagerState.lost


def test_impossible_pair_raises_with_the_story() -> None:
    with pytest.raises(InternalError, match="manager htex-0"):
        step(MANAGER, ManagerState.draining, ManagerSignal.released, "manager htex-0")
