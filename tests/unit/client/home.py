"""A run that only remembers what its futures asked for."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

from parslab.client.futures.app_future import AppFuture
from parslab.records.states import TaskState
from parslab.serialize.failures import failure_of
from parslab.serialize.values import pack

if TYPE_CHECKING:
    from parslab.records.panel import TaskDetail
    from parslab.wire.stream import Buffer


class FakeHome:
    """Where the futures of these tests live."""

    def __init__(self) -> None:
        self.flushed = 0
        self.fetched: list[int] = []
        self.timeouts: list[float | None] = []
        self.cancelled: list[int] = []
        self.unstoppable: set[int] = set()
        self.retried: list[int] = []
        self.released: list[tuple[int, int]] = []
        self.large: dict[int, Any] = {}
        self.states: dict[int, TaskState] = {}

    def future(self, task: int = 7, app: str = "fit") -> AppFuture:
        return AppFuture(self, task, app)

    def flush(self) -> None:
        self.flushed += 1

    def fetch(self, task: int, timeout: float | None) -> tuple[bytes, list[Buffer]]:
        self.fetched.append(task)
        self.timeouts.append(timeout)
        inline, frames = pack(self.large[task])
        return inline, list(frames)

    def cannot_stop(self, task: int) -> bool:
        return task in self.unstoppable

    def cancel(self, task: int) -> None:
        self.cancelled.append(task)

    def retry(self, task: int) -> None:
        self.retried.append(task)

    def release(self, task: int, size: int) -> None:
        self.released.append((task, size))

    def state_of(self, task: int) -> TaskState:
        return self.states.get(task, TaskState.pending)

    def detail(self, task: int) -> TaskDetail:
        raise AssertionError("not asked here")

    def explain(self, task: int) -> str:
        return f"task {task} ran because it was called"


def done(future: AppFuture, value: Any) -> AppFuture:
    """What the link does when a value has come."""
    future.resolve(TaskState.exec_done, pickle.dumps(value, 5), 0, None)
    return future


def failed(future: AppFuture, error: BaseException) -> AppFuture:
    """What the link does when a task has failed."""
    future.resolve(TaskState.failed, b"", 0, failure_of(error))
    return future
