"""Lets tasks of apps with ``cache=True`` share results [core].

``memo`` finds equal calls.  This component decides what happens to their tasks, and the table carries that out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from parslab.records.states import FINAL, TaskState
from parslab.wire.messages.base import TaskKind

if TYPE_CHECKING:
    from parslab.dataflow.graph.dependencies import Dependencies
    from parslab.dataflow.graph.memoization.memo import Memo
    from parslab.dataflow.graph.task import Task
    from parslab.dataflow.graph.values import StoredValue
    from parslab.wire.messages.base import Failure
    from parslab.wire.messages.client import SubmitTask

__all__ = ["MemoizedCalls", "SharedEnd"]


class SharedEnd(NamedTuple):
    """The outcome for calls that waited for the end of an equal call."""

    followers: list[Task]
    value: StoredValue | None = None
    """The result that all of them have."""
    failure: Failure | None = None
    """The failure that all of them have.  Without value and failure each of them may run itself."""


class MemoizedCalls:
    """The cached calls among the tasks.

    Parameters
    ----------
    memo
        Finds equal calls and keeps results.
    dependencies
        Looks up what a call needs.
    """

    __slots__ = ("_dependencies", "_memo")

    def __init__(self, memo: Memo, dependencies: Dependencies) -> None:
        self._memo = memo
        self._dependencies = dependencies

    def look_up(self, task: Task, message: SubmitTask) -> StoredValue | None:
        """Find the result of an equal call for a new task; its needs may not have ended yet."""
        memo = self._memo
        memo.register(task, message)
        if message.deps:
            # The edges of the graph do not exist yet: a call whose result is found never gets any.
            needs = [self._dependencies.need(task, dep) for dep in message.deps]
            found = memo.look_up(task, needs, all(need.state in FINAL for need in needs))
        else:
            found = memo.look_up(task, (), True)
        if task.kind != TaskKind.remote and found is None and task.call is not None:
            task.wanted = not task.call.why  # the client has the value, and the memo keeps it
        return found

    def look_up_again(self, task: Task) -> StoredValue | None:
        """Find the result of an equal call for a task whose needs have ended."""
        return self._memo.look_up(task, task.needs, True)

    def share(self, task: Task, unshippable: Failure | None = None) -> SharedEnd | None:
        """Keep the result of an ended call, and return the outcome for the calls that follow it.

        Followers get its result or its failure.  When it was cancelled or could not run, the next one takes its place.

        Parameters
        ----------
        unshippable
            Why the client cannot send the value; None: it can, or it has.
        """
        memo, call = self._memo, task.call
        if call is None or not memo.leads(task):
            return None
        value = task.value
        if task.state is TaskState.exec_done and value is None and unshippable is None:
            call.awaited = True  # the client has been asked for it
            return None
        if value is not None and task.state is TaskState.exec_done:
            memo.keep(call, value)
        followers = memo.take_followers(task)
        if unshippable is not None:
            # Each of them has to run itself: a value that cannot leave the client serves no other call.
            for each in [task, *followers]:
                memo.exclude(each, f"its result cannot leave the notebook's process ({unshippable.error})")
            return SharedEnd(followers)
        if value is not None:
            return SharedEnd(followers, value=value)
        # Followers share the failure: they waited for this very execution. Later equal calls run.
        if task.state is TaskState.failed and task.failure is not None:
            return SharedEnd(followers, failure=task.failure)
        # A cancelled leader says nothing about the call, so the next of the equal calls runs.
        return SharedEnd([memo.promote(followers)]) if followers else None
