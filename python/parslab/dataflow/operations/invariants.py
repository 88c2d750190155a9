"""Checks the invariants of the task table, which hold between two of its calls [core].

Each test of the table ends with :func:`check`.

- A pending task counts exactly its unfinished needs, and each of these lists it among its dependents.
- The client of a task in a final state has got one ``TaskResolved`` since the task was submitted or reopened.
- A task in a final state has no dependents, except those that wait until its client sends the value.
- A task that succeeded has no arguments.  One that did not keeps all that it takes to run it again (``retry_plan``).
- A task that failed is tried again while its retries last: it gets another attempt number and is ready, at once or
  after a while in fail_retryable.  Its client learns of the last failure only, and the table ignores outcomes of an
  earlier attempt.
- Only a task that is not final has a retry state.  A task in fail_retryable has one: it waits for its time, or for the
  retry handler of its client.
- The table drops a task that is final and that its client has released.  Dependents may still refer to it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from parslab.dataflow.graph.failure_propagation import DEPENDENCY
from parslab.records.states import FINAL, SUCCESSES, TaskState
from parslab.wire.messages.base import TaskKind

if TYPE_CHECKING:
    from parslab.dataflow.graph.table import TaskTable
    from parslab.dataflow.graph.task import Task

__all__ = ["check"]

_NOT_BEGUN = (TaskState.pending, TaskState.fail_retryable)


def check(table: TaskTable) -> None:
    """Verify the invariants.

    Raises
    ------
    AssertionError
        One of them does not hold; the message is the story of the task.
    """
    for task in set(table.tasks.values()):
        if task.state is TaskState.pending:
            # A need that ended at its client still counts: its value is on the way.
            waits = [n for n in task.needs if task in (n.dependents or ())]
            assert {n for n in task.needs if n.state not in FINAL} <= set(waits), task.story()
            assert len(waits) == task.waiting, task.story()
            assert task.waiting or (task.call and task.call.leader), task.story()
        if task.state in FINAL:
            if task.state in SUCCESSES:
                assert not task.args, task.story()
                assert not task.needs, task.story()
            for d in task.dependents or ():
                assert d.state in _NOT_BEGUN or d.state in FINAL, task.story()
                assert d.kind == TaskKind.remote, task.story()
                assert task.value is None, task.story()
                assert task.wanted, task.story()
            assert task.id not in table.retries.states, task.story()
        elif task.kind == TaskKind.remote and not _lacks_needs(table, task):
            assert all(need.value is not None for need in task.needs), task.story()
        if task.state is TaskState.fail_retryable:
            assert task.id in table.retries.states, task.story()
            assert task.worker is None, task.story()
        if not table.retries.handlers and task.id in table.retries.states:
            assert table.retries.states[task.id].cost <= table.retries.allowed(task), task.story()
    assert table.retries.states.keys() <= table.tasks.keys()
    assert table.unfinished == sum(t.state not in FINAL for t in set(table.tasks.values()))


def _lacks_needs(table: TaskTable, task: Task) -> bool:
    """Return whether a task waits for its needs, or will never have them."""
    retry = table.retries.states.get(task.id)
    asked = retry.asked if retry is not None else None
    return task.state is TaskState.pending or (asked is not None and asked.reason == DEPENDENCY)
