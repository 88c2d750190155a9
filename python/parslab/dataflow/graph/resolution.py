"""Makes the message that reports the end of a task to its client [core]."""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.records.states import TaskState
from parslab.wire.messages.base import INLINE, TaskKind
from parslab.wire.messages.client import TaskResolved

if TYPE_CHECKING:
    from parslab.dataflow.graph.task import Task

__all__ = ["resolution"]

_MEMO_DONE = TaskState.memo_done


def resolution(task: Task) -> TaskResolved:
    """Make the message that reports to its client how a task has ended.

    The message holds a small value itself.  Of a large value it holds the size only, and the client fetches the value
    when somebody asks for it.  A value that the client has itself is not sent back.
    """
    value, size = task.value, 0
    if value is None or (task.kind != TaskKind.remote and task.state is not _MEMO_DONE):
        inline = b""
    elif value.frames or value.parts is not None or len(value.inline) > INLINE:
        # Never 0: a size of 0 says that the value is in the message.
        inline, size = b"", value.size or 1
    else:
        inline = value.inline
    return TaskResolved(task.id, task.state, inline, size, task.failure)
