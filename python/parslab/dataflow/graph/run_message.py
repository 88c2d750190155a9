"""Makes the message that carries a task to a worker or manager [core]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.wire.messages.worker import RunTask

if TYPE_CHECKING:
    from parslab.dataflow.graph.task import Task
    from parslab.wire.messages.base import PackedValue
    from parslab.wire.stream import Buffer

__all__ = ["has_shared_inputs", "run_message"]


def has_shared_inputs(task: Task) -> bool:
    """Return whether a value that the task needs lies in shared memory."""
    return any(need.value is not None and need.value.is_shared for need in task.needs)


def run_message(task: Task, frames: list[Buffer]) -> RunTask:
    """Build the message that carries a task; large buffers, its own and those of its inputs, go to ``frames``."""
    frames.extend(task.frames)
    values: tuple[PackedValue, ...] = ()
    # Values are appended after the task's own frames; the worker reads them in this order.
    if task.needs:
        values = tuple(need.value.packed(frames) for need in task.needs if need.value is not None)
    return RunTask(
        task=task.id,
        attempt=task.attempt,
        fn=task.fn,
        args=task.args,
        frames=len(task.frames),
        values=values,
    )
