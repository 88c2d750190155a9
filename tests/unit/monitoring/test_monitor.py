"""When events are applied: at once when they are few or somebody looks, and not in the middle of a burst."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from parslab.monitoring.monitor import APPLY, LATE, LOTS, MANY, Monitor
from parslab.records.events import TaskSubmitted
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


def test_who_looks_is_told_at_once(monitor: Monitor) -> None:
    monitor.request(b'{"type": "SnapshotRequest", "request_id": "1"}', 1.0, lambda _: None)
    monitor.record(calls(BURST))
    assert tick(monitor, 1.0) == MANY
