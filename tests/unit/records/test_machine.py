"""The task's machine: the table is whole, and an impossible signal raises with the story."""

from __future__ import annotations

import pytest

from parslab.errors import InternalError
from parslab.records.machine import TASK, Signal
from parslab.records.state_machine import step
from parslab.records.states import FAILURES, FINAL, SUCCESSES, TaskState

REOPENING = {Signal.reopened, Signal.rejoined}


@pytest.mark.parametrize("state", TaskState)
@pytest.mark.parametrize("signal", Signal)
def test_every_pair_is_in_the_table_or_raises_with_the_story(state: TaskState, signal: Signal) -> None:
    if (state, signal) in TASK:
        assert step(TASK, state, signal, "") is TASK[state, signal]
    else:
        with pytest.raises(InternalError) as raised:
            step(TASK, state, signal, "task 7 (fit)")
        assert str(raised.value) == f"signal {signal.name} in state {state.name}: task 7 (fit)"


def test_only_reopening_leads_out_of_a_final_state_and_never_from_a_result() -> None:
    exits = {(state, signal) for state, signal in TASK if state in FINAL}
    assert {signal for _, signal in exits} == REOPENING
    assert {state for state, _ in exits} == FINAL - SUCCESSES
    assert {TASK[pair] for pair in exits} == {TaskState.pending, TaskState.joining}


def test_failures_are_final() -> None:
    assert FAILURES < FINAL


def test_every_state_can_be_reached_and_left() -> None:
    reached = {TaskState.pending, TaskState.ready}  # where a task is born
    while more := {after for (before, _), after in TASK.items() if before in reached} - reached:
        reached |= more
    assert reached == set(TaskState)
    assert {state for state, _ in TASK} == set(TaskState) - SUCCESSES


def test_from_every_state_there_is_a_way_to_each_kind_of_end() -> None:
    for state in set(TaskState) - FINAL:
        reached = {state}
        while more := {after for (before, _), after in TASK.items() if before in reached} - reached:
            reached |= more
        assert {TaskState.exec_done, TaskState.cancelled} <= reached
        assert reached & FAILURES


def test_everything_unfinished_can_be_cancelled() -> None:
    for state in set(TaskState) - FINAL:
        assert TASK[state, Signal.cancelled] is TaskState.cancelled


def test_every_signal_is_used() -> None:
    assert {signal for _, signal in TASK} == set(Signal)


def test_states_show_their_names() -> None:
    assert f"{TaskState.exec_done}" == str(TaskState.exec_done) == "exec_done"
