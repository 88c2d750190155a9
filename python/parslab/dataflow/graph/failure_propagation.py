"""What becomes of a task that others have failed for [core].

Its failure names those that failed first, and says on which way it came from the first of them.
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
"""Failures that are named at most, and tasks on the way from the first of them."""


def passed_on(kind: str, bad: list[Task]) -> Failure:
    """What becomes of a task that needs, or has joined, tasks that have no result.

    Parameters
    ----------
    kind
        Name of the exception that its caller gets.
    bad
        Those tasks, in the order in which the call names them; at least one.
    """
    roots: dict[int, tuple[int, str, str]] = {}
    for task in bad:
        failure = task.failure or CANCELLED
        for root in failure.roots or ((task.id, f"task {task.id} ({task.app})", failure.error),):
            roots.setdefault(root[0], root)
    _, what, error = next(iter(roots.values()))
    first = bad[0].failure or CANCELLED
    path = (bad[0].id, *first.path)
    text = f"{kind}: {what} failed with {error}"
    return Failure(text, first.traceback, first.payload, tuple(list(roots.values())[:_MOST]), path[:_MOST], DEPENDENCY)


def unshipped(need: Task, failure: Failure) -> Failure:
    """What becomes of a task that needs the value of one that succeeded, but whose value cannot be sent."""
    roots = ((need.id, f"task {need.id} ({need.app})", failure.error),)
    text = f"DependencyError: task {need.id} ({need.app}): {failure.error}"
    return Failure(text, failure.traceback, failure.payload, roots, (need.id,), DEPENDENCY)
