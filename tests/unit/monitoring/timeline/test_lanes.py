"""Lanes: no task is lost, none overlaps another one, and there are as few lanes as workers were busy at once."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from parslab.monitoring.timeline.lanes import Lane, Lanes, Span

Times = list[tuple[int, int]]
TIMES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 20)), max_size=40)


def lane_of(*spans: tuple[float, float, str]) -> Lane:
    lane = Lane()
    for task, (start, end, state) in enumerate(spans):
        lane.add(Span(end, start, task, task % 2, state))
    return lane


@given(TIMES)
def test_overlapping_tasks_get_as_few_lanes_as_possible(times: Times) -> None:
    spans = sorted(
        Span(start + length + 0.0, start + 0.0, n, 0, "exec_done") for n, (start, length) in enumerate(times)
    )
    lanes = Lanes()
    for span in spans:
        lanes.add(span)
    bars = [bar for lane in lanes.lanes for bar in lane.bars(-1.0, 100.0, 0.0, 0.0)]
    assert sorted((bar.end, bar.start, bar.task) for bar in bars) == [span[:3] for span in spans]
    for lane in lanes.lanes:
        own = lane.bars(-1.0, 100.0, 0.0, 0.0)
        assert all(a.end <= b.start for a, b in itertools.pairwise(own))
    deepest = max((sum(a.start <= b.start < a.end for a in spans) for b in spans), default=0)
    assert len(lanes.lanes) == deepest


@given(TIMES, st.floats(0.5, 30.0))
def test_no_task_is_lost_in_bars_of_several(times: Times, least: float) -> None:
    lanes = Lanes()
    for n, (start, length) in enumerate(sorted(times, key=sum)):
        lanes.add(Span(start + length + 0.0, start + 0.0, n, n % 3, "failed" if n % 5 == 0 else "exec_done"))
    bars = [bar for lane in lanes.lanes for bar in lane.bars(-1.0, 100.0, least, 0.0)]
    assert sum(bar.tasks for bar in bars) == len(times)
    assert sum(bar.failed for bar in bars) == len(range(0, len(times), 5))
    assert abs(sum(bar.busy for bar in bars) - sum(length for _, length in times)) < 0.01
    assert all((bar.state == "failed") == (bar.failed > 0) for bar in bars)
    for lane in lanes.lanes:
        narrow = [bar for bar in lane.bars(-1.0, 100.0, least, 0.0) if bar.end - bar.start < least]
        # Two neighbours that both are too narrow begin further apart than what can be seen.
        assert all(b.start - a.start >= least for a, b in itertools.pairwise(narrow))


def test_a_failed_task_is_never_hidden_by_others() -> None:
    lane = lane_of((0.0, 0.1, "exec_done"), (0.1, 0.2, "failed"), (0.2, 0.3, "exec_done"), (5.0, 9.0, "exec_done"))
    (short, long) = lane.bars(0.0, 10.0, 1.0, 0.0)
    assert (short.tasks, short.failed, short.state) == (3, 1, "failed")
    assert (long.tasks, long.start, long.end) == (1, 5.0, 9.0)


def test_a_long_task_after_short_ones_is_apart() -> None:
    lane = lane_of((0.0, 0.1, "exec_done"), (0.1, 0.2, "exec_done"), (0.3, 9.0, "exec_done"))
    assert [(bar.tasks, bar.end) for bar in lane.bars(0.0, 10.0, 1.0, 0.0)] == [(2, 0.2), (1, 9.0)]


def test_only_tasks_of_the_window_have_bars() -> None:
    lane = lane_of((0.0, 1.0, "exec_done"), (2.0, 4.0, "cancelled"), (5.0, 6.0, "exec_done"))
    (bar,) = lane.bars(1.5, 4.5, 0.0, 2.0)
    assert (bar.start, bar.end, bar.task, bar.state) == (0.0, 2.0, 1, "cancelled")
    assert lane.busy_until(3.0) == 2.0
    assert lane.seen(3.0, 6.0) == (2, 0, 1, 1)
    assert lane.seen(1.2, 1.3) == (0, 0, -1, -1)


def test_times_of_two_clocks_may_overlap_a_little() -> None:
    lanes = Lanes()
    lanes.add(Span(1.002, 0.0, 1, 0, "exec_done"))
    lanes.add(Span(2.0, 1.0, 2, 0, "exec_done"))
    (lane,) = lanes.lanes
    assert [(bar.start, bar.end) for bar in lane.bars(0.0, 9.0, 0.0, 0.0)] == [(0.0, 1.002), (1.002, 2.0)]


def test_running_tasks_are_on_lanes_that_are_free() -> None:
    lanes = Lanes()
    lanes.add(Span(1.0, 0.0, 1, 0, "exec_done"))
    lanes.add(Span(3.0, 0.5, 2, 0, "exec_done"))
    inf = float("inf")
    placed = lanes.placed([Span(inf, 4.0, 4, 0, "running"), Span(inf, 1.5, 3, 0, "running")])
    assert [(len(lane), span and span.task) for lane, span in placed] == [(1, 3), (1, 4)]
    placed = lanes.placed([Span(inf, 2.0, task, 0, "running") for task in (3, 4)])
    assert [(len(lane), span and span.task) for lane, span in placed] == [(1, 3), (1, None), (0, 4)]
