"""The block's life as a table: it ends, it cannot be left, and impossible pairs raise with the story."""

from __future__ import annotations

import pytest

from parslab.errors import InternalError
from parslab.records.state_machine import step
from parslab.records.states import ENDED, BlockState
from parslab.scaling.lifecycle import BLOCK, BlockSignal

ALIVE = frozenset(BlockState) - ENDED


def test_every_living_state_can_be_left_and_no_ended_one() -> None:
    assert {state for state, _ in BLOCK} == ALIVE


def test_every_state_and_signal_is_used() -> None:
    assert set(BLOCK.values()) | {BlockState.requested} == set(BlockState)
    assert {signal for _, signal in BLOCK} == set(BlockSignal)


def test_whatever_we_want_to_end_is_scaled_in() -> None:
    ends = {state for (state_, _), state in BLOCK.items() if state_ is BlockState.draining}
    assert ends == {BlockState.draining, BlockState.scaled_in}
    assert all(BLOCK[state, BlockSignal.drains] is BlockState.draining for state in ALIVE)
    assert all(BLOCK[state, BlockSignal.withdrawn] is BlockState.scaled_in for state in ALIVE)


def test_impossible_pair_raises_with_the_story() -> None:
    with pytest.raises(InternalError, match="block 7, job 12"):
        step(BLOCK, BlockState.finished, BlockSignal.joined, "block 7, job 12")
