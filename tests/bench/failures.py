"""Groups of failures in a run of many tasks: what the view costs for each task, and how long each answer takes."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from parslab.monitoring.failures.patterns import OTHER
from parslab.monitoring.monitor import Monitor
from parslab.records import panel
from parslab.records.events import TaskFailed, TaskMoved, TaskSubmitted
from parslab.records.states import TaskState

if TYPE_CHECKING:
    from collections.abc import Callable

    from parslab.records.events import Event

__all__ = ["many_failures"]

T = TypeVar("T")
_STEP = 20_000
"""Tasks whose events are applied at once."""
_KINDS = 80
"""Patterns of the errors: more than there are groups."""
_replies: msgspec.json.Decoder[panel.Reply] = msgspec.json.Decoder(panel.Reply)


def many_failures(tasks: int, share: int) -> dict[str, float]:
    """A run in which one of ``share`` tasks fails: the slowest of a few answers of each kind."""
    with tempfile.TemporaryDirectory(prefix="failures-") as folder:
        monitor = Monitor(Path(folder))
        failed = 0
        for first in range(0, tasks, _STEP):
            events: list[Event] = []
            for task in range(first, min(tasks, first + _STEP)):
                now = task / 1000
                if task % share:
                    event = TaskSubmitted(now, task, "fit", TaskState.exec_done, "htex", 1)
                    event.ready = event.launched = event.started = event.ended = now
                    events.append(event)
                    continue
                failed += 1
                error = f"ValueError: {chr(0x100 + failed * 7 % _KINDS)} number {task} is bad, see /data/{task}.csv"
                events += [
                    TaskSubmitted(now, task, "fit", TaskState.ready, "htex", 1),
                    TaskFailed(now, task, 0, error, "Traceback: ...", worker="w"),
                    TaskMoved(now, task, TaskState.failed, 0, "w"),
                ]
            monitor.record(events)
            monitor.request(b'{"type": "Heartbeat"}', first / 1000, lambda _: None)
            monitor.tick(first / 1000 + 1)
        figures = _answers(monitor, tasks / 1000)
        monitor.close(tasks / 1000, 60.0)
        return figures


def _answers(monitor: Monitor, now: float) -> dict[str, float]:
    snapshot = _ask(monitor, now, panel.SnapshotRequest("0"), panel.Snapshot)
    group = max((found for found in snapshot.failures if found.number != OTHER), key=lambda found: found.tasks)
    assert group.example is not None
    _ask(monitor, now, panel.TaskDetailRequest("0", group.example), panel.TaskDetail)  # the store has written all rows
    requests: dict[str, tuple[panel.Request, type[panel.Reply]]] = {
        "groups": (panel.SnapshotRequest("1"), panel.Snapshot),
        "page": (panel.TaskPageRequest("2", failures=group.number), panel.TaskPage),
        "example": (panel.TaskDetailRequest("3", group.example), panel.TaskDetail),
    }
    slowest = {
        name: max(_seconds(lambda: _ask(monitor, now, request, kind)) for _ in range(5))  # noqa: B023
        for name, (request, kind) in requests.items()
    }
    return slowest | {"retry": max(_seconds(lambda: monitor.view.failures.tasks_of(group.number)) for _ in range(5))}


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def _ask(monitor: Monitor, now: float, request: panel.Request, kind: type[T]) -> T:
    answers: list[bytes] = []
    monitor.request(msgspec.json.encode(request), now, answers.append)
    while not answers:  # the store answers in its own thread
        time.sleep(0.001)
    reply = _replies.decode(answers[0])
    assert isinstance(reply, kind), reply
    return reply
