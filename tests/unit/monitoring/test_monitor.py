"""When events are applied: at once when they are few or somebody looks, and not in the middle of a burst."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parslab.monitoring.monitor import APPLY, LATE, LOTS, MANY, Monitor
from parslab.records.events import TaskSubmitted
from parslab.records.panel import ClockChange
from parslab.records.states import TaskState

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from parslab.records.events import Event

BURST = 5 * MANY


@pytest.fixture
def monitor(tmp_path: Path) -> Iterator[Monitor]:
    watching = Monitor(tmp_path)
    yield watching
    watching.close(1000.0, timeout=20.0)


def calls(number: int, first: int = 0) -> list[Event]:
    return [TaskSubmitted(0.0, first + n, "fit", TaskState.ready, "llex", 1) for n in range(number)]


def tick(monitor: Monitor, now: float) -> int:
    """How many calls are known afterwards."""
    monitor.tick(now)
    return monitor.view.tasks.total


def test_few_are_applied_at_once(monitor: Monitor) -> None:
    monitor.record(calls(3))
    assert tick(monitor, 1.0) == 3


def test_a_burst_waits_for_a_quiet_moment(monitor: Monitor) -> None:
    monitor.record(calls(BURST))
    assert tick(monitor, 1.0) == 0
    assert monitor.next_deadline(1.0) == pytest.approx(1.0 + APPLY)
    monitor.ended += MANY  # all have been called, and they are at work
    assert tick(monitor, 1.1) == 0
    monitor.ended += MANY // 2
    assert tick(monitor, 1.2) == MANY
    assert monitor.next_deadline(1.2) == 1.2
    while tick(monitor, 1.2) < BURST:
        pass
    assert monitor.view.tasks.total == BURST


def test_a_burst_that_goes_on_is_not_put_off_for_ever(monitor: Monitor) -> None:
    monitor.record(calls(BURST))
    for step in range(int(LATE / 0.1)):
        assert tick(monitor, 1.0 + 0.1 * step) == 0
        monitor.ended += MANY
    assert tick(monitor, 1.0 + LATE) == MANY


def test_nor_is_one_that_fills_the_memory(monitor: Monitor) -> None:
    monitor.record(calls(LOTS - 1))
    assert tick(monitor, 1.0) == 0
    monitor.record(calls(1, LOTS))
    assert tick(monitor, 1.0) == MANY


def test_panel_with_a_lease_gets_changes_at_once(monitor: Monitor) -> None:
    monitor.request(b'{"type": "SnapshotRequest", "request_id": "1"}', 1.0, lambda _: None)
    monitor.record(calls(BURST))
    assert tick(monitor, 1.0) == MANY


def test_panels_hear_of_a_sleep_of_the_machine(tmp_path: Path) -> None:
    offset = [0.4]
    monitor = Monitor(tmp_path, clock_offset=lambda: offset[0])
    monitor.record(calls(1))
    monitor.tick(1.0)
    assert monitor.view.run.info.clock == []
    offset[0] = 3600.0  # the laptop slept for an hour, and then a task was called
    monitor.record([TaskSubmitted(2.0, 7, "fit", TaskState.ready, "llex", 1)])
    monitor.view.changed = False
    monitor.tick(2.1)
    monitor.tick(3.0)
    assert monitor.view.run.info.clock == [ClockChange(2.0, 3600.0)]
    assert monitor.view.changed
    offset[0] = 0.0  # somebody sets the wall clock back
    monitor.record(calls(1, first=8))
    monitor.tick(4.0)
    assert [change.offset for change in monitor.view.run.info.clock] == [3600.0, 0.0]
    monitor.close(5.0, timeout=20.0)
