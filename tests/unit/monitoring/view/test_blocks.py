"""Blocks and managers in the view: counts that add up in every order, bounded memory, the history of the scaling."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parslab.monitoring.store.tables import StoredUsage
from parslab.monitoring.view.blocks import MAX_ENDED_BLOCKS, REASON
from parslab.monitoring.view.details import MAX_NODE_SAMPLES
from parslab.monitoring.view.managers import CONNECTED, MAX_LEFT
from parslab.monitoring.view.scale import GAP, MAX_POINTS, ScaleHistory
from parslab.monitoring.view.view import View
from parslab.monitoring.view.workers import MAX_LISTED
from parslab.records.events import (
    BlockMoved,
    Event,
    ManagerMoved,
    NodeSampled,
    TaskMoved,
    TaskSampled,
    TaskSubmitted,
    WorkerMoved,
)
from parslab.records.panel import BlockRow, ScalePoint
from parslab.records.states import ENDED, BlockState, ManagerState, TaskState, WorkerState

if TYPE_CHECKING:
    from collections.abc import Iterable

FINAL = {str(state) for state in ENDED}
GB = 1 << 30


def block(number: int | str, state: str, time: float = 1.0, reason: str = "", executor: str = "htex") -> BlockMoved:
    return BlockMoved(time, executor, str(number), state, f"job-{number}", 2, reason, "/out", "/err")


def manager(name: str, state: str, number: int | str = 0, workers: int = 4, time: float = 2.0) -> ManagerMoved:
    return ManagerMoved(time, name, "htex", str(number), state, "node1", 77, workers, 8, 16 * GB)


def worker(name: str, state: str, of: str = "m0") -> WorkerMoved:
    return WorkerMoved(3.0, name, "htex", WorkerState(state), "node1", 78, manager=of)


def after(events: Iterable[Event]) -> View:
    view = View()
    view.apply(events, 10.0)
    return view


def only(view: View) -> BlockRow:
    (row,) = view.blocks.all_rows()
    return row


BLOCKS = st.sampled_from(["0", "1"])
NAMES = st.sampled_from(["m0", "m1", "m2"])
EVENTS: st.SearchStrategy[Event] = st.one_of(
    st.builds(block, BLOCKS, st.sampled_from(list(BlockState)).map(str), st.floats(0, 9)),
    # A manager belongs to one block for life.
    st.builds(
        lambda name, state, workers: manager(name, state, int(name[1]) % 2, workers),
        NAMES,
        st.sampled_from(list(ManagerState)).map(str),
        st.integers(0, 4),
    ),
    st.builds(
        lambda of, k, state: worker(f"{of}-{k}", state, of),
        NAMES,
        st.integers(0, 2),
        st.sampled_from(["starting", "idle", "busy", "dead"]),
    ),
    st.builds(NodeSampled, st.floats(0, 9), NAMES, st.floats(0, 100), st.integers(0, GB), st.floats(0, 9)),
    st.builds(lambda task: TaskSubmitted(1.0, task, "fit", TaskState.ready, "htex", 1), st.integers(0, 5)),
    st.builds(
        lambda task, state, by: TaskMoved(2.0, task, state, 0, by),
        st.integers(0, 5),
        st.sampled_from([TaskState.running, TaskState.exec_done]),
        st.sampled_from(["m0", "m1-0", "stranger"]),
    ),
)


@given(st.lists(st.lists(EVENTS, max_size=30), max_size=6))
def test_the_workers_of_blocks_add_up_in_every_order(batches: list[list[Event]]) -> None:
    view = View()
    ended: dict[str, str] = {}
    sent: dict[str, BlockRow] = {}
    for now, batch in enumerate(batches):
        view.apply(batch, float(now))
        managers = view.managers.all_rows()
        here = [row for row in managers if row.state in CONNECTED]
        for row in view.blocks.all_rows():
            mine = [m for m in here if m.block == row.block]
            workers = (len(mine), sum(m.workers for m in mine), sum(m.busy for m in mine))
            assert (row.managers, row.workers, row.busy) == workers
            assert row.done == sum(m.done for m in managers if m.block == row.block)
            states = Counter(m.state for m in mine)
            assert row.held == (states["held"] > 0 and states["ready"] == 0)
            assert (row.ended is not None) == (row.state in FINAL)
            assert ended.get(row.block, row.state) == row.state
        assert all(row.busy >= 0 for row in managers)
        assert all(row.busy == 0 and row.cpu is None for row in managers if row.state not in CONNECTED)
        assert view.managers.workers == sum(row.workers for row in here)
        assert view.blocks.running == sum(row.state in ("running", "draining") for row in view.blocks.rows.values())
        assert view.workers.busy() == sum(row.state == "busy" for row in view.workers.rows.values())
        ended = {row.block: row.state for row in view.blocks.rows.values() if row.state in FINAL}
        # The sum of all changes is the picture that a new panel gets.
        sent |= {row.block: row for row in view.blocks.take_changed()}
        assert list(sent.values()) == sorted(view.blocks.all_rows(), key=lambda row: list(sent).index(row.block))
        view.take_batch()
        assert not view.unwritten


def test_a_block_is_followed_from_the_request_to_its_end() -> None:
    view = after([block(0, "requested", 1.0), block(0, "queued", 2.0, "(Resources)")])
    assert (only(view).state, only(view).since, only(view).reason, only(view).started) == (
        "queued",
        2.0,
        "(Resources)",
        None,
    )
    view.apply([block(0, "running", 5.0), block(0, "failed", 9.0, "sbatch: error: Invalid account")], 9.0)
    row = only(view)
    assert (row.requested, row.started, row.ended, row.since) == (1.0, 5.0, 9.0, 9.0)
    assert (row.state, row.reason, row.stderr) == ("failed", "sbatch: error: Invalid account", "/err")
    view.apply([block(0, "running", 10.0)], 10.0)
    assert only(view).state == "failed"


def test_the_reason_of_a_state_goes_with_it() -> None:
    view = after([block(0, "queued", 2.0, "(Priority)"), block(0, "queued", 3.0), block(0, "running", 4.0)])
    assert only(view).reason == ""
    view.apply([block(0, "failed", 5.0, "x" * 2 * REASON)], 5.0)
    assert len(only(view).reason) == REASON


def test_a_manager_that_left_takes_its_workers_along() -> None:
    view = after(
        [
            block(0, "running"),
            manager("m0", "ready"),
            worker("m0-0", "busy"),
            worker("m0-1", "idle"),
            worker("w", "busy", ""),
        ]
    )
    assert (only(view).managers, only(view).workers, only(view).busy) == (1, 4, 1)
    assert view.workers.busy() == 2
    view.apply([manager("m0", "lost")], 11.0)
    assert (only(view).managers, only(view).workers, only(view).busy) == (0, 0, 0)
    assert view.workers.busy() == view.workers.alive() == 1
    assert view.workers.rows["m0-0"].state == "dead"
    view.apply([manager("m0", "ready"), worker("m0-0", "idle")], 12.0)
    assert (only(view).workers, view.workers.alive()) == (4, 2)


def test_a_manager_that_left_is_not_brought_back_by_a_late_word() -> None:
    view = after([block(0, "running"), manager("m0", "ready"), manager("m0", "gone"), manager("m0", "draining")])
    assert (view.managers.rows["m0"].state, only(view).managers) == ("gone", 0)
    view.apply([manager("m0", "ready")], 11.0)
    assert (view.managers.rows["m0"].state, only(view).managers) == ("ready", 1)


def test_a_block_is_held_when_none_of_its_managers_takes_tasks() -> None:
    view = after([block(0, "running"), manager("m0", "held"), manager("m1", "ready")])
    assert not only(view).held
    view.apply([manager("m1", "held")], 11.0)
    assert only(view).held
    view.apply([manager("m0", "ready")], 12.0)
    assert not only(view).held


def test_tasks_are_credited_to_the_manager_whichever_name_is_known() -> None:
    tasks: list[Event] = [TaskSubmitted(1.0, n, "fit", TaskState.ready, "htex", 1) for n in range(3)]
    ends = [TaskMoved(2.0, n, TaskState.exec_done, 0, by) for n, by in enumerate(["m0", "m0-0", "local-1"])]
    view = after([block(0, "running"), manager("m0", "ready"), worker("m0-0", "idle"), *tasks, *ends])
    assert (only(view).done, view.managers.rows["m0"].done, view.workers.rows["m0-0"].done) == (2, 2, 1)


def test_node_samples_are_shown_and_kept_in_a_ring() -> None:
    view = after([block(0, "running"), manager("m0", "ready"), NodeSampled(4.0, "m0", 51.26, GB, 2.345)])
    row = view.managers.all_rows()[0]
    assert (row.cpu, row.used, row.load) == (51.3, GB, 2.35)
    view.apply([NodeSampled(5.0, "stranger", 1.0, 1, 1.0)], 11.0)
    assert view.dropped == 1
    view.apply([NodeSampled(6.0, "m0", 1.0, 1, 1.0)] * MAX_NODE_SAMPLES, 12.0)
    slots = [sample.slot for sample in view.take_batch().node_samples]
    assert (slots[:2], slots[-1], max(slots)) == ([0, 1], 0, MAX_NODE_SAMPLES - 1)


def test_samples_of_a_task_are_one_row() -> None:
    view = after([TaskSampled(float(n), 7, 0, n / 10, n, 0, 0) for n in range(5)])
    assert list(view.take_batch().usage.values()) == [
        StoredUsage(task=7, attempt=0, time=4.0, cpu=0.4, memory=4, read=0, written=0)
    ]
    assert not view.changed


def test_ended_blocks_and_managers_are_bounded_and_written_down_before_they_go() -> None:
    view = after([event for n in range(3 * MAX_ENDED_BLOCKS) for event in (block(n, "running"), block(n, "finished"))])
    assert len(view.blocks.rows) == len(view.blocks.all_rows()) == MAX_ENDED_BLOCKS
    assert "299" in {key[1] for key in view.blocks.rows}
    assert len({cells[1] for cells in view.take_batch().blocks}) == 3 * MAX_ENDED_BLOCKS
    view.apply([manager(f"m{n}", state) for n in range(2 * MAX_LEFT) for state in ("ready", "gone")], 11.0)
    assert len(view.managers.rows) == MAX_LEFT
    assert len(view.take_batch().managers) == 2 * MAX_LEFT
    view.apply([worker(f"w{n}", "idle", "") for n in range(MAX_LISTED + 50)], 12.0)
    assert view.workers.alive() == MAX_LISTED + 50
    assert len(view.workers.all_rows()) == len(view.workers.take_changed()) == MAX_LISTED


def test_a_run_without_blocks_has_no_scale() -> None:
    view = after([TaskSubmitted(1.0, 0, "fit", TaskState.ready, "local", 1)])
    assert view.overview(11.0).scale is None
    assert view.scaling.points == []


def test_the_scale_is_what_runs_and_what_waits() -> None:
    tasks = [TaskSubmitted(1.0, n, "fit", TaskState.ready, "htex", 1) for n in range(3)]
    view = after([*tasks, block(0, "queued")])
    view.apply([block(0, "running"), manager("m0", "ready"), block(1, "queued")], 12.0)
    assert view.overview(13.0).scale == ScalePoint(13.0, 1, 4, 3)
    assert view.scaling.points == [ScalePoint(10.0, 0, 0, 3), ScalePoint(12.0, 1, 4, 3)]


def test_the_history_keeps_a_level_that_stood_for_a_while_although_it_came_soon_after_another() -> None:
    history = ScaleHistory()
    for time, blocks in ((0.0, 1), (GAP / 2, 2), (100.0, 3)):
        history.add(time, blocks, 0, 0)
    assert [(point.time, point.blocks) for point in history.points] == [(0.0, 1), (GAP / 2, 2), (100.0, 3)]


@given(st.lists(st.tuples(st.sampled_from([0.01, 0.3, 1.0, 7.0]), st.integers(0, 3)), max_size=60), st.integers(1, 40))
def test_the_history_is_bounded_and_ends_with_how_things_stand(steps: list[tuple[float, int]], times: int) -> None:
    history, now, blocks = ScaleHistory(), 0.0, None
    for wait, blocks in steps * times:
        now += wait
        history.add(now, blocks, 0, 0)
        assert history.points[-1].blocks == blocks
    points = history.points
    assert len(points) <= MAX_POINTS + 1
    assert [point.time for point in points] == sorted({point.time for point in points})
    if points:
        assert points[0].time == pytest.approx(steps[0][0])


def test_a_block_that_was_drained_in_the_queue_never_started() -> None:
    view = after([block(0, "queued"), block(0, "draining"), block(0, "scaled_in")])
    (row,) = view.blocks.rows.values()
    assert row.started is None
    assert row.ended is not None
