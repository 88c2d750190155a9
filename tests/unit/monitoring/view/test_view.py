"""The view: every order of events keeps its invariants, and memory stays bounded."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from parslab.monitoring.store.tables import REOPENED, TASK, StoredClient
from parslab.monitoring.view.counts import MAX_APPS, OTHER_APPS
from parslab.monitoring.view.notices import MAX_NOTICES
from parslab.monitoring.view.seen import MAX_MISSING, SeenTasks
from parslab.monitoring.view.text import TRACEBACK, clipped
from parslab.monitoring.view.view import View
from parslab.monitoring.view.workers import MAX_DEAD
from parslab.records.events import (
    ClientAttached,
    ClientLeft,
    Event,
    ExecutorStopped,
    LeaseMoved,
    NoticeRaised,
    OutputWritten,
    RunEnded,
    RunStarted,
    TaskFailed,
    TaskMoved,
    TaskReopened,
    TaskSubmitted,
    WorkerMoved,
)
from parslab.records.panel import CLIENT_SHIFT
from parslab.records.states import FINAL, TASK_STATES, TaskState, WorkerState

if TYPE_CHECKING:
    from collections.abc import Callable

S = TaskState
FINAL_NAMES = {state.name for state in FINAL}
TIME_OF = {state.name: info.column for state, info in TASK_STATES.items()}
Rows = dict[int, dict[str, object]]


def submitted(task: int, state: TaskState = S.ready, app: str = "fit", deps: tuple[int, ...] = ()) -> TaskSubmitted:
    return TaskSubmitted(float(task), task, app, state, "llex", 1, deps, "x=1", "In [3]")


def moved(task: int, state: TaskState, time: float = 5.0, attempt: int = 0, worker: str = "w") -> TaskMoved:
    return TaskMoved(time, task, state, attempt, worker)


def taken(view: View, rows: Rows | None = None) -> Rows:
    """What a store that reads ``take_batch`` knows afterwards."""
    rows = {} if rows is None else rows
    batch = view.take_batch()
    for cells in batch.tasks:
        rows[cells[0]] = dict(zip(TASK.columns, cells, strict=True))
    for *columns, task in batch.reopened:
        rows[task].update(zip(REOPENED, columns, strict=True))
    return rows


def check(view: View, rows: Rows) -> None:
    """The invariants of the module, with everything that was handed over so far."""
    overview = view.overview(1e6)
    by_state = Counter(overview.counts)
    assert sum(by_state.values()) == view.tasks.total == overview.tasks_total == len(rows)
    assert all(count > 0 for count in by_state.values())
    assert by_state == Counter(row["state"] for row in rows.values())
    for app, group in overview.apps.items():
        assert group == Counter(row["state"] for row in rows.values() if row["app"] == app)
    assert view.tasks.finished == sum(by_state[state] for state in FINAL_NAMES)
    assert sorted(view.tasks.in_memory) == sorted(i for i, row in rows.items() if row["state"] not in FINAL_NAMES)
    for row in rows.values():
        assert row[TIME_OF[str(row["state"])]] is not None
        assert (row["ended"] is not None) == (row["state"] in FINAL_NAMES)
    graph = view.graph
    assert len(graph.nodes) <= graph.limit
    assert view.hidden == view.tasks.total - len(graph.nodes) >= 0
    for node in graph.all_nodes():
        assert node.state == rows[node.id]["state"]
        assert all(dep in graph.nodes for dep in node.deps)


TASKS = st.integers(0, 7) | st.integers(1 << CLIENT_SHIFT, (1 << CLIENT_SHIFT) + 3)
STATES = st.sampled_from(list(TaskState))
WORKERS = st.sampled_from(["", "w", "v"])
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(submitted, TASKS, STATES, st.sampled_from(["fit", "load"]), st.lists(TASKS, max_size=3).map(tuple)),
    st.builds(moved, TASKS, STATES, st.floats(0, 9), st.integers(0, 2), WORKERS),
    st.builds(
        moved, TASKS, st.sampled_from([S.launched, S.running, S.exec_done]), st.floats(0, 9), st.just(0), WORKERS
    ),
    st.builds(lambda task: TaskFailed(1.0, task, 0, "E: x", "tb"), TASKS),
    st.builds(lambda task: OutputWritten(1.0, task, "stdout", "x\n"), TASKS),
    st.builds(
        lambda name, state: WorkerMoved(1.0, name, "llex", state, "h", 7),
        WORKERS,
        st.sampled_from(["starting", "idle", "busy", "dead"]),
    ),
    st.builds(lambda: ClientAttached(1.0, 1, 2, "h", True)),
    st.builds(lambda: ClientLeft(1.0, 1, "exit")),
    st.builds(lambda: RunEnded(1.0, "asked")),
    st.builds(lambda: RunStarted(1.0, "r", "h", 1, "/d", ("llex",), "0")),
    st.builds(lambda: NoticeRaised(1.0, "info", "hello")),
)


@given(st.lists(st.lists(EVENTS, max_size=30), max_size=6), st.integers(0, 6))
def test_invariants_hold_in_every_order(batches: list[list[Event]], limit: int) -> None:
    view, rows, ended = View(limit), Rows(), dict[int, object]()
    for now, batch in enumerate(batches):
        view.apply(batch, float(now))
        taken(view, rows)
        check(view, rows)
        for task, state in ended.items():
            assert rows[task]["state"] == state
        ended = {task: row["state"] for task, row in rows.items() if row["state"] in FINAL_NAMES}
        assert not view.unwritten


def test_moves_of_one_batch_are_one_row() -> None:
    view = View()
    view.apply([submitted(0), moved(0, S.launched, 1.0), moved(0, S.running, 2.0), moved(0, S.exec_done, 3.0)], 4.0)
    batch = view.take_batch()
    assert len(batch.tasks) == 1
    row = dict(zip(TASK.columns, batch.tasks[0], strict=True))
    assert (row["ready"], row["launched"], row["started"], row["ended"]) == (0.0, 1.0, 2.0, 3.0)
    assert row["state"] == "exec_done"
    assert row["worker"] == "w"
    assert not view.take_batch()


def reopened(task: int, was: TaskState, state: TaskState = S.pending, attempt: int = 1) -> TaskReopened:
    return TaskReopened(9.0, task, state, was, attempt, "fit", "llex", 1)


@pytest.mark.parametrize("flushed", [True, False])
def test_a_reopened_task_has_not_ended_nor_failed(flushed: bool) -> None:
    view, rows = View(), Rows()
    view.apply([submitted(0), submitted(1, S.pending, deps=(0,)), moved(0, S.running)], 1.0)
    view.apply([TaskFailed(6.0, 0, 0, "E: x", "tb"), moved(0, S.failed, 6.0), moved(1, S.dep_fail, 6.0)], 6.0)
    if flushed:
        taken(view, rows)
    assert view.overview(6.0).rate == 2.0
    view.apply([reopened(0, S.failed), reopened(1, S.dep_fail, attempt=0), moved(0, S.ready, 9.0, 1)], 6.0)
    assert view.overview(6.0).counts == {"ready": 1, "pending": 1}
    assert view.overview(6.0).rate == 2.0
    check(view, taken(view, rows))
    assert [rows[0][column] for column in ("error", "ended", "started", "attempt")] == ["", None, None, 1]
    assert [rows[0][column] for column in ("app", "shown", "cell", "submitted")] == ["fit", "x=1", "In [3]", 0.0]
    assert [node.state for node in view.graph.all_nodes()] == ["ready", "pending"]
    view.apply([moved(0, S.running, 10.0, 1), moved(0, S.exec_done, 11.0, 1)], 11.0)
    check(view, taken(view, rows))
    assert (rows[0]["started"], rows[0]["ended"]) == (10.0, 11.0)
    assert (view.tasks.finished, view.dropped) == (1, 0)


def test_a_join_that_waits_again_is_joining() -> None:
    view, rows = View(), Rows()
    view.apply([submitted(0), moved(0, S.running), moved(0, S.joining), moved(0, S.failed)], 1.0)
    taken(view, rows)
    view.apply([reopened(0, S.failed, S.joining, 0)], 2.0)
    check(view, taken(view, rows))
    assert (rows[0]["state"], rows[0]["joining"]) == ("joining", 9.0)
    view.apply([moved(0, S.exec_done)], 3.0)
    check(view, taken(view, rows))


def test_an_impossible_event_is_dropped_and_counted() -> None:
    view = View()
    view.apply([reopened(0, S.failed)], 1.0)
    assert (view.dropped, view.overview(1.0).counts) == (1, {})


@pytest.mark.parametrize("path", [[S.exec_done], [S.running, S.exec_done], [S.launched, S.failed], [S.cancelled]])
def test_states_may_be_skipped(path: list[TaskState]) -> None:
    view, rows = View(), Rows()
    view.apply([submitted(0), *(moved(0, state) for state in path)], 1.0)
    check(view, taken(view, rows))
    assert rows[0]["state"] == path[-1].name
    assert view.dropped == 0


def test_a_task_given_back_or_tried_again_starts_anew() -> None:
    view, rows = View(), Rows()
    view.apply([submitted(0), moved(0, S.launched, 1.0, 0, "w"), moved(0, S.ready, 2.0, 0, "")], 2.0)
    taken(view, rows)
    assert (rows[0]["state"], rows[0]["launched"], rows[0]["worker"]) == ("ready", None, "")
    view.apply([moved(0, S.running, 3.0, 0, "w"), moved(0, S.launched, 4.0, 1, "v"), moved(0, S.running, 3.0, 0)], 4.0)
    taken(view, rows)
    assert (rows[0]["state"], rows[0]["attempt"], rows[0]["worker"]) == ("launched", 1, "v")
    assert rows[0]["started"] is None
    assert view.dropped == 1
    check(view, rows)


def test_an_error_goes_with_its_attempt() -> None:
    view, rows = View(), Rows()
    view.apply([submitted(0), moved(0, S.running, 1.0), TaskFailed(2.0, 0, 0, "E: x", "tb")], 2.0)
    view.apply([moved(0, S.fail_retryable, 2.0)], 2.0)
    taken(view, rows)
    assert (rows[0]["state"], rows[0]["error"], rows[0]["retrying"]) == ("fail_retryable", "E: x", 2.0)
    view.apply([moved(0, S.ready, 3.0, 1, ""), TaskFailed(2.5, 0, 0, "E: late", "tb")], 3.0)
    taken(view, rows)
    assert (rows[0]["state"], rows[0]["error"], rows[0]["retrying"], rows[0]["started"]) == ("ready", "", None, None)
    check(view, rows)


def test_late_times_are_filled_in_and_final_states_stay() -> None:
    view, rows = View(), Rows()
    view.apply([submitted(0), moved(0, S.exec_done, 3.0), moved(0, S.running, 2.0), moved(0, S.failed, 4.0)], 5.0)
    taken(view, rows)
    assert (rows[0]["state"], rows[0]["started"], rows[0]["ended"]) == ("exec_done", 2.0, 3.0)
    view.apply([submitted(0), moved(0, S.failed)], 6.0)  # it has left memory and must not come back
    assert view.tasks.total == 1
    assert not view.take_batch().tasks


def test_memory_does_not_grow_with_finished_tasks() -> None:
    view = View(graph_limit=10)
    for task in range(5000):
        view.apply([submitted(task), moved(task, S.running), moved(task, S.exec_done)], task / 100)
        if task % 100 == 99:
            view.take_batch()
    assert (len(view.tasks.in_memory), len(view.graph.nodes), view.hidden) == (0, 10, 4990)
    assert view.tasks.total == view.tasks.finished == 5000


def test_seen_knows_each_id_once_and_forgets_old_gaps() -> None:
    seen = SeenTasks()
    assert [seen.add(task) for task in (0, 2, 1, 1, 0, 3)] == [True, True, True, False, False, True]
    assert seen.add((1 << CLIENT_SHIFT) + 10 * MAX_MISSING)
    assert seen.missing == MAX_MISSING
    assert not seen.add(1 << CLIENT_SHIFT)
    assert seen.add((1 << CLIENT_SHIFT) + 10 * MAX_MISSING - 1)


@given(st.permutations(list(range(12))), st.lists(st.integers(0, 11)))
def test_seen_takes_ids_in_any_order(order: list[int], again: list[int]) -> None:
    seen = SeenTasks()
    assert all(seen.add(task) for task in order)
    assert not any(seen.add(task) for task in again)


def test_graph_sends_new_nodes_then_changes() -> None:
    view = View(graph_limit=2)
    view.apply([submitted(0), submitted(1, S.pending, deps=(0, 5)), submitted(2), moved(0, S.running)], 1.0)
    nodes, changes = view.graph.take()
    assert [(node.id, node.state, node.deps) for node in nodes] == [(0, "running", []), (1, "pending", [0])]
    assert changes == []
    view.apply([moved(0, S.exec_done), moved(1, S.ready), moved(2, S.exec_done)], 2.0)
    nodes, changes = view.graph.take()
    assert (nodes, [(change.id, change.state) for change in changes]) == ([], [(0, "exec_done"), (1, "ready")])
    assert nodes == []
    assert view.hidden == 1


def test_rate_is_of_the_last_seconds_and_returns_to_zero() -> None:
    view = View()
    for second in range(10):
        tasks = range(second * 50, second * 50 + 50)
        view.apply([event for task in tasks for event in (submitted(task), moved(task, S.exec_done))], float(second))
    assert view.overview(9.5).rate == pytest.approx(50, rel=0.2)
    assert 0 < view.overview(13.0).rate < 50
    assert view.overview(14.0).rate == 0.0


def test_workers_count_tasks_and_the_dead_are_bounded() -> None:
    view = View()
    view.apply([WorkerMoved(0.0, "w", "llex", WorkerState.busy, "h", 7), submitted(0), moved(0, S.running)], 0.0)
    (row,) = view.workers.all_rows()
    assert (row.task, row.done, row.pid) == (0, 0, 7)
    view.apply([moved(0, S.exec_done, worker=""), WorkerMoved(1.0, "w", "llex", WorkerState.idle)], 1.0)
    (row,) = view.workers.all_rows()
    assert (row.task, row.done, row.state, row.pid) == (None, 1, "idle", 7)
    dead = [WorkerMoved(2.0, f"d{n}", "llex", WorkerState.dead, "h", n, "killed") for n in range(3 * MAX_DEAD)]
    view.apply(dead, 2.0)
    assert len(view.workers.rows) == MAX_DEAD + 1
    overview = view.overview(2.0)
    assert (overview.workers_total, overview.workers_busy) == (1, 0)
    view.workers.take_changed()
    assert view.workers.take_changed() == []


def test_state_of_the_lease_is_part_of_the_run() -> None:
    view = View()
    view.apply([RunStarted(1.0, "7", "h", 5, "/r", ("llex",), "0.1", "/books/fit.ipynb")], 1.0)
    view.apply([LeaseMoved(2.0, 600.0, 2.0, 602.0)], 2.0)
    run = view.run.take_changed()
    assert run is not None
    assert (run.notebook, run.linger, run.away, run.ends) == ("/books/fit.ipynb", 600.0, 2.0, 602.0)
    assert view.run.take_changed() is None
    view.apply([ClientAttached(3.0, 1, 9, "h", True, "/books/fit.ipynb"), LeaseMoved(3.0, 600.0, None, None)], 3.0)
    run = view.run.take_changed()
    assert run is not None
    assert (run.run, run.away, run.clients[0].notebook) == ("7", None, "/books/fit.ipynb")


def test_notices_clients_and_run() -> None:
    view = View()
    view.apply([RunStarted(1.0, "run-1", "h", 5, "/d", ("llex", "threads"), "0.1")], 1.0)
    view.apply([ClientAttached(1.0, n, n, "h", n == 1) for n in (1, 2)], 1.0)
    view.apply([NoticeRaised(float(n), "info", f"notice {n}") for n in range(2 * MAX_NOTICES)], 2.0)
    assert len(view.notices.latest) == len(view.notices.take_unsent()) == MAX_NOTICES
    assert view.overview(2.0).clients == 2
    view.apply([ClientLeft(3.0, 2, "exit"), ClientLeft(3.0, 2, "exit"), RunEnded(4.0, "asked to")], 4.0)
    assert view.overview(4.0).clients == 1
    assert [(row.client, row.owner) for row in view.run.info.clients] == [(1, True)]
    run = view.run.take_changed()
    assert run is not None
    assert (run.run, run.executors, run.ended, run.reason) == ("run-1", ["llex", "threads"], 4.0, "asked to")
    assert view.run.take_changed() is None
    batch = view.take_batch()
    assert len(batch.notices) == 2 * MAX_NOTICES
    assert len(batch.run) == 1
    assert batch.clients[-1] == StoredClient(
        client=2, pid=2, host="h", owner=False, attached=1.0, left_at=3.0, reason="exit"
    )


def test_many_apps_are_counted_together() -> None:
    view = View(0)
    view.apply([submitted(n, app=f"app{n}") for n in range(MAX_APPS + 50)], 1.0)
    overview = view.overview(1.0)
    assert len(overview.apps) == MAX_APPS + 1
    assert overview.apps[OTHER_APPS] == {"ready": 50}


@pytest.mark.parametrize(
    "make",
    [
        lambda text: TaskSubmitted(1.0, 1, text, S.ready, "llex", 1, (), text, text),
        lambda text: TaskFailed(1.0, 0, 0, text, text),
        lambda text: NoticeRaised(1.0, "error", text),
        lambda text: RunEnded(1.0, text),
    ],
)
def test_long_and_broken_texts_are_bounded(make: Callable[[str], Event]) -> None:
    view = View()
    view.apply([submitted(0), make("\udc80" + "x" * 3_000_000)], 1.0)
    batch = view.take_batch()
    structs = [msgspec.structs.astuple(row) for row in (*batch.failures, *batch.notices, *batch.run)]
    for text in (cell for cells in (*batch.tasks, *structs) for cell in cells if isinstance(cell, str)):
        assert len(text) <= TRACEBACK
        text.encode()  # no lone surrogates


def test_the_end_of_a_traceback_is_kept() -> None:
    view = View()
    view.apply([submitted(0), TaskFailed(1.0, 0, 0, "E: x", "a" * TRACEBACK + "the end")], 1.0)
    assert view.take_batch().failures[0].traceback.endswith("the end")
    assert clipped("abc", 3) == "abc"


def test_stopped_executor_is_reported_with_its_reason() -> None:
    view = View()
    view.apply([ExecutorStopped(1.0, "htex", "no block could start")], 1.0)
    assert view.changed
    run = view.run.take_changed()
    assert run is not None
    assert run.stopped == {"htex": "no block could start"}
    assert view.run.take_changed() is None
