"""Restore a table from the event log: no task that had ended runs again, and all others end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from parslab.dataflow.graph.function_registry import FunctionRegistry
from parslab.dataflow.graph.table import TaskTable
from parslab.dataflow.graph.values import StoredValue
from parslab.dataflow.operations.invariants import check
from parslab.dataflow.persistence.log_format import (
    BatchEnd,
    CallItem,
    CallsTakenOver,
    ClientGone,
    ClientJoined,
    DamageItem,
    EndItem,
    FunctionItem,
    LingerSet,
    MessageItem,
    MoveItem,
    Position,
    ReleaseItem,
    ReopenedTasks,
    RunClosed,
    RunOpened,
)
from parslab.dataflow.persistence.replay import Replay, restore
from parslab.monitoring.view.view import View
from parslab.records.events import FailureRecalled
from parslab.records.states import FINAL, TaskState
from parslab.testing.fakes import call, outcome
from parslab.wire.messages.base import DefineFunction, Failure, ForgetFunctions, TaskKind
from parslab.wire.messages.base import TaskValue as ValueMessage
from parslab.wire.messages.client import FollowOutput, JoinBodyReturned, RunLocalTask, TaskResolved

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

S = TaskState
AT = Position(1, 0)
CODED = FunctionItem(0, 0, DefineFunction(0, b"d", "app", 1), b"pickle")


def table() -> TaskTable:
    return TaskTable(("llex", "threads"), fold_moves=True)


def nothing(_: Position) -> Any:
    return None


def recovered(
    *items: Any, value: Callable[[Position], Any] = nothing, again: Callable[[Position], Any] = nothing
) -> TaskTable:
    """The table that a record gives."""
    replay = Replay()
    replay.read((Position(1, number), item) for number, item in enumerate((CODED, *items)))
    there = table()
    restore(there, replay, 5.0, value, again)
    check(there)
    return there


def called(task: int, *deps: int, kind: int = TaskKind.remote, client: int = 0) -> CallItem:
    return CallItem(client, call(task, *deps, kind=kind), [])


def ended(task: int, state: TaskState = S.exec_done, text: bytes = b"value", place: Position | None = None) -> EndItem:
    failure = None if state is S.exec_done else Failure("ValueError: no")
    inline = text if failure is None and place is None else b""
    resolved = TaskResolved(task, state, inline, 0 if place is None else 99, failure)
    return EndItem(task, resolved, StoredValue(inline, []) if inline else None, place)


def ready(there: TaskTable) -> list[int]:
    return [task.id for task in there.out.ready]


def test_what_had_ended_is_kept_and_what_waited_goes_on() -> None:
    there = recovered(called(0), called(1, 0), called(2, 1), called(3), ended(0))
    assert ready(there) == [1, 3]
    assert there.tasks[0].value is not None
    assert there.tasks[0].value.inline == b"value"
    assert there.tasks[2].state is S.pending
    assert there.tasks[1].app == "app"
    assert there.unfinished == 3


def test_what_a_worker_had_runs_again_as_another_attempt() -> None:
    there = recovered(called(0), called(1), called(2), MoveItem([0, 1, 2, ~1], {2: 4}))
    assert [(task, there.tasks[task].attempt) for task in ready(there)] == [(0, 1), (1, 0), (2, 5)]


def test_released_results_are_held_by_those_that_need_them() -> None:
    there = recovered(called(0), called(1, 0), called(2), ended(0), ended(2), ReleaseItem(0, [0, 2]))
    assert list(there.tasks) == [1]
    (need,) = there.tasks[1].needs
    assert need.value is not None
    assert need.value.inline == b"value"


def test_failures_go_on_to_those_that_wait() -> None:
    there = recovered(called(0), called(1, 0), ended(0, S.failed))
    assert there.tasks[1].state is S.dep_fail
    assert [message.task for _, message, _ in there.out.replies if isinstance(message, TaskResolved)] == [1]


def test_large_values_are_read_when_they_are_needed() -> None:
    places = {5: StoredValue(b"large", []), 6: None}
    items = called(0), called(1, 0), called(2), ended(0, place=Position(9, 5)), ended(2, place=Position(9, 6))
    there = recovered(*items, value=lambda place: places[place.offset], again=lambda _: called(2))
    assert there.tasks[0].value is places[5]
    assert ready(there) == [1, 2]  # the value of 2 is lost, so it is made again
    assert there.tasks[2].args == b"args"
    resolved = TaskResolved(0, S.exec_done, b"", 99)
    assert ready(recovered(called(0), EndItem(0, resolved, None, None))) == [0]  # nor was it ever written


def test_local_tasks_wait_for_their_client() -> None:
    there = recovered(
        called(0, kind=TaskKind.local), called(1, 0), called(2, kind=TaskKind.external), called(3, kind=TaskKind.local),
        ended(3, text=b""), called(4, 3),
    )  # fmt: skip
    assert there.tasks[0].state is S.launched
    assert there.tasks[2].state is S.ready
    assert there.tasks[4].state is S.pending
    assert there.tasks[3].wanted
    there.value_arrived(there.tasks[3], StoredValue(b"here", []), 6.0)
    assert ready(there) == [4]


def test_the_value_of_a_local_task_that_was_sent_is_there() -> None:
    there = recovered(
        called(3, kind=TaskKind.local), ended(3, text=b""), called(4, 3), MessageItem(0, ValueMessage(3, b"x", 0), [])
    )
    assert ready(there) == [4]


def test_joins_go_on_waiting() -> None:
    join = called(0, kind=TaskKind.join)
    there = recovered(
        join,
        called(1),
        called(2),
        MessageItem(0, JoinBodyReturned(0, (1, 2), True, 1.0), []),
        ended(1),
        ReleaseItem(0, [1]),
    )
    task = there.tasks[0]
    assert (task.state.name, task.waiting) == ("joining", 1)
    there.sent(there.tasks[2], 6.0, "w")
    there.attempt_ended(there.tasks[2], outcome(there.tasks[2], 6.0, 7.0), StoredValue(b"two", []))
    assert task.state.name == "exec_done"
    assert task.value is not None
    assert [part.inline for part in task.value.parts or ()] == [b"value", b"two"]


def test_a_join_that_had_ended_holds_what_it_joined() -> None:
    join = called(0, kind=TaskKind.join)
    items = (
        join, called(1), called(2), MessageItem(0, JoinBodyReturned(0, (1,), False, 1.0), []), ended(1),
        ended(0, text=b""),
        ReleaseItem(0, [1]), called(3, 0),
    )  # fmt: skip
    there = recovered(*items)
    assert ready(there) == [2, 3]
    assert there.tasks[3].needs[0].value is not None
    assert there.tasks[3].needs[0].value.inline == b"value"


def test_a_join_whose_last_end_is_not_recorded_ends() -> None:
    join = called(0, kind=TaskKind.join)
    there = recovered(join, called(1), MessageItem(0, JoinBodyReturned(0, (1,), False, 1.0), []), ended(1))
    assert there.tasks[0].state is S.exec_done


def test_what_needs_something_unknown_is_lost_with_a_sentence() -> None:
    there = recovered(called(1, 0), called(2, 1))
    failure = there.tasks[1].failure
    assert failure is not None
    assert "was in a damaged part of the run's event log: call it again" in failure.error
    assert there.tasks[2].state is S.dep_fail


def test_no_other_function_takes_the_place_of_a_lost_one() -> None:
    item = CallItem(0, call(0, fn=7), [])
    assert recovered(item).tasks[0].state is S.dep_fail
    replay = Replay()
    replay.read((AT, one) for one in (CODED, item))
    codes = FunctionRegistry()
    assert codes.restore(replay.function_count(), replay.codes, []) == [0]
    assert codes.add(DefineFunction(0, b"other", "app", 1), b"pickle") == 8
    assert codes.add(CODED.code, b"pickle") == 0


def test_batches_behind_a_missing_one_come_again() -> None:
    items = (
        called(0), BatchEnd(0, 1), DamageItem(0, "its file is missing", 0, 2), called(2), BatchEnd(0, 3),
        called(1 << 40, client=1), BatchEnd(1, 7),
    )  # fmt: skip
    replay = Replay()
    replay.read((AT, item) for item in items)
    assert replay.batches == {0: 1, 1: 7}
    assert list(replay.tasks) == [0, 1 << 40]
    replay.read((AT, item) for item in (RunOpened("r", "1", 1, 99, 0.0), called(1), BatchEnd(0, 2)))
    assert replay.batches[0] == 2
    assert list(replay.tasks) == [0, 1 << 40, 1]


def test_what_is_said_of_clients_and_functions() -> None:
    replay = Replay()
    items = (
        RunOpened("r", "1", 1, 5, 0.0), ClientJoined(0, "a.ipynb", 5, "h", True), ClientJoined(1, "", 6, "h", False),
        CODED, FunctionItem(1, 0, DefineFunction(4, b"d", "app", 1), b"pickle"),
        FunctionItem(1, 1, DefineFunction(5, b"e", "app", 1), b"pickle"),
        MessageItem(1, ForgetFunctions([5]), []), called(1 << 40, client=1), ClientGone(1), LingerSet(60.0),
        called(7), MessageItem(0, FollowOutput(7), []),
        DamageItem(10, "bytes"), RunClosed("it received SIGTERM"),
    )  # fmt: skip
    replay.read((AT, item) for item in items)
    assert replay.gone == {1}
    assert replay.functions == {0: {0: 0}, 1: {4: 0}}
    assert (replay.linger, replay.processes, replay.damaged, replay.closed) == (60.0, 1, 1, "it received SIGTERM")
    assert replay.newest == {0: 7, 1: 1 << 40}
    assert replay.tasks[7].followers == {0}
    assert replay.tasks[1 << 40].released


def test_a_call_that_was_taken_over_goes_by_both_numbers() -> None:
    there = recovered(called(4), called(9, client=2), CallsTakenOver(2, [(9, 4)]), called(10, 9, client=2))
    assert there.tasks[9] is there.tasks[4]
    assert there.tasks[4].client == 2
    assert there.tasks[10].needs == [there.tasks[4]]
    assert ready(there) == [4]


def test_a_task_that_was_reopened_runs_again() -> None:
    other = FunctionItem(0, 3, DefineFunction(3, b"e", "app", 1), b"pickle")
    items = (
        called(0),
        called(1, 0),
        ended(0),
        ReleaseItem(0, [0]),
        ended(1, S.failed),
        other,
        ReopenedTasks([1], ((1, 3),)),
    )
    there = recovered(*items)
    assert ready(there) == [1]
    assert (there.tasks[1].args, there.tasks[1].fn) == (b"args", 3)
    assert recovered(*items, ended(1)).tasks[1].state is S.exec_done


def test_failures_are_reported_again_with_their_errors() -> None:
    there = recovered(
        called(0),
        called(1, 0),
        called(2),
        called(3),
        ended(0, S.failed),
        ended(2, S.failed),
        ReleaseItem(0, [2]),
        ended(3),
    )
    events = [event for event in there.out.events if isinstance(event, FailureRecalled)]
    assert [(event.task, event.error, event.executor) for event in events] == [
        (2, "ValueError: no", "llex"),
        (0, "ValueError: no", "llex"),
    ]
    view = View()
    view.apply(there.out.events, 5.0)
    assert [(group.tasks, group.apps) for group in view.failures.all_rows()] == [(2, {"app": 2})]


def test_a_failed_task_can_still_be_tried_again() -> None:
    there = recovered(called(0), called(1, 0), ended(0), ReleaseItem(0, [0]), ended(1, S.failed))
    assert there.tasks[1].args == b"args"
    (need,) = there.tasks[1].needs
    assert need.value is not None
    assert list(recovered(called(0), called(1, 0), ended(0), ended(1, S.failed), ReleaseItem(0, [0, 1])).tasks) == []


class Life:
    """A run that writes its record; the client is a function of it."""

    def __init__(self) -> None:
        self.table = table()
        self.record: list[Any] = []
        self.ran: list[int] = []

    def call(self, task: int, deps: tuple[int, ...], kind: int) -> None:
        item = called(task, *deps, kind=kind)
        self.record.append(item)
        self.table.submit(0, call(task, *deps, kind=kind), [], "app")

    def act(self, fails: Iterable[int] = ()) -> None:
        """Carry out what the table says, until nothing is left to do."""
        out = self.table.out
        while out.ready or out.replies:
            replies, out.replies = out.replies, []
            for _, message, _ in replies:
                if isinstance(message, TaskResolved):
                    value = StoredValue(message.inline, []) if message.inline else None
                    self.record.append(EndItem(message.task, message, value, None))
                elif isinstance(message, RunLocalTask):
                    self.succeed(message.task, None)
            chosen, out.ready = out.ready, []
            for task in chosen:
                if task.state is S.ready:
                    self.record.append(MoveItem([task.id], {}))
                    self.table.sent(task, 1.0, "w")
                    self.ran.append(task.id)
                    if task.id in fails:
                        self.table.attempt_ended(task, outcome(task, 1.0, 2.0, Failure("ValueError: no")))
                    else:
                        self.succeed(task.id, StoredValue(b"%d" % task.id, []))

    def succeed(self, task: int, value: StoredValue | None) -> None:
        self.table.attempt_ended(self.table.tasks[task], outcome(self.table.tasks[task], 1.0, 2.0), value)


@given(st.data())
def test_wherever_the_record_ends_the_run_ends_as_it_would_have(data: st.DataObject) -> None:
    life = Life()
    count = data.draw(st.integers(1, 8))
    fails = data.draw(st.sets(st.integers(0, count - 1), max_size=2))
    kinds = {}
    for task in range(count):
        # Values of local tasks lie at the client: local ones are needed by local ones alone here.
        kinds[task] = data.draw(st.sampled_from([TaskKind.remote, TaskKind.remote, TaskKind.local]))
        usable = [t for t in range(task) if kinds[t] == TaskKind.remote or kinds[task] == TaskKind.local]
        deps = data.draw(st.lists(st.sampled_from(usable), max_size=3, unique=True)) if usable else []
        life.call(task, tuple(deps), kinds[task])
        if data.draw(st.booleans()):
            life.act(fails)
    life.act(fails)
    states = {task: life.table.tasks[task].state for task in range(count)}
    cut = data.draw(st.integers(0, len(life.record)))
    second = Life()
    replay = Replay()
    replay.read((Position(1, number), item) for number, item in enumerate((CODED, *life.record[:cut])))
    known = {item.submit.task for item in life.record[:cut] if isinstance(item, CallItem)}
    over = {item.task for item in life.record[:cut] if isinstance(item, EndItem)}
    had = {task for item in life.record[:cut] if isinstance(item, MoveItem) for task in item.tasks} - over
    running, _ = restore(second.table, replay, 5.0, nothing, nothing)
    check(second.table)
    assert {task.id for task in running} == had
    assert all(task.attempt == 1 for task in running)
    assert not over & {task.id for task in second.table.out.ready}
    second.act(fails)
    assert not over & set(second.ran)
    for task in known:
        assert second.table.tasks[task].state is states[task]
        assert second.table.tasks[task].state in FINAL
        value = second.table.tasks[task].value
        if states[task] is S.exec_done and kinds[task] == TaskKind.remote:
            assert value is not None
            assert value.inline == b"%d" % task


def lost(task: int) -> EndItem:
    """The end of a task whose large result was in the memory of the lost process only."""
    return EndItem(task, TaskResolved(task, S.exec_done, size=1 << 20), None, None)


def test_a_lost_value_is_made_again_for_those_that_wait_for_it() -> None:
    there = recovered(called(0), called(1, 0), called(2, 1), lost(0), lost(1))
    assert ready(there) == [0]
    assert [there.tasks[number].state for number in (1, 2)] == [S.pending, S.pending]


def test_a_lost_value_that_nobody_can_need_is_not_made_again() -> None:
    there = recovered(called(0), called(1, 0), lost(0), lost(1), ReleaseItem(0, [0, 1]))
    assert there.tasks == {}
    assert ready(there) == []
    there = recovered(called(0), called(1, 0), lost(0), ReleaseItem(0, [0]), ended(1))
    assert list(there.tasks) == [1]
    assert ready(there) == []


def test_a_released_lost_value_is_made_again_for_a_value_that_is_made_again() -> None:
    there = recovered(called(0), called(1, 0), lost(0), ReleaseItem(0, [0]), lost(1))
    assert ready(there) == [0]
    assert there.tasks[1].state is S.pending


def test_a_join_of_a_lost_value_joins_again() -> None:
    items = [called(0, kind=TaskKind.join), called(1), MessageItem(0, JoinBodyReturned(0, (1,), False, 1.0), [])]
    joined_end = EndItem(0, TaskResolved(0, S.exec_done), None, None)
    there = recovered(*items, lost(1), joined_end, called(2, 0))
    assert ready(there) == [1]
    assert there.tasks[0].state is S.joining
    assert there.tasks[2].state is S.pending
    there = recovered(*items, lost(1), joined_end, ReleaseItem(0, [0, 1]))
    assert there.tasks == {}


def test_a_call_whose_arguments_were_not_written_is_lost_with_a_sentence() -> None:
    """The log wrote that they were not needed; a log that was cut afterwards may say otherwise."""
    item = called(0)
    item.submit.frames = 1
    there = recovered(item)
    failure = there.tasks[0].failure
    assert failure is not None
    assert failure.error.startswith("CallLost")
