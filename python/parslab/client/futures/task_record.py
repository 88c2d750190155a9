"""``TaskRecord`` shows a task as Parsl's task records do: a mapping whose values are looked up when they are read.

The client keeps the function and the arguments of a call only if it must (``Config(garbage_collect=False)``), because
they would keep large values alive for as long as the future lives.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from parslab.records.states import TaskState
from parslab.wire.messages.base import TaskSpec

if TYPE_CHECKING:
    from parslab.client.futures.home import FutureHome
    from parslab.records.panel import Attempt, TaskDetail

__all__ = ["KeptCall", "TaskRecord", "asked_resources"]


class KeptCall(msgspec.Struct, frozen=True):
    """What a call was made with."""

    func: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    spec: TaskSpec | None
    join: bool


class RecordedTask(Protocol):
    """The future of a task, as its record needs it."""

    task_id: int
    app_name: str
    home: FutureHome
    call: KeptCall | None

    @property
    def state(self) -> TaskState:
        """The state of the task."""

    def done(self) -> bool:
        """Return whether the task has ended."""


class TaskRecord(Mapping[str, Any]):
    """A task as Parsl's programs see it: ``record["status"]``.

    ``id``, ``func_name`` and ``app_fu`` are known here.  Most other keys ask the DataFlowKernel, which must still run.

    Parameters
    ----------
    future
        The future of the task.
    """

    def __init__(self, future: RecordedTask) -> None:
        self._future = future

    def __getitem__(self, key: str) -> Any:
        if key in _OF_THE_CALL:
            call = self._future.call
            if call is None:
                raise KeyError(
                    f"{key}: parslab keeps the function and arguments of a call only with Config(garbage_collect=False)"
                )
            return _OF_THE_CALL[key](call)
        if key in _OF_THE_FUTURE:
            return _OF_THE_FUTURE[key](self._future)
        return _OF_THE_RUN[key](self._detail())

    def __iter__(self) -> Iterator[str]:
        yield from _OF_THE_FUTURE
        yield from _OF_THE_RUN
        if self._future.call is not None:
            yield from _OF_THE_CALL

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __repr__(self) -> str:
        return f"<TaskRecord of {self._future!r}>"

    def _detail(self) -> TaskDetail:
        return self._future.home.detail(self._future.task_id)


def asked_resources(spec: TaskSpec | None) -> dict[str, Any]:
    """Return the resource specification of a call as the user wrote it, without the keys that have their defaults."""
    asked = {} if spec is None else msgspec.structs.asdict(spec)
    mpi = asked.pop("mpi", None)
    if mpi is not None:
        asked |= {"num_nodes": mpi.nodes, "num_ranks": mpi.ranks, "ranks_per_node": mpi.ranks_per_node}
        asked |= {"cores": mpi.cores, "launcher_options": mpi.launcher_options or None}
    return {name: value for name, value in asked.items() if value not in (None, 0) and value != -1}


def _failed(detail: TaskDetail) -> list[Attempt]:
    return [attempt for attempt in detail.attempts if attempt.error]


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds)


_OF_THE_CALL: Mapping[str, Callable[[KeptCall], Any]] = {
    "func": lambda call: call.func,
    "args": lambda call: call.args,
    "kwargs": lambda call: dict(call.kwargs),
    "join": lambda call: call.join,
    "resource_specification": lambda call: asked_resources(call.spec),
}
_OF_THE_FUTURE: Mapping[str, Callable[[RecordedTask], Any]] = {
    "id": lambda future: future.task_id,
    "func_name": lambda future: future.app_name,
    "app_fu": lambda future: future,
    "status": lambda future: future.state,
    "from_memo": lambda future: future.done() and future.state is TaskState.memo_done,
}
_OF_THE_RUN: Mapping[str, Callable[[TaskDetail], Any]] = {
    "executor": lambda detail: detail.row.executor,
    "depends": lambda detail: [change.id for change in detail.deps],
    "fail_count": lambda detail: len(_failed(detail)),
    "fail_history": lambda detail: [attempt.error for attempt in _failed(detail)],
    "try_id": lambda detail: detail.row.attempt,
    "time_invoked": lambda detail: _time(detail.row.submitted),
    "time_returned": lambda detail: _time(detail.row.ended),
    "try_time_launched": lambda detail: _time(detail.row.started),
    "try_time_returned": lambda detail: _time(detail.row.ended),
}
"""The keys of a record, each with the function that finds its value."""
