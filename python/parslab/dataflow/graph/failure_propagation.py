"""Makes the failure of a task that ends because other tasks failed [core].

The failure names the tasks that failed first (its roots), and the path of tasks from this one to the first root.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.records.reasons import Reason
from parslab.wire.messages.base import Failure

if TYPE_CHECKING:
    from parslab.dataflow.graph.task import Task

__all__ = ["CANCELLED", "DEPENDENCY", "passed_on", "unshipped"]

CANCELLED = Failure("CancelledError: it was cancelled", reason=Reason.cancelled.value)
DEPENDENCY = Reason.dependency.value
_MOST = 100
"""The most roots that a failure names, and the most tasks on its path."""


def passed_on(kind: str, bad: list[Task]) -> Failure:
    """Make the failure of a task that needs, or has joined, tasks without a result.

    Parameters
    ----------
    kind
        The name of the exception that its caller gets.
    bad
        The tasks without a result, in the order in which the call names them; at least one.
    """
    roots: dict[int, tuple[int, str, str]] = {}
    for task in bad:
        failure = task.failure or CANCELLED
        # A failure with roots is itself a consequence: only the first failures help the user.
        for root in failure.roots or ((task.id, f"task {task.id} ({task.app})", failure.error),):
            roots.setdefault(root[0], root)
    _, what, error = next(iter(roots.values()))
    first = bad[0].failure or CANCELLED
    # One path is enough to find the cause; all of them together may be as large as the graph.
    path = (bad[0].id, *first.path)
    # The text names one root: a fan-in of thousands of tasks would make it unreadable.
    text = f"{kind}: {what} failed with {error}"
    return Failure(
        error=text,
        traceback=first.traceback,
        payload=first.payload,
        roots=tuple(list(roots.values())[:_MOST]),
        path=path[:_MOST],
        reason=DEPENDENCY,
    )


def unshipped(need: Task, failure: Failure) -> Failure:
    """Make the failure of a task whose need succeeded at a client that cannot send the value."""
    roots = ((need.id, f"task {need.id} ({need.app})", failure.error),)
    text = f"DependencyError: task {need.id} ({need.app}): {failure.error}"
    return Failure(
        error=text,
        traceback=failure.traceback,
        payload=failure.payload,
        roots=roots,
        path=(need.id,),
        reason=DEPENDENCY,
    )
