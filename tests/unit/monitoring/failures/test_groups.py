"""Groups of failures: whatever tasks do, each failed task is in one group, and the number of groups is bounded."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from parslab.monitoring.failures import groups as module
from parslab.monitoring.failures.groups import MAX_GROUPS, MAX_NAMES, OTHER_NAMES, FailureGroups, LastAttempt
from parslab.monitoring.failures.patterns import OTHER, pattern_of
from parslab.monitoring.view.view import View
from parslab.records.events import FailureRecalled, TaskFailed, TaskMoved, TaskReopened, TaskSubmitted, WorkerMoved
from parslab.records.states import TaskState, WorkerState

if TYPE_CHECKING:
    import pytest

    from parslab.records.events import Event
    from parslab.records.panel import FailureGroupRow

S = TaskState


def submitted(task: int, app: str = "fit") -> TaskSubmitted:
    return TaskSubmitted(float(task), task, app, S.ready, "htex", 1)


def failed(task: int, error: str, attempt: int = 0, time: float = 5.0, worker: str = "w") -> TaskFailed:
    return TaskFailed(time, task, attempt, error, "Traceback ...", "", 0.0, worker)


def ended(task: int, state: TaskState = S.failed, attempt: int = 0, time: float = 5.0) -> TaskMoved:
    return TaskMoved(time, task, state, attempt, "w")


def fails(task: int, error: str, time: float = 5.0, worker: str = "w", app: str = "fit") -> list[Event]:
    return [submitted(task, app), failed(task, error, time=time, worker=worker), ended(task, time=time)]


def shown(view: View) -> dict[str, int]:
    return {f"{row.kind}: {row.message}": row.tasks for row in view.failures.all_rows()}


def only(view: View) -> FailureGroupRow:
    (row,) = view.failures.all_rows()
    return row


def test_tasks_with_one_pattern_are_one_group() -> None:
    view = View()
    view.apply([WorkerMoved(1.0, f"w{n}", "htex", WorkerState.idle, f"node{n}") for n in (1, 2)], 1.0)
    for task, worker, app in ((3, "w1", "fit"), (4, "w2", "fit"), (5, "w2", "plot")):
        view.apply(fails(task, f"ValueError: number {task} is bad", 10.0 + task, worker, app), 20.0)
    view.apply(fails(6, "KeyError: 'x'"), 20.0)
    group = view.failures.all_rows()[0]
    assert (group.kind, group.message, group.tasks) == ("ValueError", "number N is bad", 3)
    assert (group.first, group.last, group.example) == (13.0, 15.0, 3)
    assert (group.apps, group.executors, group.hosts) == (
        {"fit": 2, "plot": 1},
        {"htex": 3},
        {"node1": 1, "node2": 2},
    )
    assert shown(view) == {"ValueError: number N is bad": 3, "KeyError: '…'": 1}
    assert view.failures.tasks_of(group.number) == [3, 4, 5]


def test_a_worker_may_be_reported_after_its_first_task() -> None:
    view = View()
    events: list[Event] = [*fails(1, "E: 1"), WorkerMoved(1.0, "w", "htex", WorkerState.idle, "node1")]
    view.apply(events, 1.0)
    assert only(view).hosts == {"node1": 1}


def test_an_attempt_that_is_tried_again_is_no_failure() -> None:
    view = View()
    view.apply([submitted(1), failed(1, "E: 1"), ended(1, S.fail_retryable)], 1.0)
    assert shown(view) == {}
    view.apply([TaskMoved(2.0, 1, S.ready, 1), ended(1, S.exec_done, 1)], 2.0)
    assert shown(view) == {}
    assert not view.failures.unsettled


def test_the_end_may_be_in_the_next_batch_of_events() -> None:
    view = View()
    view.apply([submitted(1), TaskMoved(1.0, 1, S.running), failed(1, "E: 1")], 1.0)
    assert shown(view) == {}
    view.take_batch()
    view.apply([ended(1)], 2.0)
    assert shown(view) == {"E: N": 1}


def test_a_victim_of_another_task_is_in_no_group() -> None:
    view = View()
    view.apply([*fails(1, "E: 1"), submitted(2)], 1.0)
    view.apply([TaskFailed(2.0, 2, 0, "DependencyError: 1", "", "dependency"), ended(2, S.dep_fail)], 2.0)
    assert shown(view) == {"E: N": 1}


def test_a_task_that_is_retried_leaves_its_group() -> None:
    view = View()
    view.apply([*fails(1, "E: 1", 1.0), *fails(2, "E: 2", 2.0)], 3.0)
    number = only(view).number
    view.take_batch()
    view.apply([TaskReopened(4.0, 1, S.pending, S.failed, 1, "fit", "htex", 1)], 4.0)
    assert (only(view).tasks, only(view).example) == (1, 2)
    view.apply([TaskReopened(4.0, 2, S.pending, S.failed, 1, "fit", "htex", 1)], 4.0)
    assert view.failures.all_rows() == []
    assert view.failures.tasks_of(number) == []
    (changed,) = view.failures.take_changed()
    assert (changed.number, changed.tasks, changed.example, changed.apps) == (number, 0, None, {})
    view.apply([TaskMoved(5.0, 1, S.ready, 1), failed(1, "E: 9", 1, 6.0), ended(1, S.failed, 1, 6.0)], 6.0)
    assert (only(view).tasks, only(view).first, only(view).last) == (1, 1.0, 6.0)


def test_failures_of_a_lost_kernel_count_again() -> None:
    view = View()
    view.apply([TaskSubmitted(1.0, 1, "fit", S.failed, "htex", 1, recalled=True)], 2.0)
    view.apply([FailureRecalled(1.0, 1, "fit", "htex", "ValueError: \ud800 7")], 2.0)
    row = only(view)
    assert (row.tasks, row.first, row.last, row.apps, row.hosts) == (1, None, None, {"fit": 1}, {})


def test_the_number_of_groups_is_bounded() -> None:
    view = View()
    for task in range(MAX_GROUPS + 7):
        view.apply(fails(task, f"ValueError: {chr(0x100 + task)}"), 1.0)
    rows = view.failures.all_rows()
    assert len(rows) == MAX_GROUPS + 1
    other = rows[-1]
    assert (other.number, other.kind, other.message, other.tasks) == (OTHER, "", "", 7)
    assert len(view.failures.tasks_of(OTHER)) == 7
    # A group that is empty, and that everybody knows to be empty, makes room.
    view.take_batch()
    view.failures.take_changed()
    view.apply([TaskReopened(2.0, 0, S.pending, S.failed, 1, "fit", "htex", 1)], 2.0)
    view.apply(fails(900, "OSError: new"), 2.0)
    assert "OSError: new" not in shown(view)
    view.take_batch()
    view.failures.take_changed()
    view.apply(fails(901, "OSError: new"), 3.0)
    assert shown(view)["OSError: new"] == 1


def test_names_are_bounded() -> None:
    view = View()
    for task in range(MAX_NAMES + 5):
        view.apply(fails(task, "E: 1", app=f"app{task}"), 1.0)
    assert only(view).apps[OTHER_NAMES] == 5
    assert len(only(view).apps) == MAX_NAMES + 1
    view.apply([TaskReopened(2.0, MAX_NAMES, S.pending, S.failed, 1, "x", "htex", 1)], 2.0)
    assert only(view).apps[OTHER_NAMES] == 4


def test_tasks_beyond_the_limit_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TRACKED", 3)
    view = View()
    for task in range(5):
        view.apply(fails(task, "E: 1"), 1.0)
    assert only(view).tasks == 5
    assert view.failures.tasks_of(only(view).number) == [0, 1, 2]


def test_what_changed_is_given_once() -> None:
    groups = FailureGroups()
    groups.attempt_failed(1, LastAttempt(1.0, 0, "E: 1", "fit", "htex", ""))
    groups.settle({1: ("failed", 0)}.get, str)
    assert [row.tasks for row in groups.take_changed()] == [1]
    assert groups.take_changed() == []
    assert groups.unwritten
    assert len(groups.take_unwritten()) == 1
    assert not groups.unwritten


STEPS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.sampled_from(["fail", "retry", "succeed", "victim", "reopen"]),
        st.sampled_from(["ValueError: 1", "ValueError: 2", "KeyError: 'a'", "E: x", "E: y"]),
        st.booleans(),
    ),
    max_size=60,
)


@given(STEPS)
def test_each_failed_task_is_in_one_group(steps: list[tuple[int, str, str, bool]]) -> None:
    """With the events of each step in one batch or in two, and with the store taking rows in between or not."""
    view = View()
    states: dict[int, str] = {}
    attempts: Counter[int] = Counter()
    errors: dict[int, str] = {}
    for task, what, error, apart in steps:
        events: list[Event] = []
        if task not in states:
            events.append(submitted(task))
            states[task] = "open"
        attempt = attempts[task]
        if what == "reopen" and states[task] in ("failed", "dep_fail"):
            attempts[task] += 1
            events.append(TaskReopened(1.0, task, S.pending, TaskState[states[task]], attempt + 1, "fit", "htex", 1))
            states[task] = "open"
        elif states[task] == "open" and what == "succeed":
            events.append(ended(task, S.exec_done, attempt))
            states[task] = "exec_done"
        elif states[task] == "open" and what == "victim":
            events += [TaskFailed(1.0, task, attempt, error, "", "dependency"), ended(task, S.dep_fail, attempt)]
            states[task] = "dep_fail"
        elif states[task] == "open" and what == "retry":
            events += [failed(task, error, attempt), ended(task, S.fail_retryable, attempt)]
            attempts[task] += 1
            events.append(TaskMoved(1.0, task, S.ready, attempt + 1))
        elif states[task] == "open" and what == "fail":
            events += [failed(task, error, attempt), ended(task, S.failed, attempt)]
            states[task], errors[task] = "failed", error
        for batch in [[event] for event in events] if apart else [events]:
            view.apply(batch, 1.0)
            if apart:
                view.take_batch()
        expected = Counter(pattern_of(errors[task]).group for task, state in states.items() if state == "failed")
        assert Counter({row.number: row.tasks for row in view.failures.all_rows()}) == expected
        for row in view.failures.all_rows():
            tasks = view.failures.tasks_of(row.number)
            assert row.example == tasks[0]
            assert sum(row.apps.values()) == sum(row.executors.values()) == len(tasks) == row.tasks
