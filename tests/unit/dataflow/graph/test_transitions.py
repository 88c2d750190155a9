"""Every change of a task's state goes through the machine, and the task remembers it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import parslab
from parslab.dataflow.graph.task import Effects, Task
from parslab.dataflow.graph.transitions import Transitions
from parslab.errors import InternalError
from parslab.records.events import TaskMoved, TaskSubmitted
from parslab.records.machine import HISTORY, PATHS, TASK, Signal, signals_of
from parslab.records.states import TaskState
from parslab.testing.fakes import call
from parslab.wire.messages.base import Failure

S = TaskState
DATAFLOW = Path(parslab.__file__).parent / "dataflow"


class Bench:
    """Transitions alone, with one task."""

    def __init__(self, fold_moves: bool = False) -> None:
        self.effects = Effects()
        self.transitions = Transitions(self.effects, fold_moves)
        message = call(7, at=1.0)
        self.task = Task(0, message, [], "fit")
        self.transitions.announce(self.task, message, "llex", ready=True)

    def move(self, *signals: Signal) -> None:
        for now, signal in enumerate(signals, 2):
            self.transitions.move(self.task, signal, float(now), "w")

    def moves(self) -> list[TaskState]:
        return [event.state for event in self.effects.events if isinstance(event, TaskMoved)]


def test_task_keeps_the_signals_that_moved_it() -> None:
    bench = Bench()
    bench.move(Signal.sent, Signal.returned, Signal.sent, Signal.started, Signal.succeeded)
    assert [signal.name for signal in signals_of(bench.task.history)] == [
        "needs_met", "sent", "returned", "sent", "started", "succeeded"
    ]  # fmt: skip
    assert bench.moves() == [S.launched, S.ready, S.launched, S.running, S.exec_done]


def test_an_impossible_signal_raises_with_the_history() -> None:
    bench = Bench()
    bench.move(Signal.sent, Signal.started)
    with pytest.raises(InternalError) as raised:
        bench.move(Signal.needs_met)
    assert str(raised.value) == (
        "signal needs_met in state running: task 7 (fit), attempt 0, state running, waits for 0 of []; "
        "so far: needs_met, sent, started"
    )
    assert bench.task.state is S.running


def test_a_history_keeps_the_newest_signals_of_a_task_that_fails_for_ever() -> None:
    bench = Bench()
    for _ in range(100):
        bench.move(Signal.sent, Signal.started)
        bench.transitions.attempt_failed(bench.task, Failure("ValueError"), 9.0)
        bench.move(Signal.retried)
    assert bench.task.history <= HISTORY << 15
    assert [signal.name for signal in signals_of(bench.task.history)][-3:] == ["sent", "started", "retried"]


def test_folded_moves_are_in_the_event_that_announced_the_task() -> None:
    bench = Bench(fold_moves=True)
    bench.move(Signal.sent, Signal.started, Signal.succeeded)
    (event,) = bench.effects.events
    assert isinstance(event, TaskSubmitted)
    assert (event.state, event.worker) == (S.exec_done, "w")
    assert (event.time, event.ready, event.launched, event.started, event.ended) == (1.0, 1.0, 2.0, 3.0, 4.0)


@pytest.mark.parametrize("state", sorted({after for _, after in TASK.items()}))
def test_state_without_a_time_in_that_event_has_an_event_of_its_own(state: TaskState) -> None:
    """A new state that nobody gave a field does not pass for an end."""
    way = next((before, signal) for (before, signal), after in TASK.items() if after is state)
    bench = Bench(fold_moves=True)
    bench.transitions.restore(bench.task, way[0])
    bench.move(way[1])
    event = bench.effects.events[0]
    assert isinstance(event, TaskSubmitted)
    assert state in {event.state, *bench.moves()}
    assert bool(event.ended) == (event.state is state and bench.task.submitted is None)


@pytest.mark.parametrize("state", TaskState)
def test_a_restored_task_has_taken_the_shortest_way(state: TaskState) -> None:
    bench = Bench()
    bench.transitions.restore(bench.task, state)
    assert bench.task.state is state
    at = S.pending
    for signal in signals_of(bench.task.history):
        at = TASK[at, signal]
    assert at is state
    assert tuple(signals_of(bench.task.history)) == PATHS[state]


OWNERS = {"task", "old", "follower", "dependent", "need", "one", "join", "inner"}
"""Names that tasks have in this package."""


def _assigns_task_state(node: ast.AST) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    flat = [each for target in targets for each in getattr(target, "elts", [target])]
    return any(
        isinstance(each, ast.Attribute) and each.attr == "state" and ast.unparse(each.value) in OWNERS for each in flat
    )


def test_no_other_module_assigns_the_state_of_a_task() -> None:
    found = {
        path.relative_to(DATAFLOW).as_posix()
        for path in DATAFLOW.rglob("*.py")
        if any(map(_assigns_task_state, ast.walk(ast.parse(path.read_text()))))
    }
    assert found == {"graph/transitions.py"}
