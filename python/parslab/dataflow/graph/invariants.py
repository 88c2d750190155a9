"""What is true of the task table between two calls of it [core]; for tests, each of which ends with :func:`check`.

- a pending task counts exactly its unfinished needs, and each of those lists it among its dependents;
- a task in a final state has been resolved to its client exactly once since it was submitted or reopened, and has no
  dependents but those that wait until its client sends the value (and, until then, those of them that were cancelled
  meanwhile); one that succeeded has no arguments, one that did not keeps all that it takes to run it again
  (``dataflow.reopen``);
- a task that failed is tried again while its retries last: it goes back to ready with another attempt number and all
  that it needs to run, at once or after a while in fail_retryable; only its last failure is told to its client, and
  what comes of an earlier attempt is dropped;
- only a task that is not final has a trial, and a task in fail_retryable has one: it waits for its time, or for the
  retry handler of its client;
- a task is forgotten when it is final and its client has released it; needs that a dependent still holds stay alive
  through that reference alone.
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

_UNBEGUN = (TaskState.pending, TaskState.fail_retryable)


def check(table: TaskTable) -> None:
    """Verify the invariants.

    Raises
    ------
    AssertionError
        One of them does not hold; it tells of the task.
    """
    for task in set(table.tasks.values()):
        if task.state is TaskState.pending:
            waits = [n for n in task.needs if task in (n.dependents or ())]
            assert {n for n in task.needs if n.state not in FINAL} <= set(waits), task.story()
            assert len(waits) == task.waiting, task.story()
            assert task.waiting or (task.call and task.call.leader), task.story()
        if task.state in FINAL:
            if task.state in SUCCESSES:
                assert not task.args, task.story()
                assert not task.needs, task.story()
            for d in task.dependents or ():
                assert d.state in _UNBEGUN or d.state in FINAL, task.story()
                assert d.kind == TaskKind.remote, task.story()
                assert task.value is None, task.story()
                assert task.wanted, task.story()
            assert task.id not in table.retries.states, task.story()
        elif task.kind == TaskKind.remote and not _lacks(table, task):
            assert all(need.value is not None for need in task.needs), task.story()
        if task.state is TaskState.fail_retryable:
            assert task.id in table.retries.states, task.story()
            assert task.worker is None, task.story()
        if not table.retries.handlers and task.id in table.retries.states:
            assert table.retries.states[task.id].cost <= table.retries.allowed(task), task.story()
    assert table.retries.states.keys() <= table.tasks.keys()
    assert table.unfinished == sum(t.state not in FINAL for t in set(table.tasks.values()))


def _lacks(table: TaskTable, task: Task) -> bool:
    """Whether a task waits for what it needs, or will never have it."""
    trial = table.retries.states.get(task.id)
    asked = trial.asked if trial is not None else None
    return task.state is TaskState.pending or (asked is not None and asked.reason == DEPENDENCY)
